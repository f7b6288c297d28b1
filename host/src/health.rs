//! Serves `/health` over HTTP, for people, container engines and load balancers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Connections served at the same time; further ones wait in the listen backlog.
const CONNECTIONS: usize = 16;
/// Time that a client has to send the head of its request.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
/// Time limit of `bessai-edge health` for the whole exchange.
const ASK_LIMIT: Duration = Duration::from_secs(5);

/// Serves until the task is dropped; `report` returns the current state. If the port cannot be bound, the gateway runs
/// without `/health`.
pub(crate) async fn serve(address: SocketAddr, report: impl Fn() -> Value + Clone + 'static) {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(
                "failed to serve /health on {address}: {error}; running without it, set HEALTH_PORT to a free port"
            );
            return;
        }
    };
    tracing::info!("/health on {}", listener.local_addr().unwrap_or(address));
    let permits = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(permit) = std::sync::Arc::clone(&permits).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else { continue };
        let report = report.clone();
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| answer(request, report.clone()));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).keep_alive(false);
            // The error concerns this client only.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

async fn answer(request: Request<Incoming>, report: impl Fn() -> Value) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, body) = match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health" | "/") => (StatusCode::OK, report().to_string()),
        (_, "/health" | "/") => (StatusCode::METHOD_NOT_ALLOWED, "{\"error\":\"use GET\"}".into()),
        _ => (StatusCode::NOT_FOUND, "{\"error\":\"see /health\"}".into()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert("content-type", hyper::header::HeaderValue::from_static("application/json"));
    Ok(response)
}

/// Asks a running gateway for its `/health`, for container images that have no HTTP client.
pub(crate) async fn ask(address: SocketAddr) -> Result<String, String> {
    let asking = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await?;
        Ok::<_, std::io::Error>(reply)
    };
    match timeout(ASK_LIMIT, asking).await {
        Err(_) => Err(format!("no answer from {address} within {ASK_LIMIT:?}")),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Ok(Ok(reply)) if reply.starts_with("HTTP/1.1 200") => {
            Ok(reply.split_once("\r\n\r\n").map_or_else(String::new, |(_, body)| body.to_owned()))
        }
        Ok(Ok(reply)) => Err(format!("{address} answers {}", reply.lines().next().unwrap_or_default())),
    }
}
