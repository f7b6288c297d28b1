//! The feed's `[config]` table.

use serde_json::Value;

/// Power that changes by less is not news.
const MIN_CHANGE_KW: f64 = 0.5;

#[derive(Debug, PartialEq)]
pub(crate) struct Config {
    /// The first part of every topic.
    pub(crate) topic: String,
    pub(crate) min_change_kw: f64,
}

impl Config {
    pub(crate) fn read(json: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(json).map_err(|error| format!("config: {error}"))?;
        let table = value.as_object().ok_or("config is not a table")?;
        if let Some(key) = table.keys().find(|key| !matches!(key.as_str(), "topic" | "min_change_kw")) {
            return Err(format!("config.{key} is unknown: there are topic and min_change_kw"));
        }
        Ok(Self { topic: topic(table.get("topic"))?, min_change_kw: min_change_kw(table.get("min_change_kw"))? })
    }
}

fn topic(value: Option<&Value>) -> Result<String, String> {
    match value {
        None => Err("config.topic is missing: write the first part of the topics, such as \"acme/plant-1\"".into()),
        Some(Value::String(text)) if !text.is_empty() => Ok(text.clone()),
        Some(other) => Err(format!("config.topic = {other}: write a text such as \"acme/plant-1\"")),
    }
}

fn min_change_kw(value: Option<&Value>) -> Result<f64, String> {
    let Some(value) = value else { return Ok(MIN_CHANGE_KW) };
    let number = value.as_f64().filter(|number| *number >= 0.0);
    number.ok_or_else(|| format!("config.min_change_kw = {value}: write a number of 0 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_knows_and_names_what_it_does_not() {
        let check = |json: &str, expected: Result<(&str, f64), &str>| {
            let expected = expected.map(|(topic, min_change_kw)| Config { topic: topic.into(), min_change_kw });
            assert_eq!(Config::read(json), expected.map_err(str::to_owned), "{json}");
        };
        check(r#"{"topic":"acme"}"#, Ok(("acme", 0.5)));
        check(r#"{"topic":"acme","min_change_kw":0}"#, Ok(("acme", 0.0)));
        check("{}", Err("config.topic is missing: write the first part of the topics, such as \"acme/plant-1\""));
        check(r#"{"topic":7}"#, Err("config.topic = 7: write a text such as \"acme/plant-1\""));
        check(r#"{"topic":""}"#, Err("config.topic = \"\": write a text such as \"acme/plant-1\""));
        let refused = "config.min_change_kw = -1: write a number of 0 or more";
        check(r#"{"topic":"acme","min_change_kw":-1}"#, Err(refused));
        check(r#"{"topic":"acme","min":1}"#, Err("config.min is unknown: there are topic and min_change_kw"));
        check("[]", Err("config is not a table"));
    }
}
