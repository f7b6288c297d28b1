//! Last wills: published when a session ends without DISCONNECT.

use std::time::Duration;

use super::*;

/// A client with a will on the topic "will".
async fn with_will(broker: &Broker, version: Version, will: &Publish) -> Client {
    let mut client = MqttClient::open(broker.address(), version).await;
    client.send(&connect_with(version, "mortal", 0, Some(will), &[])).await;
    assert_eq!(client.next().await.unwrap().body[1], 0);
    client
}

async fn watcher(broker: &Broker) -> Client {
    let mut watcher = client(broker, Version::V311, "watcher").await;
    watcher.subscribe("will", 1).await;
    watcher
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_sends_disconnect() {
    let broker = start().await;
    let mut watcher = watcher(&broker).await;
    let will = message("will", "gone");
    for version in BOTH {
        let mut polite = with_will(&broker, version, &will).await;
        polite.send(&DISCONNECT).await;
        assert_eq!(polite.next().await, None);
        check_nothing_came(&mut watcher).await;
        drop(with_will(&broker, version, &will).await);
        let received = watcher.next_message().await;
        assert_eq!((received.payload, received.qos), (b"gone".to_vec(), 1));
        let mut faulty = with_will(&broker, version, &will).await;
        faulty.send(&[0x00]).await;
        check_ended(&mut faulty, version, 0x81).await;
        assert_eq!(watcher.next_message().await.payload, b"gone");
    }
    let mut client = with_will(&broker, Version::V5, &will).await;
    client.send(&[0xe0, 1, 0x04]).await;
    assert_eq!(watcher.next_message().await.payload, b"gone");
}

#[tokio::test]
async fn a_will_is_published_before_the_session_that_takes_over_publishes() {
    let broker = start().await;
    let mut watcher = watcher(&broker).await;
    let will = Publish { retain: true, ..message("will", "offline") };
    let _first = with_will(&broker, Version::V5, &will).await;
    let mut second = with_will(&broker, Version::V5, &will).await;
    second.publish(&Publish { retain: true, ..message("will", "online") }).await;
    assert_eq!(watcher.next_message().await.payload, b"offline");
    assert_eq!(watcher.next_message().await.payload, b"online");
    check_nothing_came(&mut watcher).await;
    let mut late = client(&broker, Version::V5, "late").await;
    late.subscribe("will", 0).await;
    assert_eq!(late.next_message().await.payload, b"online");
}

#[tokio::test(start_paused = true)]
async fn a_will_is_published_when_the_keep_alive_is_over() {
    let router = Arc::default();
    let mut watcher = client_in_memory(&router, 1, Version::V5, 1024).await;
    watcher.subscribe("will", 0).await;
    let (stream, served) = duplex(1024);
    tokio::spawn(session::serve(served, 2, router));
    let mut client = MqttClient::new(stream, Version::V311);
    client.send(&connect_with(Version::V311, "mortal", 2, Some(&message("will", "silent")), &[])).await;
    client.next().await.unwrap();
    let before = tokio::time::Instant::now();
    assert_eq!(watcher.next_message().await.payload, b"silent");
    assert_eq!(before.elapsed(), Duration::from_secs(3));
}
