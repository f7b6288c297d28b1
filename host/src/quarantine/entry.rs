//! The files of the quarantine: each has the reason and everything that a replay needs.
//!
//! `<sequence>.jsonl` has two lines: the site's description, and the event with the reason as its note and, as `plugin`, the
//! plugin's version and its state before the event. `bessai-edge plugin replay` and `plugin test` read it unchanged. A message that its broker does not accept is stored whole in
//! `<sequence>-<n>.json`, with the reason.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::record;
use bessai_domain::state::PluginState;
use bessai_feed::{QuarantineContent, QuarantinedEvent, QuarantinedMessage, RequeuedContent};
use serde_json::{Value, json};

/// Extension of an event's file.
pub(super) const EVENT_EXTENSION: &str = "jsonl";
/// Extension of a message's file.
pub(super) const MESSAGE_EXTENSION: &str = "json";

/// The key of the plugin before an event.
const PLUGIN: &str = "plugin";
/// What the note of a quarantined event begins with.
const QUARANTINED: &str = "quarantined: ";
/// A state that is larger is not kept with an event: a thousand entries would fill a small disk.
const MAX_STATE_BYTES: usize = 64 << 10;
/// The qualities of service by level.
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

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
    let QuarantinedEvent { site, event, reason, version, state } = quarantined;
    let mut lines = String::new();
    if let Some(site) = site {
        let before = Sequence(event.sequence.0.saturating_sub(1));
        let description = Event { sequence: before, at: event.at, body: EventBody::Site(Arc::clone(site)) };
        lines = record::write_event(&description, Some("the description in force")) + "\n";
    }
    let line = record::write_event(event, Some(&format!("{QUARANTINED}{reason}")));
    let plugin = json!({ "version": version, "state": state_value(state) });
    lines += line.strip_suffix('}').unwrap_or(&line);
    lines += &format!(",\"{PLUGIN}\":{plugin}}}\n");
    lines
}

/// A plugin's state: each value as text or as base64. None if it is too large to be kept with an event.
fn state_value(state: &PluginState) -> Option<Value> {
    let value = |(key, value): (&str, &[u8])| (key.to_owned(), bytes_value(value));
    (state.bytes() <= MAX_STATE_BYTES).then(|| Value::Object(state.iter().map(value).collect()))
}

fn bytes_value(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match value.get("text") {
        Some(text) => Some(text.as_str()?.into()),
        None => STANDARD.decode(value.get("base64")?.as_str()?).ok(),
    }
}

/// Reads an entry's file, as [`file`] wrote it or as a person has edited it. The error names what is wrong.
pub(super) fn read(name: &str, content: &[u8]) -> Result<RequeuedContent, String> {
    let text = std::str::from_utf8(content).map_err(|_| "it is not UTF-8".to_owned())?;
    match name.rsplit_once('.') {
        Some((_, EVENT_EXTENSION)) => read_event(text),
        Some((stem, MESSAGE_EXTENSION)) => read_message(stem, text),
        _ => Err(format!(
            "write an event in <sequence>.{EVENT_EXTENSION} or a message in <sequence>-<n>.{MESSAGE_EXTENSION}"
        )),
    }
}

fn read_event(text: &str) -> Result<RequeuedContent, String> {
    let events = record::read_events(text)
        .map_err(|mistakes| mistakes.first().map_or_else(|| "it cannot be read".to_owned(), ToString::to_string))?;
    let site = events.iter().rev().skip(1).find_map(|event| match &event.body {
        EventBody::Site(site) => Some(Arc::clone(site)),
        _ => None,
    });
    let event = events.into_iter().next_back().ok_or("it has no event")?;
    Ok(RequeuedContent::Event { site, event: Arc::new(event), state: state_before(text) })
}

/// Why an entry was quarantined, as its file says.
pub(super) fn reason(text: &str, is_message: bool) -> Option<String> {
    let (value, key) = if is_message { (text, "set_aside") } else { (text.lines().next_back()?, "note") };
    let value: Value = serde_json::from_str(value).ok()?;
    let reason = value.get(key)?.as_str()?;
    Some(reason.strip_prefix(QUARANTINED).unwrap_or(reason).to_owned())
}

/// The plugin's state before the event on the last line; none if it was not kept.
pub(crate) fn state_before(text: &str) -> Option<PluginState> {
    let line = text.lines().rfind(|line| !line.trim().is_empty())?;
    let line: Value = serde_json::from_str(line).ok()?;
    let mut state = PluginState::default();
    for (key, value) in line.get(PLUGIN)?.get("state")?.as_object()? {
        state.set(key.clone(), bytes_of(value)?).ok()?;
    }
    Some(state)
}

fn read_message(stem: &str, text: &str) -> Result<RequeuedContent, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let missing = |key: &str| format!("`{key}` is missing or wrong");
    let (through, index) = stem.split_once('-').unwrap_or((stem, "0"));
    let number = |text: &str| text.parse().map_err(|_| format!("its name is not <sequence>-<n>.{MESSAGE_EXTENSION}"));
    let (through, index) = (Sequence(number(through)?), usize::try_from(number(index)?).unwrap_or(usize::MAX));
    let topic = value.get("topic").and_then(Value::as_str).ok_or_else(|| missing("topic"))?.to_owned();
    let qos = value.get("qos").and_then(Value::as_u64).and_then(|level| QOS.get(usize::try_from(level).ok()?).copied());
    let qos = qos.ok_or_else(|| missing("qos"))?;
    let retain = value.get("retain").and_then(Value::as_bool).unwrap_or(false);
    let payload = bytes_of(&value).ok_or_else(|| missing("text"))?;
    let properties = value.get("properties").filter(|value| !value.is_null());
    let properties = properties.map(|value| read_properties(value).ok_or_else(|| missing("properties"))).transpose()?;
    let message = Message { topic, payload, qos, retain, properties };
    Ok(RequeuedContent::Message { through, index, message })
}

fn read_properties(value: &Value) -> Option<Properties> {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let data = value.get("correlation_data").filter(|data| !data.is_null());
    let user = value.get("user").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let pair = |pair: &Value| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned()));
    Some(Properties {
        content_type: text("content_type"),
        expiry_s: value.get("expiry_s").and_then(Value::as_u64).and_then(|seconds| seconds.try_into().ok()),
        response_topic: text("response_topic"),
        correlation_data: data.map(bytes_of).unwrap_or_default(),
        payload_utf8: value.get("payload_utf8").and_then(Value::as_bool).unwrap_or_default(),
        user: user.iter().map(pair).collect::<Option<_>>()?,
    })
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
    use bessai_domain::site::Site;
    use bessai_domain::time::Timestamp;

    use super::*;

    #[test]
    fn an_event_is_stored_with_its_description_and_reason() {
        let at = Timestamp::from_nanos(1_740_151_200_000_000_000);
        let event = Arc::new(Event { sequence: Sequence(7), at, body: EventBody::Heartbeat });
        let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
        let reason = "trapped: unreachable".to_owned();
        let mut state = PluginState::default();
        state.set("count".into(), b"7".to_vec()).unwrap();
        state.set("binary".into(), vec![0xff, 0]).unwrap();
        let (site, version) = (Some(Arc::new(site)), "0f3a".to_owned());
        let mut entry = QuarantinedEvent { site, event: Arc::clone(&event), reason, version, state: state.clone() };
        let (name, content) = file(&QuarantineContent::Event(entry.clone()));
        let RequeuedContent::Event { site, event: read, state: before } = self::read(&name, &content).unwrap() else {
            panic!("not an event");
        };
        assert_eq!((site.unwrap().id.as_str(), &read, before), ("S", &event, Some(state)));
        let text = String::from_utf8(content).unwrap();
        assert!(
            text.contains(r#""plugin":{"version":"0f3a","state":{"binary":{"base64":"/wA="},"count":{"text":"7"}}}"#),
            "{text}"
        );
        entry.state.set("large".into(), vec![0; MAX_STATE_BYTES]).unwrap();
        let (_, content) = file(&QuarantineContent::Event(entry));
        assert_eq!(state_before(&String::from_utf8(content).unwrap()), None);
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
            let whole = message.clone();
            let reason = "it has 5 bytes, and the broker takes 4".into();
            let message = QuarantinedMessage { through: Sequence(7), index, message, size: 5, limit: Some(4), reason };
            let (name, content) = file(&QuarantineContent::Message(message));
            let RequeuedContent::Message { through, index: read, message } = self::read(&name, &content).unwrap()
            else {
                panic!("not a message");
            };
            assert_eq!((through, read, message), (Sequence(7), index, whole));
            (name, serde_json::from_slice::<Value>(&content).unwrap())
        };
        let (name, kept) = stored(2, b"hello");
        assert_eq!(name, "00000000000000000007-2.json");
        assert_eq!((&kept["topic"], &kept["text"], &kept["qos"]), (&json!("a/b"), &json!("hello"), &json!(1)));
        let reason = "it has 5 bytes, and the broker takes 4";
        assert_eq!((&kept["set_aside"], &kept["limit"], &kept["through"]), (&json!(reason), &json!(4), &json!(7)));
        assert_eq!(kept["properties"]["user"], json!([["unit", "kW"]]));
        for (name, text, expected) in [
            ("1.jsonl", "{}", "line 1"),
            ("1.jsonl", "", "no event"),
            ("1-2.json", "{\"topic\":\"a\",\"qos\":3,\"text\":\"\"}", "`qos`"),
            ("1-x.json", "{}", "its name"),
            ("notes.txt", "", "write an event"),
        ] {
            let error = read(name, text.as_bytes()).err().unwrap();
            assert!(error.contains(expected), "{name}: {error}");
        }
        let (_, binary) = stored(3, &[0xff, 0]);
        assert_eq!((&binary["base64"], binary.get("text")), (&json!("/wA="), None));
    }
}
