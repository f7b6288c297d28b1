//! What happens when a limit is reached.

use super::*;
use crate::broker::limits::PACKET_BYTES_MAX;
use crate::broker::outbox::{QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
use crate::broker::router::{CLIENTS_MAX, SUBSCRIPTIONS_MAX};

/// So many messages of this size disconnect a subscriber that reads nothing, and no other client.
async fn check_slow_subscriber(payload_bytes: usize, count: usize) {
    let router: Arc<Router> = Arc::default();
    let (stream, served) = duplex(128);
    tokio::spawn(session::serve(served, 1, Arc::clone(&router)));
    let mut slow = MqttClient::new(stream, Version::V5);
    let will = message("will", "slow");
    slow.send(&connect_with(Version::V5, "slow", 0, Some(&will), &[])).await;
    slow.next().await.unwrap();
    slow.subscribe("a", 0).await;
    let mut other = client_in_memory(&router, 2, Version::V311, 1 << 20).await;
    other.subscribe("will", 0).await;
    let mut publisher = client_in_memory(&router, 3, Version::V311, 1 << 20).await;
    for _ in 0..count {
        publisher.publish(&message("a", &"x".repeat(payload_bytes))).await;
    }
    publisher.send(&[0xc0, 0]).await;
    assert_eq!(publisher.next().await.unwrap().kind, PacketKind::Pingresp);
    assert_eq!(other.next_message().await.payload, b"slow");
    // What was sent before is still read, then the reason.
    let mut last = slow.next().await.unwrap();
    while last.kind == PacketKind::Publish {
        last = slow.next().await.unwrap();
    }
    assert_eq!((last.kind, last.body), (PacketKind::Disconnect, vec![0x97]));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_is_disconnected_when_its_queue_is_full() {
    // 64 KiB more than the queue's limit wait to be sent.
    check_slow_subscriber(100, QUEUE_MESSAGES_MAX + 700).await;
    check_slow_subscriber(100_000, QUEUE_BYTES_MAX / 100_000 + 2).await;
}

#[tokio::test]
async fn a_subscriber_that_reads_gets_more_than_its_queue_holds() {
    let broker = start().await;
    let mut subscriber = client(&broker, Version::V5, "subscriber").await;
    subscriber.subscribe("a", 0).await;
    let mut publisher = client(&broker, Version::V311, "publisher").await;
    for _ in 0..3 {
        for index in 0..QUEUE_MESSAGES_MAX {
            publisher.publish(&message("a", &index.to_string())).await;
        }
        for index in 0..QUEUE_MESSAGES_MAX {
            assert_eq!(subscriber.next_message().await.payload, index.to_string().as_bytes());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_no_answers_is_not_read_any_more() {
    let router: Arc<Router> = Arc::default();
    let mut client = client_in_memory(&router, 1, Version::V311, 1024).await;
    let pings = [0xc0, 0].repeat(100_000);
    let sending = tokio::time::timeout(std::time::Duration::from_millis(200), client.send(&pings));
    assert!(sending.await.is_err(), "the broker must not collect answers without a limit");
}

#[tokio::test]
async fn too_many_clients_are_refused_except_those_that_take_over() {
    let router = Arc::default();
    let mut clients = Vec::new();
    for connection in 1..=u64::try_from(CLIENTS_MAX).unwrap() {
        clients.push(client_in_memory(&router, connection, Version::V5, 1024).await);
    }
    for (version, client_id, expected) in
        [(Version::V5, "further", 0x97), (Version::V311, "further", 3), (Version::V5, "client-1", 0)]
    {
        let (stream, served) = duplex(1024);
        tokio::spawn(session::serve(served, 1000, Arc::clone(&router)));
        let mut client = MqttClient::new(stream, version);
        assert_eq!(client.connect(client_id).await.unwrap().body[1], expected);
    }
}

#[tokio::test]
async fn too_many_subscriptions_are_refused() {
    let broker = start().await;
    let mut client = client(&broker, Version::V5, "a").await;
    for index in 0..SUBSCRIPTIONS_MAX {
        assert_eq!(client.subscribe(&format!("a/{index}"), 1).await, 1);
    }
    assert_eq!(client.subscribe("further", 1).await, 0x97);
    assert_eq!(client.subscribe("a/0", 0).await, 0);
}

#[tokio::test]
async fn a_packet_larger_than_the_limit_ends_the_session() {
    let broker = start().await;
    // The first byte, three bytes of length, the topic's length and the topic.
    let fitting = usize::try_from(PACKET_BYTES_MAX).unwrap() - 7;
    let mut subscriber = client(&broker, Version::V311, "subscriber").await;
    subscriber.subscribe("a", 0).await;
    let mut publisher = client(&broker, Version::V311, "publisher").await;
    publisher.publish(&message("a", &"x".repeat(fitting))).await;
    assert_eq!(subscriber.next_message().await.payload.len(), fitting);
    for version in BOTH {
        let mut client = client(&broker, version, "a").await;
        // Its length is enough.
        client.send(&[0x30, 0x81, 0x80, 0xc0, 0x00]).await;
        check_ended(&mut client, version, 0x95).await;
    }
}

#[tokio::test]
async fn a_client_gets_no_packet_larger_than_it_accepts() {
    let broker = start().await;
    let mut client = MqttClient::open(broker.address(), Version::V5).await;
    client.send(&connect_with(Version::V5, "a", 0, None, &[0x27, 0, 0, 0, 20])).await;
    client.next().await.unwrap();
    client.subscribe("a", 0).await;
    for payload in ["x".repeat(15), "x".repeat(14)] {
        client.publish(&message("a", &payload)).await;
    }
    assert_eq!(client.next_message().await.payload.len(), 14);
}

#[tokio::test]
async fn unreleased_messages_of_qos_2_are_limited() {
    let broker = start().await;
    let mut client = client(&broker, Version::V5, "a").await;
    for packet_id in 1..=101 {
        client.publish(&Publish { qos: 2, packet_id, ..message("a", "") }).await;
    }
    for _ in 1..=100 {
        assert_eq!(client.next().await.unwrap().kind, PacketKind::Pubrec);
    }
    check_ended(&mut client, Version::V5, 0x93).await;
}
