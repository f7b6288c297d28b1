//! The demo's MQTT broker, 3.1.1 and 5, in memory.
//!
//! Everybody may connect, publish and subscribe. Every session ends with its connection. QoS 2 is accepted from
//! publishers; subscribers are granted 1 at most. Not offered: topic aliases, subscription identifiers, shared
//! subscriptions, extended authentication. A client that does not read its messages fast enough is disconnected when its
//! queue is full. Clauses in brackets are MQTT 5.0's.

mod handshake;
mod limits;
mod message;
mod outbox;
mod retained;
mod router;
mod session;
mod session_end;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use self::router::Router;

/// Connections at once, CONNECT received or not; further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 256 + 64;
/// Pause after a failed accept, so that a lack of file descriptors does not keep the processor busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// A running broker; dropping it stops it and closes all its connections.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Broker {
    /// Listens on an address, where port 0 picks a free one, and serves on the current tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, Arc::default()));
        Ok(Self { address, accepting })
    }

    /// The address listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Owns the connections' tasks, so that they end with the broker.
async fn accept(listener: TcpListener, router: Arc<Router>) {
    let mut connections = JoinSet::new();
    let mut number = 0;
    loop {
        let has_room = connections.len() < CONNECTIONS_MAX;
        tokio::select! {
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if has_room => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    number += 1;
                    connections.spawn(session::serve(stream, number, Arc::clone(&router)));
                }
                Err(error) => {
                    tracing::debug!(%error, "broker failed to accept a connection; retrying in {ACCEPT_PAUSE:?}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}
