//! Retained messages.

use std::time::Duration;

use super::*;
use crate::broker::retained::{RETAINED_BYTES_MAX, RETAINED_MAX};

async fn retain(client: &mut Client, topic: &str, payload: &str) {
    client.publish(&Publish { retain: true, qos: 1, packet_id: 1, ..message(topic, payload) }).await;
    assert_eq!(client.next().await.unwrap().kind, PacketKind::Puback);
}

#[tokio::test]
async fn a_subscriber_gets_the_last_retained_message_of_each_topic() {
    let broker = start().await;
    for version in BOTH {
        let mut publisher = client(&broker, version, "publisher").await;
        for (topic, payload) in [("a/1", "old"), ("a/1", "new"), ("a/2", "two"), ("a/3", "removed"), ("a/3", "")] {
            retain(&mut publisher, topic, payload).await;
        }
        publisher.publish(&message("a/1", "not retained")).await;
        check_nothing_came(&mut publisher).await;
        let mut subscriber = client(&broker, version, "subscriber").await;
        assert_eq!(subscriber.subscribe("a/#", 1).await, 1);
        for (topic, payload) in [("a/1", "new"), ("a/2", "two")] {
            let received = subscriber.next_message().await;
            let packet_id = received.packet_id;
            assert_eq!(received, Publish { retain: true, qos: 1, packet_id, ..message(topic, payload) });
        }
        check_nothing_came(&mut subscriber).await;
        // What is published from now on is no longer a retained message.
        retain(&mut publisher, "a/1", "live").await;
        let live = subscriber.next_message().await;
        assert_eq!((live.payload, live.retain), (b"live".to_vec(), false));
    }
}

#[tokio::test]
async fn retain_handling_and_retain_as_published_are_kept() {
    let broker = start().await;
    let mut client = client(&broker, Version::V5, "a").await;
    retain(&mut client, "a", "kept").await;
    for (options, is_sent) in [(0x10, true), (0x10, false), (0x00, true), (0x20, false)] {
        client.subscribe("a", options).await;
        if is_sent {
            assert!(client.next_message().await.retain);
        }
        check_nothing_came(&mut client).await;
    }
    client.subscribe("a", 0x28).await;
    client.publish(&Publish { retain: true, ..message("a", "as published") }).await;
    assert!(client.next_message().await.retain);
}

#[tokio::test(start_paused = true)]
async fn an_expired_message_is_not_retained_any_more() {
    let router = Arc::default();
    let mut client = client_in_memory(&router, 1, Version::V5, 1 << 20).await;
    let properties = Properties::default().with(0x02, 10);
    client.publish(&Publish { retain: true, properties, ..message("a", "10 s") }).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    client.subscribe("a", 0).await;
    assert_eq!(client.next_message().await.properties.number(0x02), Some(6));
    tokio::time::sleep(Duration::from_secs(6)).await;
    client.subscribe("a", 0).await;
    client.publish(&message("a", "live")).await;
    assert_eq!(client.next_message().await.payload, b"live");
}

#[tokio::test]
async fn further_topics_are_not_retained_once_the_limit_is_reached() {
    let broker = start().await;
    let mut publisher = client(&broker, Version::V311, "publisher").await;
    for index in 0..=RETAINED_MAX {
        publisher.publish(&Publish { retain: true, ..message(&format!("a/{index}"), "kept") }).await;
    }
    check_nothing_came(&mut publisher).await;
    let mut subscriber = client(&broker, Version::V311, "subscriber").await;
    let count = count_retained(&mut subscriber).await;
    assert_eq!(count, RETAINED_MAX);
    // A topic that is known, and one in the room that another leaves, are retained.
    for (topic, payload) in [("a/0", "changed"), ("a/1", ""), ("a/new", "kept")] {
        retain(&mut publisher, topic, payload).await;
        subscriber.next_message().await;
    }
    assert_eq!(count_retained(&mut subscriber).await, RETAINED_MAX);
}

#[tokio::test]
async fn the_bytes_of_retained_messages_are_limited() {
    let broker = start().await;
    let mut publisher = client(&broker, Version::V311, "publisher").await;
    let payload = "x".repeat(1 << 19);
    let fitting = RETAINED_BYTES_MAX / (payload.len() + 3);
    for index in 0..fitting + 2 {
        publisher.publish(&Publish { retain: true, ..message(&format!("a/{index}"), &payload) }).await;
    }
    check_nothing_came(&mut publisher).await;
    let mut subscriber = client(&broker, Version::V311, "subscriber").await;
    assert_eq!(count_retained(&mut subscriber).await, fitting);
}

/// Subscribes to everything and counts the retained messages.
async fn count_retained(client: &mut Client) -> usize {
    client.subscribe("#", 0).await;
    client.publish(&message("end", "")).await;
    let mut count = 0;
    while client.next_message().await.topic != "end" {
        count += 1;
    }
    count
}
