//! One client's requests and their replies, as honest or as faulty as the rules want.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::Instant;

use super::fault::{self, Delivery, Instead};
use super::frame::{Frame, Framing, Reader};
use super::rule::Arrival;
use super::{Fault, Shared, answer, rtu};

/// What keeps a connection alive and counted.
pub(super) struct Presence {
    /// Marked as changed to cut all connections, each of which holds one receiver.
    pub(super) cut: watch::Receiver<()>,
    /// True, or without a sender, when the server has ended.
    pub(super) stopped: watch::Receiver<bool>,
}

/// A stream that is served.
pub(super) struct Connection<S> {
    stream: S,
    /// Makes the stream end in a reset as soon as it is dropped, where it can.
    reset: fn(&S) -> io::Result<()>,
    framing: Framing,
    reader: Reader,
    shared: Arc<Shared>,
    since: Instant,
    last_reply: Option<Instant>,
    /// The reply that [`Fault::Late`] holds back.
    held: Option<Vec<u8>>,
}

/// How the server itself ends a connection.
#[derive(Debug)]
enum End {
    Close,
    HalfClose,
    Reset,
}

impl Presence {
    /// Waits until the connection is cut or the server has ended.
    pub(super) async fn ends(&mut self) {
        tokio::select! {
            _ = self.cut.changed() => {}
            _ = self.stopped.wait_for(|stopped| *stopped) => {}
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) fn new(stream: S, framing: Framing, reset: fn(&S) -> io::Result<()>, shared: Arc<Shared>) -> Self {
        let (reader, since) = (framing.reader(), Instant::now());
        Self { stream, reset, framing, reader, shared, since, last_reply: None, held: None }
    }

    /// Serves until either side ends it.
    pub(super) async fn run(mut self, mut presence: Presence) {
        let ended = tokio::select! {
            () = presence.ends() => Ok(()),
            ended = self.serve_to_the_end() => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "simulated connection ended");
        }
        // Closed before it is no longer counted.
        drop(self);
        drop(presence);
    }

    /// Serves a line that has no end: it falls silent instead, and a cut only makes it forget.
    pub(super) async fn run_line(mut self, mut presence: Presence) {
        loop {
            let ended = tokio::select! {
                _ = presence.stopped.wait_for(|stopped| *stopped) => break,
                _ = presence.cut.changed() => {
                    (self.reader, self.held, self.last_reply) = (self.framing.reader(), None, None);
                    continue;
                }
                ended = self.serve() => ended,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "simulated line ended");
                break;
            }
        }
        drop(self);
        drop(presence);
    }

    async fn serve_to_the_end(&mut self) -> io::Result<()> {
        match self.serve().await? {
            End::Close => Ok(()),
            End::Reset => (self.reset)(&self.stream),
            End::HalfClose => {
                // Says goodbye, but listens on until the client leaves too.
                self.stream.shutdown().await?;
                let mut ignored = [0; 256];
                while self.stream.read(&mut ignored).await? > 0 {}
                Ok(())
            }
        }
    }

    /// Answers requests until a fault ends the connection; an error when the client leaves or sends something ill-formed.
    async fn serve(&mut self) -> io::Result<End> {
        loop {
            let request = self.reader.next(&mut self.stream).await?;
            if let Some(end) = self.exchange(&request).await? {
                return Ok(end);
            }
        }
    }

    async fn exchange(&mut self, frame: &Frame) -> io::Result<Option<End>> {
        let request = answer::describe(frame);
        self.shared.note(request);
        if let Some(held) = self.held.take() {
            self.send(&held).await?;
        }
        if self.framing == Framing::Rtu && !self.shared.is_spoken_to(frame, request) {
            return Ok(None);
        }
        let faults = self.shared.strike(request, self.arrival());
        let delay = faults.iter().map(|fault| fault.delay()).sum();
        if delay > Duration::ZERO {
            tokio::time::sleep(delay).await;
        }
        match faults.iter().find_map(|fault| fault.instead()) {
            Some(Instead::Nothing) => return Ok(None),
            Some(Instead::Garbage) => {
                self.send(&fault::GARBAGE).await?;
                return Ok(None);
            }
            Some(Instead::HalfClose) => return Ok(Some(End::HalfClose)),
            Some(Instead::Reset) => return Ok(Some(End::Reset)),
            None => {}
        }
        let reply = self.shared.reply(frame, request, &faults);
        self.last_reply = Some(Instant::now());
        self.deliver(&reply, &faults).await
    }

    fn arrival(&self) -> Arrival {
        Arrival { since_connect: self.since.elapsed(), since_reply: self.last_reply.map(|at| at.elapsed()) }
    }

    async fn deliver(&mut self, reply: &Frame, faults: &[Fault]) -> io::Result<Option<End>> {
        let mut bytes = self.framing.to_bytes(reply);
        if self.framing == Framing::Rtu && faults.contains(&Fault::WrongCheck) {
            rtu::spoil_check(&mut bytes);
        }
        if faults.contains(&Fault::Noise) {
            bytes.splice(..0, fault::NOISE);
        }
        let (first_half, _) = bytes.split_at(bytes.len() / 2);
        match faults.iter().find_map(|fault| fault.delivery()).unwrap_or(Delivery::Whole) {
            Delivery::Whole => self.send(&bytes).await?,
            Delivery::HalfThenClose => {
                self.send(first_half).await?;
                return Ok(Some(End::Close));
            }
            Delivery::HalfThenReset => {
                self.send(first_half).await?;
                return Ok(Some(End::Reset));
            }
            Delivery::WithNextRequest => self.held = Some(bytes),
            Delivery::ByteByByte(pause) => {
                for byte in bytes {
                    self.send(&[byte]).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Delivery::Twice => {
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
