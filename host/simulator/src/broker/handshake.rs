//! CONNECT and CONNACK [3.1, 3.2].

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::topic;

use super::limits::{PACKET_BYTES_MAX, RECEIVE_MAXIMUM};
use super::message::RoutedMessage;
use super::outbox::Outbox;
use super::router::{ClientKey, Router};
use crate::packet::{Connect, Packet, PacketKind, Properties, Version, connack, reason};

/// The protocol's name in MQTT 3.1, which is refused with a CONNACK as 3.1.1 requires.
const V31_NAME: &str = "MQIsdp";
/// The protocol level of MQTT 5.
const LEVEL_V5: u8 = 5;

/// A client that is connected.
pub(super) struct AcceptedClient {
    pub(super) key: ClientKey,
    pub(super) version: Version,
    pub(super) outbox: Arc<Outbox>,
    /// The CONNACK to be sent.
    pub(super) connack: Vec<u8>,
    /// The longest silence of the client; none where it has no keep alive.
    pub(super) silence_max: Option<Duration>,
    /// Messages above QoS 0 that the client accepts unacknowledged.
    pub(super) receive_maximum: usize,
    /// The largest packet that the client accepts, in bytes.
    pub(super) packet_bytes_max: usize,
}

/// A client that is not connected.
#[derive(Debug)]
pub(super) struct RefusedClient {
    /// The CONNACK to be sent; empty where the connection is only closed.
    pub(super) connack: Vec<u8>,
    pub(super) cause: String,
}

impl RefusedClient {
    /// Refuses with a reason code of MQTT 5, or the nearest return code of 3.1.1.
    fn with_reason(version: Version, reason: u8, cause: impl Into<String>) -> Self {
        let code = if version == Version::V5 { reason } else { reason::v311_return_code(reason) };
        Self { connack: connack(version, code, &Properties::default()), cause: cause.into() }
    }

    /// Refuses a violation: with a reason code in MQTT 5, by closing the connection in 3.1.1.
    fn violation(version: Version, reason: u8, cause: impl Into<String>) -> Self {
        match version {
            Version::V5 => Self::with_reason(version, reason, cause),
            Version::V311 => Self::silent(cause),
        }
    }

    fn silent(cause: impl Into<String>) -> Self {
        Self { connack: Vec::new(), cause: cause.into() }
    }
}

/// Connects the client that sent this packet first.
pub(super) fn accept(packet: &Packet, connection: u64, router: &Router) -> Result<AcceptedClient, RefusedClient> {
    let connect = decode(packet)?;
    let version = connect.version();
    check(&connect)?;
    let (receive_maximum, packet_bytes_max) = limits(&connect.properties)?;
    let mut properties = offered();
    let silence_max = connect.silence_max();
    let client_id = if connect.client_id.is_empty() {
        let assigned = format!("assigned-{connection}");
        properties = properties.with_text(Properties::ASSIGNED_CLIENT_IDENTIFIER, &assigned);
        assigned
    } else {
        connect.client_id
    };
    let key = ClientKey { client_id, connection };
    let Some(outbox) = router.connect(&key, connect.will.map(RoutedMessage::from)) else {
        return Err(RefusedClient::with_reason(version, reason::QUOTA_EXCEEDED, "too many clients"));
    };
    let connack = connack(version, reason::SUCCESS, &properties);
    Ok(AcceptedClient { key, version, outbox, connack, silence_max, receive_maximum, packet_bytes_max })
}

fn decode(packet: &Packet) -> Result<Connect, RefusedClient> {
    if packet.kind != PacketKind::Connect || !packet.has_valid_flags() {
        return Err(RefusedClient::silent(format!("the first packet is {:?}, not a valid CONNECT", packet.kind)));
    }
    let (name, level) = packet.protocol().ok_or_else(|| RefusedClient::silent("CONNECT is malformed"))?;
    let version = match (name.as_str(), level) {
        ("MQTT", 4) => Version::V311,
        ("MQTT", LEVEL_V5) => Version::V5,
        ("MQTT" | V31_NAME, level) => {
            let version = if level > LEVEL_V5 { Version::V5 } else { Version::V311 };
            let cause = format!("protocol level {level} is unknown");
            return Err(RefusedClient::with_reason(version, reason::UNSUPPORTED_PROTOCOL_VERSION, cause));
        }
        _ => return Err(RefusedClient::silent(format!("protocol {name:?} is unknown"))),
    };
    let malformed = || RefusedClient::violation(version, reason::MALFORMED_PACKET, "CONNECT is malformed");
    packet.connect().ok_or_else(malformed)
}

fn check(connect: &Connect) -> Result<(), RefusedClient> {
    let version = connect.version();
    if let Some(violation) = connect.violation() {
        return Err(RefusedClient::violation(version, reason::PROTOCOL_ERROR, violation));
    }
    if let Some(Err(error)) = connect.will.as_ref().map(|will| topic::check(&will.topic)) {
        return Err(RefusedClient::violation(version, reason::TOPIC_NAME_INVALID, format!("will: {error}")));
    }
    if connect.properties.contains(Properties::AUTHENTICATION_METHOD) {
        let cause = "extended authentication is not offered";
        return Err(RefusedClient::with_reason(version, reason::BAD_AUTHENTICATION_METHOD, cause));
    }
    if version == Version::V311 && connect.client_id.is_empty() && !connect.is_clean() {
        let cause = "an empty client id needs a clean session";
        return Err(RefusedClient::with_reason(version, reason::CLIENT_IDENTIFIER_NOT_VALID, cause));
    }
    Ok(())
}

/// The client's receive maximum and its largest packet [3.1.2.11].
fn limits(properties: &Properties) -> Result<(usize, usize), RefusedClient> {
    let limit = |identifier: u8, default: usize| match properties.number(identifier) {
        Some(0) => Err(RefusedClient::violation(
            Version::V5,
            reason::PROTOCOL_ERROR,
            format!("property {identifier:#04x} is 0"),
        )),
        Some(limit) => Ok(usize::try_from(limit).unwrap_or(usize::MAX)),
        None => Ok(default),
    };
    let receive_maximum = limit(Properties::RECEIVE_MAXIMUM, u16::MAX.into())?;
    Ok((receive_maximum, limit(Properties::MAXIMUM_PACKET, usize::MAX)?))
}

/// What CONNACK announces to a client of MQTT 5.
fn offered() -> Properties {
    Properties::default()
        .with(Properties::SESSION_EXPIRY_INTERVAL, 0)
        .with(Properties::RECEIVE_MAXIMUM, RECEIVE_MAXIMUM.into())
        .with(Properties::MAXIMUM_PACKET, PACKET_BYTES_MAX)
        .with(Properties::SUBSCRIPTION_IDENTIFIERS_AVAILABLE, 0)
        .with(Properties::SHARED_SUBSCRIPTIONS_AVAILABLE, 0)
}
