//! Writes values so that [`JsonField`](super::json_reader::JsonField) reads the same.

use std::collections::BTreeSet;

use serde_json::{Number, Value};

/// An object of the entries that have a value, in this order.
pub fn object<const N: usize>(entries: [(&str, Option<Value>); N]) -> Value {
    Value::Object(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

/// A text, as an entry of [`object`].
pub fn text(text: &str) -> Option<Value> {
    Some(text.into())
}

/// The name of a value in a table of names.
pub(super) fn word<T: PartialEq>(words: &[(&str, T)], meaning: T) -> Value {
    words.iter().find(|(_, known)| *known == meaning).map_or(Value::Null, |(word, _)| (*word).into())
}

/// A number; NaN becomes null.
pub(super) fn number(number: f64) -> Value {
    let infinity = if number > 0.0 { "Infinity" } else { "-Infinity" };
    let not_finite = if number.is_nan() { Value::Null } else { infinity.into() };
    Number::from_f64(number).map_or(not_finite, Value::Number)
}

/// A number in a field where null means that there is none.
pub(super) fn number_not_null(given: f64) -> Value {
    if given.is_nan() { "NaN".into() } else { number(given) }
}

/// Names and texts; a list of pairs if a name occurs twice.
pub fn pairs(pairs: &[(String, String)]) -> Value {
    let names: BTreeSet<_> = pairs.iter().map(|(name, _)| name).collect();
    if names.len() == pairs.len() {
        return Value::Object(pairs.iter().map(|(name, text)| (name.clone(), text.as_str().into())).collect());
    }
    pairs.iter().map(|(name, text)| Value::Array(vec![name.as_str().into(), text.as_str().into()])).collect()
}
