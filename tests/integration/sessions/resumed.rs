//! Sessions that the broker stored: unfinished exchanges of an earlier client do not affect the next one.

use super::*;

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::ConnectProperties;
use rumqttc::v5::{AsyncClient, Event, MqttOptions};

fn stored_session() -> Login {
    Login { clean_start: Some(false), session_expiry_s: Some(3600), ..Login::default() }
}

#[tokio::test]
async fn the_broker_reports_whether_it_resumed_the_session() {
    for protocol in PROTOCOLS {
        let broker = Broker::start();
        let mut client = MqttBroker::new(settings(broker.port, protocol));
        for (login, session_present) in [(stored_session(), false), (stored_session(), true), (Login::default(), false)]
        {
            let mut session = within("a session", client.sign_in(login)).await.unwrap();
            assert_eq!(session.welcome(Timestamp::default()).session_present, session_present, "{protocol:?}");
            let sent: Vec<_> = (0..50).map(|i| message("site/a", i, Qos::ExactlyOnce)).collect();
            assert_eq!(deliver(&mut session, &sent).await, vec![None; 50], "{protocol:?}");
            session.close().await;
        }
    }
}

/// A client that closes the connection between PUBLISH and PUBREL, with packet id 1.
async fn leave_unfinished_message(broker: &Broker) {
    let mut options = MqttOptions::new("gateway", "127.0.0.1", broker.port);
    options.set_clean_start(false);
    let mut properties = ConnectProperties::new();
    properties.session_expiry_interval = Some(3600);
    options.set_connect_properties(properties);
    let (client, mut events) = AsyncClient::new(options, 10);
    client.try_publish("site/a", QoS::ExactlyOnce, false, "left").unwrap();
    // The client is no longer polled, so it does not answer the PUBREC.
    let written = async { while !matches!(events.poll().await.unwrap(), Event::Outgoing(Outgoing::Publish(1))) {} };
    within("PUBLISH to be written", written).await;
    within("PUBREC", async { while !broker.log().contains("Sending PUBREC to gateway") {} }).await;
}

#[tokio::test]
async fn an_unfinished_message_of_an_earlier_session_replaces_no_new_one() {
    let broker = Broker::start();
    leave_unfinished_message(&broker).await;
    let mut subscriber = Subscriber::start(broker.port).await;
    let mut client = MqttBroker::new(settings(broker.port, Protocol::V5));
    let mut session = within("a session", client.sign_in(stored_session())).await.unwrap();
    assert!(session.welcome(Timestamp::default()).session_present);
    let sent: Vec<_> = (0..3).map(|i| message("site/b", i, Qos::ExactlyOnce)).collect();
    assert_eq!(deliver(&mut session, &sent).await, vec![None; 3]);
    for i in 0..3 {
        assert_eq!(subscriber.next("site/b").await.payload, i.to_string());
    }
}

#[tokio::test]
async fn new_messages_are_not_taken_for_unreleased_ones_of_an_earlier_session() {
    let stored = StoredSession { unreleased: (1..=40).collect(), ..StoredSession::default() };
    let broker = ScriptedBroker::start(Script { stored_session: Some(stored), ..Script::default() }).await.unwrap();
    let mut client = MqttBroker::new(settings(broker.address().port(), Protocol::V5));
    let mut session = within("a session", client.sign_in(stored_session())).await.unwrap();
    let sent: Vec<_> = (0..100).map(|i| message("site/a", i, Qos::ExactlyOnce)).collect();
    assert_eq!(deliver(&mut session, &sent).await, vec![None; 100]);
    session.close().await;
    within("DISCONNECT", broker.wait_until(|recording| recording.disconnects == 1)).await;
    let (messages, violations) = broker.inspect(|recording| (recording.messages.clone(), recording.violations.clone()));
    assert_eq!(violations, [""; 0]);
    let payloads: Vec<_> = messages.into_iter().map(|message| String::from_utf8(message.payload).unwrap()).collect();
    assert_eq!(payloads, (0..100).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn releases_of_an_earlier_session_are_completed() {
    let stored = StoredSession { releases: vec![7, 65_535], ..StoredSession::default() };
    let broker = ScriptedBroker::start(Script { stored_session: Some(stored), ..Script::default() }).await.unwrap();
    // A session without QoS 2 sends no PUBREL, because some brokers close the connection at one.
    let settings = BrokerSettings { qos: Qos::AtLeastOnce, ..settings(broker.address().port(), Protocol::V5) };
    let mut session = within("a session", MqttBroker::new(settings).sign_in(stored_session())).await.unwrap();
    deliver(&mut session, &[message("site/a", 1, Qos::AtLeastOnce)]).await;
    tokio::select! {
        notice = session.notice() => panic!("{notice:?}"),
        () = within("PUBCOMP", broker.wait_until(|recording| recording.completed.len() == 2)) => {}
    }
    let (completed, violations) =
        broker.inspect(|recording| (recording.completed.clone(), recording.violations.clone()));
    assert_eq!((completed, violations), (vec![7, 65_535], vec![]));
}
