//! One client: its requests are answered in their order, one at a time.

use std::cell::Cell;
use std::time::Duration;

use bessai_domain::relay::RelayTarget;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use crate::counters::ServerCounters;
use crate::frame::{FrameError, MAX_FRAME_BYTES, first_frame};
use crate::service::Service;

/// Time without a request after which a client is disconnected.
const IDLE_LIMIT: Duration = Duration::from_mins(10);
/// Time for the rest of a frame whose beginning has arrived.
const FRAME_LIMIT: Duration = Duration::from_secs(5);
/// Time for a client to take a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(5);
/// Bytes of requests that are read ahead; further ones wait in the system's buffers.
const READ_AHEAD_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// Serves a client until it closes the connection, keeps silent for ten minutes, does not take a reply, or sends something
/// else than Modbus/TCP. `client` is its name in the log, and `last_request` is set when one comes. Returns why it was
/// disconnected, if it did not close the connection itself.
///
/// # Errors
/// The reason, as the second half of a sentence about the client.
pub(crate) async fn serve_client<S, T>(
    mut stream: S,
    target: &T,
    counters: &ServerCounters,
    client: &str,
    last_request: &Cell<Instant>,
) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: RelayTarget,
{
    let mut service = Service { target, counters, client, words: Vec::new() };
    let mut received = Vec::with_capacity(READ_AHEAD_BYTES);
    let mut reply = Vec::with_capacity(MAX_FRAME_BYTES);
    loop {
        let mut answered = 0;
        loop {
            let rest = received.get(answered..).unwrap_or_default();
            let Some(frame) = first_frame(rest).map_err(FrameError::into_reason)? else { break };
            last_request.set(Instant::now());
            service.answer(&frame, &mut reply).await;
            answered += frame.length;
            match timeout(REPLY_LIMIT, stream.write_all(&reply)).await {
                Ok(Ok(())) => {}
                // The client has closed the connection.
                Ok(Err(_)) => return Ok(()),
                Err(_) => return Err(format!("did not take a reply within {REPLY_LIMIT:?}")),
            }
        }
        received.drain(..answered);
        let limit = if received.is_empty() { IDLE_LIMIT } else { FRAME_LIMIT };
        // Reads what fits: the buffer has room for a whole frame beyond the beginning of one, and does not grow.
        match timeout(limit, stream.read_buf(&mut received)).await {
            Ok(Ok(1..)) => {}
            Ok(Ok(0) | Err(_)) => return Ok(()),
            Err(_) if received.is_empty() => return Err(format!("sent no request for {limit:?}")),
            Err(_) => return Err(format!("did not send the rest of a frame within {limit:?}")),
        }
    }
}

impl FrameError {
    fn into_reason(self) -> String {
        match self {
            Self::Protocol(id) => format!("sent something else than Modbus/TCP: protocol id {id} instead of 0"),
            Self::Length(length) => format!("sent a frame of length {length}; Modbus/TCP has 2 to 254"),
        }
    }
}
