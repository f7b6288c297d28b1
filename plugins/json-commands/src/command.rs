//! A command's payload: `{"value": 20.0, "until_s": 60, "ref": "a1"}`.

use bessai_plugin::json::{self, Value as Json};
use bessai_plugin::{Timestamp, Value};

/// The longest `ref` in bytes.
const LONGEST_REF: usize = 200;
/// The longest `until_s`: a year. The host has a lower limit of its own.
const LONGEST_UNTIL_S: f64 = 31_536_000.0;
/// Nanoseconds.
const SECOND: f64 = 1e9;

/// What a command asks for.
#[derive(Debug, PartialEq)]
pub(crate) struct Command {
    /// None releases the set-point.
    pub(crate) value: Option<Value>,
    /// How long it is to hold, in nanoseconds.
    pub(crate) hold: Option<Timestamp>,
}

/// The reference in a payload that is JSON, even if the rest of it is wrong, and the command or what is wrong.
pub(crate) fn read(payload: &[u8]) -> (Option<String>, Result<Command, String>) {
    let parsed = std::str::from_utf8(payload).map_err(|_| "the payload is not UTF-8".to_owned());
    let members = match parsed.and_then(json::read) {
        Ok(Json::Table(members)) => members,
        Ok(_) => {
            return (None, Err("the payload is not a JSON object: write {\"value\": 20.0, \"ref\": \"a1\"}".into()));
        }
        Err(error) => return (None, Err(format!("the payload is not JSON: {error}"))),
    };
    let reference = members.iter().find_map(|(key, value)| match value {
        Json::Text(text) if key == "ref" && text.len() <= LONGEST_REF => Some(text.clone()),
        _ => None,
    });
    (reference, command(&members))
}

fn command(members: &[(String, Json)]) -> Result<Command, String> {
    let (mut value, mut hold) = (None, None);
    for (index, (key, member)) in members.iter().enumerate() {
        if members.iter().take(index).any(|(other, _)| other == key) {
            return Err(format!("{key} is there twice"));
        }
        match (key.as_str(), member) {
            ("value", Json::Null) => value = Some(None),
            ("value", Json::Number(number)) => value = Some(Some(Value::Number(*number))),
            // A customer who means a switch must not set a power of 1 kW.
            ("value", Json::Boolean(flag)) => {
                return Err(format!("value is {flag}: write a number in the channel's unit, or null to release it"));
            }
            ("value", Json::Text(text)) => value = Some(Some(Value::Text(text.clone()))),
            ("value", _) => return Err("value is neither a number nor a text or null".into()),
            ("until_s", Json::Number(seconds)) => hold = Some(nanoseconds(*seconds)?),
            ("until_s", _) => return Err("until_s is not a number of seconds".into()),
            ("ref", Json::Text(text)) if text.len() <= LONGEST_REF => {}
            ("ref", Json::Text(_)) => return Err(format!("ref is longer than {LONGEST_REF} bytes")),
            ("ref", _) => return Err("ref is not a text: put it in quotes".into()),
            _ => return Err(format!("{key} is unknown: write value, until_s or ref")),
        }
    }
    let value = value.ok_or("value is missing: write the set-point, or null to release it")?;
    Ok(Command { value, hold })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be in range")]
fn nanoseconds(seconds: f64) -> Result<Timestamp, String> {
    if seconds > 0.0 && seconds <= LONGEST_UNTIL_S {
        Ok((seconds * SECOND) as u64)
    } else {
        Err(format!("until_s = {seconds}: write seconds from now, more than 0 and at most {LONGEST_UNTIL_S}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read() {
        let check = |payload: &str, reference: Option<&str>, value, hold| {
            assert_eq!(read(payload.as_bytes()), (reference.map(str::to_owned), Ok(Command { value, hold })));
        };
        let number = |value| Some(Value::Number(value));
        check(r#"{"value": 20.0, "until_s": 60, "ref": "a1"}"#, Some("a1"), number(20.0), Some(60_000_000_000));
        check(r#"{"value":1}"#, None, number(1.0), None);
        check(r#"{"value":"idle","ref":""}"#, Some(""), Some(Value::Text("idle".into())), None);
        check(r#"{"value":null}"#, None, None, None);
    }

    #[test]
    fn mistakes_are_named() {
        let check = |payload: &[u8], expected: &str| {
            let error = read(payload).1.unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(b"", "the payload is not JSON: invalid JSON at byte 0: expected a value");
        check(b"{\"value\":20", "the payload is not JSON: invalid JSON at byte 11: expected a comma or }");
        check(b"\xff", "the payload is not UTF-8");
        check(b"20", "the payload is not a JSON object");
        check(b"{}", "value is missing: write the set-point, or null to release it");
        check(br#"{"value":true}"#, "value is true: write a number in the channel's unit, or null to release it");
        check(br#"{"value":[1]}"#, "value is neither a number nor a text");
        check(br#"{"value":1,"value":2}"#, "value is there twice");
        check(br#"{"value":1,"until":5}"#, "until is unknown: write value, until_s or ref");
        check(br#"{"value":1,"until_s":"5"}"#, "until_s is not a number of seconds");
        for until in ["0", "-1", "1e12"] {
            check(format!(r#"{{"value":1,"until_s":{until}}}"#).as_bytes(), "write seconds from now");
        }
        check(br#"{"value":1,"ref":1}"#, "ref is not a text: put it in quotes");
        check(format!(r#"{{"value":1,"ref":"{}"}}"#, "a".repeat(201)).as_bytes(), "ref is longer than 200 bytes");
        assert_eq!(read(br#"{"valu":1,"ref":"a1"}"#).0, Some("a1".into()));
    }
}
