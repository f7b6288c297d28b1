//! Sessions that the broker kept: what an earlier client left there does the next one no harm.

use super::*;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

fn kept() -> Login {
    Login { clean_start: Some(false), session_expiry_s: Some(3600), ..Login::default() }
}

#[tokio::test]
async fn the_broker_says_whether_it_knows_the_session() {
    for protocol in PROTOCOLS {
        let broker = Broker::start();
        let mut room = Room::new(settings(broker.port, protocol));
        for (login, session_present) in [(kept(), false), (kept(), true), (Login::default(), false)] {
            let mut session = within("a session", room.sign_in(login)).await.unwrap();
            assert_eq!(session.welcome(Timestamp::default()).session_present, session_present, "{protocol:?}");
            let sent: Vec<_> = (0..50).map(|i| message("site/a", i, Qos::ExactlyOnce)).collect();
            assert_eq!(delivered(&mut session, &sent).await, vec![None; 50], "{protocol:?}");
            session.close().await;
        }
    }
}

/// A client that hangs up between PUBLISH and PUBREL, under packet id 1.
async fn leave_half_a_message(broker: &Broker) {
    let mut options = MqttOptions::new("gateway", "127.0.0.1", broker.port);
    options.set_clean_start(false);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(3600);
    options.set_connect_properties(properties);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.try_publish("site/a", QoS::ExactlyOnce, false, "left").unwrap();
    // What it is not asked for any more it neither reads nor answers.
    let written = async { while !matches!(events.poll().await.unwrap(), Event::Outgoing(Outgoing::Publish(1))) {} };
    within("PUBLISH to be written", written).await;
    within("PUBREC", async { while !broker.log().contains("Sending PUBREC to gateway") {} }).await;
}

#[tokio::test]
async fn half_a_message_of_the_last_session_swallows_no_new_one() {
    let broker = Broker::start();
    leave_half_a_message(&broker).await;
    let mut listener = Listener::start(broker.port).await;
    let mut room = Room::new(settings(broker.port, Protocol::V5));
    let mut session = within("a session", room.sign_in(kept())).await.unwrap();
    assert!(session.welcome(Timestamp::default()).session_present);
    let sent: Vec<_> = (0..3).map(|i| message("site/b", i, Qos::ExactlyOnce)).collect();
    assert_eq!(delivered(&mut session, &sent).await, vec![None; 3]);
    for i in 0..3 {
        assert_eq!(listener.next("site/b").await.payload, i.to_string());
    }
}

#[tokio::test]
async fn a_broker_that_goes_by_packet_ids_alone_takes_new_messages_for_new() {
    let rules = Rules { session_present: true, unreleased: (1..=40).collect(), ..Rules::default() };
    let (port, mut seen) = strict_broker(rules).await;
    let mut session = within("a session", Room::new(settings(port, Protocol::V5)).sign_in(kept())).await.unwrap();
    let sent: Vec<_> = (0..100).map(|i| message("site/a", i, Qos::ExactlyOnce)).collect();
    assert_eq!(delivered(&mut session, &sent).await, vec![None; 100]);
    session.close().await;
    let mut payloads = Vec::new();
    while let Some(event) = within("what the broker saw", seen.recv()).await {
        match event {
            Seen::Message { payload, .. } => payloads.push(payload),
            Seen::Violation(violation) => panic!("{violation}"),
            Seen::Disconnect => break,
            _ => {}
        }
    }
    assert_eq!(payloads, (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_broker_still_has_to_release_is_completed() {
    let rules = Rules { session_present: true, releases: vec![7, 65_535], ..Rules::default() };
    let (port, mut seen) = strict_broker(rules).await;
    // Without QoS 2 of its own a session sends no PUBREL, at which some brokers hang up.
    let settings = Settings { qos: Qos::AtLeastOnce, ..settings(port, Protocol::V5) };
    let mut session = within("a session", Room::new(settings).sign_in(kept())).await.unwrap();
    delivered(&mut session, &[message("site/a", 1, Qos::AtLeastOnce)]).await;
    let mut completed = Vec::new();
    while completed.len() < 2 {
        tokio::select! {
            notice = session.notice() => panic!("{notice:?}"),
            event = within("PUBCOMP", seen.recv()) => {
                if let Some(Seen::Completed(id)) = event {
                    completed.push(id);
                }
            }
        }
    }
    assert_eq!(completed, [7, 65_535]);
}
