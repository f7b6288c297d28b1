//! Replies of the gateway as text.

use std::fmt::Write;

use serde_json::Value;

/// What is held, and what safety says.
pub(super) fn status(status: &Value) -> String {
    let mut text = String::new();
    let state = status.pointer("/safety/state").map_or_else(|| "not judged yet".into(), shown);
    let _ = writeln!(text, "safety: {state}");
    for violation in list(status.pointer("/safety/violations")) {
        let _ = writeln!(text, "  {}", violation_text(violation));
    }
    if status.get("enabled").and_then(Value::as_bool) != Some(true) {
        text.push_str("control is off: [control] enabled = true in bessai.toml switches it on\n");
    }
    for target in list(status.get("set_points")) {
        let unit = member(target, "unit");
        let applied = match target.get("applied").filter(|applied| !applied.is_null()) {
            Some(applied) => with_unit(&shown(applied), &unit),
            None => "not set".into(),
        };
        let _ = writeln!(text, "{}/{}: {applied}", member(target, "device"), member(target, "channel"));
        if let Some(reason) = target.get("blocked").filter(|reason| !reason.is_null()) {
            let _ = writeln!(text, "  blocked: {}", shown(reason));
        }
        holders(&mut text, target, &unit);
    }
    for limit in list(status.get("limits")) {
        let applied = with_unit(&member(limit, "applied"), "kW");
        let fallback = if list(limit.get("holders")).is_empty() { ", the fallback" } else { "" };
        let _ = writeln!(text, "{}/{}: {applied}{fallback}", member(limit, "device"), member(limit, "channel"));
        holders(&mut text, limit, "kW");
    }
    for left_over in list(status.get("left_over")) {
        let at = left_over.get("at").filter(|at| !at.is_null()).map(|at| format!(" at {}", shown(at)));
        let (device, channel) = (member(left_over, "device"), member(left_over, "channel"));
        let _ = writeln!(
            text,
            "{device}/{channel}{}: may still be set, and is not controlled; control forget {device} forgets it",
            at.unwrap_or_default()
        );
    }
    text
}

/// What became of a set-point.
pub(super) fn outcome(reply: &Value) -> String {
    let outcome = member(reply, "outcome");
    match (reply.get("value"), reply.get("reason")) {
        (Some(value), _) => format!("{outcome}: {}", shown(value)),
        (None, Some(reason)) => format!("{outcome}: {}", shown(reason)),
        (None, None) => outcome,
    }
}

/// Which trips were reset.
pub(super) fn reset(reply: &Value) -> String {
    let reset = list(reply.get("reset"));
    if reset.is_empty() {
        return "nothing has tripped\n".into();
    }
    reset.iter().map(|trip| format!("reset: {}\n", violation_text(trip))).collect()
}

fn holders(text: &mut String, target: &Value, unit: &str) {
    for holder in list(target.get("holders")) {
        let value = with_unit(&member(holder, "value"), unit);
        let _ = writeln!(text, "  {}: {value}, {} s left", member(holder, "holder"), member(holder, "left_s"));
    }
}

fn violation_text(violation: &Value) -> String {
    let name = |key: &str| member(violation, key);
    let channel = [name("device"), name("channel")].into_iter().filter(|name| !name.is_empty());
    let channel = channel.collect::<Vec<_>>().join("/");
    let number = |key: &str| violation.get(key).filter(|value| value.is_number()).map(shown);
    let value = number("value").map_or_else(|| "no value".into(), |value| format!("value {value}"));
    let limit = number("limit").map(|limit| format!(", limit {limit}")).unwrap_or_default();
    format!("{}: {channel} {value}{limit}", name("rule"))
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn member(value: &Value, key: &str) -> String {
    value.get(key).map(shown).unwrap_or_default()
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string()),
        other => other.to_string(),
    }
}

fn with_unit(value: &str, unit: &str) -> String {
    if unit.is_empty() { value.to_owned() } else { format!("{value} {unit}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_is_readable() {
        let reply = json!({
            "enabled": true,
            "safety": { "state": "unsafe", "violations": [
                { "rule": "max", "device": "battery", "channel": "temp_c", "value": 51.5, "limit": 45.0 },
            ] },
            "set_points": [{
                "device": "battery", "channel": "set_point_kw", "unit": "kW", "applied": null,
                "holders": [{ "holder": "feed/trader", "value": 2.0, "left_s": 58 }], "blocked": "safety rule max",
            }],
            "limits": [{ "device": "battery", "channel": "charge_limit_kw", "holders": [], "applied": 4.2 }],
            "left_over": [{ "device": "old", "channel": "set_point_kw", "at": "192.168.1.20:502 unit 1" }],
        });
        let expected = "safety: unsafe
  max: battery/temp_c value 51.5, limit 45
battery/set_point_kw: not set
  blocked: safety rule max
  feed/trader: 2 kW, 58 s left
battery/charge_limit_kw: 4.2 kW, the fallback
old/set_point_kw at 192.168.1.20:502 unit 1: may still be set, and is not controlled; control forget old forgets it
";
        assert_eq!(status(&reply), expected);
        let off = json!({ "enabled": false, "safety": null, "set_points": [], "limits": [] });
        let text = status(&off);
        assert!(text.contains("control is off: [control] enabled = true in bessai.toml switches it on"), "{text}");
    }

    #[test]
    fn outcomes_are_one_line() {
        assert_eq!(outcome(&json!({ "outcome": "verified", "value": 2.0 })), "verified: 2");
        assert_eq!(outcome(&json!({ "outcome": "refused", "reason": "no" })), "refused: no");
        assert_eq!(reset(&json!({ "reset": [] })), "nothing has tripped\n");
    }
}
