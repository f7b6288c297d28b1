//! CONNECT, CONNACK, take-over, keep alive and DISCONNECT.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::time::Instant;

use super::*;

/// MQTT 3.1.1, clean session, keep alive 60 s, client id "sim".
const CONNECT: [u8; 17] = *b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03sim";

#[tokio::test]
async fn a_client_is_accepted() {
    let broker = start().await;
    let mut client = MqttClient::open(broker.address(), Version::V311).await;
    client.send(&CONNECT).await;
    let connack = client.next().await.unwrap();
    assert_eq!((connack.kind, connack.flags, connack.body), (PacketKind::Connack, 0, vec![0, 0]));
    check_nothing_came(&mut client).await;
}

#[tokio::test]
async fn a_taken_port_is_an_error() {
    let broker = start().await;
    let error = Broker::start(broker.address()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_dropped_broker_closes_its_connections_and_frees_its_port() {
    let broker = start().await;
    let (address, mut client) = (broker.address(), client(&broker, Version::V5, "a").await);
    drop(broker);
    assert_eq!(client.next().await, None);
    Broker::start(address).await.unwrap();
}

#[tokio::test]
async fn mqtt_5_is_told_the_limits_and_an_assigned_client_id() {
    let broker = start().await;
    let mut client = MqttClient::open(broker.address(), Version::V5).await;
    let connack = client.connect("").await.unwrap();
    let expected = b"\x00\x00\x29\x11\x00\x00\x00\x00\x21\x00\x64\x27\x00\x10\x00\x00\x29\x00\x2a\x00";
    let (limits, assigned) = connack.body.split_at(expected.len());
    // The length of the properties is at the third byte.
    assert_eq!((&limits[..2], &limits[3..]), (&expected[..2], &expected[3..]));
    assert_eq!(assigned, b"\x12\x00\x0aassigned-1");
    assert_eq!(usize::from(limits[2]), connack.body.len() - 3);
}

#[tokio::test]
async fn other_protocols_are_refused_in_their_own_form() {
    let broker = start().await;
    let cases: [(&[u8], Option<&[u8]>); 5] = [
        (b"\x10\x11\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x03sim", Some(&[0, 1])),
        (b"\x10\x0f\x00\x04MQTT\x03\x02\x00\x3c\x00\x03sim", Some(&[0, 1])),
        (b"\x10\x0f\x00\x04MQTT\x06\x02\x00\x3c\x00\x03sim", Some(&[0, 0x84, 0])),
        (b"\x10\x0f\x00\x04QTTM\x04\x02\x00\x3c\x00\x03sim", None),
        (b"\xc0\x00", None),
    ];
    for (first, expected) in cases {
        let mut client = MqttClient::open(broker.address(), Version::V311).await;
        client.send(first).await;
        assert_eq!(client.next().await.map(|packet| packet.body).as_deref(), expected, "{first:?}");
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test]
async fn bad_connects_are_refused() {
    let broker = start().await;
    let topic = |topic: &str| message(topic, "gone");
    let cases: [(Version, Vec<u8>, Option<u8>); 9] = [
        // An empty client id with and without a clean session.
        (Version::V311, packet::connect(Version::V311, "", false, None), Some(2)),
        (Version::V311, packet::connect(Version::V311, "", true, None), Some(0)),
        // A reserved flag.
        (Version::V311, b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01s".to_vec(), None),
        (Version::V5, b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x3c\x00\x00\x01s".to_vec(), Some(0x82)),
        // Truncated.
        (Version::V5, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x02s".to_vec(), Some(0x81)),
        // A will's topic with a wildcard.
        (Version::V5, connect_with(Version::V5, "s", 0, Some(&topic("a/#")), &[]), Some(0x90)),
        (Version::V311, connect_with(Version::V311, "s", 0, Some(&topic("a/#")), &[]), None),
        // Extended authentication, and a receive maximum of 0.
        (Version::V5, connect_with(Version::V5, "s", 0, None, b"\x15\x00\x01x"), Some(0x8c)),
        (Version::V5, connect_with(Version::V5, "s", 0, None, &[0x21, 0, 0]), Some(0x82)),
    ];
    for (version, connect, expected) in cases {
        let mut client = MqttClient::open(broker.address(), version).await;
        client.send(&connect).await;
        assert_eq!(client.next().await.map(|packet| packet.body[1]), expected, "{connect:?}");
    }
}

#[tokio::test]
async fn a_second_client_of_the_same_id_takes_the_session_over() {
    let broker = start().await;
    for version in BOTH {
        let mut first = client(&broker, version, "same").await;
        first.subscribe("a", 0).await;
        let mut second = client(&broker, version, "same").await;
        check_ended(&mut first, version, 0x8e).await;
        second.publish(&message("a", "not subscribed any more")).await;
        check_nothing_came(&mut second).await;
    }
}

#[tokio::test]
async fn disconnect_ends_the_session() {
    let broker = start().await;
    for version in BOTH {
        let mut client = client(&broker, version, "a").await;
        client.send(&DISCONNECT).await;
        assert_eq!(client.next().await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_is_disconnected_after_one_and_a_half_times_its_keep_alive() {
    for version in BOTH {
        let (stream, served) = duplex(1024);
        tokio::spawn(session::serve(served, 1, Arc::default()));
        let mut client = MqttClient::new(stream, version);
        client.send(&connect_with(version, "a", 10, None, &[])).await;
        client.next().await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(14_900)).await;
            client.send(&[0xc0, 0]).await;
            assert_eq!(client.next().await.unwrap().kind, PacketKind::Pingresp);
        }
        // An incomplete packet does not count.
        tokio::time::sleep(Duration::from_secs(14)).await;
        client.send(&[0x30]).await;
        let before = Instant::now();
        let last = client.next().await;
        let expected = (version == Version::V5).then(|| vec![0x8d]);
        assert_eq!((last.map(|packet| packet.body), before.elapsed()), (expected, Duration::from_secs(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_a_keep_alive_may_be_silent_but_must_send_its_connect() {
    let router = Arc::default();
    let mut silent = client_in_memory(&router, 1, Version::V5, 1024).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    silent.send(&[0xc0, 0]).await;
    assert_eq!(silent.next().await.unwrap().kind, PacketKind::Pingresp);
    let (stream, served) = duplex(1024);
    tokio::spawn(session::serve(served, 2, router));
    let before = Instant::now();
    assert_eq!(MqttClient::new(stream, Version::V311).next().await, None);
    assert_eq!(before.elapsed(), Duration::from_secs(5));
}
