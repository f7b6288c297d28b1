//! The files of the quarantine: each has the reason and everything that a replay needs.
//!
//! `<sequence>.jsonl` has two lines: the site's description, and the event with the reason as its note. `bessai-edge plugin
//! replay` and `plugin test` read it unchanged. A message that its broker does not accept is stored whole in
//! `<sequence>-<n>.json`, with the reason.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::message::Properties;
use bessai_domain::record;
use bessai_feed::{QuarantineContent, QuarantinedEvent, QuarantinedMessage};
use serde_json::{Value, json};

/// Extension of an event's file.
pub(super) const EVENT_EXTENSION: &str = "jsonl";
/// Extension of a message's file.
pub(super) const MESSAGE_EXTENSION: &str = "json";

/// Name and content of an entry's file. Names begin with the sequence, so that the oldest sort first.
pub(super) fn file(content: &QuarantineContent) -> (String, Vec<u8>) {
    match content {
        QuarantineContent::Event(event) => {
            (format!("{:020}.{EVENT_EXTENSION}", event.event.sequence.0), event_lines(event).into_bytes())
        }
        QuarantineContent::Message(message) => {
            let name = format!("{:020}-{}.{MESSAGE_EXTENSION}", message.through.0, message.index);
            (name, format!("{:#}\n", message_value(message)).into_bytes())
        }
    }
}

fn event_lines(quarantined: &QuarantinedEvent) -> String {
    let QuarantinedEvent { site, event, reason } = quarantined;
    let mut lines = String::new();
    if let Some(site) = site {
        let before = Sequence(event.sequence.0.saturating_sub(1));
        let description = Event { sequence: before, at: event.at, body: EventBody::Site(Arc::clone(site)) };
        lines = record::write_event(&description, Some("the description in force")) + "\n";
    }
    lines += &record::write_event(event, Some(&format!("quarantined: {reason}")));
    lines += "\n";
    lines
}

fn message_value(quarantined: &QuarantinedMessage) -> Value {
    let QuarantinedMessage { through, message, size, limit, reason, .. } = quarantined;
    let (kind, payload) = match std::str::from_utf8(&message.payload) {
        Ok(text) => ("text", text.to_owned()),
        Err(_) => ("base64", STANDARD.encode(&message.payload)),
    };
    json!({
        "set_aside": reason,
        "size": size,
        "limit": limit,
        "through": through.0,
        "topic": message.topic,
        "qos": message.qos.level(),
        "retain": message.retain,
        "properties": message.properties.as_ref().map(properties),
        kind: payload,
    })
}

fn properties(properties: &Properties) -> Value {
    let data = properties.correlation_data.as_ref();
    json!({
        "content_type": properties.content_type,
        "expiry_s": properties.expiry_s,
        "response_topic": properties.response_topic,
        "correlation_data": data.map(|data| json!({ "base64": STANDARD.encode(data) })),
        "payload_utf8": properties.payload_utf8,
        "user": properties.user,
    })
}

#[cfg(test)]
mod tests {
    use bessai_domain::message::{Message, Qos};
    use bessai_domain::site::Site;
    use bessai_domain::time::Timestamp;

    use super::*;

    #[test]
    fn an_event_is_stored_with_its_description_and_reason() {
        let at = Timestamp::from_nanos(1_740_151_200_000_000_000);
        let event = Arc::new(Event { sequence: Sequence(7), at, body: EventBody::Heartbeat });
        let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
        let reason = "trapped: unreachable".to_owned();
        let entry = QuarantinedEvent { site: Some(Arc::new(site)), event: Arc::clone(&event), reason };
        let (name, content) = file(&QuarantineContent::Event(entry));
        let text = String::from_utf8(content).unwrap();
        assert_eq!(name, "00000000000000000007.jsonl");
        assert!(text.contains("quarantined: trapped: unreachable"), "{text}");
        assert_eq!(record::read_events(&text).unwrap()[1], *event);
    }

    #[test]
    fn a_message_is_stored_whole_with_its_reason() {
        let user = vec![("unit".to_owned(), "kW".to_owned())];
        let stored = |index, payload: &[u8]| {
            let properties = Some(Properties { user: user.clone(), ..Properties::default() });
            let (topic, qos, payload) = ("a/b".into(), Qos::AtLeastOnce, payload.to_vec());
            let message = Message { topic, payload, qos, retain: true, properties };
            let reason = "it has 5 bytes, and the broker takes 4".into();
            let message = QuarantinedMessage { through: Sequence(7), index, message, size: 5, limit: Some(4), reason };
            let (name, content) = file(&QuarantineContent::Message(message));
            (name, serde_json::from_slice::<Value>(&content).unwrap())
        };
        let (name, kept) = stored(2, b"hello");
        assert_eq!(name, "00000000000000000007-2.json");
        assert_eq!((&kept["topic"], &kept["text"], &kept["qos"]), (&json!("a/b"), &json!("hello"), &json!(1)));
        let reason = "it has 5 bytes, and the broker takes 4";
        assert_eq!((&kept["set_aside"], &kept["limit"], &kept["through"]), (&json!(reason), &json!(4), &json!(7)));
        assert_eq!(kept["properties"]["user"], json!([["unit", "kW"]]));
        let (_, binary) = stored(3, &[0xff, 0]);
        assert_eq!((&binary["base64"], binary.get("text")), (&json!("/wA="), None));
    }
}
