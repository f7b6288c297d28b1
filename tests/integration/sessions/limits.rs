//! What brokers announce to take, and sessions keep to: messages at once, aliases, sizes, quality of service, retain.

use super::*;

/// What the strict broker saw, up to so many messages.
async fn messages(seen: &mut tokio::sync::mpsc::UnboundedReceiver<Seen>, count: usize) -> Vec<(String, bool, String)> {
    let mut found = Vec::new();
    while found.len() < count {
        match within("a message", seen.recv()).await.unwrap() {
            Seen::Message { topic, by_alias, payload } => found.push((topic, by_alias, payload)),
            Seen::Violation(violation) => panic!("{violation} after {} messages", found.len()),
            _ => {}
        }
    }
    found
}

#[tokio::test]
async fn no_more_at_once_than_the_broker_takes() {
    for receive_max in [1, 5] {
        let (port, mut seen) = strict_broker(Rules { receive_max: Some(receive_max), ..Rules::default() }).await;
        let mut session = signed_in(settings(port, Protocol::V5)).await;
        assert_eq!(session.window(), usize::from(receive_max));
        let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce];
        let sent: Vec<_> = (0..100).map(|i| message("site/a", i, qos[i / 3 % 2])).collect();
        delivered(&mut session, &sent).await;
        assert_eq!(messages(&mut seen, 100).await.len(), 100);
    }
}

#[tokio::test]
async fn acknowledgements_out_of_order_hold_up_nothing() {
    for (first, others, qos) in [
        (Qos::AtLeastOnce, 9, Qos::AtLeastOnce),
        (Qos::ExactlyOnce, 9, Qos::AtLeastOnce),
        (Qos::ExactlyOnce, 9, Qos::ExactlyOnce),
    ] {
        let rules = Rules { receive_max: Some(5), answers: Answers::FirstAfter(others), ..Rules::default() };
        let (port, mut seen) = strict_broker(rules).await;
        let mut session = signed_in(settings(port, Protocol::V5)).await;
        let sent: Vec<_> = (0..60).map(|i| message("site/a", i, if i == 0 { first } else { qos })).collect();
        assert_eq!(delivered(&mut session, &sent).await, vec![None; 60]);
        let payloads: Vec<_> = messages(&mut seen, 60).await.into_iter().map(|(_, _, payload)| payload).collect();
        assert_eq!(payloads, (0..60).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn messages_that_are_refused_take_up_no_place() {
    let rules = Rules { receive_max: Some(3), answers: Answers::RefuseQos2, ..Rules::default() };
    let (port, mut seen) = strict_broker(rules).await;
    let mut session = signed_in(settings(port, Protocol::V5)).await;
    let qos = |i| if i < 50 { Qos::ExactlyOnce } else { Qos::AtLeastOnce };
    let sent: Vec<_> = (0..60).map(|i| message("site/a", i, qos(i))).collect();
    let complaints = delivered(&mut session, &sent).await;
    let (refused, taken) = complaints.split_at(50);
    assert_eq!(refused, vec![Some("NotAuthorized".to_owned()); 50]);
    assert_eq!(taken, vec![None; 10]);
    assert_eq!(messages(&mut seen, 60).await.len(), 60);
}

#[tokio::test]
async fn topics_that_repeat_go_as_aliases() {
    let (port, mut seen) = strict_broker(Rules { topic_aliases: 2, ..Rules::default() }).await;
    let mut session = signed_in(settings(port, Protocol::V5)).await;
    let topics = ["site/once", "site/a", "site/b", "site/c"];
    let sent: Vec<_> =
        (0..13).map(|i| message(topics[if i == 0 { 0 } else { i % 3 + 1 }], i, Qos::AtLeastOnce)).collect();
    delivered(&mut session, &sent).await;
    let seen = messages(&mut seen, 13).await;
    for (sent, (topic, _, payload)) in sent.iter().zip(&seen) {
        assert_eq!((&sent.topic, &sent.payload), (topic, &payload.clone().into_bytes()));
    }
    let by_alias = |topic: &str| seen.iter().filter(|(seen, by_alias, _)| seen == topic && *by_alias).count();
    // The first two that repeat get the two aliases: in full, with an alias, and then twice by it alone.
    assert_eq!(topics.map(by_alias), [0, 0, 2, 2]);
}

#[tokio::test]
async fn mosquitto_understands_the_aliases() {
    let broker = Broker::start();
    let mut listener = v5::Listener::start(broker.port).await;
    let mut session = signed_in(settings(broker.port, Protocol::V5)).await;
    let topic = |i: usize| format!("site/{}/telemetry", i % 15);
    let sent: Vec<_> = (0..60).map(|i| message(&topic(i), i, Qos::AtLeastOnce)).collect();
    assert_eq!(delivered(&mut session, &sent).await, vec![None; 60]);
    for i in 0..60 {
        let heard = listener.next().await;
        assert_eq!((heard.topic, heard.payload), (topic(i), i.to_string()));
    }
}

#[tokio::test]
async fn a_keep_alive_of_the_brokers_is_kept() {
    for (server_keep_alive, pings) in [(1, 2), (0, 0)] {
        let rules = Rules { server_keep_alive: Some(server_keep_alive), ..Rules::default() };
        let (port, mut seen) = strict_broker(rules).await;
        let mut session = signed_in(settings(port, Protocol::V5)).await;
        let mut pinged = async || {
            let mut count = 0;
            while count < pings {
                tokio::select! {
                    notice = session.notice() => panic!("{notice:?}"),
                    event = seen.recv() => count += usize::from(event == Some(Seen::Ping)),
                }
            }
        };
        within("pings", pinged()).await;
        // The session stands.
        delivered(&mut session, &[message("site/a", 1, Qos::AtLeastOnce)]).await;
    }
}

#[tokio::test]
async fn too_large_a_message_is_refused_here_and_harms_nothing() {
    let broker = Broker::with(&Setup { lines: &["max_packet_size 2000"], ..Setup::default() });
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
    let complaints = delivered(&mut session, &sent).await;
    assert_eq!((&complaints[0], &complaints[3]), (&None, &None));
    assert_eq!(complaints[1].as_deref(), Some("its packet may have 2001 bytes, and the broker takes 2000"));
    assert!(complaints[2].is_some());
}

#[tokio::test]
async fn what_the_broker_does_not_take_is_lowered() {
    for (lines, max_qos, retain) in [
        (&["max_qos 0"][..], Qos::AtMostOnce, true),
        (&["max_qos 1"][..], Qos::AtLeastOnce, true),
        (&["retain_available false"][..], Qos::ExactlyOnce, false),
        (&["max_qos 0", "retain_available false"][..], Qos::AtMostOnce, false),
    ] {
        let broker = Broker::with(&Setup { lines, ..Setup::default() });
        let mut listener = v5::Listener::start(broker.port).await;
        let will = Message { retain: true, ..message("site/status", "offline", Qos::ExactlyOnce) };
        let mut room = Room::new(Settings { will: Some(will), ..settings(broker.port, Protocol::V5) });
        let mut session = within("a session", room.sign_in(Login::default())).await.unwrap();
        let welcome = session.welcome(Timestamp::default());
        assert_eq!((welcome.max_qos, welcome.retain, welcome.session_present), (max_qos, retain, false), "{lines:?}");
        let sent = Message { retain: true, ..message("site/a", 1, Qos::ExactlyOnce) };
        assert_eq!(delivered(&mut session, &[sent]).await, [None]);
        drop(session);
        for topic in ["site/a", "site/status"] {
            let heard = listener.next().await;
            assert_eq!((heard.topic.as_str(), heard.qos), (topic, max_qos.level()), "{lines:?}");
        }
    }
}
