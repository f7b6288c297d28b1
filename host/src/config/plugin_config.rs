//! A feed's `[config]` as the JSON that its plugin receives.

use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};
use serde_json::{Number, Value};

/// What a plugin receives if its feed has no `[config]`.
pub(super) const EMPTY: &str = "{}";

/// Converts `[config]` to JSON with its keys in their order; a date or time becomes a text.
pub(super) fn read(table: &SettingsTable<'_>) -> String {
    let config = table.table("config").and_then(|_| table.value("config"));
    config.map_or_else(|| EMPTY.into(), |config| convert(&table.key("config"), config, table.mistakes()).to_string())
}

fn convert(key: &str, value: &toml::Value, mistakes: &Mistakes) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text.clone()),
        toml::Value::Integer(number) => Value::Number((*number).into()),
        toml::Value::Boolean(boolean) => Value::Bool(*boolean),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Float(number) => Number::from_f64(*number).map_or_else(
            || {
                mistakes.add(Mistake::new(key, number, "JSON cannot represent this number; write a finite one"));
                Value::Null
            },
            Value::Number,
        ),
        toml::Value::Array(list) => {
            let numbered = list.iter().enumerate();
            Value::Array(numbered.map(|(i, value)| convert(&format!("{key}[{i}]"), value, mistakes)).collect())
        }
        toml::Value::Table(table) => {
            let entry = |(name, value): (&String, &toml::Value)| {
                (name.clone(), convert(&format!("{key}.{name}"), value, mistakes))
            };
            Value::Object(table.iter().map(entry).collect())
        }
    }
}
