//! Clients that connect over the network: plain, with RTU frames, or through TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bessai_tls::server::{Acceptor, TlsStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::ServerState;
use super::connection::{ConnectionGuard, ServedConnection};
use super::framing::Framing;

/// Connections served at once; further ones wait in the system's backlog.
const CONNECTIONS_MAX: usize = 1024;
/// Pause after a failed accept, so that a lack of file descriptors does not keep the processor busy.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How Modbus is carried over the network.
#[derive(Clone, Debug)]
pub enum Transport {
    /// Modbus TCP.
    Tcp,
    /// RTU frames in a TCP connection, as serial converters forward them.
    RtuOverTcp,
    /// Modbus/TCP Security: Modbus TCP in TLS. The acceptor has the server's certificate and knows whether clients need
    /// one.
    Tls(Acceptor),
}

/// Serves until stopped.
pub(super) async fn accept(
    listener: TcpListener,
    transport: Transport,
    shared: Arc<ServerState>,
    mut stopped: watch::Receiver<bool>,
) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => break,
            accepted = next(&listener, &permits) => accepted,
        };
        match accepted {
            // Dropping the stream closes it.
            Ok(_) if shared.is_full() => {}
            Ok((stream, permit)) => {
                let guard = shared.guard(stopped.clone());
                tokio::spawn(serve(stream, transport.clone(), Arc::clone(&shared), guard, permit));
            }
            Err(error) => {
                tracing::debug!(%error, "simulated server failed to accept a connection; retrying in {ACCEPT_PAUSE:?}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    // Closed before `Server::stop`, which waits for `stopped` to be dropped, returns.
    drop(listener);
    drop(stopped);
}

async fn next(listener: &TcpListener, permits: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

async fn serve(
    stream: TcpStream,
    transport: Transport,
    shared: Arc<ServerState>,
    guard: ConnectionGuard,
    permit: OwnedSemaphorePermit,
) {
    match transport {
        Transport::Tcp => serve_plain(stream, Framing::Tcp, shared, guard).await,
        Transport::RtuOverTcp => serve_plain(stream, Framing::Rtu, shared, guard).await,
        Transport::Tls(acceptor) => serve_tls(stream, acceptor, shared, guard).await,
    }
    drop(permit);
}

async fn serve_plain(stream: TcpStream, framing: Framing, shared: Arc<ServerState>, guard: ConnectionGuard) {
    ServedConnection::new(stream, framing, TcpStream::set_zero_linger, shared).run(guard).await;
}

async fn serve_tls(stream: TcpStream, acceptor: Acceptor, shared: Arc<ServerState>, mut guard: ConnectionGuard) {
    let accepted = tokio::select! {
        () = guard.closed() => return,
        accepted = acceptor.accept(stream) => accepted,
    };
    match accepted {
        Ok(stream) => {
            let reset = |stream: &TlsStream<TcpStream>| stream.get_ref().0.set_zero_linger();
            ServedConnection::new(stream, Framing::Tcp, reset, shared).run(guard).await;
        }
        Err(error) => tracing::debug!(%error, "TLS handshake of a simulated server failed; closing the connection"),
    }
}
