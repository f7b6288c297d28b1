//! A broker with the rules of Azure IoT Hub: it lets in who shows a token that its key has signed, ends the session when
//! the token expires, and at a message that it does not allow.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::packets::packet;
use super::within;

/// The key that devices sign with.
pub const KEY: &[u8] = b"the hub's key of its only device";
/// Its name, as tokens and user names have it.
pub const NAME: &str = "hub.example.com";

/// What it saw, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// A device signed in.
    Connect {
        device: String,
        will: Option<Value>,
    },
    /// A CONNECT that it refused, and why.
    Refused(&'static str),
    Message(Value),
    /// DISCONNECT.
    Goodbye,
    /// The session was cut when its token expired.
    Expired,
    /// The client did what it must not; the session was cut.
    Violation(String),
}

pub struct Hub {
    pub port: u16,
    seen: mpsc::UnboundedReceiver<Seen>,
}

/// As the key's file has it.
pub fn encoded(key: &[u8]) -> String {
    STANDARD.encode(key)
}

impl Hub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone()));
            }
        });
        Self { port, seen }
    }

    pub async fn next(&mut self) -> Seen {
        within("the hub to see something", self.seen.recv()).await.unwrap()
    }

    /// The next message; nothing but messages comes before it.
    pub async fn message(&mut self) -> Value {
        match self.next().await {
            Seen::Message(message) => message,
            seen => panic!("{seen:?} in place of a message"),
        }
    }

    /// Everything until the gateway has ended.
    pub fn rest(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

async fn serve(mut stream: TcpStream, seen: mpsc::UnboundedSender<Seen>) -> Option<()> {
    let (_, connect) = packet(&mut stream).await?;
    let expiry_s = match admit(&connect) {
        Ok(Admitted { device, will, expiry_s }) => {
            seen.send(Seen::Connect { device, will }).ok()?;
            expiry_s
        }
        Err(reason) => {
            seen.send(Seen::Refused(reason)).ok()?;
            // 5: not authorized.
            return stream.write_all(&[0x20, 2, 0, 5]).await.ok();
        }
    };
    stream.write_all(&[0x20, 2, 0, 0]).await.ok()?;
    let left = Duration::from_secs(expiry_s).saturating_sub(now());
    let said = match tokio::time::timeout(left, session(&mut stream, &seen)).await {
        Err(_) => Seen::Expired,
        Ok(Err(violation)) => Seen::Violation(violation),
        Ok(Ok(said_goodbye)) if said_goodbye => Seen::Goodbye,
        Ok(Ok(_)) => return None,
    };
    seen.send(said).ok()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Until DISCONNECT, or the end of the connection without it.
async fn session(stream: &mut TcpStream, seen: &mpsc::UnboundedSender<Seen>) -> Result<bool, String> {
    while let Some((header, body)) = packet(stream).await {
        let answered = match header >> 4 {
            3 => {
                let answer = publish(header, &body, seen)?;
                stream.write_all(&answer).await
            }
            12 => stream.write_all(&[0xd0, 0]).await,
            14 => return Ok(true),
            other => return Err(format!("a packet of type {other}")),
        };
        if answered.is_err() {
            break;
        }
    }
    Ok(false)
}

/// The acknowledgement.
fn publish(header: u8, body: &[u8], seen: &mpsc::UnboundedSender<Seen>) -> Result<Vec<u8>, String> {
    let (topic, rest) = field(body);
    let topic = String::from_utf8_lossy(topic);
    if header >> 1 & 3 != 1 || header & 1 != 0 {
        return Err(format!("a message with the header {header:#x}"));
    }
    if !(topic.starts_with("devices/") && topic.ends_with("/messages/events/")) {
        return Err(format!("a message to {topic}"));
    }
    let message = serde_json::from_slice(&rest[2..]).unwrap();
    // The test may have ended.
    let _ = seen.send(Seen::Message(message));
    Ok(vec![0x40, 2, rest[0], rest[1]])
}

struct Admitted {
    device: String,
    will: Option<Value>,
    expiry_s: u64,
}

/// CONNECT of 3.1.1: name, level, flags, keep-alive, and the fields that the flags tell of.
fn admit(connect: &[u8]) -> Result<Admitted, &'static str> {
    let (flags, fields) = (connect[7], &connect[10..]);
    if connect[6] != 4 {
        return Err("not 3.1.1");
    }
    let (device, mut fields) = field(fields);
    let device = String::from_utf8(device.to_vec()).unwrap();
    let mut will = None;
    if flags & 4 != 0 {
        let (_topic, rest) = field(fields);
        let (payload, rest) = field(rest);
        (will, fields) = (Some(serde_json::from_slice(payload).unwrap()), rest);
    }
    let (username, fields) = field(fields);
    let (password, _) = field(fields);
    if username != format!("{NAME}/{device}/?api-version=2021-04-12").as_bytes() {
        return Err("another user name");
    }
    let expiry_s = check_token(std::str::from_utf8(password).unwrap(), &device)?;
    Ok(Admitted { device, will, expiry_s })
}

/// Two bytes of length, and so many bytes.
fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..].split_at(length)
}

/// Gives the expiry. The text of `sr` is signed as it was sent.
fn check_token(token: &str, device: &str) -> Result<u64, &'static str> {
    let fields = token.strip_prefix("SharedAccessSignature ").ok_or("no token")?;
    let value = |key: &str| {
        let found = fields.split('&').find_map(|field| field.strip_prefix(key)?.strip_prefix('='));
        found.ok_or("a field is missing")
    };
    let (resource, signature, expiry) = (value("sr")?, value("sig")?, value("se")?);
    if resource != format!("{NAME}%2Fdevices%2F{device}") {
        return Err("a token for something else");
    }
    let signature = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let signature = STANDARD.decode(signature).map_err(|_| "no base64")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    hmac::verify(&key, format!("{resource}\n{expiry}").as_bytes(), &signature).map_err(|_| "another key")?;
    let expiry_s: u64 = expiry.parse().map_err(|_| "no number")?;
    if Duration::from_secs(expiry_s) <= now() { Err("an expired token") } else { Ok(expiry_s) }
}
