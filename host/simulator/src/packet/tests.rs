//! Packets are decoded as they were encoded, received in parts of any size; malformed ones are refused.

use super::*;

#[test]
fn a_message_is_decoded_as_it_was_encoded() {
    let properties = Properties::default().with(Properties::TOPIC_ALIAS, 7);
    let message = Publish {
        topic: "a/b".into(),
        payload: vec![9; 300],
        qos: 2,
        dup: true,
        retain: true,
        packet_id: 0x1234,
        properties,
    };
    let bytes = publish(Version::V5, &message);
    for length in 0..bytes.len() {
        assert_eq!(Packet::decode(&mut bytes[..length].to_vec()), Ok(None), "{length}");
    }
    let mut received = [bytes, vec![0xc0]].concat();
    let packet = Packet::decode(&mut received).unwrap().unwrap();
    assert_eq!(packet.publish(Version::V5), Some(message));
    assert_eq!(received, [0xc0]);
}

/// A CONNECT of MQTT 5 with a will of QoS 0, a user name and a password.
const CONNECT_BODY: &[u8] =
    b"\x00\x04MQTT\x05\xc6\x00\x3c\x03\x21\x00\x14\x00\x02me\x00\x00\x01w\x00\x03off\x00\x01u\x00\x01p";

#[test]
fn a_connect_is_decoded_with_will_and_password() {
    let connect = Packet { kind: PacketKind::Connect, flags: 0, body: CONNECT_BODY.to_vec() }.connect().unwrap();
    assert_eq!((connect.protocol.as_str(), connect.level, connect.keep_alive_s), ("MQTT", 5, 60));
    assert_eq!((connect.version(), connect.is_clean(), connect.violation()), (Version::V5, true, None));
    assert_eq!(connect.silence_max(), Some(std::time::Duration::from_secs(90)));
    assert_eq!(connect.properties.number(Properties::RECEIVE_MAXIMUM), Some(20));
    let (topic, payload) = ("w".into(), b"off".to_vec());
    let will = Will { topic, payload, qos: 0, retain: false, properties: Properties::default() };
    assert_eq!((connect.client_id.as_str(), connect.will), ("me", Some(will)));
    assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("u"), Some(&b"p"[..])));
    let truncated = CONNECT_BODY[..CONNECT_BODY.len() - 1].to_vec();
    assert!(Packet { kind: PacketKind::Connect, flags: 0, body: truncated }.connect().is_none());
}

#[test]
fn violations_of_a_connect_are_named() {
    for (position, byte, expected) in [
        (2, b'm', "name is not MQTT"),
        (7, 0xc7, "reserved flag"),
        (7, 0xde, "will of QoS 3"),
        (6, 5, ""),
        (7, 0xe6, ""),
    ] {
        let mut body = CONNECT_BODY.to_vec();
        body[position] = byte;
        let connect = Packet { kind: PacketKind::Connect, flags: 0, body }.connect().unwrap();
        assert!(connect.violation().unwrap_or_default().contains(expected), "{:?}", connect.violation());
        assert_eq!(connect.violation().is_none(), expected.is_empty());
    }
    let v311 = |flags: u8, rest: &[u8]| {
        let body = [b"\x00\x04MQTT\x04", &[flags, 0, 0][..], b"\x00\x01x", rest].concat();
        Packet { kind: PacketKind::Connect, flags: 0, body }.connect().unwrap().violation()
    };
    assert_eq!(v311(2, b""), None);
    assert!(v311(0x22, b"").unwrap().contains("without a will"));
    assert!(v311(0x42, b"\x00\x01p").unwrap().contains("without a user name"));
}

#[test]
fn bytes_that_are_no_packet_are_an_error() {
    assert_eq!(Packet::decode(&mut vec![0x00, 0x00]), Err(DecodeError::ReservedType(0)));
    assert_eq!(Packet::decode(&mut vec![0x30, 0xff, 0xff, 0xff, 0xff]), Err(DecodeError::LengthTooLong));
    assert_eq!(Packet::decode_up_to(9, &mut vec![0x30, 8]), Err(DecodeError::TooLarge(10, 9)));
    assert_eq!(Packet::decode_up_to(10, &mut vec![0x30, 8]), Ok(None));
}

#[test]
fn own_packets_are_decoded() {
    let decoded = |bytes: Vec<u8>| Packet::decode(&mut bytes.clone()).unwrap().unwrap();
    for version in [Version::V311, Version::V5] {
        assert_eq!(decoded(connect(version, "x", true, Some(("u", "p")))).connect().unwrap().client_id, "x");
        let request = decoded(subscribe(version, 3, "a/#", 1)).subscribe(version).unwrap();
        let [subscription] = &request.subscriptions[..] else { panic!("{request:?}") };
        assert_eq!((request.packet_id, subscription.filter.as_str(), subscription.qos), (3, "a/#", 1));
    }
    assert_eq!(decoded(acknowledgement(PacketKind::Puback, 77, 0)).packet_id(), Some(77));
    assert_eq!(decoded(connack(Version::V5, 0, &Properties::default().with(0x21, 5))).body, [0, 0, 3, 0x21, 0, 5]);
}

#[test]
fn subscription_options_are_decoded_and_reserved_ones_refused() {
    let decoded = |version: Version, options: u8| {
        let properties: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let body = [&[0, 1], properties, &[0, 1, b'a', options]].concat();
        let packet = Packet { kind: PacketKind::Subscribe, flags: 2, body };
        packet.subscribe(version).map(|request| request.subscriptions[0].clone())
    };
    let all = decoded(Version::V5, 0x1e).unwrap();
    assert_eq!((all.qos, all.no_local, all.retain_as_published), (2, true, true));
    assert_eq!(all.retain_handling, RetainHandling::OnlyIfNew);
    for (version, options) in
        [(Version::V5, 0x03), (Version::V5, 0x30), (Version::V5, 0x40), (Version::V311, 0x04), (Version::V311, 0x03)]
    {
        assert_eq!(decoded(version, options), None, "{options:#x}");
    }
}

#[test]
fn properties_of_every_encoding_are_decoded_as_they_were_encoded() {
    let encoded = b"\x29\x01\x01\x02\x00\x00\x00\x09\x03\x00\x01t\x09\x00\x02\xff\x00\x0b\x81\x01\x23\x00\x05\
        \x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w\x08\x00\x02r/";
    let properties = Fields::new(encoded).properties().unwrap();
    assert_eq!(properties.number(Properties::SUBSCRIPTION_IDENTIFIER), Some(129));
    let encode = |properties: &Properties| {
        let mut body = Vec::new();
        properties.encode(&mut body);
        body
    };
    assert_eq!(encode(&properties), encoded);
    let few = properties.only(&[Properties::CONTENT_TYPE, Properties::RESPONSE_TOPIC]);
    assert_eq!(encode(&few), b"\x09\x03\x00\x01t\x08\x00\x02r/");
    for malformed in [&b"\x04\x01\x01\x01\x01"[..], b"\x02\x7f\x00", b"\x03\x01", b"\x04\x03\x00\x01\x00", b"\x02\x01"]
    {
        assert!(Fields::new(malformed).properties().is_none(), "{malformed:?}");
    }
}

/// Every packet with any byte replaced is decoded, or refused, without a panic.
#[test]
fn damaged_packets_are_harmless() {
    let properties = Properties::default().with_text(Properties::CONTENT_TYPE, "t").with(Properties::TOPIC_ALIAS, 1);
    let message = Publish {
        topic: "a/b".into(),
        payload: b"payload".to_vec(),
        qos: 1,
        dup: false,
        retain: false,
        packet_id: 9,
        properties,
    };
    let connect_packet = [&[0x10, u8::try_from(CONNECT_BODY.len()).unwrap()], CONNECT_BODY].concat();
    for bytes in [connect_packet, publish(Version::V5, &message), subscribe(Version::V5, 1, "a/#", 1)] {
        for position in 0..bytes.len() {
            for byte in 0..=u8::MAX {
                let mut damaged = bytes.clone();
                damaged[position] = byte;
                let Ok(Some(packet)) = Packet::decode(&mut damaged) else { continue };
                for version in [Version::V311, Version::V5] {
                    let _ = (packet.publish(version), packet.subscribe(version), packet.unsubscribe(version));
                }
                let _ = (packet.protocol(), packet.connect(), packet.packet_id(), packet.reason());
            }
        }
    }
}
