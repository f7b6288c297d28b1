//! Values of `[config]` that several keys have in common.

use bessai_plugin::Config;
use bessai_plugin::json::Value;

/// Nanoseconds of each unit of time.
const UNITS: [(&str, u64); 6] = [
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];
/// The longest time, in nanoseconds: 31 days.
const LONGEST: u64 = 31 * 86_400_000_000_000;

/// One of a few words, or of numbers written as words.
pub(super) fn chosen<T: Copy>(config: &mut Config, key: &str, names: &[(&str, T)]) -> Result<Option<T>, String> {
    let Some(value) = config.value(key) else { return Ok(None) };
    choose(&format!("config.{key}"), &value, names).map(Some)
}

/// The meaning of a word.
pub(super) fn choose<T: Copy>(key: &str, value: &Value, names: &[(&str, T)]) -> Result<T, String> {
    let written = match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    };
    names.iter().find(|(name, _)| *name == written).map(|&(_, meaning)| meaning).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| *name).collect();
        format!("{key} is {}: write {}", shown(value), names.join(" or "))
    })
}

/// A time in nanoseconds.
pub(super) fn duration(config: &mut Config, key: &str) -> Result<Option<u64>, String> {
    let Some(value) = config.value(key) else { return Ok(None) };
    let parsed = match &value {
        Value::Text(text) => nanoseconds(text),
        _ => None,
    };
    let hint = || format!("config.{key} is {}: write a time such as \"10s\", \"5min\" or \"1h\"", shown(&value));
    parsed.map(Some).ok_or_else(hint)
}

fn nanoseconds(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = (text.get(..digits)?, text.get(digits..)?.trim_start());
    let (_, factor) = UNITS.iter().find(|(known, _)| *known == unit)?;
    let nanoseconds = number.parse::<u64>().ok()?.checked_mul(*factor)?;
    (1..=LONGEST).contains(&nanoseconds).then_some(nanoseconds)
}

/// A number above zero.
pub(super) fn number_above_zero(config: &mut Config, key: &str) -> Result<Option<f64>, String> {
    let Some(value) = config.value(key) else { return Ok(None) };
    above_zero(&format!("config.{key}"), &value).map(Some)
}

/// The number, if it is above zero.
pub(super) fn above_zero(key: &str, value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(number) if *number > 0.0 => Ok(*number),
        _ => Err(format!("{key} is {}: write a number above 0", shown(value))),
    }
}

/// A table of texts.
pub(super) fn texts(config: &mut Config, key: &str) -> Result<Vec<(String, String)>, String> {
    let members = match config.value(key) {
        None => return Ok(Vec::new()),
        Some(Value::Table(members)) => members,
        Some(value) => return Err(format!("config.{key} is {}: write a table", shown(&value))),
    };
    let text = |(name, value)| match value {
        Value::Text(text) => Ok((name, text)),
        _ => Err(format!("config.{key}.{name} is not a text: put it in quotes")),
    };
    members.into_iter().map(text).collect()
}

/// A value as in the settings.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Boolean(boolean) => boolean.to_string(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(nanoseconds("250ms"), Some(250_000_000));
        assert_eq!(nanoseconds("10 s"), Some(10_000_000_000));
        assert_eq!(nanoseconds("5min"), nanoseconds("5m"));
        assert_eq!(nanoseconds("31d"), Some(LONGEST));
        for text in ["", "s", "10", "-1s", "1.5s", "1w", "32d", "99999999999999999999s"] {
            assert_eq!(nanoseconds(text), None, "{text}");
        }
    }
}
