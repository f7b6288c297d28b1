//! A Modbus server over [`Registers`] that misbehaves on command, behind TCP, TLS, a serial line or any stream. It speaks
//! the framing itself, since a library would not let it break the rules.

mod answer;
mod connection;
mod fault;
mod frame;
mod line;
mod network;
mod rtu;
mod rule;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use self::connection::{Connection, Presence};
pub use self::fault::Fault;
use self::frame::Frame;
pub use self::frame::Framing;
use self::line::Line;
pub use self::network::Transport;
pub use self::rule::Rule;
use self::rule::{Arrival, Rules};
use crate::registers::Registers;

/// Requests remembered by [`Server::request_log`]; the oldest is forgotten first.
const REQUEST_LOG_MAX: usize = 4096;
/// The unit id that speaks to every slave of a serial line.
const BROADCAST: u8 = 0;

/// A running server. Dropping it stops it as soon as the runtime gets round to it; [`Server::stop`] waits for that.
#[derive(Debug)]
pub struct Server {
    place: Place,
    shared: Arc<Shared>,
    runtime: Handle,
    /// True when the server is to end. Every task holds a receiver.
    stopped: watch::Sender<bool>,
}

/// A request as it arrived; what its function does not carry is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unit id of the frame's header.
    pub unit: u8,
    /// Function code.
    pub function: u8,
    /// First register or bit, from 0 as on the wire.
    pub address: u16,
    /// Number of registers or bits.
    pub count: u16,
}

/// Where clients find the server.
#[derive(Debug)]
enum Place {
    Network(SocketAddr),
    Line(PathBuf),
    Nowhere,
}

#[derive(Debug)]
struct Shared {
    registers: Registers,
    rules: Mutex<Rules>,
    journal: Mutex<Journal>,
    accepted: AtomicU64,
    /// Marked as changed to cut all connections, each of which holds one receiver.
    cut: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Journal {
    total: u64,
    last: VecDeque<(Instant, Request)>,
}

impl Server {
    /// Listens for Modbus TCP on an address, where port 0 picks a free one, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or outside of a tokio runtime.
    pub fn start(listen: SocketAddr, registers: Registers) -> io::Result<Self> {
        Self::start_on(listen, Transport::Tcp, registers)
    }

    /// The same behind any transport of the network.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_on(listen: SocketAddr, transport: Transport, registers: Registers) -> io::Result<Self> {
        let mut server = Self::start_detached(registers)?;
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        server.place = Place::Network(listener.local_addr()?);
        let accepting = network::accept(listener, transport, Arc::clone(&server.shared), server.stopped.subscribe());
        server.runtime.spawn(accepting);
        Ok(server)
    }

    /// Serves Modbus RTU on a serial line of its own, found at [`path`](Self::path). It has no speed and takes every
    /// setting; clients may open it, close it and come back.
    ///
    /// # Errors
    /// When the system has no pseudo terminal left, or outside of a tokio runtime.
    pub fn start_line(registers: Registers) -> io::Result<Self> {
        let mut server = Self::start_detached(registers)?;
        let (line, path) = Line::open()?;
        let presence = server.presence();
        let connection = Connection::new(line, Framing::Rtu, |_| Ok(()), Arc::clone(&server.shared));
        server.runtime.spawn(connection.run_line(presence));
        server.place = Place::Line(path);
        Ok(server)
    }

    /// Serves nobody but who is [attached](Self::attach).
    ///
    /// # Errors
    /// Outside of a tokio runtime.
    pub fn start_detached(registers: Registers) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            registers,
            rules: Mutex::default(),
            journal: Mutex::default(),
            accepted: AtomicU64::new(0),
            cut: watch::Sender::new(()),
        });
        Ok(Self { place: Place::Nowhere, shared, runtime, stopped: watch::Sender::new(false) })
    }

    /// Serves this stream too, as one more connection, such as one end of [`tokio::io::duplex`]. A reset merely ends it.
    pub fn attach(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, framing: Framing) {
        let connection = Connection::new(stream, framing, |_| Ok(()), Arc::clone(&self.shared));
        self.runtime.spawn(connection.run(self.presence()));
    }

    /// The address listened on, with the real port; 0.0.0.0:0 when there is none.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        if let Place::Network(address) = self.place { address } else { (Ipv4Addr::UNSPECIFIED, 0).into() }
    }

    /// The client's end of the serial line, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        if let Place::Line(path) = &self.place { Some(path) } else { None }
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
        lock(&self.shared.journal).last.iter().map(|&(_, request)| request).collect()
    }

    /// The same with the time at which each had arrived, by tokio's clock.
    #[must_use]
    pub fn request_times(&self) -> Vec<(Instant, Request)> {
        lock(&self.shared.journal).last.iter().copied().collect()
    }

    /// Connections open now. A serial line counts as one, opened or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.cut.receiver_count()
    }

    /// Connections made since the start, a serial line's one included.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Applies a fault to every request from now on, or with `None` behaves again.
    pub fn misbehave(&self, fault: Option<Fault>) {
        self.misbehave_by(fault.map(Rule::new));
    }

    /// Applies several faults at once from now on, each to the requests its rule picks. Of several that refuse, or that
    /// take the place of a reply, or that change how it is sent, the first does; delays add up, and changes of the reply
    /// follow each other.
    pub fn misbehave_by(&self, rules: impl IntoIterator<Item = Rule>) {
        lock(&self.shared.rules).replace(rules);
    }

    /// Requests that a fault has hit since the start.
    #[must_use]
    pub fn hits(&self) -> u64 {
        lock(&self.shared.rules).hits()
    }

    /// Cuts every connection counted by [`Server::connections`]; new ones are welcome. A serial line stays, and forgets
    /// what is under way.
    pub fn drop_connections(&self) {
        self.shared.cut.send_replace(());
    }

    /// Closes the listener, the line and all connections; on return the port refuses.
    pub async fn stop(self) {
        self.stopped.send_replace(true);
        self.stopped.closed().await;
    }

    fn presence(&self) -> Presence {
        self.shared.presence(self.stopped.subscribe())
    }
}

impl Shared {
    /// A place among the connections.
    fn presence(&self, stopped: watch::Receiver<bool>) -> Presence {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Presence { cut: self.cut.subscribe(), stopped }
    }

    fn note(&self, request: Request) {
        lock(&self.journal).note(request);
    }

    fn strike(&self, request: Request, arrival: Arrival) -> Vec<Fault> {
        lock(&self.rules).strike(request, arrival)
    }

    /// Whether a slave of a serial line has to reply. What is meant for all of them is carried out here.
    fn is_spoken_to(&self, frame: &Frame, request: Request) -> bool {
        if request.unit == BROADCAST {
            answer::broadcast(&self.registers, request, &frame.pdu);
            return false;
        }
        self.registers.revise(|memory| memory.serving_unit(request.unit)).is_some()
    }

    fn reply(&self, frame: &Frame, request: Request, faults: &[Fault]) -> Frame {
        let pdu = match faults.iter().find_map(|fault| fault.refusal(request)) {
            Some(code) => answer::refusal(request.function, code),
            None => answer::answer(&self.registers, request, &frame.pdu),
        };
        let honest = Frame { transaction: frame.transaction, unit: frame.unit, pdu };
        faults.iter().fold(honest, |reply, fault| fault.distort(reply))
    }
}

impl Journal {
    fn note(&mut self, request: Request) {
        self.total = self.total.saturating_add(1);
        if self.last.len() == REQUEST_LOG_MAX {
            self.last.pop_front();
        }
        self.last.push_back((Instant::now(), request));
    }
}

/// Each value behind these locks is replaced or appended to whole, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
