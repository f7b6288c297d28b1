//! Packets that break the protocol end their own session and no other.

use super::*;

#[tokio::test]
async fn a_packet_that_breaks_the_protocol_ends_the_session() {
    let broker = start().await;
    let mut other = client(&broker, Version::V311, "other").await;
    // The packet in 3.1.1 and in MQTT 5, and the reason.
    let cases: [(&[u8], &[u8], u8); 21] = [
        // Packet type 0; a length of five bytes; a second CONNECT; packets that only a broker sends; AUTH.
        (b"\x00", b"\x00", 0x81),
        (b"\x30\xff\xff\xff\xff", b"\x30\xff\xff\xff\xff", 0x81),
        (
            b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03sim",
            b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03sim",
            0x82,
        ),
        (b"\x20\x02\x00\x00", b"\x20\x03\x00\x00\x00", 0x82),
        (b"\xd0\x00", b"\xd0\x00", 0x82),
        (b"\x50\x02\x00\x01", b"\x50\x02\x00\x01", 0x82),
        (b"\xf0\x00", b"\xf0\x00", 0x82),
        // Wrong flags.
        (b"\xc1\x00", b"\xc1\x00", 0x81),
        (b"\x80\x06\x00\x01\x00\x01a\x00", b"\x80\x07\x00\x01\x00\x00\x01a\x00", 0x81),
        (b"\x60\x02\x00\x01", b"\x60\x02\x00\x01", 0x81),
        // PUBLISH: QoS 3, DUP with QoS 0, packet id 0, wildcard, empty topic, null character, broken UTF-8, truncated.
        (b"\x36\x05\x00\x01a\x00\x01", b"\x36\x06\x00\x01a\x00\x01\x00", 0x81),
        (b"\x38\x03\x00\x01a", b"\x38\x04\x00\x01a\x00", 0x81),
        (b"\x32\x05\x00\x01a\x00\x00", b"\x32\x06\x00\x01a\x00\x00\x00", 0x82),
        (b"\x30\x03\x00\x01#", b"\x30\x04\x00\x01#\x00", 0x90),
        (b"\x30\x02\x00\x00", b"\x30\x03\x00\x00\x00", 0x90),
        (b"\x30\x03\x00\x01\x00", b"\x30\x04\x00\x01\x00\x00", 0x81),
        (b"\x30\x03\x00\x01\xff", b"\x30\x04\x00\x01\xff\x00", 0x81),
        (b"\x30\x02\x00\x09", b"\x30\x02\x00\x09", 0x81),
        // SUBSCRIBE: no filter, packet id 0, QoS 3.
        (b"\x82\x02\x00\x01", b"\x82\x03\x00\x01\x00", 0x81),
        (b"\x82\x06\x00\x00\x00\x01a\x00", b"\x82\x07\x00\x00\x00\x00\x01a\x00", 0x82),
        (b"\x82\x06\x00\x01\x00\x01a\x03", b"\x82\x07\x00\x01\x00\x00\x01a\x03", 0x81),
    ];
    for (v311, v5, reason) in cases {
        for (version, bytes) in [(Version::V311, v311), (Version::V5, v5)] {
            let mut client = client(&broker, version, "a").await;
            client.send(bytes).await;
            check_ended(&mut client, version, reason).await;
            check_nothing_came(&mut other).await;
        }
    }
}

#[tokio::test]
async fn features_that_are_not_offered_end_the_session() {
    let broker = start().await;
    let cases: [(&[u8], u8); 5] = [
        // A topic alias, a subscription identifier in PUBLISH and in SUBSCRIBE, an unknown and a repeated property.
        (b"\x30\x07\x00\x01a\x03\x23\x00\x01", 0x94),
        (b"\x30\x06\x00\x01a\x02\x0b\x01", 0x82),
        (b"\x82\x09\x00\x01\x02\x0b\x01\x00\x01a\x00", 0xa1),
        (b"\x30\x06\x00\x01a\x02\x7f\x01", 0x81),
        (b"\x30\x08\x00\x01a\x04\x01\x01\x01\x01", 0x81),
    ];
    for (bytes, reason) in cases {
        let mut client = client(&broker, Version::V5, "a").await;
        client.send(bytes).await;
        check_ended(&mut client, Version::V5, reason).await;
    }
}

/// Bytes that are different for each seed and the same in each run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    };
    (0..count).map(|_| next()).collect()
}

#[tokio::test]
async fn the_broker_survives_noise() {
    let broker = start().await;
    let mut other = client(&broker, Version::V5, "other").await;
    for seed in 0..200 {
        let version = BOTH[usize::from(seed % 2 == 0)];
        let mut client = MqttClient::open(broker.address(), version).await;
        if seed % 3 > 0 {
            client.connect("a").await.unwrap();
        }
        client.send(&noise(seed, 300)).await;
    }
    // The connection ends in the middle of a packet.
    for length in 1..20 {
        let mut client = client(&broker, Version::V5, "a").await;
        let packet = packet::publish(Version::V5, &message("truncated", "in the middle"));
        client.send(&packet[..length]).await;
    }
    other.subscribe("a", 1).await;
    other.publish(&message("a", "still here")).await;
    assert_eq!(other.next_message().await.payload, b"still here");
}
