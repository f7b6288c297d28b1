//! One client's requests and their replies, with the faults that the rules select.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::fault::{self, Replacement, Sending};
use super::fault_rule::RequestTiming;
use super::frame::ModbusFrame;
use super::framing::{Framing, RequestReader};
use super::{Fault, ServerState, answer, other_master, rtu};

/// Counts a connection as long as it exists, and reports when it is to be closed.
pub(super) struct ConnectionGuard {
    /// Marked as changed when all connections are to be closed; its receivers are the connections that are counted.
    pub(super) closing: watch::Receiver<()>,
    /// True, or without a sender, when the server has ended.
    pub(super) stopped: watch::Receiver<bool>,
}

/// A stream that is served.
pub(super) struct ServedConnection<S> {
    stream: S,
    /// Makes the stream end in a reset when it is dropped, where that is possible.
    reset: fn(&S) -> io::Result<()>,
    framing: Framing,
    reader: RequestReader,
    shared: Arc<ServerState>,
    /// Unique among the server's connections.
    id: u64,
    /// Bytes of another master.
    forwarded: broadcast::Receiver<Vec<u8>>,
    since: Instant,
    last_reply: Option<Instant>,
    /// The reply that [`Fault::Late`] holds back.
    held: Option<Vec<u8>>,
}

/// How the server ends a connection.
#[derive(Debug)]
enum ConnectionEnd {
    Close,
    HalfClose,
    Reset,
}

impl ConnectionGuard {
    /// Waits until the connection is to be closed or the server has ended.
    pub(super) async fn closed(&mut self) {
        tokio::select! {
            _ = self.closing.changed() => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ServedConnection<S> {
    pub(super) fn new(stream: S, framing: Framing, reset: fn(&S) -> io::Result<()>, shared: Arc<ServerState>) -> Self {
        let (reader, since) = (framing.reader(), Instant::now());
        let (id, forwarded) = (shared.next_connection(), shared.forwarded.subscribe());
        Self { stream, reset, framing, reader, shared, id, forwarded, since, last_reply: None, held: None }
    }

    /// Serves until either side ends it.
    pub(super) async fn run(mut self, mut guard: ConnectionGuard) {
        let ended = tokio::select! {
            () = guard.closed() => Ok(()),
            ended = self.serve_and_close() => ended,
        };
        let is_reset = matches!(&ended, Err(error) if error.kind() == io::ErrorKind::ConnectionReset);
        self.shared.end_connection(self.id, is_reset);
        if let Err(error) = ended {
            tracing::debug!(%error, "connection to a simulated server ended");
        }
        // The stream is closed before it is no longer counted.
        drop(self);
        drop(guard);
    }

    /// Serves a serial port, which has no end: where a connection would be closed it is silent instead, and discards what
    /// it has received and held back.
    pub(super) async fn run_serial(mut self, mut guard: ConnectionGuard) {
        loop {
            let ended = tokio::select! {
                _ = guard.stopped.wait_for(|stopped| *stopped) => break,
                _ = guard.closing.changed() => {
                    (self.reader, self.held, self.last_reply) = (self.framing.reader(), None, None);
                    continue;
                }
                ended = self.serve() => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "simulated serial port failed; closing it");
                break;
            }
        }
        drop(self);
        drop(guard);
    }

    async fn serve_and_close(&mut self) -> io::Result<()> {
        match self.serve().await? {
            ConnectionEnd::Close => Ok(()),
            ConnectionEnd::Reset => (self.reset)(&self.stream),
            ConnectionEnd::HalfClose => {
                // Sends FIN, then reads until the client closes too.
                self.stream.shutdown().await?;
                let mut ignored = [0; 256];
                while self.stream.read(&mut ignored).await? > 0 {}
                Ok(())
            }
        }
    }

    /// Answers requests until a fault ends the connection; an error when the client closes it or sends a malformed frame.
    async fn serve(&mut self) -> io::Result<ConnectionEnd> {
        loop {
            let request = tokio::select! {
                request = self.reader.next(&mut self.stream) => request?,
                // An RTU reader keeps what it has read.
                Ok(bytes) = self.forwarded.recv(), if self.framing == Framing::Rtu => {
                    self.send(&bytes).await?;
                    continue;
                }
            };
            if let Some(end) = self.exchange(&request).await? {
                return Ok(end);
            }
        }
    }

    async fn exchange(&mut self, frame: &ModbusFrame) -> io::Result<Option<ConnectionEnd>> {
        let request = answer::describe(frame);
        self.shared.log(request);
        if let Some(held) = self.held.take() {
            self.send(&held).await?;
        }
        if !self.shared.serves(self.id) || self.framing == Framing::Rtu && !self.shared.needs_reply(frame, request) {
            return Ok(None);
        }
        let faults = self.shared.faults_for(request, self.timing());
        if self.framing == Framing::Rtu && faults.contains(&Fault::Echo) {
            self.send(&self.framing.to_bytes(frame)).await?;
        }
        let delay = faults.iter().map(|fault| fault.delay()).sum();
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        match faults.iter().find_map(|fault| fault.replacement()) {
            Some(Replacement::Nothing) => return Ok(None),
            Some(Replacement::Garbage) => {
                self.send(&fault::GARBAGE).await?;
                return Ok(None);
            }
            Some(Replacement::HalfClose) => return Ok(Some(ConnectionEnd::HalfClose)),
            Some(Replacement::Reset) => return Ok(Some(ConnectionEnd::Reset)),
            None => {}
        }
        let reply = self.shared.reply(frame, request, &faults);
        self.last_reply = Some(Instant::now());
        self.send_reply(frame, &reply, &faults).await
    }

    fn timing(&self) -> RequestTiming {
        RequestTiming { since_connect: self.since.elapsed(), since_reply: self.last_reply.map(|at| at.elapsed()) }
    }

    /// The reply and what is sent with it.
    fn reply_bytes(&self, request: &ModbusFrame, reply: &ModbusFrame, faults: &[Fault]) -> Vec<u8> {
        let mut bytes = self.framing.to_bytes(reply);
        let stated = faults.iter().find_map(|fault| fault.stated_length(self.framing, reply));
        if let (Some(stated), Some(length)) = (stated, bytes.get_mut(4..6)) {
            length.copy_from_slice(&stated.to_be_bytes());
        }
        if self.framing == Framing::Rtu && faults.contains(&Fault::WrongCrc) {
            rtu::corrupt_crc(&mut bytes);
        }
        if faults.contains(&Fault::Noise) {
            bytes.splice(..0, fault::NOISE);
        }
        if faults.contains(&Fault::Padding) {
            bytes.extend([0, 0]);
        }
        if faults.contains(&Fault::OtherMaster) {
            bytes.splice(..0, other_master::before(self.framing, request, reply));
            bytes.extend(other_master::elsewhere(self.framing, request));
        }
        bytes
    }

    async fn send_reply(
        &mut self,
        request: &ModbusFrame,
        reply: &ModbusFrame,
        faults: &[Fault],
    ) -> io::Result<Option<ConnectionEnd>> {
        let bytes = self.reply_bytes(request, reply, faults);
        let (first_half, _) = bytes.split_at(bytes.len() / 2);
        match faults.iter().find_map(|fault| fault.sending()).unwrap_or(Sending::Whole) {
            Sending::Whole => self.send(&bytes).await?,
            Sending::HalfThenClose => {
                self.send(first_half).await?;
                return Ok(Some(ConnectionEnd::Close));
            }
            Sending::HalfThenReset => {
                self.send(first_half).await?;
                return Ok(Some(ConnectionEnd::Reset));
            }
            Sending::WithNextRequest => self.held = Some(bytes),
            Sending::ByteByByte(pause) => {
                for byte in bytes {
                    self.send(&[byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Sending::Twice => {
                self.send(&bytes).await?;
                self.send(&bytes).await?;
            }
        }
        Ok(None)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}
