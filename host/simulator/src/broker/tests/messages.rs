//! Messages from publishers to subscribers.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn messages_of_every_qos_reach_subscribers_of_both_versions() {
    let broker = start().await;
    for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(from, to)| (BOTH[from], BOTH[to])) {
        for granted in [0, 1] {
            let mut subscriber = client(&broker, to, "subscriber").await;
            assert_eq!(subscriber.subscribe("a/b", granted).await, granted);
            let mut publisher = client(&broker, from, "publisher").await;
            for qos in [0, 1, 2] {
                let sent = Publish { qos, packet_id: u16::from(qos) * 7, ..message("a/b", &format!("qos {qos}")) };
                publisher.publish(&sent).await;
                let received = subscriber.next_message().await;
                let expected = Publish { qos: qos.min(granted), packet_id: received.packet_id, ..sent };
                assert_eq!(received, expected);
                assert_eq!(received.packet_id > 0, received.qos > 0);
                let answer = match qos {
                    0 => continue,
                    1 => PacketKind::Puback,
                    _ => PacketKind::Pubrec,
                };
                let acknowledged = publisher.next().await.unwrap();
                assert_eq!((acknowledged.kind, acknowledged.packet_id()), (answer, Some(sent.packet_id)));
            }
        }
    }
}

#[tokio::test]
async fn a_message_of_qos_2_is_delivered_once() {
    let broker = start().await;
    let mut subscriber = client(&broker, Version::V311, "subscriber").await;
    subscriber.subscribe("#", 0).await;
    for version in BOTH {
        let mut publisher = client(&broker, version, "publisher").await;
        let sent = Publish { qos: 2, packet_id: 5, ..message("a", "once") };
        for dup in [false, true] {
            publisher.publish(&Publish { dup, ..sent.clone() }).await;
            assert_eq!(publisher.next().await.unwrap().kind, PacketKind::Pubrec);
        }
        for expected in [0, if version == Version::V5 { 0x92 } else { 0 }] {
            publisher.send(&packet::acknowledgement(PacketKind::Pubrel, 5, 0)).await;
            let completed = publisher.next().await.unwrap();
            assert_eq!((completed.kind, completed.reason()), (PacketKind::Pubcomp, expected));
        }
        assert_eq!(subscriber.next_message().await.payload, b"once");
        publisher.publish(&Publish { payload: b"the id again".to_vec(), ..sent }).await;
        assert_eq!(subscriber.next_message().await.payload, b"the id again");
    }
    check_nothing_came(&mut subscriber).await;
}

#[tokio::test]
async fn wildcards_select_topics_except_those_of_the_broker() {
    let broker = start().await;
    let mut publisher = client(&broker, Version::V311, "publisher").await;
    let topics = ["a", "a/b", "a/b/c", "/a", "b", "$SYS/a"];
    let cases: [(&str, &[&str]); 7] = [
        ("#", &["a", "a/b", "a/b/c", "/a", "b"]),
        ("a/#", &["a", "a/b", "a/b/c"]),
        ("a/+", &["a/b"]),
        ("+", &["a", "b"]),
        ("+/+", &["a/b", "/a"]),
        ("+/a", &["/a"]),
        ("$SYS/#", &["$SYS/a"]),
    ];
    for (filter, expected) in cases {
        let mut subscriber = client(&broker, Version::V5, "subscriber").await;
        subscriber.subscribe(filter, 0).await;
        for topic in topics {
            publisher.publish(&message(topic, "")).await;
        }
        for topic in expected {
            assert_eq!(subscriber.next_message().await.topic, *topic, "{filter}");
        }
        check_nothing_came(&mut publisher).await;
        check_nothing_came(&mut subscriber).await;
    }
}

#[tokio::test]
async fn overlapping_subscriptions_get_one_copy_with_the_highest_qos() {
    let broker = start().await;
    let mut subscriber = client(&broker, Version::V311, "a").await;
    for (filter, qos) in [("a/+", 0), ("a/b", 1), ("#", 0)] {
        subscriber.subscribe(filter, qos).await;
    }
    subscriber.publish(&Publish { qos: 1, packet_id: 1, ..message("a/b", "") }).await;
    assert_eq!(subscriber.next().await.unwrap().kind, PacketKind::Puback);
    assert_eq!(subscriber.next_message().await.qos, 1);
    check_nothing_came(&mut subscriber).await;
}

#[tokio::test]
async fn subscriptions_are_answered_with_what_is_granted() {
    let broker = start().await;
    for (filter, qos, v311, v5) in [
        ("a", 0, 0, 0),
        ("a", 1, 1, 1),
        ("a", 2, 1, 1),
        ("a/#/b", 1, 0x80, 0x8f),
        ("", 1, 0x80, 0x8f),
        ("$share/group/a", 1, 0x80, 0x9e),
    ] {
        for (version, expected) in [(Version::V311, v311), (Version::V5, v5)] {
            let mut client = client(&broker, version, "a").await;
            assert_eq!(client.subscribe(filter, qos).await, expected, "{filter}");
        }
    }
}

#[tokio::test]
async fn one_request_may_carry_several_filters() {
    let broker = start().await;
    let mut client = client(&broker, Version::V5, "a").await;
    client.send(b"\x82\x0c\x00\x07\x00\x00\x01a\x01\x00\x02b#\x01").await;
    assert_eq!(client.next().await.unwrap().body, [0, 7, 0, 1, 0x8f]);
    client.send(b"\xa2\x09\x00\x08\x00\x00\x01a\x00\x01b").await;
    let unsuback = client.next().await.unwrap();
    assert_eq!((unsuback.kind, unsuback.body), (PacketKind::Unsuback, vec![0, 8, 0, 0, 0x11]));
    client.publish(&message("a", "")).await;
    check_nothing_came(&mut client).await;
}

#[tokio::test]
async fn an_unsuback_of_3_1_1_has_only_the_packet_id() {
    let broker = start().await;
    let mut client = client(&broker, Version::V311, "a").await;
    client.subscribe("a", 0).await;
    client.send(b"\xa2\x05\x00\x08\x00\x01a").await;
    assert_eq!(client.next().await.unwrap().body, [0, 8]);
    client.publish(&message("a", "")).await;
    check_nothing_came(&mut client).await;
}

#[tokio::test]
async fn no_local_leaves_out_the_clients_own_messages() {
    let broker = start().await;
    let mut subscriber = client(&broker, Version::V5, "a").await;
    subscriber.subscribe("a", 0x04).await;
    subscriber.publish(&message("a", "own")).await;
    client(&broker, Version::V5, "b").await.publish(&message("a", "of another")).await;
    assert_eq!(subscriber.next_message().await.payload, b"of another");
}

#[tokio::test]
async fn properties_are_forwarded_to_mqtt_5_and_left_out_for_3_1_1() {
    let broker = start().await;
    let (mut new, mut old) = (client(&broker, Version::V5, "new").await, client(&broker, Version::V311, "old").await);
    new.subscribe("a", 0).await;
    old.subscribe("a", 0).await;
    // Payload format, content type, response topic, correlation data, user property: as bytes of a PUBLISH on "a".
    let properties = b"\x01\x01\x03\x00\x01t\x08\x00\x01r\x09\x00\x01\xff\x26\x00\x01k\x00\x01v";
    let length = u8::try_from(properties.len()).unwrap();
    new.send(&[&[0x30, length + 5, 0, 1, b'a', length], &properties[..], b"x"].concat()).await;
    let received = new.next().await.unwrap();
    assert_eq!(received.body, [&[0, 1, b'a', length], &properties[..], b"x"].concat());
    assert_eq!(old.next().await.unwrap().body, b"\x00\x01ax");
}

#[tokio::test(start_paused = true)]
async fn messages_expire_while_they_wait() {
    let router = Arc::default();
    // Its stream is full with the first message.
    let mut subscriber = client_in_memory(&router, 1, Version::V5, 128).await;
    subscriber.subscribe("#", 0).await;
    let mut publisher = client_in_memory(&router, 2, Version::V5, 1 << 20).await;
    publisher.publish(&message("first", &"x".repeat(70_000))).await;
    for expiry_s in [10, 20] {
        let properties = Properties::default().with(0x02, expiry_s);
        publisher.publish(&Publish { properties, ..message("expiring", &expiry_s.to_string()) }).await;
    }
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(subscriber.next_message().await.topic, "first");
    let left = subscriber.next_message().await;
    assert_eq!((left.payload, left.properties.number(0x02)), (b"20".to_vec(), Some(5)));
}

#[tokio::test]
async fn unacknowledged_messages_fill_the_window() {
    let broker = start().await;
    let mut subscriber = MqttClient::open(broker.address(), Version::V5).await;
    subscriber.send(&connect_with(Version::V5, "subscriber", 0, None, &[0x21, 0, 3])).await;
    subscriber.next().await.unwrap();
    subscriber.subscribe("#", 1).await;
    let mut publisher = client(&broker, Version::V311, "publisher").await;
    for packet_id in 1..=5 {
        publisher.publish(&Publish { qos: 1, packet_id, ..message("a", &packet_id.to_string()) }).await;
        publisher.next().await.unwrap();
    }
    let mut received = Vec::new();
    for _ in 0..3 {
        received.push(subscriber.next_message().await);
    }
    check_nothing_came(&mut subscriber).await;
    for acknowledged in [1, 0] {
        let packet_id = received[acknowledged].packet_id;
        subscriber.send(&packet::acknowledgement(PacketKind::Puback, packet_id, 0)).await;
        received.push(subscriber.next_message().await);
        check_nothing_came(&mut subscriber).await;
    }
    let payloads: Vec<_> = received.iter().map(|message| String::from_utf8_lossy(&message.payload)).collect();
    assert_eq!(payloads, ["1", "2", "3", "4", "5"]);
}
