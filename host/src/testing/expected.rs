//! The messages that a case expects: one a line, as people write them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::message::{Message, Properties, Qos};
use bessai_domain::record::json;
use bessai_domain::record::object::{Field, Object, lines};
use bessai_domain::record::value::{object, pairs, text};
use bessai_domain::settings::{Mistake, Mistakes};
use serde_json::Value;

mod difference;
#[cfg(test)]
mod tests;

pub(super) use self::difference::differences;

/// What is to come of a case.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    /// These messages, in order.
    Messages(Vec<ExpectedMessage>),
    /// A failure that contains this text.
    Error(String),
    /// Nobody has said yet.
    Unwritten,
}

/// One message that is to come.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpectedMessage {
    /// Its topic.
    pub topic: String,
    /// What its payload is held against.
    pub payload: Payload,
    /// How surely it is to arrive.
    pub qos: Qos,
    /// The broker keeps it for later subscribers.
    pub retain: bool,
    /// MQTT 5 only; left out is the same as empty.
    pub properties: Properties,
}

/// What a payload is held against.
#[derive(Clone, Debug, PartialEq)]
pub enum Payload {
    /// JSON of the same value.
    Json(Value),
    /// This text, byte by byte.
    Text(String),
    /// These bytes.
    Bytes(Vec<u8>),
}

/// The keys that a payload may stand under.
const PAYLOADS: [&str; 3] = ["json", "text", "base64"];
const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];

/// One message a line, or every mistake with its line and key.
pub(super) fn read(text: &str) -> Result<Vec<ExpectedMessage>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let messages: Vec<_> = lines(text).filter_map(|(line, text)| read_line(line, text, &mistakes)).collect();
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(messages) } else { Err(mistakes) }
}

fn read_line(line: usize, text: &str, mistakes: &Mistakes) -> Option<ExpectedMessage> {
    let map = Object::parse(line, text, mistakes)?;
    let object = Object::new(format!("line {line}:"), &map, mistakes);
    let topic = object.required("topic", Field::text);
    let message = ExpectedMessage {
        topic,
        qos: object.optional("qos", qos).unwrap_or(Qos::AtLeastOnce),
        retain: object.optional("retain", Field::boolean).unwrap_or_default(),
        properties: object.optional("properties", properties).unwrap_or_default(),
        payload: payload(line, &object).unwrap_or(Payload::Json(Value::Null)),
    };
    object.finish();
    Some(message)
}

/// The last of the keys to be asked for: a misspelt one may be it, and is told as such.
fn payload(line: usize, object: &Object<'_>) -> Option<Payload> {
    // A payload may well be the JSON null.
    let json = object.nullable("json").map(|field| Payload::Json(field.value().clone()));
    let text = object.field("text").map(|field| Payload::Text(field.text().unwrap_or_default()));
    let bytes = object.field("base64").map(|field| Payload::Bytes(base64(&field).unwrap_or_default()));
    let mut given = [json, text, bytes].into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(payload), None) => return Some(payload),
        (None, _) if object.has_misspelt(&PAYLOADS) => {}
        (None, _) => {
            let mend = format!("has no payload; write one of {}", PAYLOADS.join(", "));
            object.mistakes().add(Mistake::bare(format!("line {line}"), mend));
        }
        (Some(_), Some(_)) => {
            let mend = format!("has two payloads; write one of {}", PAYLOADS.join(", "));
            object.mistakes().add(Mistake::bare(format!("line {line}"), mend));
        }
    }
    None
}

fn base64(field: &Field<'_>) -> Option<Vec<u8>> {
    let bytes = field.value().as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
    if bytes.is_none() {
        field.wrong("write base64 in quotes");
    }
    bytes
}

fn qos(field: &Field<'_>) -> Option<Qos> {
    let given = field.value().as_u64();
    let found = QOS.into_iter().find(|qos| Some(u64::from(number(*qos))) == given);
    if found.is_none() {
        field.wrong("write 0, 1 or 2");
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

fn properties(field: &Field<'_>) -> Option<Properties> {
    let object = field.object()?;
    let properties = Properties {
        content_type: object.optional("content_type", Field::text),
        expiry_s: object.optional("expiry_s", Field::whole),
        response_topic: object.optional("response_topic", Field::text),
        correlation_data: object.optional("correlation_data", correlation_data),
        payload_utf8: object.optional("payload_utf8", Field::boolean).unwrap_or_default(),
        user: object.optional("user", Field::pairs).unwrap_or_default(),
    };
    object.finish();
    Some(properties)
}

/// A text, or `{"base64":"…"}`.
fn correlation_data(field: &Field<'_>) -> Option<Vec<u8>> {
    if !field.value().is_object() {
        return field.text().map(String::into_bytes);
    }
    let object = field.object()?;
    let bytes = object.required("base64", base64);
    object.finish();
    Some(bytes)
}

/// Messages as [`read`] reads them: JSON as `json`, other UTF-8 as `text`, else `base64`.
pub(super) fn write(messages: &[Message]) -> String {
    messages.iter().map(|message| line(message).to_string() + "\n").collect()
}

fn line(message: &Message) -> Value {
    let (key, payload) = match std::str::from_utf8(&message.payload) {
        Err(_) => ("base64", STANDARD.encode(&message.payload).into()),
        Ok(payload) => json::parse(payload.as_bytes()).map_or_else(|_| ("text", payload.into()), |json| ("json", json)),
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
