//! The expected result of a test case: messages, one JSON object per line, or an error.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::record::json_reader::{JsonField, JsonObject, lines};
use bessai_domain::record::json_writer::{object, pairs, text};
use bessai_domain::record::strict_json;
use bessai_domain::settings::{Mistake, Mistakes};
use serde_json::Value;

mod difference;
#[cfg(test)]
mod tests;

pub(super) use self::difference::{differences, json_differences};

/// The expected result of a test case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expectation {
    /// These messages, in order.
    Messages(Vec<ExpectedMessage>),
    /// A failure that contains this text.
    Error(String),
    /// No expectation is written yet.
    Missing,
}

/// One expected message.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExpectedMessage {
    /// Its topic.
    pub(crate) topic: String,
    /// Its payload.
    pub(crate) payload: ExpectedPayload,
    /// Its quality of service.
    pub(crate) qos: Qos,
    /// Whether the broker retains it.
    pub(crate) retain: bool,
    /// MQTT 5 properties; no properties are the same as empty ones.
    pub(crate) properties: Properties,
}

/// An expected payload.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ExpectedPayload {
    /// JSON, compared by value.
    Json(Value),
    /// Text, compared byte by byte.
    Text(String),
    /// Any bytes.
    Bytes(Vec<u8>),
}

/// The keys of a payload, one for each form.
const PAYLOAD_KEYS: [&str; 3] = ["json", "text", "base64"];
/// The levels that a message may have.
const QOS_LEVELS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// Reads one message per line, or returns every mistake with its line and key.
pub(super) fn read(text: &str) -> Result<Vec<ExpectedMessage>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let messages: Vec<_> = lines(text).filter_map(|(line, text)| read_line(line, text, &mistakes)).collect();
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(messages) } else { Err(mistakes) }
}

fn read_line(line: usize, text: &str, mistakes: &Mistakes) -> Option<ExpectedMessage> {
    let map = JsonObject::parse(line, text, mistakes)?;
    let object = JsonObject::new(format!("line {line}:"), &map, mistakes);
    let topic = object.required("topic", JsonField::text);
    let message = ExpectedMessage {
        topic,
        qos: object.optional("qos", qos).unwrap_or(Qos::AtLeastOnce),
        retain: object.optional("retain", JsonField::boolean).unwrap_or_default(),
        properties: object.optional("properties", properties).unwrap_or_default(),
        payload: payload(line, &object).unwrap_or(ExpectedPayload::Json(Value::Null)),
    };
    object.report_unknown_keys();
    Some(message)
}

/// The payload. It is read after the other keys: a misspelt key may be the payload and is then reported as misspelt
/// instead of as missing.
fn payload(line: usize, object: &JsonObject<'_>) -> Option<ExpectedPayload> {
    // The JSON null is a payload, too.
    let json = object.nullable("json").map(|field| ExpectedPayload::Json(field.value().clone()));
    let text = object.field("text").map(|field| ExpectedPayload::Text(field.text().unwrap_or_default()));
    let bytes = object.field("base64").map(|field| ExpectedPayload::Bytes(base64(&field).unwrap_or_default()));
    let mut payloads = [json, text, bytes].into_iter().flatten();
    match (payloads.next(), payloads.next()) {
        (Some(payload), None) => return Some(payload),
        (None, _) if object.has_misspelt_key(&PAYLOAD_KEYS) => {}
        (None, _) => {
            let hint = format!("has no payload; write one of {}", PAYLOAD_KEYS.join(", "));
            object.mistakes().add(Mistake::without_value(format!("line {line}"), hint));
        }
        (Some(_), Some(_)) => {
            let hint = format!("has two payloads; write one of {}", PAYLOAD_KEYS.join(", "));
            object.mistakes().add(Mistake::without_value(format!("line {line}"), hint));
        }
    }
    None
}

fn base64(field: &JsonField<'_>) -> Option<Vec<u8>> {
    let bytes = field.value().as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
    if bytes.is_none() {
        field.add_mistake("write base64 in quotes");
    }
    bytes
}

pub(super) fn qos(field: &JsonField<'_>) -> Option<Qos> {
    let level = field.value().as_u64();
    let found = QOS_LEVELS.into_iter().find(|qos| Some(u64::from(number(*qos))) == level);
    if found.is_none() {
        field.add_mistake("write 0, 1 or 2");
    }
    found
}

fn number(qos: Qos) -> u8 {
    match qos {
        Qos::AtMostOnce => 0,
        Qos::AtLeastOnce => 1,
        Qos::ExactlyOnce => 2,
    }
}

pub(super) fn properties(field: &JsonField<'_>) -> Option<Properties> {
    let object = field.object()?;
    let properties = Properties {
        content_type: object.optional("content_type", JsonField::text),
        expiry_s: object.optional("expiry_s", JsonField::unsigned),
        response_topic: object.optional("response_topic", JsonField::text),
        correlation_data: object.optional("correlation_data", correlation_data),
        payload_utf8: object.optional("payload_utf8", JsonField::boolean).unwrap_or_default(),
        user: object.optional("user", JsonField::pairs).unwrap_or_default(),
    };
    object.report_unknown_keys();
    Some(properties)
}

/// Text, or `{"base64":"…"}`.
fn correlation_data(field: &JsonField<'_>) -> Option<Vec<u8>> {
    if !field.value().is_object() {
        return field.text().map(String::into_bytes);
    }
    let object = field.object()?;
    let bytes = object.required("base64", base64);
    object.report_unknown_keys();
    Some(bytes)
}

/// Writes messages as [`read`] reads them: JSON as `json`, other UTF-8 as `text`, anything else as `base64`.
pub(super) fn write(messages: &[Message]) -> String {
    messages.iter().map(|message| line(message).to_string() + "\n").collect()
}

pub(super) fn line(message: &Message) -> Value {
    let (key, payload) = match std::str::from_utf8(&message.payload) {
        Err(_) => ("base64", STANDARD.encode(&message.payload).into()),
        Ok(payload) => {
            strict_json::parse(payload.as_bytes()).map_or_else(|_| ("text", payload.into()), |json| ("json", json))
        }
    };
    let properties = message.properties.as_ref().filter(|properties| **properties != Properties::default());
    object([
        ("topic", text(&message.topic)),
        (key, Some(payload)),
        ("qos", (message.qos != Qos::AtLeastOnce).then(|| number(message.qos).into())),
        ("retain", message.retain.then_some(true.into())),
        ("properties", properties.map(properties_value)),
    ])
}

fn properties_value(properties: &Properties) -> Value {
    let correlation_data = |bytes: &Vec<u8>| match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => object([("base64", Some(STANDARD.encode(bytes).into()))]),
    };
    object([
        ("content_type", properties.content_type.as_deref().map(Value::from)),
        ("expiry_s", properties.expiry_s.map(Value::from)),
        ("response_topic", properties.response_topic.as_deref().map(Value::from)),
        ("correlation_data", properties.correlation_data.as_ref().map(correlation_data)),
        ("payload_utf8", properties.payload_utf8.then_some(true.into())),
        ("user", (!properties.user.is_empty()).then(|| pairs(&properties.user))),
    ])
}
