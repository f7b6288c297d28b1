//! The differences between expected and actual messages, in words from which the fix is plain.

use bessai_domain::message::{Message, Properties};
use bessai_domain::record::strict_json;
use serde_json::{Number, Value};

use super::{ExpectedMessage, ExpectedPayload, line, number};

/// Differences of one message that are listed; the rest is counted.
const MESSAGE_LINES: usize = 10;
/// Differences of one case that are listed; the rest is counted.
const CASE_LINES: usize = 50;
/// Characters of a value that are shown.
const VALUE_CHARACTERS: usize = 120;
/// Bytes that are shown on either side of the first different one.
const CONTEXT_BYTES: usize = 24;

/// One line per difference. Equal messages at the beginning and at the end are matched first, so that one missing message
/// does not make all later ones differ.
pub(in crate::testing) fn differences(expected: &[ExpectedMessage], got: &[Message]) -> Vec<String> {
    let is_same = |(expected, got): &(&ExpectedMessage, &Message)| message_differences(expected, got).is_empty();
    let start = expected.iter().zip(got).take_while(is_same).count();
    let (expected, got) = (expected.get(start..).unwrap_or_default(), got.get(start..).unwrap_or_default());
    let end = expected.iter().rev().zip(got.iter().rev()).take_while(is_same).count();
    let (expected, got) = (without_last(expected, end), without_last(got, end));
    let mut all = Vec::new();
    for index in 0..expected.len().max(got.len()) {
        let number = start + index + 1;
        match (expected.get(index), got.get(index)) {
            (Some(expected), Some(got)) => {
                let differences = message_differences(expected, got).into_iter();
                all.extend(differences.map(|difference| format!("message {number} ({}): {difference}", got.topic)));
            }
            (Some(expected), None) => all.push(format!("message {number} ({}): is missing", expected.topic)),
            (None, Some(got)) => {
                all.push(format!("message {number}: unexpected: {}", shortened(&line(got).to_string())))
            }
            (None, None) => {}
        }
    }
    bounded(all, CASE_LINES)
}

fn without_last<T>(list: &[T], count: usize) -> &[T] {
    list.get(..list.len() - count).unwrap_or_default()
}

fn bounded(mut lines: Vec<String>, most: usize) -> Vec<String> {
    if lines.len() > most {
        let rest = lines.len() - most;
        lines.truncate(most);
        lines.push(format!("… and {rest} more"));
    }
    lines
}

fn message_differences(expected: &ExpectedMessage, got: &Message) -> Vec<String> {
    let mut found = MessageDifferences(Vec::new());
    found.compare("topic", &expected.topic, &got.topic);
    found.compare("qos", &number(expected.qos), &number(got.qos));
    found.compare("retain", &expected.retain, &got.retain);
    found.properties(&expected.properties, got.properties.as_ref().unwrap_or(&Properties::default()));
    found.payload(&expected.payload, &got.payload);
    bounded(found.0, MESSAGE_LINES)
}

/// How two JSON values differ, by path.
pub(in crate::testing) fn json_differences(expected: &Value, got: &Value) -> Vec<String> {
    let mut found = MessageDifferences(Vec::new());
    found.json("json", expected, got);
    bounded(found.0, MESSAGE_LINES)
}

/// The differences of one message.
struct MessageDifferences(Vec<String>);

impl MessageDifferences {
    fn add(&mut self, path: &str, expected: &str, got: &str) {
        self.0.push(format!("{path}: expected {}, got {}", shortened(expected), shortened(got)));
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, path: &str, expected: &T, got: &T) {
        if expected != got {
            self.add(path, &format!("{expected:?}"), &format!("{got:?}"));
        }
    }

    fn properties(&mut self, expected: &Properties, got: &Properties) {
        self.option("properties.content_type", expected.content_type.as_ref(), got.content_type.as_ref());
        self.option("properties.expiry_s", expected.expiry_s.as_ref(), got.expiry_s.as_ref());
        self.option("properties.response_topic", expected.response_topic.as_ref(), got.response_topic.as_ref());
        let path = "properties.correlation_data";
        match (&expected.correlation_data, &got.correlation_data) {
            (Some(expected), Some(got)) => self.bytes(path, expected, got),
            (Some(expected), None) => self.add(path, &excerpt(expected, 0), "none"),
            (None, Some(got)) => self.add(path, "none", &excerpt(got, 0)),
            (None, None) => {}
        }
        self.compare("properties.payload_utf8", &expected.payload_utf8, &got.payload_utf8);
        self.compare("properties.user", &expected.user, &got.user);
    }

    fn option<T: PartialEq + std::fmt::Debug>(&mut self, path: &str, expected: Option<&T>, got: Option<&T>) {
        let text = |value: Option<&T>| value.map_or_else(|| "none".into(), |value| format!("{value:?}"));
        if expected != got {
            self.add(path, &text(expected), &text(got));
        }
    }

    fn payload(&mut self, expected: &ExpectedPayload, got: &[u8]) {
        match expected {
            ExpectedPayload::Json(expected) => match strict_json::parse(got) {
                Ok(got) => self.json("json", expected, &got),
                Err(error) => {
                    let payload = excerpt(got, 0);
                    self.0.push(format!(
                        "json: expected {}, got {payload}, which is not valid JSON: {error}",
                        json_text(expected)
                    ));
                }
            },
            ExpectedPayload::Text(expected) => self.bytes("text", expected.as_bytes(), got),
            ExpectedPayload::Bytes(expected) => self.bytes("base64", expected, got),
        }
    }

    fn json(&mut self, path: &str, expected: &Value, got: &Value) {
        match (expected, got) {
            (Value::Object(expected), Value::Object(got)) => {
                for (key, expected) in expected {
                    let path = member(path, key);
                    match got.get(key) {
                        Some(got) => self.json(&path, expected, got),
                        None => self.0.push(format!("{path}: expected {}, is missing", json_text(expected))),
                    }
                }
                let surplus = got.iter().filter(|(key, _)| !expected.contains_key(*key));
                self.0.extend(
                    surplus.map(|(key, got)| format!("{}: is unexpected, {}", member(path, key), json_text(got))),
                );
            }
            (Value::Array(expected), Value::Array(got)) => {
                for (index, (expected, got)) in expected.iter().zip(got).enumerate() {
                    self.json(&format!("{path}[{index}]"), expected, got);
                }
                if expected.len() != got.len() {
                    self.0.push(format!("{path}: expected {} items, got {}", expected.len(), got.len()));
                }
            }
            (Value::Number(a), Value::Number(b)) if is_same_number(a, b) => {}
            (expected, got) if expected == got => {}
            (expected, got) => self.add(path, &expected.to_string(), &got.to_string()),
        }
    }

    fn bytes(&mut self, path: &str, expected: &[u8], got: &[u8]) {
        let same = expected.iter().zip(got).take_while(|(expected, got)| expected == got).count();
        if expected.len() != got.len() || same < expected.len() {
            let (expected, got) = (excerpt(expected, same), excerpt(got, same));
            self.0.push(format!("{path}: differs from byte {same} on: expected {expected}, got {got}"));
        }
    }
}

/// Compares by value: 1 is 1.0. Two integers are compared exactly, which floats cannot do for large ones.
fn is_same_number(a: &Number, b: &Number) -> bool {
    let whole = |number: &Number| number.as_i64().map(i128::from).or(number.as_u64().map(i128::from));
    match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a.as_f64() == b.as_f64(),
    }
}

/// `json.soc_pct`, or `json["a b"]` if the key is not a plain word.
fn member(path: &str, key: &str) -> String {
    let is_plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if is_plain { format!("{path}.{key}") } else { format!("{path}[{}]", Value::from(key)) }
}

fn json_text(value: &Value) -> String {
    shortened(&value.to_string())
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= VALUE_CHARACTERS {
        return text.into();
    }
    text.chars().take(VALUE_CHARACTERS).chain("…".chars()).collect()
}

/// The bytes around the one at `at`: as text, or in hexadecimal if they are not UTF-8.
fn excerpt(bytes: &[u8], at: usize) -> String {
    let start = at.saturating_sub(CONTEXT_BYTES);
    let end = at.saturating_add(CONTEXT_BYTES).min(bytes.len());
    let part = bytes.get(start..end).unwrap_or_default();
    let (before, after) = (if start > 0 { "…" } else { "" }, if end < bytes.len() { "…" } else { "" });
    if std::str::from_utf8(bytes).is_ok() {
        // Quotes are not escaped, so that JSON stays readable; control characters are escaped as in Rust.
        let text = String::from_utf8_lossy(part);
        let visible = text.chars().map(|c| if c.is_control() { c.escape_debug().to_string() } else { c.into() });
        return format!("`{before}{}{after}`", visible.collect::<String>());
    }
    let digits: Vec<_> = part.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{before}{}{after} (hexadecimal)", digits.join(" "))
}
