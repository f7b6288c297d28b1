//! A TCP proxy that stands for a bad network: it cuts, stalls, slows and refuses on command.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::{JoinHandle, JoinSet};

#[cfg(test)]
mod tests;

/// Bytes handed on in one piece at most.
const PIECE_BYTES: usize = 16 << 10;
/// Cuts that a busy connection may have to catch up with; it ends at the first anyway.
const CUTS_WAITING: usize = 4;
/// Pause after a failed accept, or a port that is not free again yet.
const LISTEN_PAUSE: Duration = Duration::from_millis(10);

/// What the network does to connections, old and new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Clear,
    /// New connections are refused; old ones live on.
    Refused,
    /// Connections are accepted and kept, but nothing passes.
    BlackHole,
    /// Nothing passes in this direction.
    HalfOpen(Direction),
    /// So many bytes pass at once in each direction, then none for this time.
    Slow(usize, Duration),
}

/// A way through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// How connections end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// RST to both sides: what they have not read may be lost.
    Reset,
    /// FIN to both sides.
    Finish,
}

/// A running proxy; it ends with the value, and all its connections with it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    weather: watch::Sender<Weather>,
    cuts: broadcast::Sender<Cut>,
    /// Bytes that may still go up before everything is cut.
    fuse: Mutex<Option<(usize, Cut)>>,
    accepted: AtomicU64,
    passed: [AtomicU64; 2],
}

impl Proxy {
    /// Listens on a free port of this machine and connects to the target for each client.
    ///
    /// # Errors
    /// When no port can be bound.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target,
            weather: watch::Sender::new(Weather::Clear),
            cuts: broadcast::Sender::new(CUTS_WAITING),
            fuse: Mutex::default(),
            accepted: AtomicU64::default(),
            passed: Default::default(),
        });
        let accepting = tokio::spawn(accept(listener, address, Arc::clone(&shared)));
        Ok(Self { address, shared, accepting })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        self.shared.weather.send_replace(weather);
    }

    /// Ends all connections.
    pub fn cut(&self, cut: Cut) {
        // Without connections nobody needs to know.
        let _ = self.shared.cuts.send(cut);
    }

    /// Ends all connections once so many more bytes have gone up: in the middle of a packet, most likely.
    pub fn cut_after(&self, bytes: usize, cut: Cut) {
        *self.shared.fuse() = Some((bytes, cut));
    }

    /// Whether a cut by [`Proxy::cut_after`] is still to come.
    #[must_use]
    pub fn will_cut(&self) -> bool {
        self.shared.fuse().is_some()
    }

    /// Connections so far.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Bytes that have passed so far in a direction.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.passed(direction).load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Weather {
    fn lets_pass(self, direction: Direction) -> bool {
        match self {
            Self::Clear | Self::Refused | Self::Slow(..) => true,
            Self::BlackHole => false,
            Self::HalfOpen(stopped) => stopped != direction,
        }
    }
}

impl Shared {
    fn fuse(&self) -> MutexGuard<'_, Option<(usize, Cut)>> {
        self.fuse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self, direction: Direction) -> &AtomicU64 {
        let [up, down] = &self.passed;
        if direction == Direction::Up { up } else { down }
    }

    /// How many of these bytes may pass, and the cut that comes after them.
    fn burn(&self, direction: Direction, bytes: usize) -> (usize, Option<Cut>) {
        let mut fuse = self.fuse();
        match *fuse {
            Some((left, cut)) if direction == Direction::Up && left <= bytes => {
                *fuse = None;
                (left, Some(cut))
            }
            Some((left, cut)) if direction == Direction::Up => {
                *fuse = Some((left - bytes, cut));
                (bytes, None)
            }
            _ => (bytes, None),
        }
    }
}

/// Owns the connections' tasks, so that they end with the proxy.
async fn accept(listener: TcpListener, address: SocketAddr, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    let mut weather = shared.weather.subscribe();
    let mut listening = Some(listener);
    loop {
        let refuses = *weather.borrow_and_update() == Weather::Refused;
        let Some(listener) = listening.take_if(|_| refuses).map_or(listening.as_ref(), |_| None) else {
            // Only a port that nobody listens on refuses.
            if refuses {
                let _ = weather.changed().await;
            } else {
                listening = TcpListener::bind(address).await.ok();
                tokio::time::sleep(LISTEN_PAUSE).await;
            }
            continue;
        };
        tokio::select! {
            _ = weather.changed() => {}
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    shared.accepted.fetch_add(1, Ordering::Relaxed);
                    connections.spawn(connect(client, shared.cuts.subscribe(), Arc::clone(&shared)));
                }
                Err(_) => tokio::time::sleep(LISTEN_PAUSE).await,
            },
        }
    }
}

async fn connect(mut client: TcpStream, mut cuts: broadcast::Receiver<Cut>, shared: Arc<Shared>) {
    let Ok(mut server) = TcpStream::connect(shared.target).await else {
        // As if the client had reached the dead server itself.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let cut = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            // A cut before the weather clears comes first: nothing that was held passes any more.
            biased;
            cut = cuts.recv() => cut.unwrap_or(Cut::Finish),
            cut = pump(Direction::Up, from_client, to_server, &shared) => cut,
            cut = pump(Direction::Down, from_server, to_client, &shared) => cut,
        }
    };
    if cut == Cut::Reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Hands on until one side ends or a cut is due.
async fn pump(
    direction: Direction,
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    shared: &Shared,
) -> Cut {
    let mut weather = shared.weather.subscribe();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let Ok(now) = weather.wait_for(|weather| weather.lets_pass(direction)).await.map(|weather| *weather) else {
            return Cut::Finish;
        };
        let (most, pause) =
            if let Weather::Slow(bytes, pause) = now { (bytes, pause) } else { (PIECE_BYTES, Duration::ZERO) };
        let room = piece.get_mut(..most.clamp(1, PIECE_BYTES)).unwrap_or_default();
        let read = tokio::select! {
            biased;
            _ = weather.changed() => continue,
            read = from.read(room) => read.unwrap_or(0),
        };
        if read == 0 {
            return Cut::Finish;
        }
        let (passing, cut) = shared.burn(direction, read);
        if to.write_all(piece.get(..passing).unwrap_or_default()).await.is_err() {
            return Cut::Finish;
        }
        shared.passed(direction).fetch_add(u64::try_from(passing).unwrap_or(0), Ordering::Relaxed);
        if let Some(cut) = cut {
            return cut;
        }
        tokio::time::sleep(pause).await;
    }
}
