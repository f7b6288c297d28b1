//! Reads the feed's `[config]` table key by key and reports keys that the plugin does not know.

use crate::json::{self, Value};

/// The settings of one feed.
///
/// ```
/// # fn configure(config: &str) -> Result<(), String> {
/// let mut config = bessai_plugin::Config::read(config)?;
/// let topic = config.text("topic")?.unwrap_or_else(|| "acme".into());
/// let decimals = config.number("decimals")?.unwrap_or(3.0);
/// config.finish()
/// # }
/// # assert!(configure(r#"{"topic": "a", "decimals": 1}"#).is_ok());
/// # assert_eq!(configure(r#"{"topik": "a"}"#).unwrap_err(), "config.topik is unknown: write topic or decimals");
/// ```
#[derive(Debug)]
pub struct Config {
    members: Vec<(String, Value)>,
    known: Vec<String>,
}

impl Config {
    /// Parses the table that [`configure`](crate::Plugin::configure) gets as JSON.
    pub fn read(json: &str) -> Result<Self, String> {
        match json::read(json).map_err(|error| format!("config: {error}"))? {
            Value::Table(members) => Ok(Self { members, known: Vec::new() }),
            _ => Err("config is not a table".into()),
        }
    }

    /// The value of `key` as a text; none if the key is missing.
    pub fn text(&mut self, key: &str) -> Result<Option<String>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(format!("config.{key} is not a text: put it in quotes")),
        }
    }

    /// The value of `key` as a number; none if the key is missing.
    pub fn number(&mut self, key: &str) -> Result<Option<f64>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number)),
            Some(_) => Err(format!("config.{key} is not a number: write it without quotes")),
        }
    }

    /// The value of `key` as `true` or `false`; none if the key is missing.
    pub fn boolean(&mut self, key: &str) -> Result<Option<bool>, String> {
        match self.value(key) {
            None => Ok(None),
            Some(Value::Boolean(boolean)) => Ok(Some(boolean)),
            Some(_) => Err(format!("config.{key} is neither true nor false")),
        }
    }

    /// The value of `key`, of any type; none if the key is missing.
    pub fn value(&mut self, key: &str) -> Option<Value> {
        self.known.push(key.into());
        let found = self.members.iter().position(|(name, _)| name == key)?;
        Some(self.members.remove(found).1)
    }

    /// Refuses keys that were not read, because a mistyped key would otherwise be ignored silently.
    pub fn finish(self) -> Result<(), String> {
        let Some((key, _)) = self.members.first() else { return Ok(()) };
        let hint = match self.known.as_slice() {
            [] => "this plugin has no settings".into(),
            known => format!("write {}", known.join(" or ")),
        };
        Err(format!("config.{key} is unknown: {hint}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_values_of_each_type() {
        let mut config = Config::read(r#"{"text": "a", "number": 2, "boolean": true, "list": []}"#).unwrap();
        assert_eq!(config.text("text"), Ok(Some("a".into())));
        assert_eq!(config.number("number"), Ok(Some(2.0)));
        assert_eq!(config.boolean("boolean"), Ok(Some(true)));
        assert_eq!(config.value("list"), Some(Value::List(vec![])));
        assert_eq!(config.text("absent"), Ok(None));
        assert_eq!(config.finish(), Ok(()));
    }

    #[test]
    fn errors_name_the_key_and_the_fix() {
        assert_eq!(Config::read("[]").unwrap_err(), "config is not a table");
        assert!(Config::read("{").unwrap_err().starts_with("config: invalid JSON at byte 1: expected "));
        let config = || Config::read(r#"{"a": null}"#).unwrap();
        assert_eq!(config().text("a").unwrap_err(), "config.a is not a text: put it in quotes");
        assert_eq!(config().number("a").unwrap_err(), "config.a is not a number: write it without quotes");
        assert_eq!(config().boolean("a").unwrap_err(), "config.a is neither true nor false");
        assert_eq!(config().finish().unwrap_err(), "config.a is unknown: this plugin has no settings");
    }
}
