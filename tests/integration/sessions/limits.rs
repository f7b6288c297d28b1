//! The limits that brokers announce and sessions keep to: window, topic aliases, packet size, QoS, retain flag.

use bessai_simulator::scripted::RecordedMessage;

use super::*;

/// A scripted broker and an MQTT 5 session with it.
async fn session_with(script: Script) -> (ScriptedBroker, MqttSession) {
    let broker = ScriptedBroker::start(script).await.unwrap();
    let session = signed_in(settings(broker.address().port(), Protocol::V5)).await;
    (broker, session)
}

/// The messages that a scripted broker received, none of which may break the standard or a limit.
fn messages(broker: &ScriptedBroker) -> Vec<RecordedMessage> {
    broker.inspect(|recording| {
        assert_eq!(recording.violations, [""; 0], "after {} messages", recording.messages.len());
        recording.messages.clone()
    })
}

fn payloads(broker: &ScriptedBroker) -> Vec<String> {
    let text = |message: RecordedMessage| String::from_utf8(message.payload).unwrap();
    messages(broker).into_iter().map(text).collect()
}

#[tokio::test]
async fn the_brokers_receive_maximum_is_kept() {
    for receive_max in [1, 5] {
        let script = Script { receive_maximum: Some(receive_max), ..Script::default() };
        let (broker, mut session) = session_with(script).await;
        assert_eq!(session.window(), usize::from(receive_max));
        let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce];
        let sent: Vec<_> = (0..100).map(|i| message("site/a", i, qos[i / 3 % 2])).collect();
        deliver(&mut session, &sent).await;
        assert_eq!(messages(&broker).len(), 100);
    }
}

#[tokio::test]
async fn a_late_acknowledgement_blocks_no_other_message() {
    for (first, others, qos) in [
        (Qos::AtLeastOnce, 9, Qos::AtLeastOnce),
        (Qos::ExactlyOnce, 9, Qos::AtLeastOnce),
        (Qos::ExactlyOnce, 9, Qos::ExactlyOnce),
    ] {
        let acknowledgements = Acknowledgements::FirstAfter(others);
        let script = Script { receive_maximum: Some(5), acknowledgements, ..Script::default() };
        let (broker, mut session) = session_with(script).await;
        let sent: Vec<_> = (0..60).map(|i| message("site/a", i, if i == 0 { first } else { qos })).collect();
        assert_eq!(deliver(&mut session, &sent).await, vec![None; 60]);
        assert_eq!(payloads(&broker), (0..60).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn refused_messages_release_their_packet_ids() {
    let acknowledgements = Acknowledgements::Qos2WithReason(0x87);
    let script = Script { receive_maximum: Some(3), acknowledgements, ..Script::default() };
    let (broker, mut session) = session_with(script).await;
    let qos = |i| if i < 50 { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
    let sent: Vec<_> = (0..60).map(|i| message("site/a", i, qos(i))).collect();
    let refusals = deliver(&mut session, &sent).await;
    let (refused, accepted) = refusals.split_at(50);
    assert!(
        refused.iter().all(|refusal| refusal.as_ref().is_some_and(|reason| reason.starts_with("0x87 not authorized")))
    );
    assert_eq!(accepted, vec![None; 10]);
    assert_eq!(messages(&broker).len(), 60);
}

#[tokio::test]
async fn repeated_topics_are_sent_as_aliases() {
    let script = Script { topic_alias_maximum: Some(2), ..Script::default() };
    let (broker, mut session) = session_with(script).await;
    let topics = ["site/once", "site/a", "site/b", "site/c"];
    let sent: Vec<_> =
        (0..13).map(|i| message(topics[if i == 0 { 0 } else { i % 3 + 1 }], i, Qos::AtLeastOnce)).collect();
    deliver(&mut session, &sent).await;
    let received = messages(&broker);
    assert_eq!(received.len(), 13);
    for (sent, received) in sent.iter().zip(&received) {
        assert_eq!((&sent.topic, &sent.payload), (&received.topic, &received.payload));
    }
    let by_alias = |topic: &str| received.iter().filter(|it| it.topic == topic && it.is_topic_omitted).count();
    // The first two topics that repeat get the two aliases: sent in full, with the alias, then twice by the alias only.
    assert_eq!(topics.map(by_alias), [0, 0, 2, 2]);
}

#[tokio::test]
async fn mosquitto_resolves_the_aliases() {
    let broker = Broker::start();
    let mut subscriber = v5::V5Subscriber::start(broker.port).await;
    let mut session = signed_in(settings(broker.port, Protocol::V5)).await;
    let topic = |i: usize| format!("site/{}/telemetry", i % 15);
    let sent: Vec<_> = (0..60).map(|i| message(&topic(i), i, Qos::AtLeastOnce)).collect();
    assert_eq!(deliver(&mut session, &sent).await, vec![None; 60]);
    for i in 0..60 {
        let message = subscriber.next().await;
        assert_eq!((message.topic, message.payload), (topic(i), i.to_string()));
    }
}

#[tokio::test]
async fn the_brokers_keep_alive_is_used() {
    for (server_keep_alive, pings) in [(1, 2), (0, 0)] {
        let script = Script { server_keep_alive_s: Some(server_keep_alive), ..Script::default() };
        let (broker, mut session) = session_with(script).await;
        let pinged = async {
            tokio::select! {
                notice = session.notice() => panic!("{notice:?}"),
                () = broker.wait_until(|recording| recording.pings >= pings) => {}
            }
        };
        within("pings", pinged).await;
        // The session is still usable.
        deliver(&mut session, &[message("site/a", 1, Qos::AtLeastOnce)]).await;
    }
}

#[tokio::test]
async fn a_too_large_message_is_refused_without_ending_the_session() {
    let broker = Broker::with(&BrokerSetup { lines: &["max_packet_size 2000"], ..BrokerSetup::default() });
    let mut session = signed_in(settings(broker.port, Protocol::V5)).await;
    assert_eq!(session.welcome(Timestamp::default()).max_packet, 2000);
    let fits = session.largest() - "site/a".len();
    let user = vec![("name".to_owned(), "x".repeat(2000))];
    let sent = [
        message("site/a", "x".repeat(fits), Qos::AtLeastOnce),
        message("site/a", "x".repeat(fits + 1), Qos::AtLeastOnce),
        Message {
            properties: Some(Properties { user, ..Properties::default() }),
            ..message("site/a", "x", Qos::AtLeastOnce)
        },
        message("site/a", "last", Qos::AtLeastOnce),
    ];
    let refusals = deliver(&mut session, &sent).await;
    assert_eq!((&refusals[0], &refusals[3]), (&None, &None));
    assert_eq!(refusals[1].as_deref(), Some("its packet takes up to 2001 bytes, and the broker accepts 2000"));
    assert!(refusals[2].is_some());
}

#[tokio::test]
async fn messages_are_downgraded_to_what_the_broker_supports() {
    for (lines, max_qos, retain) in [
        (&["max_qos 0"][..], Qos::AtMostOnce, true),
        (&["max_qos 1"][..], Qos::AtLeastOnce, true),
        (&["retain_available false"][..], Qos::ExactlyOnce, false),
        (&["max_qos 0", "retain_available false"][..], Qos::AtMostOnce, false),
    ] {
        let broker = Broker::with(&BrokerSetup { lines, ..BrokerSetup::default() });
        let mut subscriber = v5::V5Subscriber::start(broker.port).await;
        let will = Message { retain: true, ..message("site/status", "offline", Qos::ExactlyOnce) };
        let mut client = MqttBroker::new(BrokerSettings { will: Some(will), ..settings(broker.port, Protocol::V5) });
        let mut session = within("a session", client.sign_in(Login::default())).await.unwrap();
        let welcome = session.welcome(Timestamp::default());
        assert_eq!((welcome.max_qos, welcome.retain, welcome.session_present), (max_qos, retain, false), "{lines:?}");
        let sent = Message { retain: true, ..message("site/a", 1, Qos::ExactlyOnce) };
        assert_eq!(deliver(&mut session, &[sent]).await, [None]);
        drop(session);
        for topic in ["site/a", "site/status"] {
            let message = subscriber.next().await;
            assert_eq!((message.topic.as_str(), message.qos), (topic, max_qos.level()), "{lines:?}");
        }
    }
}
