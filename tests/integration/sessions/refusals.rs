//! Every reason code with which a broker refuses a message or ends a session, and what it means for the message.

use bessai_domain::message::Qos;
use bessai_domain::ports::{Notice, Session};
use bessai_domain::refusal::{CloseCause, Objection, RefusalKind};
use bessai_domain::session::Protocol;
use bessai_simulator::scripted::{self, ObjectionReply, Script, ScriptedBroker};

use super::{message, settings, signed_in};
use crate::support::within;

/// What a session reports about a message that the broker answers like this.
async fn answer(protocol: Protocol, reply: ObjectionReply, qos: Qos) -> Notice {
    let objection = Some(scripted::Objection { topic_end: "site/a".into(), reply, times: None });
    let broker = ScriptedBroker::start(Script { objection, ..Script::default() }).await.unwrap();
    let mut session = signed_in(settings(broker.address().port(), protocol)).await;
    session.publish(&message("site/a", 1, qos)).unwrap();
    within("an answer", session.notice()).await
}

/// Reason codes of PUBACK and PUBREC (5.0 §3.4.2.1, §3.5.2.1).
const ACKNOWLEDGEMENTS: [(u8, Option<RefusalKind>, &str); 9] = [
    (0x00, None, ""),
    (0x10, None, ""),
    (0x80, Some(RefusalKind::Temporary), "0x80 unspecified error"),
    (0x83, Some(RefusalKind::Temporary), "0x83 implementation specific error"),
    (0x87, Some(RefusalKind::Final(Objection::Topic)), "0x87 not authorized; allow this client to publish"),
    (0x90, Some(RefusalKind::Final(Objection::Topic)), "0x90 topic name invalid"),
    (0x91, Some(RefusalKind::Temporary), "0x91 packet identifier in use"),
    (0x97, Some(RefusalKind::Temporary), "0x97 quota exceeded"),
    (0x99, Some(RefusalKind::Final(Objection::Content)), "0x99 payload format invalid"),
];

#[tokio::test]
async fn every_code_of_an_acknowledgement_is_temporary_or_final() {
    for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for (code, kind, reason) in
            ACKNOWLEDGEMENTS.into_iter().filter(|(code, ..)| qos == Qos::AtLeastOnce || *code >= 0x80)
        {
            let notice = answer(Protocol::V5, ObjectionReply::Reason(code), qos).await;
            let Notice::Acknowledged { number: 0, refusal } = notice else { panic!("{code:#04x}: {notice:?}") };
            assert_eq!(refusal.as_ref().map(|refusal| refusal.kind), kind, "{code:#04x}");
            assert!(refusal.is_none_or(|refusal| refusal.reason.starts_with(reason)), "{code:#04x}");
        }
    }
}

/// Reason codes of DISCONNECT that a server sends (5.0 §3.14.2.1), and what the reason has to say.
const DISCONNECTS: [(u8, CloseCause, &str); 27] = [
    (0x00, CloseCause::Other, "0x00 normal disconnection"),
    (0x80, CloseCause::Message(Objection::Unknown), "0x80 unspecified error"),
    (0x81, CloseCause::Message(Objection::Unknown), "0x81 malformed packet"),
    (0x82, CloseCause::Message(Objection::Unknown), "0x82 protocol error"),
    (0x83, CloseCause::Message(Objection::Unknown), "0x83 implementation specific error"),
    (0x87, CloseCause::Message(Objection::Topic), "check what the broker's policy allows this client"),
    (0x89, CloseCause::Other, "0x89 server busy"),
    (0x8b, CloseCause::Other, "0x8b server shutting down"),
    (0x8d, CloseCause::Other, "0x8d keep alive timeout"),
    (0x8e, CloseCause::Other, "another client signed in as"),
    (0x8f, CloseCause::Other, "0x8f topic filter invalid"),
    (0x90, CloseCause::Message(Objection::Topic), "0x90 topic name invalid"),
    (0x93, CloseCause::Overload, "set a lower in_flight"),
    (0x94, CloseCause::Message(Objection::Unknown), "0x94 topic alias invalid"),
    (0x95, CloseCause::Message(Objection::Size), "set a lower max_packet"),
    (0x96, CloseCause::Overload, "set a rate in [limits]"),
    (0x97, CloseCause::Overload, "raise the broker's quota"),
    (0x98, CloseCause::Other, "the broker's operator ended it"),
    (0x99, CloseCause::Message(Objection::Content), "0x99 payload format invalid"),
    (0x9a, CloseCause::Message(Objection::Retain), "set retain = false"),
    (0x9b, CloseCause::Message(Objection::Qos), "set a lower qos in [limits]"),
    (0x9c, CloseCause::Other, "ask the broker's operator for its new address"),
    (0x9d, CloseCause::Other, "ask the broker's operator for its new address"),
    (0x9e, CloseCause::Other, "0x9e shared subscriptions not supported"),
    (0x9f, CloseCause::Other, "the broker limits how often clients sign in"),
    (0xa0, CloseCause::Other, "0xa0 maximum connect time"),
    (0xa2, CloseCause::Other, "0xa2 wildcard subscriptions not supported"),
];

#[tokio::test]
async fn every_code_of_a_disconnect_says_whether_a_message_may_be_its_cause() {
    for (code, cause, reason) in DISCONNECTS {
        let notice = answer(Protocol::V5, ObjectionReply::Disconnect(code), Qos::AtLeastOnce).await;
        let Notice::Closed(closing) = notice else { panic!("{code:#04x}: {notice:?}") };
        assert_eq!(closing.cause, cause, "{code:#04x}");
        assert!(closing.reason.contains(reason), "{code:#04x}: {}", closing.reason);
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
