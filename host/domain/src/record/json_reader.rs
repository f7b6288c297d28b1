//! Reads a JSON object key by key and collects all mistakes, as [`SettingsTable`](crate::settings::SettingsTable) does for TOML.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use super::strict_json;
use crate::settings::{Mistake, Mistakes, most_similar, shortened, unknown_name_hint};

/// The non-blank lines with their numbers.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
}

/// One object: its keys are read one by one, then [`report_unknown_keys`](Self::report_unknown_keys) adds a mistake
/// for each other key.
pub struct JsonObject<'a> {
    path: String,
    map: &'a Map<String, Value>,
    read: RefCell<BTreeSet<&'static str>>,
    mistakes: &'a Mistakes,
}

/// A value and its path for mistakes.
pub struct JsonField<'a> {
    key: String,
    value: &'a Value,
    mistakes: &'a Mistakes,
}

impl<'a> JsonObject<'a> {
    /// The object at `path`; a path that ends in `:`, such as `line 3:`, is the location of a whole document.
    pub fn new(path: impl Into<String>, map: &'a Map<String, Value>, mistakes: &'a Mistakes) -> Self {
        Self { path: path.into(), map, read: RefCell::default(), mistakes }
    }

    /// Parses one line of a file of JSON objects; none, and a mistake, if it is not an object.
    pub fn parse(line: usize, text: &str, mistakes: &Mistakes) -> Option<Map<String, Value>> {
        let hint = match strict_json::parse(text.as_bytes()) {
            Ok(Value::Object(map)) => return Some(map),
            Ok(_) => "is not an object; write {…}".to_owned(),
            Err(error) => format!("is not JSON: {error}"),
        };
        // The parser has seen only this line and calls it line 1.
        mistakes.add(Mistake::without_value(format!("line {line}"), hint.replace(" at line 1 column ", " at column ")));
        None
    }

    /// The path of a key of this object.
    pub(super) fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.into(),
            location if location.ends_with(':') => format!("{location} {key}"),
            path => format!("{path}.{key}"),
        }
    }

    /// Where its mistakes are collected.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// The value of a key, including null.
    pub fn nullable(&self, key: &'static str) -> Option<JsonField<'a>> {
        self.read.borrow_mut().insert(key);
        Some(JsonField { key: self.key(key), value: self.map.get(key)?, mistakes: self.mistakes })
    }

    /// The value of a key; none if it is missing or null.
    pub fn field(&self, key: &'static str) -> Option<JsonField<'a>> {
        self.nullable(key).filter(|field| !field.value.is_null())
    }

    /// A value that may be missing.
    pub fn optional<T>(&self, key: &'static str, read: impl FnOnce(&JsonField<'a>) -> Option<T>) -> Option<T> {
        self.field(key).as_ref().and_then(read)
    }

    /// A value that must not be missing. If it is missing or wrong, a mistake is added and the returned default is not
    /// used.
    pub fn required<T: Default>(&self, key: &'static str, read: impl FnOnce(&JsonField<'a>) -> Option<T>) -> T {
        let field = self.field(key);
        if field.is_none() {
            self.missing(key);
        }
        field.as_ref().and_then(read).unwrap_or_default()
    }

    /// A number that must not be missing, but may be null, which is NaN.
    pub(super) fn number(&self, key: &'static str) -> f64 {
        let field = self.nullable(key);
        if field.is_none() {
            self.missing(key);
        }
        field.as_ref().and_then(JsonField::number).unwrap_or_default()
    }

    fn missing(&self, key: &str) {
        self.mistakes.add(Mistake::without_value(self.key(key), "is missing; write it"));
    }

    /// Whether a key that has not been read resembles one of these.
    pub fn has_misspelt_key(&self, keys: &[&str]) -> bool {
        let read = self.read.borrow();
        let mut unknown = self.map.keys().filter(|key| !read.contains(key.as_str()));
        unknown.any(|key| most_similar(key, keys.iter().copied()).is_some())
    }

    /// Adds a mistake for each key that has not been read, with the most similar one that has.
    pub fn report_unknown_keys(&self) {
        let read = self.read.borrow();
        for key in self.map.keys().filter(|key| !read.contains(key.as_str())) {
            self.mistakes.add(Mistake::without_value(self.key(key), unknown_name_hint(key, read.iter().copied())));
        }
    }
}

impl<'a> JsonField<'a> {
    /// The value itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Adds a mistake that shows the value.
    pub fn add_mistake(&self, hint: impl Into<String>) {
        self.mistakes.add(Mistake::new(self.key.as_str(), shown(self.value), hint));
    }

    fn typed<T>(&self, value: Option<T>, hint: impl fmt::Display) -> Option<T> {
        if value.is_none() {
            self.add_mistake(hint.to_string());
        }
        value
    }

    /// A text.
    pub fn text(&self) -> Option<String> {
        self.typed(self.value.as_str().map(str::to_owned), "write a text in quotes")
    }

    /// `true` or `false`.
    pub fn boolean(&self) -> Option<bool> {
        self.typed(self.value.as_bool(), "write true or false")
    }

    /// An unsigned integer, as large as its type can hold.
    pub fn unsigned<T: TryFrom<u64>>(&self) -> Option<T> {
        let number = self.value.as_u64().and_then(|number| T::try_from(number).ok());
        let largest = u64::MAX >> (64 - 8 * size_of::<T>().clamp(1, 8));
        self.typed(number, format_args!("write a whole number from 0 to {largest}"))
    }

    /// A number; null is NaN. Infinity is written as a text because JSON does not have it, as is NaN where null means
    /// none.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self.value {
            Value::Null => Some(f64::NAN),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => NOT_FINITE.iter().find(|(name, _)| name == text).map(|&(_, number)| number),
            _ => None,
        };
        self.typed(number, "write a number, or null where there is none")
    }

    /// One of the names in a table.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let known = || words.iter().map(|(word, _)| *word);
        let text = self.value.as_str();
        let found = words.iter().find(|(word, _)| Some(*word) == text);
        if found.is_none() {
            let similar = text.filter(|text| most_similar(text, known()).is_some());
            let list = || format!("write one of {}", known().collect::<Vec<_>>().join(", "));
            self.add_mistake(similar.map_or_else(list, |text| unknown_name_hint(text, known())));
        }
        found.map(|&(_, value)| value)
    }

    /// An object.
    pub fn object(&self) -> Option<JsonObject<'a>> {
        let map = self.typed(self.value.as_object(), "write an object, {…}")?;
        Some(JsonObject::new(self.key.as_str(), map, self.mistakes))
    }

    /// A list.
    pub(super) fn list(&self) -> Option<Vec<JsonField<'a>>> {
        let list = self.typed(self.value.as_array(), "write a list, […]")?;
        let item = |(i, value)| JsonField { key: format!("{}[{i}]", self.key), value, mistakes: self.mistakes };
        Some(list.iter().enumerate().map(item).collect())
    }

    /// A list of objects, each read with `read` and then finished.
    pub(super) fn objects<T>(&self, read: impl Fn(&JsonObject<'a>) -> T) -> Option<Vec<T>> {
        let read = |field: &JsonField<'a>| {
            let object = field.object()?;
            let value = read(&object);
            object.report_unknown_keys();
            Some(value)
        };
        Some(self.list()?.iter().filter_map(read).collect())
    }

    /// Names and texts: an object, or a list of `["name", "text"]` if a name occurs twice.
    pub fn pairs(&self) -> Option<Vec<(String, String)>> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pairs: Option<Vec<_>> = match self.value {
            Value::Object(map) => map.iter().map(|(name, value)| Some((name.clone(), text(value)?))).collect(),
            Value::Array(list) => list.iter().map(pair_of).collect(),
            _ => None,
        };
        self.typed(pairs, "write {\"name\":\"text\"}, or [[\"name\",\"text\"]] if a name occurs twice")
    }
}

fn pair_of(value: &Value) -> Option<(String, String)> {
    match value.as_array()?.as_slice() {
        [Value::String(name), Value::String(text)] => Some((name.clone(), text.clone())),
        _ => None,
    }
}

/// The texts for numbers that JSON does not have.
const NOT_FINITE: [(&str, f64); 3] = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// A value as a mistake shows it.
fn shown(value: &Value) -> String {
    shortened(value.to_string())
}
