//! Connects to a host by its name: while one of its addresses does not answer, the next ones are tried (RFC 8305).
//!
//! Brokers, proxies and Modbus devices are all reached through [`connect`], so that none of them depends on the first address
//! of a name.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

#[cfg(test)]
mod tests;

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// Time that an address has before the next one is tried beside it (RFC 8305 §5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried; each attempt takes a socket.
const MAX_ADDRESSES: usize = 16;

/// Connects to the first address of a host that answers; the caller limits the time.
///
/// # Errors
/// When the name has no address, or none of them accepts the connection. The error names each address if there are several.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = tokio::net::lookup_host((host, port)).await?.collect();
    connect_to_any(interleaved(addresses)).await
}

/// The addresses with alternating families, beginning with that of the first one, each only once (RFC 8305 §4).
fn interleaved(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first_is_ipv4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
    let mut known = Vec::new();
    addresses.retain(|address| {
        let is_new = !known.contains(address);
        known.push(*address);
        is_new
    });
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv4() == first_is_ipv4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut mixed = Vec::new();
    loop {
        let count = mixed.len();
        mixed.extend(first.next().into_iter().chain(second.next()));
        if mixed.len() == count {
            mixed.truncate(MAX_ADDRESSES);
            return mixed;
        }
    }
}

/// Begins with one address, and adds the next one when an attempt has failed or none has ended in time. Attempts that are not
/// needed any more are closed.
async fn connect_to_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let (mut waiting, mut attempts, mut failures) = (addresses.into_iter(), Attempts::default(), Vec::new());
    loop {
        if let Some(address) = waiting.next() {
            attempts.begin(address);
        }
        if attempts.0.is_empty() {
            return Err(failure(failures));
        }
        tokio::select! {
            biased;
            (address, result) = attempts.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => failures.push((address, error)),
            },
            () = sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

type Attempt = Pin<Box<dyn Future<Output = (SocketAddr, io::Result<TcpStream>)> + Send>>;

/// Attempts to connect that have not ended.
#[derive(Default)]
struct Attempts(Vec<Attempt>);

impl Attempts {
    #[allow(clippy::disallowed_methods, reason = "the one place where connections are made")]
    fn begin(&mut self, address: SocketAddr) {
        self.0.push(Box::pin(async move { (address, TcpStream::connect(address).await) }));
    }

    /// The end of the next one.
    async fn next(&mut self) -> (SocketAddr, io::Result<TcpStream>) {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<(SocketAddr, io::Result<TcpStream>)> {
        for (index, attempt) in self.0.iter_mut().enumerate() {
            if let Poll::Ready(ended) = attempt.as_mut().poll(context) {
                drop(self.0.remove(index));
                return Poll::Ready(ended);
            }
        }
        Poll::Pending
    }
}

/// The error of the only address, or one that names them all.
fn failure(mut failures: Vec<(SocketAddr, io::Error)>) -> io::Error {
    match (failures.pop(), failures.is_empty()) {
        (None, _) => io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
        (Some((_, error)), true) => error,
        (Some((address, error)), false) => {
            let kind = error.kind();
            failures.push((address, error));
            let each: Vec<_> = failures.iter().map(|(address, error)| format!("{address}: {error}")).collect();
            io::Error::new(kind, format!("no address of the host accepts a connection ({})", each.join("; ")))
        }
    }
}
