//! A TCP proxy that simulates a bad network: it closes, stalls, slows and refuses connections on command.

mod connection;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::lock;

/// Close commands that a busy connection may have waiting; the first one ends it.
const CLOSES_WAITING_MAX: usize = 4;
/// Pause after a failed accept, or while the port is not free yet.
const LISTEN_PAUSE: Duration = Duration::from_millis(10);

/// What the network does to connections, old and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkCondition {
    /// Everything is forwarded.
    Normal,
    /// New connections are refused; old ones are kept.
    Refused,
    /// Connections are accepted and kept, but nothing is forwarded.
    BlackHole,
    /// Nothing is forwarded in this direction.
    HalfOpen(Direction),
    /// So many bytes are forwarded at once in each direction, then none for this time.
    Slow(usize, Duration),
}

/// A direction through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// How connections are closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseMode {
    /// RST to both sides: what they have not read may be lost.
    Reset,
    /// FIN to both sides.
    Fin,
}

/// A running proxy; dropping it stops it and closes all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<ProxyState>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct ProxyState {
    target: SocketAddr,
    condition: watch::Sender<NetworkCondition>,
    closes: broadcast::Sender<CloseMode>,
    /// Bytes that are still forwarded to the server before all connections are closed.
    pending_close: Mutex<Option<(usize, CloseMode)>>,
    accepted: AtomicU64,
    forwarded: [AtomicU64; 2],
}

impl Proxy {
    /// Listens on a free port of this machine and connects to the target for each client.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(ProxyState {
            target,
            condition: watch::Sender::new(NetworkCondition::Normal),
            closes: broadcast::Sender::new(CLOSES_WAITING_MAX),
            pending_close: Mutex::default(),
            accepted: AtomicU64::default(),
            forwarded: Default::default(),
        });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// The address that clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the condition of the network.
    pub fn set_condition(&self, condition: NetworkCondition) {
        self.shared.condition.send_replace(condition);
    }

    /// Closes all connections.
    pub fn close_connections(&self, mode: CloseMode) {
        // Without connections there is no receiver.
        let _ = self.shared.closes.send(mode);
    }

    /// Closes all connections after so many more bytes to the server: most likely in the middle of a packet.
    pub fn close_after(&self, bytes: usize, mode: CloseMode) {
        *lock(&self.shared.pending_close) = Some((bytes, mode));
    }

    /// Whether [`Proxy::close_after`] has not closed the connections yet.
    #[must_use]
    pub fn has_pending_close(&self) -> bool {
        lock(&self.shared.pending_close).is_some()
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Bytes forwarded so far in a direction.
    #[must_use]
    pub fn bytes_forwarded(&self, direction: Direction) -> u64 {
        self.shared.forwarded(direction).load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl NetworkCondition {
    fn forwards(self, direction: Direction) -> bool {
        match self {
            Self::Normal | Self::Refused | Self::Slow(..) => true,
            Self::BlackHole => false,
            Self::HalfOpen(stopped) => stopped != direction,
        }
    }
}

impl ProxyState {
    fn forwarded(&self, direction: Direction) -> &AtomicU64 {
        let [up, down] = &self.forwarded;
        if direction == Direction::Up { up } else { down }
    }

    /// How many of these bytes are to be forwarded, and how the connections are closed after them, if they are.
    fn take(&self, direction: Direction, bytes: usize) -> (usize, Option<CloseMode>) {
        let mut pending = lock(&self.pending_close);
        match *pending {
            Some((left, mode)) if direction == Direction::Up && left <= bytes => {
                *pending = None;
                (left, Some(mode))
            }
            Some((left, mode)) if direction == Direction::Up => {
                *pending = Some((left - bytes, mode));
                (bytes, None)
            }
            _ => (bytes, None),
        }
    }
}

/// Owns the connections' tasks, so that they end with the proxy.
async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<ProxyState>) {
    let mut connections = JoinSet::new();
    let mut condition = shared.condition.subscribe();
    let mut listening = Some(listener);
    loop {
        let refuses = *condition.borrow_and_update() == NetworkCondition::Refused;
        let Some(listener) = listening.take_if(|_| refuses).map_or(listening.as_ref(), |_| None) else {
            // Only a port without a listener refuses.
            if refuses {
                let _ = condition.changed().await;
            } else {
                listening = TcpListener::bind(address).await.ok();
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
            continue;
        };
        tokio::select! {
            _ = condition.changed() => {}
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(connection::serve(client, shared.closes.subscribe(), Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(LISTEN_PAUSE).await,
            },
        }
    }
}
