//! Packets survive the way over the wire, in pieces of any size.

use super::*;

#[test]
fn a_message_comes_out_as_it_went_in() {
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
    for cut in 0..bytes.len() {
        assert_eq!(Packet::take(&mut bytes[..cut].to_vec()), Ok(None), "{cut}");
    }
    let mut received = [bytes, vec![0xc0]].concat();
    let packet = Packet::take(&mut received).unwrap().unwrap();
    assert_eq!(packet.publish(Version::V5), Some(message));
    assert_eq!(received, [0xc0]);
}

#[test]
fn a_sign_in_is_read_with_will_and_password() {
    let body = b"\x00\x04MQTT\x05\xc6\x00\x3c\x03\x21\x00\x14\x00\x02me\x00\x00\x01w\x00\x03off\x00\x01u\x00\x01p";
    let connect = Packet { kind: Kind::Connect, flags: 0, body: body.to_vec() }.connect().unwrap();
    assert_eq!((connect.protocol.as_str(), connect.level, connect.keep_alive_s), ("MQTT", 5, 60));
    assert_eq!(connect.properties.number(Properties::RECEIVE_MAXIMUM), Some(20));
    assert_eq!((connect.client_id.as_str(), connect.will), ("me", Some(("w".into(), b"off".to_vec()))));
    assert_eq!((connect.username.as_deref(), connect.password.as_deref()), (Some("u"), Some(&b"p"[..])));
    let cut = Packet { kind: Kind::Connect, flags: 0, body: body[..body.len() - 1].to_vec() };
    assert!(cut.connect().is_none());
}

#[test]
fn what_is_no_packet_is_an_error() {
    assert!(Packet::take(&mut vec![0x00, 0x00]).unwrap_err().contains("reserved type"));
    assert!(Packet::take(&mut vec![0x30, 0xff, 0xff, 0xff, 0xff]).unwrap_err().contains("four bytes"));
}

#[test]
fn own_packets_are_read() {
    let read = |bytes: Vec<u8>| Packet::take(&mut bytes.clone()).unwrap().unwrap();
    for version in [Version::V311, Version::V5] {
        assert_eq!(read(connect(version, "x", true, Some(("u", "p")))).connect().unwrap().client_id, "x");
        assert_eq!(read(subscribe(version, 3, "a/#", 1)).filters(version), Some(vec![("a/#".into(), 1)]));
    }
    assert_eq!(read(acknowledgement(Kind::Puback, 77, 0)).packet_id(), Some(77));
    assert_eq!(read(connack(Version::V5, 0, &Properties::default().with(0x21, 5))).body, [0, 0, 3, 0x21, 0, 5]);
}
