//! Reaches a broker through an HTTP proxy: CONNECT (RFC 9110 §9.3.6) with basic authentication (RFC 7617).

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::session::Endpoint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::connect_options::ConnectOptions;
use crate::settings::ProxySettings;

mod reply;

use reply::{Reply, ReplyHead};

/// Time for the proxy to connect to the broker and to answer; shorter than that of the whole sign-in, so that the error can
/// name the proxy.
const REPLY_LIMIT_S: u64 = 10;
/// Bytes of a reply's header; those of real proxies have a few hundred.
const MAX_REPLY: usize = 8 << 10;
/// Bytes of an answer that an error shows.
const SHOWN_BYTES: usize = 8;

/// A proxy, and the login for it. No `Debug`: it holds a password.
pub(crate) struct Proxy {
    host: String,
    port: u16,
    login: Option<(String, String)>,
}

impl Proxy {
    /// Reads the password as it is now.
    pub(crate) fn read(settings: &ProxySettings) -> Result<Self, String> {
        let login = settings.login.as_ref().map(|(user, password)| Ok::<_, String>((user.clone(), password()?)));
        Ok(Self { host: settings.host.clone(), port: settings.port, login: login.transpose()? })
    }

    /// Host and port.
    pub(crate) fn name(&self) -> String {
        authority(&self.host, self.port)
    }
}

/// Why a proxy gave no connection to the broker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// No connection to the proxy itself.
    Unreachable(String),
    /// It answered with a status other than 2xx, and names these schemes of authentication.
    Status(u16, Vec<String>),
    /// What answered is no HTTP proxy; its first bytes.
    NotHttp(Vec<u8>),
    /// The header of its answer does not end.
    TooLong,
    /// It closed the connection instead of answering.
    Closed,
    /// It did not answer in time.
    Timeout,
}

/// Connects to the proxy, which is to connect to the broker; the broker's bytes follow on the stream. The broker's name is sent
/// to the proxy and never looked up here.
pub(crate) async fn open(proxy: &Proxy, options: &ConnectOptions) -> Result<TcpStream, ProxyError> {
    let unreachable = |error: io::Error| ProxyError::Unreachable(error.to_string());
    let mut stream = bessai_network::connect(&proxy.host, proxy.port).await.map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
    options.trace.borrow_mut().connected(stream.peer_addr().ok());
    let request = request(proxy, &options.endpoint);
    let answered = timeout(Duration::from_secs(REPLY_LIMIT_S), exchange(&mut stream, &request)).await;
    let reply = answered.map_err(|_| ProxyError::Timeout)??;
    if !(200..300).contains(&reply.status) {
        return Err(ProxyError::Status(reply.status, reply.schemes));
    }
    options.trace.borrow_mut().is_tunnelled = true;
    Ok(stream)
}

fn request(proxy: &Proxy, broker: &Endpoint) -> String {
    let target = authority(&broker.host, broker.port);
    let login = proxy.login.as_ref().map(|(username, password)| {
        format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(format!("{username}:{password}")))
    });
    format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{}\r\n", login.unwrap_or_default())
}

/// Host and port as one text.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Sends the request and reads the header of the answer, and no byte behind it.
async fn exchange(stream: &mut TcpStream, request: &str) -> Result<Reply, ProxyError> {
    let closed = |_: io::Error| ProxyError::Closed;
    stream.write_all(request.as_bytes()).await.map_err(closed)?;
    let mut read = Vec::new();
    loop {
        let mut next = [0; 1024];
        let count = stream.peek(&mut next).await.map_err(closed)?;
        let before = read.len();
        read.extend(next.iter().take(count));
        let head = reply::parse(&read);
        let used = match &head {
            ReplyHead::Complete(length, _) => length.saturating_sub(before),
            ReplyHead::Interim(length) => length.saturating_sub(before),
            ReplyHead::Partial => count,
            ReplyHead::NotHttp => return Err(ProxyError::NotHttp(read.into_iter().take(SHOWN_BYTES).collect())),
        };
        if used == 0 {
            return Err(ProxyError::Closed);
        }
        stream.read_exact(next.get_mut(..used).unwrap_or_default()).await.map_err(closed)?;
        match head {
            ReplyHead::Complete(_, reply) => return Ok(reply),
            ReplyHead::Interim(_) => read.clear(),
            _ if read.len() >= MAX_REPLY => return Err(ProxyError::TooLong),
            _ => {}
        }
    }
}

impl ProxyError {
    /// Whether no client can reach the broker.
    pub(crate) fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout | Self::Status(502..=504, _))
    }

    /// A sentence that names the proxy and what to change.
    pub(crate) fn sentence(&self, options: &ConnectOptions) -> String {
        let Some(proxy) = &options.proxy else { return format!("the proxy failed: {self:?}") };
        let (name, setting) = (proxy.name(), options.names.of("proxy"));
        let broker = authority(&options.endpoint.host, options.endpoint.port);
        match self {
            Self::Unreachable(error) => {
                format!("failed to connect to the proxy {name}: {error}; check host and port in {setting}")
            }
            Self::Status(407, schemes) => login_refused(proxy, &name, &setting, schemes),
            Self::Status(403, _) => format!(
                "the proxy {name} forbids connections to {broker} (403 forbidden); its operator has to allow CONNECT to that \
                 host and port, and many proxies allow port 443 only"
            ),
            Self::Status(status @ (405 | 501), _) => format!(
                "the proxy {name} does not know CONNECT (status {status}); set {setting} to a proxy that forwards TLS"
            ),
            Self::Status(status @ (502..=504), _) => format!(
                "the proxy {name} cannot reach {broker} (status {status}); check host and port in {}",
                options.names.of("url")
            ),
            Self::Status(status, _) => {
                format!("the proxy {name} refused the connection to {broker} (status {status}); its log says why")
            }
            Self::NotHttp(bytes) => {
                format!("{name} is no HTTP proxy: it answered CONNECT with {}; check {setting}", what_came(bytes))
            }
            Self::TooLong => {
                format!("the answer of the proxy {name} has a header of more than {MAX_REPLY} bytes; check {setting}")
            }
            Self::Closed => format!(
                "the proxy {name} closed the connection instead of answering CONNECT; check {setting}: only http:// proxies are \
                 supported"
            ),
            Self::Timeout => format!(
                "the proxy {name} did not answer within {REPLY_LIMIT_S} s whether it reaches {broker}; check host and port in {}",
                options.names.of("url")
            ),
        }
    }
}

fn login_refused(proxy: &Proxy, name: &str, setting: &str, schemes: &[String]) -> String {
    let has_basic = schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case("basic"));
    match &proxy.login {
        _ if !has_basic && !schemes.is_empty() => format!(
            "the proxy {name} wants authentication by {} (407), and only Basic is supported; ask its operator for that",
            schemes.join(" or ")
        ),
        None => format!(
            "the proxy {name} wants a user name and a password (407); write them into {setting}: \
             http://user:password@host:port"
        ),
        Some((user, _)) => {
            format!("the proxy {name} refused user {user:?} (407); check user name and password in {setting}")
        }
    }
}

/// The beginning of an answer that is not HTTP.
fn what_came(bytes: &[u8]) -> String {
    if bytes.starts_with(&[21, 3]) {
        return "TLS; only http:// proxies are supported".into();
    }
    if bytes.first() == Some(&5) {
        return "SOCKS; only http:// proxies are supported".into();
    }
    let hex: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("the bytes {}", hex.join(" "))
}
