//! Every reason code with which a broker refuses a message or ends a session, and what it means for the message.

use bessai_domain::message::Qos;
use bessai_domain::ports::{Notice, Session};
use bessai_domain::refusal::reason_codes::{ACKNOWLEDGEMENT, DISCONNECT, Effect, find};
use bessai_domain::refusal::{CloseCause, Objection};
use bessai_domain::session::{Protocol, ProtocolChoice};
use bessai_mqtt::BrokerSettings;
use bessai_simulator::scripted::{self, ConnectReply, ObjectionReply, OnV5, Script, ScriptedBroker};

use super::{message, settings, sign_in_error, signed_in};
use crate::support::within;

/// What a session reports about a message that the broker answers like this.
async fn answer(protocol: Protocol, reply: ObjectionReply, qos: Qos) -> Notice {
    let objection = Some(scripted::Objection { topic_end: "site/a".into(), reply, times: None });
    let broker = ScriptedBroker::start(Script { objection, ..Script::default() }).await.unwrap();
    let mut session = signed_in(settings(broker.address().port(), protocol)).await;
    session.publish(&message("site/a", 1, qos)).unwrap();
    within("an answer", session.notice()).await
}

#[tokio::test]
async fn every_code_of_an_acknowledgement_is_temporary_or_final() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for entry in ACKNOWLEDGEMENT.iter().filter(|entry| qos == Qos::AtLeastOnce || entry.code >= 0x80) {
            let notice = answer(Protocol::V5, ObjectionReply::Reason(entry.code), qos).await;
            let Notice::Acknowledged { number: 0, refusal } = notice else { panic!("{entry:?}: {notice:?}") };
            assert_eq!(refusal, entry.refusal(), "{entry:?}");
            assert_eq!(refusal.is_some(), entry.code >= 0x80, "{entry:?}");
        }
    }
    let kind = |code| find(&ACKNOWLEDGEMENT, code).unwrap().effect;
    for code in [0x80, 0x83, 0x91, 0x97] {
        assert_eq!(kind(code), Effect::Retry, "{code:#04x}");
    }
    assert_eq!((kind(0x87), kind(0x90)), (Effect::Suspect(Objection::Topic), Effect::Suspect(Objection::Topic)));
    assert_eq!(kind(0x99), Effect::Suspect(Objection::Content));
}

#[tokio::test]
async fn every_code_of_a_disconnect_says_whether_a_message_may_be_its_cause() {
    // Those that only a client sends are not among a server's (5.0 §3.14.2.1).
    for entry in DISCONNECT.iter().filter(|entry| ![0x04].contains(&entry.code)) {
        let notice = answer(Protocol::V5, ObjectionReply::Disconnect(entry.code), Qos::AtLeastOnce).await;
        let Notice::Closed(closing) = notice else { panic!("{entry:?}: {notice:?}") };
        assert_eq!(Effect::Ended(closing.cause), entry.effect, "{entry:?}");
        assert!(closing.reason.contains(&entry.label()), "{entry:?}: {}", closing.reason);
        let hint = if entry.code == 0x8e { Some("another client signed in as \"gateway\"") } else { entry.hint };
        assert!(closing.reason.contains(hint.unwrap_or_default()), "{entry:?}: {}", closing.reason);
    }
    let cause = |code| find(&DISCONNECT, code).unwrap().effect;
    for (code, objection) in [
        (0x80, Objection::Unknown),
        (0x81, Objection::Unknown),
        (0x82, Objection::Unknown),
        (0x83, Objection::Unknown),
        (0x87, Objection::Topic),
        (0x90, Objection::Topic),
        (0x94, Objection::Unknown),
        (0x95, Objection::Size),
        (0x99, Objection::Content),
        (0x9a, Objection::Retain),
        (0x9b, Objection::Qos),
    ] {
        assert_eq!(cause(code), Effect::Ended(CloseCause::Message(objection)), "{code:#04x}");
    }
    for code in [0x93, 0x96, 0x97] {
        assert_eq!(cause(code), Effect::Ended(CloseCause::Overload), "{code:#04x}");
    }
    for code in [0x00, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x98, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0, 0xa1, 0xa2] {
        assert_eq!(cause(code), Effect::Ended(CloseCause::Other), "{code:#04x}");
    }
}

#[tokio::test]
async fn a_closed_connection_may_be_because_of_a_message_in_both_protocols() {
    for protocol in [Protocol::V311, Protocol::V5] {
        let notice = answer(protocol, ObjectionReply::Close, Qos::AtLeastOnce).await;
        let Notice::Closed(closing) = notice else { panic!("{notice:?}") };
        assert_eq!(closing.cause, CloseCause::Message(Objection::Unknown));
        assert!(closing.reason.starts_with("connection closed by 127.0.0.1:"), "{}", closing.reason);
    }
}

#[tokio::test]
async fn a_broker_of_another_version_and_one_that_only_closes_get_a_sentence_each() {
    let error = async |script, choice| {
        let broker = ScriptedBroker::start(script).await.unwrap();
        sign_in_error(BrokerSettings { protocol: choice, ..settings(broker.address().port(), Protocol::V5) }).await
    };
    let old = Script { on_v5: OnV5::RefuseAsV311, ..Script::default() };
    let only_v5 = error(old, ProtocolChoice::Only(Protocol::V5)).await;
    assert!(only_v5.ends_with("does not speak this MQTT version; set protocol = \"auto\""), "{only_v5}");
    let neither = Script { on_v5: OnV5::Refuse, ..Script::with_connect_reply(ConnectReply::Refuse(1)) };
    let neither = error(neither, ProtocolChoice::Auto).await;
    assert!(
        neither.ends_with("refused MQTT 5 and 3.1.1 (unsupported protocol version); check the port in url"),
        "{neither}"
    );
    let closing = error(Script::with_connect_reply(ConnectReply::Close), ProtocolChoice::Only(Protocol::V311)).await;
    for expected in ["closed the connection before answering CONNECT", "write mqtts:// in url", "client id \"gateway\""]
    {
        assert!(closing.contains(expected), "{closing}");
    }
}
