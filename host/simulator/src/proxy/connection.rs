//! One client and its connection to the server.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::broadcast;

use super::{CloseMode, Direction, NetworkCondition, ProxyState};

/// The most bytes that are forwarded at once.
const CHUNK_BYTES_MAX: usize = 16 << 10;

/// Connects one client to the server, and forwards until one side closes its connection or both are to be closed.
#[allow(clippy::disallowed_methods, reason = "one address, and no name")]
pub(super) async fn serve(mut client: TcpStream, mut closes: broadcast::Receiver<CloseMode>, shared: Arc<ProxyState>) {
    let Ok(mut server) = TcpStream::connect(shared.target).await else {
        // The client gets the RST that the server would have sent.
        let _ = client.set_zero_linger();
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let mode = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            // Closing has priority: nothing that was held back is forwarded any more.
            biased;
            mode = closes.recv() => mode.unwrap_or(CloseMode::Fin),
            mode = forward(Direction::Up, from_client, to_server, &shared) => mode,
            mode = forward(Direction::Down, from_server, to_client, &shared) => mode,
        }
    };
    if mode == CloseMode::Reset {
        let _ = (client.set_zero_linger(), server.set_zero_linger());
    }
}

/// Forwards until one side closes its connection or the connections are to be closed.
async fn forward(
    direction: Direction,
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    shared: &ProxyState,
) -> CloseMode {
    let mut condition = shared.condition.subscribe();
    let mut chunk = vec![0; CHUNK_BYTES_MAX];
    loop {
        let Ok(now) = condition.wait_for(|now| now.forwards(direction)).await.map(|now| *now) else {
            return CloseMode::Fin;
        };
        let (limit, pause) = match now {
            NetworkCondition::Slow(bytes, pause) => (bytes, pause),
            _ => (CHUNK_BYTES_MAX, Duration::ZERO),
        };
        let room = chunk.get_mut(..limit.clamp(1, CHUNK_BYTES_MAX)).unwrap_or_default();
        let read = tokio::select! {
            biased;
            _ = condition.changed() => continue,
            read = from.read(room) => read.unwrap_or(0),
        };
        if read == 0 {
            return CloseMode::Fin;
        }
        let (count, close) = shared.take(direction, read);
        if to.write_all(chunk.get(..count).unwrap_or_default()).await.is_err() {
            return CloseMode::Fin;
        }
        shared.forwarded(direction).fetch_add(u64::try_from(count).unwrap_or(0), Ordering::Relaxed);
        if let Some(mode) = close {
            return mode;
        }
        tokio::time::sleep(pause).await;
    }
}
