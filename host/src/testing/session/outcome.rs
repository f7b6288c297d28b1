//! What a plugin wants beside messages, as lines of `expected-session.jsonl`: logins, subscriptions, set-points.

use std::collections::BTreeMap;

use bessai_domain::command::Subscription;
use bessai_domain::proposal::{Proposal, SetValue};
use bessai_domain::record::json_writer::{object, pairs, text};
use bessai_domain::record::strict_json;
use bessai_domain::session::{Login, Protocol};
use bessai_domain::settings::Mistake;
use serde_json::{Value, json};

use crate::testing::expected;

/// Reads one JSON object per line.
pub(in crate::testing) fn read(content: &str) -> Result<Vec<Value>, Vec<Mistake>> {
    let (mut values, mut mistakes) = (Vec::new(), Vec::new());
    for (line, text) in bessai_domain::record::json_reader::lines(content) {
        match strict_json::parse(text.as_bytes()) {
            Ok(value) => values.push(value),
            Err(error) => {
                mistakes.push(Mistake::without_value(format!("line {line}"), format!("is not JSON: {error}")))
            }
        }
    }
    if mistakes.is_empty() { Ok(values) } else { Err(mistakes) }
}

/// Lines as [`read`] reads them.
pub(crate) fn write(lines: &[Value]) -> String {
    lines.iter().map(|line| line.to_string() + "\n").collect()
}

/// One line per difference.
pub(in crate::testing) fn differences(expected: &[Value], got: &[Value]) -> Vec<String> {
    let mut all = Vec::new();
    for index in 0..expected.len().max(got.len()) {
        let number = index + 1;
        match (expected.get(index), got.get(index)) {
            (Some(expected), Some(got)) => {
                let differences = expected::json_differences(expected, got).into_iter();
                all.extend(differences.map(|difference| format!("session line {number}: {difference}")));
            }
            (Some(expected), None) => all.push(format!("session line {number}: {expected} is missing")),
            (None, Some(got)) => all.push(format!("session line {number}: unexpected: {got}")),
            (None, None) => {}
        }
    }
    all
}

/// `secrets`: their values are replaced by their names.
pub(in crate::testing) fn login(login: &Login, secrets: &BTreeMap<String, Vec<u8>>) -> Value {
    let password =
        login.password.as_ref().map(|password| match secrets.iter().find(|(_, value)| **value == password.0) {
            Some((name, _)) => json!({ "secret": name }),
            None => String::from_utf8_lossy(&password.0).into(),
        });
    let protocol = login.protocol.map(|protocol| match protocol {
        Protocol::V5 => "5".into(),
        Protocol::V311 => "3.1.1".into(),
    });
    let endpoint = login.endpoint.as_ref().map(|endpoint| json!({ "host": endpoint.host, "port": endpoint.port }));
    json!({ "login": object([
        ("endpoint", endpoint),
        ("protocol", protocol),
        ("client_id", login.client_id.as_deref().and_then(text)),
        ("username", login.username.as_deref().and_then(text)),
        ("password", password),
        ("clean_start", login.clean_start.map(Value::from)),
        ("session_expiry_s", login.session_expiry_s.map(Value::from)),
        ("keep_alive_s", login.keep_alive_s.map(Value::from)),
        ("will", login.will.as_ref().map(expected::line)),
        ("properties", (!login.properties.is_empty()).then(|| pairs(&login.properties))),
        ("renew_at", login.renew_at.map(|at| at.nanos().into())),
        ("provisioning", login.provisioning.then_some(true.into())),
    ]) })
}

pub(in crate::testing) fn subscriptions(subscriptions: &[Subscription]) -> Value {
    let line = |subscription: &Subscription| json!({ "filter": subscription.filter, "qos": subscription.qos.level() });
    json!({ "subscriptions": subscriptions.iter().map(line).collect::<Vec<_>>() })
}

pub(in crate::testing) fn proposal(proposal: &Proposal) -> Value {
    let value = proposal.value.as_ref().map(|value| match value {
        SetValue::Number(number) => json!(number),
        SetValue::Text(text) => json!(text),
    });
    json!({ "write": object([
        ("device", text(&proposal.device)),
        ("channel", text(&proposal.channel)),
        ("value", value),
        ("until", proposal.until.map(|until| until.nanos().into())),
        ("reference", text(&proposal.reference)),
    ]) })
}

pub(in crate::testing) fn sign_in_again() -> Value {
    json!({ "sign_in_again": true })
}
