//! A broker with the rules of Azure IoT Hub: it accepts clients by a token signed with its key, and closes the connection
//! when the token expires or a message is not allowed.

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

pub mod iot_hub;
pub mod mqtt;
pub mod provisioning;
pub mod service;
pub mod token;

/// The key with which devices sign their tokens.
pub const KEY: &[u8] = b"the hub's key of its only device";
/// The hub's host name in tokens and user names.
pub const NAME: &str = "hub.example.com";

/// What a client did, or what the hub did to it.
#[derive(Clone, Debug, PartialEq)]
pub enum HubEvent {
    /// A device signed in.
    Connect {
        device: String,
        will: Option<Value>,
    },
    /// A CONNECT was refused, with the reason.
    Refused(&'static str),
    Message(Value),
    /// The client sent DISCONNECT.
    Disconnect,
    /// The hub closed the connection because the token expired.
    Expired,
    /// The hub closed the connection because the client broke a rule.
    Violation(String),
}

/// A running hub and what has happened at it.
pub struct Hub {
    pub port: u16,
    events: mpsc::UnboundedReceiver<HubEvent>,
}

/// A key as written to its file.
pub fn encoded(key: &[u8]) -> String {
    STANDARD.encode(key)
}

impl Hub {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, events) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, sender.clone()));
            }
        });
        Self { port, events }
    }

    /// The next event.
    pub async fn next(&mut self) -> HubEvent {
        within("an event at the hub", self.events.recv()).await.unwrap()
    }

    /// The next event, which must be a message.
    pub async fn message(&mut self) -> Value {
        match self.next().await {
            HubEvent::Message(message) => message,
            other => panic!("{other:?} instead of a message"),
        }
    }

    /// The events so far that were not returned yet.
    pub fn remaining_events(&mut self) -> Vec<HubEvent> {
        std::iter::from_fn(|| self.events.try_recv().ok()).collect()
    }
}

async fn serve(mut stream: TcpStream, events: mpsc::UnboundedSender<HubEvent>) -> Option<()> {
    let (_, connect) = packet(&mut stream).await?;
    let expiry_s = match admit(&connect) {
        Ok(Admitted { device, will, expiry_s }) => {
            events.send(HubEvent::Connect { device, will }).ok()?;
            expiry_s
        }
        Err(reason) => {
            events.send(HubEvent::Refused(reason)).ok()?;
            // Return code 5: not authorized.
            return stream.write_all(&[0x20, 2, 0, 5]).await.ok();
        }
    };
    stream.write_all(&[0x20, 2, 0, 0]).await.ok()?;
    let left = Duration::from_secs(expiry_s).saturating_sub(now());
    let event = match tokio::time::timeout(left, session(&mut stream, &events)).await {
        Err(_) => HubEvent::Expired,
        Ok(Err(violation)) => HubEvent::Violation(violation),
        Ok(Ok(true)) => HubEvent::Disconnect,
        Ok(Ok(false)) => return None,
    };
    events.send(event).ok()
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// Serves to the end of the connection; whether it ended with DISCONNECT, or the violation.
async fn session(stream: &mut TcpStream, events: &mpsc::UnboundedSender<HubEvent>) -> Result<bool, String> {
    while let Some((header, body)) = packet(stream).await {
        let answered = match header >> 4 {
            3 => {
                let answer = publish(header, &body, events)?;
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

/// Checks a PUBLISH; its acknowledgement, or the violation.
fn publish(header: u8, body: &[u8], events: &mpsc::UnboundedSender<HubEvent>) -> Result<Vec<u8>, String> {
    let (topic, rest) = field(body);
    let topic = String::from_utf8_lossy(topic);
    if header >> 1 & 3 != 1 || header & 1 != 0 {
        return Err(format!("a message with the header {header:#x}"));
    }
    if !(topic.starts_with("devices/") && topic.ends_with("/messages/events/")) {
        return Err(format!("a message to {topic}"));
    }
    let message = serde_json::from_slice(&rest[2..]).unwrap();
    // Fails only when the test has ended.
    let _ = events.send(HubEvent::Message(message));
    Ok(vec![0x40, 2, rest[0], rest[1]])
}

struct Admitted {
    device: String,
    will: Option<Value>,
    expiry_s: u64,
}

/// Checks a CONNECT of 3.1.1: name, level, flags, keep alive, and the fields that the flags announce.
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

/// Splits off a field: two bytes of length, then that many bytes.
fn field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    bytes[2..].split_at(length)
}

/// Checks a token; its expiry in Unix seconds. The signature covers `sr` as it was sent, percent-encoded.
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
