//! Packets on a socket: writes what is queued, and reads packet by packet, no faster than a broker has reason to send.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bessai_domain::session::Protocol;
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::error::SessionError;
use crate::inbound::{Phase, next_packet};
use crate::limits::CONNECT_LIMIT_S;
use crate::socket::Socket;

/// Bytes of one read.
const READ_BYTES: usize = 4 << 10;
/// Bytes that are read in a second, on average: acknowledgements of a hundred thousand messages. What a broker sends beyond
/// that waits in its own buffers.
const READ_BYTES_PER_S: u32 = 512 << 10;
/// Bytes that may be read at once.
const READ_BURST: u32 = 64 << 10;
/// Bytes of unsent packets above which no further message is taken.
const ENOUGH_UNSENT: usize = 64 << 10;
/// A buffer that has grown beyond this is given back once it is empty.
const KEPT_BUFFER: usize = 16 << 10;
/// Time without any progress after which a write counts as failed.
const WRITE_LIMIT: Duration = Duration::from_secs(CONNECT_LIMIT_S);

/// A connection to a broker in one version of MQTT.
pub(crate) struct Wire {
    socket: Box<dyn Socket>,
    protocol: Protocol,
    phase: Phase,
    received: BytesMut,
    /// Packets that are not written yet.
    pub(crate) unsent: BytesMut,
    is_flushed: bool,
    write_deadline: Option<Pin<Box<Sleep>>>,
    allowance: ReadAllowance,
}

/// What poll functions of a socket return here.
type Polled<T> = Poll<Result<T, SessionError>>;

impl Wire {
    pub(crate) fn new(socket: Box<dyn Socket>, protocol: Protocol) -> Self {
        Self {
            socket,
            protocol,
            phase: Phase::SigningIn,
            received: BytesMut::new(),
            unsent: BytesMut::new(),
            is_flushed: true,
            write_deadline: None,
            allowance: ReadAllowance::new(),
        }
    }

    /// CONNACK has come; `receives`: the client subscribes.
    pub(crate) fn signed_in(&mut self, receives: bool) {
        self.phase = if receives { Phase::Receiving } else { Phase::SignedIn };
    }

    /// What has come and is no complete packet.
    pub(crate) fn head(&self) -> &[u8] {
        &self.received
    }

    /// Whether another message may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.unsent.len() < ENOUGH_UNSENT
    }

    /// Writes what is queued, to the last byte.
    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Polled<()> {
        while !self.unsent.is_empty() {
            self.is_flushed = false;
            match Pin::new(&mut self.socket).poll_write(context, &self.unsent) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(SessionError::ConnectionClosed)),
                Poll::Ready(Ok(written)) => {
                    self.unsent.advance(written);
                    self.write_deadline = None;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(SessionError::of_network(&error))),
                Poll::Pending => return self.poll_write_deadline(context),
            }
        }
        if !self.is_flushed {
            match Pin::new(&mut self.socket).poll_flush(context) {
                Poll::Ready(Ok(())) => self.is_flushed = true,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(SessionError::of_network(&error))),
                Poll::Pending => return self.poll_write_deadline(context),
            }
        }
        self.write_deadline = None;
        if self.unsent.capacity() > KEPT_BUFFER {
            self.unsent = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_deadline(&mut self, context: &mut Context<'_>) -> Polled<()> {
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + WRITE_LIMIT)));
        deadline.as_mut().poll(context).map(|()| Err(SessionError::Timeout))
    }

    /// The next packet, complete and checked.
    pub(crate) fn poll_packet(&mut self, context: &mut Context<'_>) -> Polled<BytesMut> {
        loop {
            match next_packet(&self.received, self.protocol, self.phase) {
                Ok(Some(length)) => return Poll::Ready(Ok(self.take(length))),
                Ok(None) => {}
                Err(violation) => return Poll::Ready(Err(SessionError::Violation(violation.0))),
            }
            if self.allowance.poll(context).is_pending() {
                return Poll::Pending;
            }
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Err(SessionError::ConnectionClosed));
                }
                Poll::Ready(Ok(())) => {
                    self.allowance.take(buffer.filled().len());
                    self.received.extend_from_slice(buffer.filled());
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(SessionError::of_network(&error))),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn take(&mut self, length: usize) -> BytesMut {
        let packet = self.received.split_to(length);
        if self.received.is_empty() {
            // The packet keeps the buffer until it is decoded; what comes next starts with a small one.
            self.received = BytesMut::new();
        }
        packet
    }
}

/// Limits how much is read: a token bucket of bytes.
struct ReadAllowance {
    // When the bucket would be full if nothing more were read.
    full_at: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

impl ReadAllowance {
    fn new() -> Self {
        Self { full_at: Instant::now(), pause: None }
    }

    fn take(&mut self, bytes: usize) {
        let time = Duration::from_secs(1) * u32::try_from(bytes).unwrap_or(u32::MAX) / READ_BYTES_PER_S;
        self.full_at = self.full_at.max(Instant::now()) + time;
    }

    /// Waits until the bucket is not empty.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let available = self.full_at - Duration::from_secs(1) * READ_BURST / READ_BYTES_PER_S;
        if available <= Instant::now() {
            self.pause = None;
            return Poll::Ready(());
        }
        let pause = self.pause.get_or_insert_with(|| Box::pin(sleep_until(available)));
        let polled = pause.as_mut().poll(context);
        if polled.is_ready() {
            self.pause = None;
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    fn signed_in() -> (Wire, tokio::io::DuplexStream) {
        let (own, broker) = tokio::io::duplex(1 << 20);
        let mut wire = Wire::new(Box::new(own), Protocol::V5);
        wire.signed_in(false);
        (wire, broker)
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_a_limited_rate() {
        let (mut wire, mut broker) = signed_in();
        let start = Instant::now();
        tokio::spawn(async move { while broker.write_all(&[0xd0, 0].repeat(1000)).await.is_ok() {} });
        let mut packets = 0_u32;
        while start.elapsed() < Duration::from_secs(4) {
            poll_fn(|context| wire.poll_packet(context)).await.unwrap();
            packets += 1;
        }
        let most = (4 * READ_BYTES_PER_S + READ_BURST) / 2 + 4 * u32::try_from(READ_BYTES).unwrap();
        assert!(packets <= most && packets >= most / 2, "{packets} packets of at most {most}");
    }

    #[tokio::test(start_paused = true)]
    async fn packets_are_read_one_by_one_and_a_violation_ends_the_connection() {
        let (mut wire, mut broker) = signed_in();
        broker.write_all(&[0x40, 2, 0, 1, 0x40, 2]).await.unwrap();
        let packet = poll_fn(|context| wire.poll_packet(context)).await.unwrap();
        assert_eq!(&packet[..], [0x40, 2, 0, 1]);
        broker.write_all(&[0, 2, 0x90, 3]).await.unwrap();
        let packet = poll_fn(|context| wire.poll_packet(context)).await.unwrap();
        assert_eq!(&packet[..], [0x40, 2, 0, 2]);
        let error = poll_fn(|context| wire.poll_packet(context)).await.unwrap_err();
        assert_eq!(error, SessionError::Violation("a SUBACK, and this client never subscribes".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_broker_that_reads_nothing_is_given_up() {
        let (own, _broker) = tokio::io::duplex(10);
        let mut wire = Wire::new(Box::new(own), Protocol::V5);
        wire.unsent.extend_from_slice(&[0; 100]);
        let start = Instant::now();
        assert_eq!(poll_fn(|context| wire.poll_flush(context)).await, Err(SessionError::Timeout));
        assert!(start.elapsed() >= WRITE_LIMIT);
    }
}
