//! Packets as brokers send them, cut off, changed and hostile.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::Error as MalformedV5;
use rumqttc::{Packet as PacketV311, mqttbytes::Error as MalformedV311};

use super::*;

/// Valid packets of MQTT 5 that a client may get after CONNACK.
const VALID_V5: [&[u8]; 12] = [
    // PUBACK: without reason code, with it, with an empty and with full properties.
    &[0x40, 2, 0, 1],
    &[0x40, 3, 0, 1, 0x10],
    &[0x40, 4, 0, 1, 0x87, 0],
    &[0x40, 14, 0, 1, 0x87, 10, 31, 0, 1, b'x', 38, 0, 0, 0, 1, b'y'],
    // PUBREC, PUBREL, PUBCOMP.
    &[0x50, 2, 0, 1],
    &[0x62, 3, 0, 1, 0x92],
    &[0x70, 4, 0, 1, 0, 0],
    &[0xd0, 0],
    // DISCONNECT: without and with a reason string.
    &[0xe0, 1, 0x8b],
    &[0xe0, 6, 0x89, 4, 31, 0, 1, b'x'],
    // PUBLISH with QoS 0, and with QoS 1 and a subscription identifier.
    &[0x30, 5, 0, 1, b'a', 0, b'p'],
    &[0x32, 9, 0, 1, b'a', 0, 9, 2, 11, 1, b'p'],
];
/// The same for 3.1.1.
const VALID_V311: [&[u8]; 7] = [
    &[0x40, 2, 0, 1],
    &[0x50, 2, 0, 1],
    &[0x62, 2, 0, 1],
    &[0x70, 2, 0, 1],
    &[0xd0, 0],
    &[0x30, 4, 0, 1, b'a', b'p'],
    &[0x32, 6, 0, 1, b'a', 0, 9, b'p'],
];
/// CONNACK of MQTT 5 with a Receive Maximum, and of 3.1.1.
const CONNACKS: [(&[u8], Protocol); 2] =
    [(&[0x20, 6, 0, 0, 3, 33, 0, 10], Protocol::V5), (&[0x20, 2, 1, 0], Protocol::V311)];

fn corpus() -> Vec<(Vec<u8>, Protocol, Phase)> {
    let v5 = VALID_V5.iter().map(|packet| (packet.to_vec(), Protocol::V5, Phase::SignedIn));
    let v311 = VALID_V311.iter().map(|packet| (packet.to_vec(), Protocol::V311, Phase::SignedIn));
    let connacks = CONNACKS.iter().map(|(packet, protocol)| (packet.to_vec(), *protocol, Phase::SigningIn));
    // SUBACK: two filters with a reason string, and one that is refused.
    let subacks = [
        (&[0x90, 9, 0xff, 0xff, 4, 31, 0, 1, b'x', 1, 0x87][..], Protocol::V5),
        (&[0x90, 3, 0xff, 0xff, 0x80], Protocol::V311),
    ];
    let subacks = subacks.into_iter().map(|(packet, protocol)| (packet.to_vec(), protocol, Phase::Receiving));
    v5.chain(v311).chain(connacks).chain(subacks).collect()
}

/// rumqttc reads a packet that was let through to its end: it neither waits for more bytes nor leaves any.
fn check_with_rumqttc(packet: &[u8], protocol: Protocol) {
    let mut stream = BytesMut::from(packet);
    let waits = match protocol {
        Protocol::V5 => {
            matches!(crate::v5::read(&mut stream), Err(MalformedV5::InsufficientBytes(_)))
        }
        Protocol::V311 => {
            matches!(PacketV311::read(&mut stream, usize::MAX), Err(MalformedV311::InsufficientBytes(_)))
        }
    };
    assert!(!waits && stream.is_empty(), "{packet:x?} in {protocol:?}");
}

#[test]
fn valid_packets_are_let_through_once_they_are_complete() {
    for (packet, protocol, phase) in corpus() {
        for length in 0..packet.len() {
            let cut = &packet[..length];
            assert_eq!(next_packet(cut, protocol, phase), Ok(None), "{cut:x?}");
        }
        let mut followed = packet.clone();
        followed.extend([0xd0, 0]);
        assert_eq!(next_packet(&followed, protocol, phase), Ok(Some(packet.len())), "{packet:x?}");
        check_with_rumqttc(&packet, protocol);
    }
}

#[test]
fn a_broker_that_breaks_a_rule_is_told_apart_by_what_it_sent() {
    let refused = |packet: &[u8], protocol, expected: &str| {
        let Violation(what) = next_packet(packet, protocol, Phase::SignedIn).unwrap_err();
        assert!(what.contains(expected), "{packet:x?}: {what}");
    };
    for (packet, expected) in [
        // The property length needs another byte, or promises more than there is.
        (&[0x40, 4, 0, 1, 0, 0x80][..], "a PUBACK that is cut off"),
        (&[0x50, 4, 0, 1, 0, 5], "a PUBREC that is cut off"),
        (&[0xe0, 2, 0, 0xff], "a DISCONNECT that is cut off"),
        (&[0x40, 1, 0], "a PUBACK that is cut off"),
        (&[0x30, 4, 0, 9, b'a', 0], "a PUBLISH that is cut off"),
        (&[0x40, 6, 0, 1, 0, 2, 99, 0], "a PUBACK with the unknown property 99"),
        (&[0x30, 8, 0, 1, b'a', 3, 35, 0, 1, b'p'], "a PUBLISH with a topic alias"),
        (&[0x90, 0x80, 0x80, 0x0c], "a SUBACK, and this client never subscribes"),
        (&[0xb0, 2, 0, 1], "an UNSUBACK, and this client never unsubscribes"),
        (&[0x20, 3, 0, 0, 0], "a packet of type 2"),
        (&[0xf0, 0], "a packet of type 15"),
        (&[0x00], "a packet of type 0"),
        (&[0x40, 0xff, 0xff, 0xff, 0xff], "a PUBACK whose length has more than four bytes"),
        (&[0x40, 0x80, 0x80, 0x0c], "a PUBACK of 196608 bytes; at most 16384 are accepted"),
        (&[0x30, 0xff, 0xff, 0xff, 0x7f], "a PUBLISH of 268435455 bytes; at most 1052672 are accepted"),
    ] {
        refused(packet, Protocol::V5, expected);
    }
    refused(&[0xe0, 0], Protocol::V311, "a packet of type 14");
    let mut many = vec![0x40, 0, 0, 1, 0, 0];
    let properties = [38, 0, 0, 0, 0].repeat(MAX_PROPERTIES + 1);
    let length = properties.len();
    (many[1], many[5]) =
        (0x80 | u8::try_from((length + 5) & 0x7f).unwrap(), 0x80 | u8::try_from(length & 0x7f).unwrap());
    many.insert(2, u8::try_from((length + 5) >> 7).unwrap());
    many.push(u8::try_from(length >> 7).unwrap());
    many.extend(properties);
    refused(&many, Protocol::V5, "a PUBACK with more than 64 properties");
    // During the sign-in only CONNACK may come.
    assert!(next_packet(&[0x40, 2, 0, 1], Protocol::V5, Phase::SigningIn).is_err());
    assert!(next_packet(b"HTTP/1.1 400 Bad Request", Protocol::V5, Phase::SigningIn).is_err());
}

#[test]
fn rumqttc_neither_panics_nor_waits_on_any_packet_that_is_let_through() {
    // Each byte of each packet takes every value, so that all lengths, kinds and flags occur.
    for (packet, protocol, phase) in corpus() {
        for index in 0..packet.len() {
            for value in 0..=u8::MAX {
                let mut changed = packet.clone();
                changed[index] = value;
                changed.extend([0x80, 0xff, 0x80, 0x00]);
                if let Ok(Some(length)) = next_packet(&changed, protocol, phase) {
                    check_with_rumqttc(&changed[..length], protocol);
                }
            }
        }
    }
}

#[test]
fn random_bytes_are_checked_without_a_panic() {
    // xorshift: the same bytes in each run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    for _ in 0..50_000 {
        let mut bytes: Vec<u8> = (0..4).flat_map(|_| random()).collect();
        // Half of them begin like a packet, or nothing would be let through.
        if bytes[8] & 1 == 0 {
            bytes[0] = bytes[0] & 0xf0 | 0x02;
            bytes[1] &= 0x0f;
        }
        for protocol in [Protocol::V5, Protocol::V311] {
            for phase in [Phase::SigningIn, Phase::SignedIn] {
                if let Ok(Some(length)) = next_packet(&bytes, protocol, phase) {
                    check_with_rumqttc(&bytes[..length], protocol);
                }
            }
        }
    }
}
