//! Packets to be sent.

use super::{FLAGS_OF_REQUESTS, PacketKind, Properties, Publish, Version, reason};

/// CONNECT without a will or keep alive, with the user name and password of `login`. Where `clean` is false, a broker resumes
/// a 3.1.1 client's session by its id.
#[must_use]
pub fn connect(version: Version, client_id: &str, clean: bool, login: Option<(&str, &str)>) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(if version == Version::V5 { 5 } else { 4 });
    let credentials = if login.is_some() { 0xc0 } else { 0 };
    // A keep alive of 0: the client may be silent for any time.
    body.extend([credentials | u8::from(clean) << 1, 0, 0]);
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, client_id);
    if let Some((username, password)) = login {
        text(&mut body, username);
        text(&mut body, password);
    }
    packet(PacketKind::Connect, 0, &body)
}

/// CONNACK without a session, with a return code of 3.1.1, or a reason code and properties of 5.
pub(crate) fn connack(version: Version, code: u8, properties: &Properties) -> Vec<u8> {
    connack_with_session(version, false, code, properties)
}

/// CONNACK that says whether the broker resumes the client's session.
pub(crate) fn connack_with_session(version: Version, present: bool, code: u8, properties: &Properties) -> Vec<u8> {
    let mut body = vec![u8::from(present), code];
    if version == Version::V5 {
        properties.encode(&mut body);
    }
    packet(PacketKind::Connack, 0, &body)
}

/// PUBLISH.
pub(crate) fn publish(version: Version, message: &Publish) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, &message.topic);
    if message.qos > 0 {
        body.extend(message.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        message.properties.encode(&mut body);
    }
    body.extend(&message.payload);
    packet(PacketKind::Publish, message.flags(), &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP; a reason other than 0 only in MQTT 5.
#[must_use]
pub fn acknowledgement(kind: PacketKind, packet_id: u16, reason: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if reason != reason::SUCCESS {
        body.push(reason);
    }
    let flags = if kind == PacketKind::Pubrel { FLAGS_OF_REQUESTS } else { 0 };
    packet(kind, flags, &body)
}

/// SUBSCRIBE to one filter, up to this QoS.
#[must_use]
pub fn subscribe(version: Version, packet_id: u16, filter: &str, qos: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, filter);
    body.push(qos);
    packet(PacketKind::Subscribe, FLAGS_OF_REQUESTS, &body)
}

/// SUBACK with the granted QoS, or the reason of a refusal, for each filter.
pub(crate) fn suback(version: Version, packet_id: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body.extend(codes);
    packet(PacketKind::Suback, 0, &body)
}

/// UNSUBACK with the reason for each filter, which 3.1.1 does not have.
pub(crate) fn unsuback(version: Version, packet_id: u16, reasons: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
        body.extend(reasons);
    }
    packet(PacketKind::Unsuback, 0, &body)
}

/// PINGRESP.
pub(crate) fn pingresp() -> Vec<u8> {
    packet(PacketKind::Pingresp, 0, &[])
}

/// DISCONNECT of a broker with a reason; nothing in 3.1.1, where a broker only closes the connection.
pub(crate) fn disconnect(version: Version, reason: u8) -> Vec<u8> {
    if version == Version::V5 { packet(PacketKind::Disconnect, 0, &[reason]) } else { Vec::new() }
}

/// DISCONNECT of MQTT 5 with an empty list of properties, for clients that do not accept one without (§3.14.2.2.1).
pub(crate) fn disconnect_with_properties(reason: u8) -> Vec<u8> {
    packet(PacketKind::Disconnect, 0, &[reason, 0])
}

fn packet(kind: PacketKind, flags: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![(kind as u8) << 4 | flags];
    packet.extend(length(body.len()));
    packet.extend(body);
    packet
}

/// A length in groups of seven bits, lowest first.
pub(super) fn length(mut length: usize) -> Vec<u8> {
    let mut groups = Vec::new();
    loop {
        let group = u8::try_from(length & 0x7f).unwrap_or(0);
        length >>= 7;
        if length == 0 {
            groups.push(group);
            return groups;
        }
        groups.push(group | 0x80);
    }
}

/// A text with its length.
pub(super) fn text(body: &mut Vec<u8>, text: &str) {
    bytes(body, text.as_bytes());
}

/// Bytes with their length; those beyond 65,535 are left out.
pub(super) fn bytes(body: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    body.extend(length.to_be_bytes());
    body.extend(bytes.iter().take(length.into()));
}
