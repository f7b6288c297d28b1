//! The HTTP server: one request per connection, bounded in number, size and time.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bessai_supervision::fault;
use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::connections::{Connections, Phase};
use super::{Report, Reporter};

/// Time that a client has to send the head of its request.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Time for a whole exchange: a client that reads slowly is disconnected.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(10);
/// Size of a request's head, in bytes.
const HEAD_BYTES: usize = 16 << 10;
/// Size of a request's body, in bytes; what is served needs none.
const BODY_BYTES: u64 = 4 << 10;
/// Time between two attempts to listen.
const LISTEN_RETRY: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted; doubles up to [`MAX_ACCEPT_PAUSE`].
const MIN_ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// Longest pause after a connection could not be accepted.
const MAX_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Serves until `stop` is true, and sets the address to that which is bound. If the port cannot be bound, the gateway runs
/// without `/health` until it can.
pub(super) async fn serve(address: &Cell<SocketAddr>, reporter: Reporter, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = accept_connections(address, Rc::new(reporter)) => {}
        // A dropped sender means stop, too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

async fn listen(wanted: &Cell<SocketAddr>) -> TcpListener {
    let mut is_logged = false;
    loop {
        let address = wanted.get();
        match TcpListener::bind(address).await {
            Ok(listener) => {
                wanted.set(listener.local_addr().unwrap_or(address));
                tracing::info!("/health on {}", wanted.get());
                return listener;
            }
            Err(error) if !is_logged => {
                tracing::error!(
                    "failed to serve /health on {address}: {error}; running without it and retrying every \
                     {LISTEN_RETRY:?}; set HEALTH_PORT to a free port"
                );
                is_logged = true;
            }
            Err(_) => {}
        }
        sleep(LISTEN_RETRY).await;
    }
}

async fn accept_connections(address: &Cell<SocketAddr>, reporter: Rc<Reporter>) {
    let listener = listen(address).await;
    let mut connections = Connections::default();
    let mut spare = SpareDescriptor::new();
    let mut pause = MIN_ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = connections.closed() => {
                spare.renew();
                continue;
            }
        };
        match accepted {
            Ok((stream, _)) => {
                fault::point("health");
                pause = MIN_ACCEPT_PAUSE;
                let reporter = Rc::clone(&reporter);
                connections.add(|phase| serve_connection(stream, reporter, phase));
                spare.renew();
            }
            // No descriptor is free: this client gets the spare one.
            Err(_) if spare.release() => {}
            Err(_) => {
                // A client that was accepted a moment ago needs time to send its request.
                let _ = timeout(pause, connections.closed()).await;
                pause = (pause * 2).min(MAX_ACCEPT_PAUSE);
                spare.renew();
                if spare.is_missing() && client_waits(&listener) {
                    connections.close_one();
                }
            }
        }
    }
}

/// Whether a connection waits to be accepted. A failed accept does not show that: without a free descriptor it fails before
/// the system looks for a connection.
fn client_waits(listener: &TcpListener) -> bool {
    let mut polled = [PollFd::new(listener, PollFlags::IN)];
    poll(&mut polled, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// A file descriptor that is kept for the time when no other one is free.
struct SpareDescriptor(Option<File>);

impl SpareDescriptor {
    fn new() -> Self {
        let mut spare = Self(None);
        spare.renew();
        spare
    }

    /// Opens it again, if that is possible.
    #[allow(clippy::disallowed_methods, reason = "opening /dev/null never waits")]
    fn renew(&mut self) {
        if self.0.is_none() {
            self.0 = File::open("/dev/null").ok();
        }
    }

    fn is_missing(&self) -> bool {
        self.0.is_none()
    }

    /// Closes it; false if it was not open.
    fn release(&mut self) -> bool {
        self.0.take().is_some()
    }
}

async fn serve_connection(stream: TcpStream, reporter: Rc<Reporter>, phase: Rc<Cell<Phase>>) {
    let service = service_fn(move |request: Request<Incoming>| {
        phase.set(Phase::Answered);
        let reporter = Rc::clone(&reporter);
        async move { Ok::<_, Infallible>(answer(&request, &reporter).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(HEAD_BYTES).keep_alive(false);
    // An error concerns this client only.
    let _ = timeout(EXCHANGE_LIMIT, server.serve_connection(TokioIo::new(stream), service)).await;
}

async fn answer(request: &Request<Incoming>, reporter: &Reporter) -> Response<Full<Bytes>> {
    if request.body().size_hint().lower() > BODY_BYTES {
        return response(StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"the request's body is too large"}"#.into());
    }
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health" | "/") => match reporter.report().await {
            Report::Current(report) => response(StatusCode::OK, report),
            Report::Stuck(report) => response(StatusCode::SERVICE_UNAVAILABLE, report),
        },
        (_, "/health" | "/") => response(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"use GET"}"#.into()),
        _ => response(StatusCode::NOT_FOUND, r#"{"error":"see /health"}"#.into()),
    }
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
