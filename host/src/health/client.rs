//! Asks a running gateway for its `/health`, for container images that have no HTTP client.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Time for the whole exchange.
const ASK_LIMIT: Duration = Duration::from_secs(5);
/// Size of an answer, in bytes: more than ten thousand feeds need.
const ANSWER_BYTES: u64 = 64 << 20;

/// What a gateway answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Its report.
    Report(String),
    /// Its last report: the main loop does not respond.
    Stuck(String),
}

/// Asks for the report.
#[allow(clippy::disallowed_methods, reason = "one address, and no name")]
pub(crate) async fn ask(address: SocketAddr) -> Result<Answer, String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut reply = String::new();
        stream.take(ANSWER_BYTES).read_to_string(&mut reply).await?;
        Ok::<_, std::io::Error>(reply)
    };
    match timeout(ASK_LIMIT, asking).await {
        Err(_) => Err(format!("no answer from {address} within {ASK_LIMIT:?}")),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Ok(Ok(reply)) => {
            let body = || reply.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned());
            let status = reply.lines().next().unwrap_or_default();
            match status.split(' ').nth(1) {
                Some("200") => Ok(Answer::Report(body())),
                Some("503") => Ok(Answer::Stuck(body())),
                _ if reply.is_empty() => Err(format!("{address} closed the connection without an answer")),
                _ => Err(format!("{address} answers {status}")),
            }
        }
    }
}
