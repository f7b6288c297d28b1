//! Clients that come over the network: plain, with RTU frames, or through TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;
use super::connection::{Connection, Presence};
use super::frame::Framing;

/// Connections served at once; further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after a failed accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How Modbus is carried over the network.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Modbus TCP.
    Tcp,
    /// RTU frames in a TCP connection, as converters of serial lines pass them on.
    RtuOverTcp,
    /// Modbus/TCP Security: Modbus TCP in TLS. The configuration holds the server's certificate and says whether clients
    /// must show one.
    Tls(Arc<ServerConfig>),
}

/// Serves until stopped.
pub(super) async fn accept(
    listener: TcpListener,
    transport: Transport,
    shared: Arc<Shared>,
    mut stopped: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = next(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, slot)) => {
                let presence = shared.presence(stopped.clone());
                tokio::spawn(serve(stream, transport.clone(), Arc::clone(&shared), presence, slot));
            }
            Err(error) => {
                tracing::debug!(%error, "simulated server failed to accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closed before whoever waits for the end can go on.
    drop(listener);
    drop(stopped);
}

async fn next(listener: &TcpListener, slots: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, slot))
}

async fn serve(
    stream: TcpStream,
    transport: Transport,
    shared: Arc<Shared>,
    presence: Presence,
    slot: OwnedSemaphorePermit,
) {
    match transport {
        Transport::Tcp => serve_plain(stream, Framing::Tcp, shared, presence).await,
        Transport::RtuOverTcp => serve_plain(stream, Framing::Rtu, shared, presence).await,
        Transport::Tls(config) => serve_tls(stream, config, shared, presence).await,
    }
    drop(slot);
}

async fn serve_plain(stream: TcpStream, framing: Framing, shared: Arc<Shared>, presence: Presence) {
    Connection::new(stream, framing, TcpStream::set_zero_linger, shared).run(presence).await;
}

async fn serve_tls(stream: TcpStream, config: Arc<ServerConfig>, shared: Arc<Shared>, mut presence: Presence) {
    let greeted = tokio::select! {
        () = presence.ends() => return,
        greeted = TlsAcceptor::from(config).accept(stream) => greeted,
    };
    match greeted {
        Ok(stream) => {
            let reset = |stream: &TlsStream<TcpStream>| stream.get_ref().0.set_zero_linger();
            Connection::new(stream, Framing::Tcp, reset, shared).run(presence).await;
        }
        Err(error) => tracing::debug!(%error, "simulated server's TLS handshake failed"),
    }
}
