//! What happens in a session beside events: `session.jsonl` of a case, one call or message per line, each with its time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bessai_domain::command::InboundMessage;
use bessai_domain::message::Qos;
use bessai_domain::record::json_reader::{JsonField, JsonObject, lines};
use bessai_domain::record::read_time;
use bessai_domain::session::{Endpoint, Protocol, SignInRequest, Welcome};
use bessai_domain::settings::{Mistake, Mistakes};
use bessai_domain::time::Timestamp;
use serde_json::Value;

use super::expected;

pub(super) mod outcome;

/// The keys that name the kind of a line.
const KINDS: [&str; 4] = ["connect", "connected", "receive", "closing"];
/// The broker of a `connect` that names none.
const HOST: &str = "broker.example.com";
/// Its port.
const PORT: u16 = 8883;
/// The largest packet of a `connected` that names none, in bytes.
const MAX_PACKET: u32 = 1 << 20;

/// One line of `session.jsonl`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SessionStep {
    /// It comes after the events up to this time.
    pub(crate) at: Timestamp,
    /// What happens.
    pub(crate) call: SessionCall,
}

/// What happens in a session.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SessionCall {
    /// `connect`.
    Connect(SignInRequest),
    /// `subscriptions`, then `connected`.
    Connected(Welcome),
    /// `receive`, and `wrote` for each set-point that it asks for.
    Receive(Box<InboundMessage>),
    /// `closing`.
    Closing,
}

/// Reads one step per line, or returns every mistake with its line and key.
pub(crate) fn read(text: &str) -> Result<Vec<SessionStep>, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let mut steps: Vec<SessionStep> = Vec::new();
    for (line, text) in lines(text) {
        let Some(step) = read_line(line, text, &mistakes) else { continue };
        if steps.last().is_some_and(|last| last.at > step.at) {
            let hint = "is before that of the line before; write the lines in the order of their times";
            mistakes.add(Mistake::without_value(format!("line {line}: at"), hint));
        }
        steps.push(step);
    }
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(steps) } else { Err(mistakes) }
}

fn read_line(line: usize, text: &str, mistakes: &Mistakes) -> Option<SessionStep> {
    let map = JsonObject::parse(line, text, mistakes)?;
    let object = JsonObject::new(format!("line {line}:"), &map, mistakes);
    let at = object.required("at", read_time);
    object.optional("note", JsonField::text);
    let fields: Vec<_> = KINDS.into_iter().filter_map(|kind| Some((kind, object.field(kind)?))).collect();
    if fields.len() != 1 && !object.has_misspelt_key(&KINDS) {
        let hint = format!("has {} of {}; write one", fields.len(), KINDS.join(", "));
        mistakes.add(Mistake::without_value(format!("line {line}"), hint));
    }
    let (kind, field) = fields.into_iter().next().or_else(|| {
        object.report_unknown_keys();
        None
    })?;
    let inner = field.object()?;
    let call = match kind {
        "connect" => SessionCall::Connect(request(&inner, at)),
        "connected" => SessionCall::Connected(welcome(&inner, at)),
        "receive" => SessionCall::Receive(Box::new(inbound(&inner, at))),
        _ => SessionCall::Closing,
    };
    inner.report_unknown_keys();
    object.report_unknown_keys();
    Some(SessionStep { at, call })
}

fn request(object: &JsonObject<'_>, at: Timestamp) -> SignInRequest {
    let host = object.optional("host", JsonField::text).unwrap_or_else(|| HOST.to_owned());
    let port = object.optional("port", JsonField::unsigned).unwrap_or(PORT);
    SignInRequest {
        endpoint: Endpoint { host, port },
        protocol: object.optional("protocol", protocol).unwrap_or(Protocol::V5),
        at,
        attempt: object.optional("attempt", JsonField::unsigned).unwrap_or_default(),
    }
}

fn welcome(object: &JsonObject<'_>, at: Timestamp) -> Welcome {
    Welcome {
        at,
        protocol: object.optional("protocol", protocol).unwrap_or(Protocol::V5),
        session_present: object.optional("session_present", JsonField::boolean).unwrap_or_default(),
        max_packet: object.optional("max_packet", JsonField::unsigned).unwrap_or(MAX_PACKET),
        max_qos: object.optional("max_qos", expected::qos).unwrap_or(Qos::ExactlyOnce),
        retain: object.optional("retain", JsonField::boolean).unwrap_or(true),
    }
}

fn inbound(object: &JsonObject<'_>, at: Timestamp) -> InboundMessage {
    let retained = object.optional("retained", JsonField::boolean).unwrap_or_default();
    InboundMessage {
        at,
        topic: object.required("topic", JsonField::text),
        payload: payload(object),
        qos: object.optional("qos", expected::qos).unwrap_or(Qos::AtLeastOnce),
        retained,
        historical: object.optional("historical", JsonField::boolean).unwrap_or(retained),
        properties: object.optional("properties", expected::properties),
    }
}

/// One of `json`, `text` and `base64`; an empty payload without any.
fn payload(object: &JsonObject<'_>) -> Vec<u8> {
    let json = object.nullable("json").map(|field| field.value().to_string().into_bytes());
    let text = object.optional("text", JsonField::text).map(String::into_bytes);
    let bytes = object.optional("base64", |field| {
        let bytes = field.value().as_str().and_then(|text| STANDARD.decode(text.trim()).ok());
        if bytes.is_none() {
            field.add_mistake("write base64 in quotes");
        }
        bytes
    });
    json.or(text).or(bytes).unwrap_or_default()
}

fn protocol(field: &JsonField<'_>) -> Option<Protocol> {
    let found = match field.value() {
        Value::String(text) if text == "5" => Some(Protocol::V5),
        Value::String(text) if text == "3.1.1" => Some(Protocol::V311),
        _ => None,
    };
    if found.is_none() {
        field.add_mistake("write \"5\" or \"3.1.1\"");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_with_defaults() {
        let text = concat!(
            r#"{"at":1,"connect":{"attempt":2}}"#,
            "\n",
            r#"{"at":2,"connected":{"protocol":"3.1.1","max_qos":1}}"#,
            "\n",
            r#"{"at":3,"receive":{"topic":"a/cmd","json":{"value":20},"retained":true},"note":"for people"}"#,
            "\n",
            r#"{"at":4,"closing":{}}"#,
        );
        let steps = read(text).unwrap();
        let [connect, connected, receive, closing] = &steps[..] else { panic!("{steps:?}") };
        assert!(
            matches!(&connect.call, SessionCall::Connect(request) if request.attempt == 2 && request.endpoint.port == 8883)
        );
        assert!(matches!(&connected.call, SessionCall::Connected(welcome) if welcome.max_qos == Qos::AtLeastOnce));
        let SessionCall::Receive(message) = &receive.call else { panic!("{receive:?}") };
        assert_eq!((&message.payload[..], message.historical), (&br#"{"value":20}"#[..], true));
        assert_eq!((closing.at.nanos(), &closing.call), (4, &SessionCall::Closing));
    }

    #[test]
    fn mistakes_name_the_line_and_the_key() {
        let check = |text: &str, expected: &str| {
            let mistakes: Vec<_> = read(text).unwrap_err().iter().map(ToString::to_string).collect();
            assert!(mistakes.iter().any(|mistake| mistake.contains(expected)), "{mistakes:?}");
        };
        check(r#"{"at":1}"#, "has 0 of connect, connected, receive, closing");
        check(r#"{"at":1,"recieve":{"topic":"a"}}"#, "recieve");
        check(r#"{"at":1,"receive":{}}"#, "topic");
        check(r#"{"at":1,"connect":{"protocol":"4"}}"#, "\"3.1.1\"");
        check("{\"at\":2,\"closing\":{}}\n{\"at\":1,\"closing\":{}}", "is before that of the line before");
    }
}
