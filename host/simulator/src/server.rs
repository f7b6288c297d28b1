//! A Modbus server over [`Registers`] that misbehaves on command, behind TCP, TLS, a serial port or any stream.
//!
//! It encodes the frames itself, because a library would not let it break the protocol.

mod answer;
mod connection;
mod fault;
mod fault_rule;
mod frame;
mod framing;
mod function;
mod network;
mod other_master;
mod pseudo_terminal;
mod request_log;
mod rtu;
mod single_client;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use self::connection::{ConnectionGuard, ServedConnection};
pub use self::fault::Fault;
pub use self::fault_rule::FaultRule;
use self::fault_rule::{ActiveRules, RequestTiming};
use self::frame::ModbusFrame;
pub use self::framing::Framing;
pub use self::network::Transport;
use self::pseudo_terminal::PseudoTerminal;
pub use self::request_log::ReceivedRequest;
use self::request_log::RequestLog;
use self::single_client::Slot;
use crate::lock;
use crate::registers::Registers;

/// The unit id that addresses every device of a serial bus.
const BROADCAST: u8 = 0;

/// Forwarded frames that may wait for a connection; it misses the oldest of more.
const FORWARDED_MAX: usize = 64;

/// A running server. Dropping it stops it as soon as the runtime runs its tasks; [`Server::stop`] waits for that.
#[derive(Debug)]
pub struct Server {
    endpoint: Endpoint,
    shared: Arc<ServerState>,
    runtime: Handle,
    /// True when the server is to end. Every task holds a receiver.
    stopped: watch::Sender<bool>,
}

/// Where clients reach the server.
#[derive(Debug)]
enum Endpoint {
    Network(SocketAddr),
    Serial(PathBuf),
    /// Only streams that are attached.
    Detached,
}

/// What the connections of a server share.
#[derive(Debug)]
struct ServerState {
    registers: Registers,
    rules: Mutex<ActiveRules>,
    requests: Mutex<RequestLog>,
    accepted: AtomicU64,
    next_connection: AtomicU64,
    slot: Mutex<Slot>,
    /// Bytes of another master, for all connections with RTU frames.
    forwarded: broadcast::Sender<Vec<u8>>,
    /// Network connections that may be open at once; a further one is closed.
    most_connections: AtomicUsize,
    /// Marked as changed to close all connections, each of which holds one receiver.
    closing: watch::Sender<()>,
}

impl Server {
    /// Listens for Modbus TCP on an address, where port 0 picks a free one, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound, or outside of a tokio runtime.
    pub fn start(listen: SocketAddr, registers: Registers) -> io::Result<Self> {
        Self::start_with_transport(listen, Transport::Tcp, registers)
    }

    /// The same with another transport.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn start_with_transport(listen: SocketAddr, transport: Transport, registers: Registers) -> io::Result<Self> {
        let mut server = Self::start_detached(registers)?;
        let listener = bind(listen)?;
        server.endpoint = Endpoint::Network(listener.local_addr()?);
        let accepting = network::accept(listener, transport, Arc::clone(&server.shared), server.stopped.subscribe());
        server.runtime.spawn(accepting);
        Ok(server)
    }

    /// Serves Modbus RTU on a serial port of its own, found at [`path`](Self::path). It has no speed and accepts all line
    /// settings; clients may open it, close it and open it again.
    ///
    /// # Errors
    /// When the system has no pseudo terminal left, or outside of a tokio runtime.
    pub fn start_serial(registers: Registers) -> io::Result<Self> {
        let mut server = Self::start_detached(registers)?;
        let (terminal, path) = PseudoTerminal::open()?;
        let guard = server.guard();
        let connection = ServedConnection::new(terminal, Framing::Rtu, |_| Ok(()), Arc::clone(&server.shared));
        server.runtime.spawn(connection.run_serial(guard));
        server.endpoint = Endpoint::Serial(path);
        Ok(server)
    }

    /// Serves only the streams that are [attached](Self::attach).
    ///
    /// # Errors
    /// Outside of a tokio runtime.
    pub fn start_detached(registers: Registers) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let shared = Arc::new(ServerState {
            registers,
            rules: Mutex::default(),
            requests: Mutex::default(),
            accepted: AtomicU64::new(0),
            next_connection: AtomicU64::new(0),
            slot: Mutex::default(),
            forwarded: broadcast::Sender::new(FORWARDED_MAX),
            most_connections: AtomicUsize::new(usize::MAX),
            closing: watch::Sender::new(()),
        });
        Ok(Self { endpoint: Endpoint::Detached, shared, runtime, stopped: watch::Sender::new(false) })
    }

    /// Serves this stream as one more connection, such as one end of [`tokio::io::duplex`]. A reset only closes it.
    pub fn attach(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, framing: Framing) {
        let connection = ServedConnection::new(stream, framing, |_| Ok(()), Arc::clone(&self.shared));
        self.runtime.spawn(connection.run(self.guard()));
    }

    /// The address listened on, with the real port; 0.0.0.0:0 when there is none.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        if let Endpoint::Network(address) = self.endpoint { address } else { (Ipv4Addr::UNSPECIFIED, 0).into() }
    }

    /// The client's end of the serial port, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        if let Endpoint::Serial(path) = &self.endpoint { Some(path) } else { None }
    }

    /// The memory served.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.shared.registers
    }

    /// Well-formed requests received since the start, answered or not.
    #[must_use]
    pub fn requests(&self) -> u64 {
        lock(&self.shared.requests).total()
    }

    /// The last 4096 requests, oldest first.
    #[must_use]
    pub fn request_log(&self) -> Vec<ReceivedRequest> {
        lock(&self.shared.requests).last().map(|&(_, request)| request).collect()
    }

    /// The same with the time at which each was received, by tokio's clock.
    #[must_use]
    pub fn request_times(&self) -> Vec<(Instant, ReceivedRequest)> {
        lock(&self.shared.requests).last().copied().collect()
    }

    /// Connections open now. A serial port counts as one, whether a client has opened it or not.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.closing.receiver_count()
    }

    /// Connections made since the start, a serial port's one included.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Closes each further connection while so many are open, as devices do that serve one client only.
    pub fn limit_connections(&self, most: usize) {
        self.shared.most_connections.store(most, Ordering::Relaxed);
    }

    /// Applies a fault to every request from now on; `None` removes all faults.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.set_fault_rules(fault.map(FaultRule::new));
    }

    /// Replaces the faults, each of which is applied to the requests that its rule selects. Among several that refuse a
    /// request, that replace its reply, or that change how the reply is sent, the first is applied; delays add up, and
    /// changes of the reply's content are applied one after the other.
    pub fn set_fault_rules(&self, rules: impl IntoIterator<Item = FaultRule>) {
        lock(&self.shared.rules).replace(rules);
    }

    /// Answers only the next connection from now on, until the client resets it: closing it in order does not make room for
    /// another one.
    pub fn serve_one_client_until_reset(&self) {
        *lock(&self.shared.slot) = Slot::Free;
    }

    /// Sends an RTU frame of this unit and PDU to all clients, as a transparent converter does with what another master and
    /// the units that it asks send.
    pub fn forward(&self, unit: u8, pdu: &[u8]) {
        let frame = ModbusFrame { transaction: 0, unit, pdu: pdu.to_vec() };
        // Fails if no client is connected.
        let _ = self.shared.forwarded.send(Framing::Rtu.to_bytes(&frame));
    }

    /// Requests to which a fault was applied since the start.
    #[must_use]
    pub fn hits(&self) -> u64 {
        lock(&self.shared.rules).hits()
    }

    /// Closes every connection counted by [`Server::connections`]; new ones are accepted. A serial port stays open and
    /// discards what it has received and held back.
    pub fn drop_connections(&self) {
        self.shared.closing.send_replace(());
    }

    /// Restarts the device: its registers are as [`Registers::reboot`] leaves them, and every connection is closed.
    pub fn reboot(&self) {
        self.shared.registers.reboot();
        self.drop_connections();
    }

    /// Closes the listener, the serial port and all connections; afterwards the address refuses connections.
    pub async fn stop(self) {
        self.stopped.send_replace(true);
        self.stopped.closed().await;
    }

    fn guard(&self) -> ConnectionGuard {
        self.shared.guard(self.stopped.subscribe())
    }
}

impl ServerState {
    fn is_full(&self) -> bool {
        self.closing.receiver_count() >= self.most_connections.load(Ordering::Relaxed)
    }

    /// Counts one more connection.
    fn guard(&self, stopped: watch::Receiver<bool>) -> ConnectionGuard {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        ConnectionGuard { closing: self.closing.subscribe(), stopped }
    }

    fn next_connection(&self) -> u64 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }

    fn serves(&self, connection: u64) -> bool {
        lock(&self.slot).serves(connection)
    }

    fn end_connection(&self, connection: u64, is_reset: bool) {
        lock(&self.slot).end(connection, is_reset);
    }

    fn log(&self, request: ReceivedRequest) {
        lock(&self.requests).add(request);
    }

    fn faults_for(&self, request: ReceivedRequest, timing: RequestTiming) -> Vec<Fault> {
        lock(&self.rules).faults_for(request, timing)
    }

    /// Whether a device of a serial bus has to reply. A broadcast is carried out here.
    fn needs_reply(&self, frame: &ModbusFrame, request: ReceivedRequest) -> bool {
        if request.unit == BROADCAST {
            answer::broadcast(&self.registers, request, &frame.pdu);
            return false;
        }
        self.registers.update(|memory| memory.serving_unit(request.unit)).is_some()
    }

    fn reply(&self, frame: &ModbusFrame, request: ReceivedRequest, faults: &[Fault]) -> ModbusFrame {
        let pdu = match faults.iter().find_map(|fault| fault.exception(request)) {
            Some(exception) => answer::exception_reply(request.function, exception),
            None => answer::answer(&self.registers, request, &frame.pdu),
        };
        let correct = ModbusFrame { transaction: frame.transaction, unit: frame.unit, pdu };
        faults.iter().fold(correct, |reply, fault| fault.distort(reply))
    }
}

/// A listener without an `async` function, which most users of a server could not call.
#[allow(clippy::disallowed_methods, reason = "binding does not wait, and accepting is left to tokio")]
fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(listen)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}
