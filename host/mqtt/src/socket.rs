//! Opens the stream to a broker: TCP, perhaps through a proxy, TLS, and WebSockets over either.

use std::io;

use async_tungstenite::tokio::client_async_with_config;
use async_tungstenite::tungstenite::client::IntoClientRequest;
use async_tungstenite::tungstenite::http::HeaderValue;
use async_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use ws_stream_tungstenite::WsStream;

use crate::connect_options::ConnectOptions;
use crate::error::SessionError;
use crate::limits::MAX_PACKET;
use crate::proxy;

/// The header with the sub-protocol of a WebSocket.
const SUBPROTOCOL_HEADER: &str = "sec-websocket-protocol";
/// The sub-protocol of MQTT (5.0 §6).
const SUBPROTOCOL: &str = "mqtt";
/// Bytes that a WebSocket's buffers have at first; the library would reserve 128 KiB for each.
const WEBSOCKET_BUFFER: usize = 8 << 10;

/// A stream of bytes to a broker.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

/// Connects to the broker; the caller limits the time.
pub(crate) async fn open(options: &ConnectOptions) -> Result<Box<dyn Socket>, SessionError> {
    options.trace.borrow_mut().connected(None);
    let stream = match &options.proxy {
        None => directly(options).await.map_err(|error| SessionError::of_network(&error))?,
        Some(proxy) => proxy::open(proxy, options).await.map_err(SessionError::Proxy)?,
    };
    let Some(tls) = &options.tls else { return through_websocket(options, stream).await };
    let (stream, handshake) = tls.connect(&options.endpoint.host, stream).await.map_err(SessionError::Tls)?;
    options.trace.borrow_mut().handshake = Some(handshake);
    through_websocket(options, stream).await
}

async fn directly(options: &ConnectOptions) -> io::Result<TcpStream> {
    let stream = bessai_network::connect(&options.endpoint.host, options.endpoint.port).await?;
    options.trace.borrow_mut().connected(stream.peer_addr().ok());
    // Acknowledgements and single messages are small packets: Nagle's algorithm would only delay them.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The stream itself, unless MQTT is sent through a WebSocket on it.
async fn through_websocket(
    options: &ConnectOptions,
    stream: impl Socket + 'static,
) -> Result<Box<dyn Socket>, SessionError> {
    match &options.websocket {
        Some(url) => websocket(url, stream).await,
        None => Ok(Box::new(stream)),
    }
}

async fn websocket(url: &str, stream: impl Socket + 'static) -> Result<Box<dyn Socket>, SessionError> {
    let mut request = url.into_client_request().map_err(|error| SessionError::of_websocket(&error))?;
    request.headers_mut().insert(SUBPROTOCOL_HEADER, HeaderValue::from_static(SUBPROTOCOL));
    // A broker decides how many packets a message of the WebSocket holds; no packet is larger than this.
    let largest = usize::try_from(MAX_PACKET).ok();
    let config = WebSocketConfig::default()
        .read_buffer_size(WEBSOCKET_BUFFER)
        .write_buffer_size(WEBSOCKET_BUFFER)
        .max_message_size(largest)
        .max_frame_size(largest);
    let opened = client_async_with_config(request, stream, Some(config)).await;
    let (websocket, response) = opened.map_err(|error| SessionError::of_websocket(&error))?;
    let chosen = response.headers().get(SUBPROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    if chosen.map(str::trim) != Some(SUBPROTOCOL) {
        return Err(SessionError::NoMqttInWebSocket);
    }
    Ok(Box::new(WsStream::new(websocket)))
}
