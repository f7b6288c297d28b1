//! Packets to be sent.

use super::{Kind, Properties, Publish, Version};

/// CONNECT of a client without will, with user name and password where it has them. A 3.1.1 client with `clean` unset is
/// known again by its id.
#[must_use]
pub fn connect(version: Version, client_id: &str, clean: bool, login: Option<(&str, &str)>) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, "MQTT");
    body.push(if version == Version::V5 { 5 } else { 4 });
    // A keep alive of 0: the client may be silent for ever.
    let credentials = if login.is_some() { 0xc0 } else { 0 };
    body.extend([credentials | u8::from(clean) << 1, 0, 0]);
    if version == Version::V5 {
        body.push(0);
    }
    text(&mut body, client_id);
    if let Some((username, password)) = login {
        text(&mut body, username);
        text(&mut body, password);
    }
    packet(Kind::Connect, 0, &body)
}

/// CONNACK with a return code of 3.1.1, or a reason code and properties of 5.
#[must_use]
pub fn connack(version: Version, code: u8, properties: &Properties) -> Vec<u8> {
    let mut body = vec![0, code];
    if version == Version::V5 {
        body.extend(properties.write());
    }
    packet(Kind::Connack, 0, &body)
}

/// PUBLISH.
#[must_use]
pub fn publish(version: Version, message: &Publish) -> Vec<u8> {
    let mut body = Vec::new();
    text(&mut body, &message.topic);
    if message.qos > 0 {
        body.extend(message.packet_id.to_be_bytes());
    }
    if version == Version::V5 {
        body.extend(message.properties.write());
    }
    body.extend(&message.payload);
    let flags = u8::from(message.dup) << 3 | message.qos << 1 | u8::from(message.retain);
    packet(Kind::Publish, flags, &body)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP; a reason other than 0 only in MQTT 5.
#[must_use]
pub fn acknowledgement(kind: Kind, packet_id: u16, reason: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if reason != 0 {
        body.push(reason);
    }
    let flags = if kind == Kind::Pubrel { 2 } else { 0 };
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
    packet(Kind::Subscribe, 2, &body)
}

/// SUBACK or UNSUBACK with the answer for each filter.
#[must_use]
pub fn suback(version: Version, kind: Kind, packet_id: u16, granted: &[u8]) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    // An UNSUBACK of 3.1.1 has nothing but the packet id.
    if version == Version::V5 || kind == Kind::Suback {
        body.extend(granted);
    }
    packet(kind, 0, &body)
}

/// PINGRESP.
#[must_use]
pub fn pingresp() -> Vec<u8> {
    packet(Kind::Pingresp, 0, &[])
}

/// DISCONNECT with a reason, of MQTT 5.
#[must_use]
pub fn disconnect(reason: u8) -> Vec<u8> {
    packet(Kind::Disconnect, 0, &[reason])
}

fn packet(kind: Kind, flags: u8, body: &[u8]) -> Vec<u8> {
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

/// A text with its length; what is beyond 65,535 bytes is cut off.
fn text(body: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    body.extend(length.to_be_bytes());
    body.extend(bytes.iter().take(length.into()));
}
