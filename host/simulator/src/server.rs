//! A Modbus TCP server over [`Registers`] that misbehaves on command. It speaks the framing itself, since a library
//! would not let it break the rules.

mod answer;
mod fault;
mod frame;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

pub use self::fault::Fault;
use self::frame::Frame;
use crate::registers::Registers;

/// Connections served at once; further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 256;
/// Requests remembered by [`Server::request_log`]; the oldest is forgotten first.
const REQUEST_LOG_MAX: usize = 4096;
/// Pause after a failed accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running server. Dropping it stops it as soon as the runtime gets round to it; [`Server::stop`] waits for that.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
    /// Never sent on: the accepting task ends when this is dropped.
    running: oneshot::Sender<()>,
}

/// A request as it arrived; what its function does not carry is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unit id of the frame's header.
    pub unit: u8,
    /// Function code.
    pub function: u8,
    /// First register, from 0 as on the wire.
    pub address: u16,
    /// Number of registers.
    pub count: u16,
}

#[derive(Debug)]
struct Shared {
    registers: Registers,
    fault: Mutex<Option<Fault>>,
    journal: Mutex<Journal>,
    /// Marked as changed to cut all connections, each of which holds one receiver.
    cut: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Journal {
    total: u64,
    last: VecDeque<Request>,
}

/// One client. The stream is closed before the receiver that counts the connection is gone.
struct Connection {
    stream: TcpStream,
    cut: watch::Receiver<()>,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens on an address, where port 0 picks a free one, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or outside of a tokio runtime.
    pub fn start(listen: SocketAddr, registers: Registers) -> io::Result<Self> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            registers,
            fault: Mutex::default(),
            journal: Mutex::default(),
            cut: watch::Sender::new(()),
        });
        let (running, stopped) = oneshot::channel();
        let accepting = runtime.spawn(accept(listener, Arc::clone(&shared), stopped));
        Ok(Self { address, shared, accepting, running })
    }

    /// The address listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The memory served.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.shared.registers
    }

    /// Well-formed requests received since the start, answered or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        lock(&self.shared.journal).total
    }

    /// The last 4096 requests, oldest first.
    #[must_use]
    pub fn request_log(&self) -> Vec<Request> {
        lock(&self.shared.journal).last.iter().copied().collect()
    }

    /// Connections open now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.cut.receiver_count()
    }

    /// Applies a fault to every request from now on, or with `None` behaves again.
    pub fn misbehave(&self, fault: Option<Fault>) {
        *lock(&self.shared.fault) = fault;
    }

    /// Cuts every connection counted by [`Server::connections`]; new ones are welcome.
    pub fn drop_connections(&self) {
        self.shared.cut.send_replace(());
    }

    /// Closes the listener and all connections; on return the port refuses.
    pub async fn stop(self) {
        drop(self.running);
        if let Err(error) = self.accepting.await {
            tracing::debug!(%error, "simulated server ended early");
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => match accepted {
                Ok((stream, _)) => {
                    let (cut, shared) = (shared.cut.subscribe(), Arc::clone(&shared));
                    connections.spawn(Connection { stream, cut, shared }.run());
                }
                Err(error) => {
                    tracing::debug!(%error, "simulated server failed to accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    connections.shutdown().await;
}

impl Connection {
    async fn run(mut self) {
        let ended = tokio::select! {
            _ = self.cut.changed() => Ok(()),
            ended = serve(&mut self.stream, &self.shared) => ended,
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "simulated connection ended");
        }
    }
}

/// Answers requests until the client leaves, sends something ill-formed, or a fault ends the connection.
async fn serve(stream: &mut TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    loop {
        let frame = Frame::read(stream).await?;
        let request = answer::describe(&frame);
        lock(&shared.journal).note(request);
        let fault = *lock(&shared.fault);
        match fault {
            Some(Fault::Silence) => continue,
            Some(Fault::Garbage) => {
                stream.write_all(&fault::GARBAGE).await?;
                continue;
            }
            Some(Fault::HalfClose) => return half_close(stream).await,
            Some(Fault::Reset) => return stream.set_zero_linger(),
            Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
            _ => {}
        }
        let reply = shared.reply(&frame, request, fault).to_bytes();
        if fault == Some(Fault::Truncate) {
            let (first_half, _) = reply.split_at(reply.len() / 2);
            return stream.write_all(first_half).await;
        }
        stream.write_all(&reply).await?;
    }
}

/// Says goodbye, but listens on until the client leaves too.
async fn half_close(stream: &mut TcpStream) -> io::Result<()> {
    stream.shutdown().await?;
    tokio::io::copy(stream, &mut tokio::io::sink()).await?;
    Ok(())
}

impl Shared {
    fn reply(&self, frame: &Frame, request: Request, fault: Option<Fault>) -> Frame {
        let pdu = match fault.and_then(|fault| fault.refusal(request)) {
            Some(code) => answer::refusal(request.function, code),
            None => answer::answer(&self.registers, request, &frame.pdu),
        };
        let honest = Frame { transaction: frame.transaction, unit: frame.unit, pdu };
        match fault {
            Some(fault) => fault.distort(honest),
            None => honest,
        }
    }
}

impl Journal {
    fn note(&mut self, request: Request) {
        self.total = self.total.saturating_add(1);
        if self.last.len() == REQUEST_LOG_MAX {
            self.last.pop_front();
        }
        self.last.push_back(request);
    }
}

/// Each value behind these locks is replaced or appended to whole, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
