//! The session of one client, from its first byte to the end of its connection.

mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::{Instant, sleep_until, timeout};

use super::handshake::{self, AcceptedClient};
use super::limits::PACKET_BYTES_MAX;
use super::outbox::Outbox;
use super::router::{ClientKey, Router};
use super::session_end::SessionEnd;
use crate::packet::{DecodeError, Packet, Version, disconnect, reason};

/// Messages that a client may have unacknowledged, where its own receive maximum is not lower; further ones wait.
const IN_FLIGHT_MAX: usize = 100;
/// Bytes that may wait for the client to read them; with more, neither its packets nor its queue are processed.
const UNSENT_BYTES_MAX: usize = 64 << 10;
/// How long a client may take to send its CONNECT.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long the client may take to read the last packets and to close the connection in turn.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// A connected client.
struct ClientSession {
    key: ClientKey,
    version: Version,
    router: Arc<Router>,
    outbox: Arc<Outbox>,
    /// Packets to be sent, the first one perhaps in part.
    unsent: Vec<u8>,
    /// Packet ids of messages that the client has to acknowledge.
    in_flight: BTreeSet<u16>,
    last_packet_id: u16,
    /// The client's own limits.
    receive_maximum: usize,
    packet_bytes_max: usize,
    /// Packet ids of QoS 2 messages that the client has to release.
    unreleased: BTreeSet<u16>,
}

/// Serves one connection to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite>(stream: S, connection: u64, router: Arc<Router>) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = Vec::new();
    let first = timeout(CONNECT_LIMIT, Packet::read(&mut reader, &mut received, packet_bytes_max())).await;
    let Ok(Ok(Some(packet))) = first else {
        tracing::debug!(connection, "broker received no packet within {CONNECT_LIMIT:?}; closing the connection");
        return;
    };
    let accepted = match handshake::accept(&packet, connection, &router) {
        Ok(accepted) => accepted,
        Err(refused) => {
            tracing::debug!(connection, cause = refused.cause, "broker refused a client; closing the connection");
            close(reader, writer, &refused.connack).await;
            return;
        }
    };
    let silence_max = accepted.silence_max;
    let mut session = ClientSession::new(accepted, router);
    let end = session.run(&mut reader, &mut writer, received, silence_max).await;
    session.router.disconnect(&session.key, &end);
    let client = session.key.client_id.as_str();
    if end == SessionEnd::QueueFull {
        tracing::warn!(client, "broker has no room for further messages of a slow client; closing its connection");
    } else {
        tracing::debug!(client, cause = %end, "broker ended a session");
    }
    if let Some(reason) = end.reason() {
        session.unsent.extend(disconnect(session.version, reason));
        close(reader, writer, &session.unsent).await;
    }
}

/// Sends the last packets, then waits for the client to close: closing at once could discard packets that it has not read.
async fn close<S: AsyncRead + AsyncWrite>(mut reader: ReadHalf<S>, mut writer: WriteHalf<S>, unsent: &[u8]) {
    let closing = async {
        writer.write_all(unsent).await?;
        writer.shutdown().await?;
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
    };
    // The connection is closed in any case.
    let _ = timeout(CLOSE_LIMIT, closing).await;
}

fn packet_bytes_max() -> usize {
    usize::try_from(PACKET_BYTES_MAX).unwrap_or(usize::MAX)
}

impl ClientSession {
    fn new(accepted: AcceptedClient, router: Arc<Router>) -> Self {
        Self {
            key: accepted.key,
            version: accepted.version,
            router,
            outbox: accepted.outbox,
            unsent: accepted.connack,
            in_flight: BTreeSet::new(),
            last_packet_id: 0,
            receive_maximum: accepted.receive_maximum.min(IN_FLIGHT_MAX),
            packet_bytes_max: accepted.packet_bytes_max,
            unreleased: BTreeSet::new(),
        }
    }

    /// Serves until the session ends. Receiving, sending and the queue do not wait for each other.
    async fn run(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
        mut received: Vec<u8>,
        silence_max: Option<Duration>,
    ) -> SessionEnd {
        let mut last_packet = Instant::now();
        loop {
            match self.handle_all(&mut received) {
                Ok(true) => last_packet = Instant::now(),
                Ok(false) => {}
                Err(end) => return end,
            }
            if let Some(end) = self.outbox.end() {
                return end;
            }
            self.fill();
            let (has_unsent, has_room) = (!self.unsent.is_empty(), self.unsent.len() < UNSENT_BYTES_MAX);
            let silence_end = silence_max.and_then(|silence_max| last_packet.checked_add(silence_max));
            tokio::select! {
                () = self.outbox.changed() => {}
                sent = writer.write(&self.unsent), if has_unsent => match sent {
                    Ok(count) if count > 0 => drop(self.unsent.drain(..count)),
                    _ => return SessionEnd::Closed,
                },
                read = reader.read_buf(&mut received), if has_room => match read {
                    Ok(count) if count > 0 => {}
                    _ => return SessionEnd::Closed,
                },
                () = sleep_until(silence_end.unwrap_or(last_packet)), if silence_end.is_some() => {
                    return SessionEnd::KeepAlive;
                }
            }
        }
    }

    /// Handles the packets that were received as a whole; whether there was one.
    fn handle_all(&mut self, received: &mut Vec<u8>) -> Result<bool, SessionEnd> {
        let mut has_packet = false;
        loop {
            match Packet::decode_up_to(packet_bytes_max(), received) {
                Ok(Some(packet)) => self.handle(&packet)?,
                Ok(None) => return Ok(has_packet),
                Err(error @ DecodeError::TooLarge(..)) => {
                    return Err(SessionEnd::Violation(reason::PACKET_TOO_LARGE, error.to_string()));
                }
                Err(error) => return Err(SessionEnd::Violation(reason::MALFORMED_PACKET, error.to_string())),
            }
            has_packet = true;
        }
    }

    /// Moves messages from the queue to the packets to be sent, as far as the client's window and the limit of unsent bytes
    /// allow.
    fn fill(&mut self) {
        while self.unsent.len() < UNSENT_BYTES_MAX {
            let has_window = self.in_flight.len() < self.receive_maximum;
            let Some(queued) = self.outbox.pop(has_window) else { return };
            if queued.message.is_expired() {
                continue;
            }
            let packet_id = self.next_packet_id();
            let packet = queued.encode(self.version, packet_id);
            // A packet that the client cannot accept counts as delivered [3.1.2.11.4].
            if packet.len() > self.packet_bytes_max {
                continue;
            }
            if queued.qos > 0 {
                self.in_flight.insert(packet_id);
                self.last_packet_id = packet_id;
            }
            self.unsent.extend(packet);
        }
    }

    /// The next packet id that is not in flight: far fewer are than there are ids.
    fn next_packet_id(&self) -> u16 {
        let ids = (self.last_packet_id..u16::MAX).map(|packet_id| packet_id + 1).chain(1..=u16::MAX);
        ids.into_iter().find(|packet_id| !self.in_flight.contains(packet_id)).unwrap_or(1)
    }
}
