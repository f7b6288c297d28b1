//! Reads a JSON object key by key and keeps every mistake, as [`Table`](crate::settings::Table) does for TOML.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

use super::json;
use crate::settings::{Mistake, Mistakes, nearest, unknown};

/// The lines that are not blank, with their numbers.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty())
}

/// One object: asks for its keys, then says which of the rest it does not know.
pub struct Object<'a> {
    path: String,
    map: &'a Map<String, Value>,
    asked: RefCell<BTreeSet<&'static str>>,
    mistakes: &'a Mistakes,
}

/// A value, with the path that its mistakes name.
pub struct Field<'a> {
    key: String,
    value: &'a Value,
    mistakes: &'a Mistakes,
}

impl<'a> Object<'a> {
    /// The object found at `path`; a path that ends in `:`, such as `line 3:`, names the place of a whole document.
    pub fn new(path: impl Into<String>, map: &'a Map<String, Value>, mistakes: &'a Mistakes) -> Self {
        Self { path: path.into(), map, asked: RefCell::default(), mistakes }
    }

    /// One line of a file of JSON objects; none, and a mistake, where it is no object.
    pub fn parse(line: usize, text: &str, mistakes: &Mistakes) -> Option<Map<String, Value>> {
        let mend = match json::parse(text.as_bytes()) {
            Ok(Value::Object(map)) => return Some(map),
            Ok(_) => "is no object; write {…}".to_owned(),
            Err(error) => format!("is not JSON: {error}"),
        };
        // The parser counts lines too, and has seen only this one.
        mistakes.add(Mistake::bare(format!("line {line}"), mend.replace(" at line 1 column ", " at column ")));
        None
    }

    /// `key` with the path of this object before it.
    pub fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.into(),
            place if place.ends_with(':') => format!("{place} {key}"),
            path => format!("{path}.{key}"),
        }
    }

    /// Where it stands.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where this object's mistakes go.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// What stands at a key, null too.
    pub fn nullable(&self, key: &'static str) -> Option<Field<'a>> {
        self.asked.borrow_mut().insert(key);
        Some(Field { key: self.key(key), value: self.map.get(key)?, mistakes: self.mistakes })
    }

    /// What stands at a key; none where it is left out or null.
    pub fn field(&self, key: &'static str) -> Option<Field<'a>> {
        self.nullable(key).filter(|field| !field.value.is_null())
    }

    /// A value that may be left out.
    pub fn optional<T>(&self, key: &'static str, read: impl FnOnce(&Field<'a>) -> Option<T>) -> Option<T> {
        self.field(key).as_ref().and_then(read)
    }

    /// A value that must be there. Where it is not, or is wrong, that is among the mistakes and what is given back
    /// counts for nothing.
    pub fn required<T: Default>(&self, key: &'static str, read: impl FnOnce(&Field<'a>) -> Option<T>) -> T {
        let field = self.field(key);
        if field.is_none() {
            self.missing(key);
        }
        field.as_ref().and_then(read).unwrap_or_default()
    }

    /// A number that must be there, though it may be null, for NaN.
    pub fn number(&self, key: &'static str) -> f64 {
        let field = self.nullable(key);
        if field.is_none() {
            self.missing(key);
        }
        field.as_ref().and_then(Field::number).unwrap_or_default()
    }

    fn missing(&self, key: &str) {
        self.mistakes.add(Mistake::bare(self.key(key), "is missing; write it"));
    }

    /// Whether one of these keys may be meant by one that was never asked for.
    pub fn has_misspelt(&self, keys: &[&str]) -> bool {
        let asked = self.asked.borrow();
        let mut unknown = self.map.keys().filter(|key| !asked.contains(key.as_str()));
        unknown.any(|key| nearest(key, keys.iter().copied()).is_some())
    }

    /// Says which keys were never asked for, each with the nearest one that was.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.map.keys().filter(|key| !asked.contains(key.as_str())) {
            self.mistakes.add(Mistake::bare(self.key(key), unknown(key, asked.iter().copied())));
        }
    }
}

impl<'a> Field<'a> {
    /// The path of this value.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// As it stands.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// A mistake that shows what was written.
    pub fn wrong(&self, mend: impl Into<String>) {
        self.mistakes.add(Mistake::new(self.key.as_str(), shown(self.value), mend));
    }

    fn typed<T>(&self, value: Option<T>, mend: impl fmt::Display) -> Option<T> {
        if value.is_none() {
            self.wrong(mend.to_string());
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

    /// A whole number, as large as its type can hold.
    pub fn whole<T: TryFrom<u64>>(&self) -> Option<T> {
        let number = self.value.as_u64().and_then(|number| T::try_from(number).ok());
        let largest = u64::MAX >> (64 - 8 * size_of::<T>().clamp(1, 8));
        self.typed(number, format_args!("write a whole number from 0 to {largest}"))
    }

    /// A number; null is NaN. JSON has no infinity, so that is a text, as is a NaN where null would mean none.
    pub fn number(&self) -> Option<f64> {
        let number = match self.value {
            Value::Null => Some(f64::NAN),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => NOT_FINITE.iter().find(|(name, _)| name == text).map(|&(_, number)| number),
            _ => None,
        };
        self.typed(number, "write a number, or null where there is none")
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, words: &[(&str, T)]) -> Option<T> {
        let known = || words.iter().map(|(word, _)| *word);
        let text = self.value.as_str();
        let found = words.iter().find(|(word, _)| Some(*word) == text);
        if found.is_none() {
            let alike = text.filter(|text| nearest(text, known()).is_some());
            let list = || format!("write one of {}", known().collect::<Vec<_>>().join(", "));
            self.wrong(alike.map_or_else(list, |text| unknown(text, known())));
        }
        found.map(|&(_, meaning)| meaning)
    }

    /// An object.
    pub fn object(&self) -> Option<Object<'a>> {
        let map = self.typed(self.value.as_object(), "write an object, {…}")?;
        Some(Object::new(self.key.as_str(), map, self.mistakes))
    }

    /// A list.
    pub fn list(&self) -> Option<Vec<Field<'a>>> {
        let list = self.typed(self.value.as_array(), "write a list, […]")?;
        let item = |(i, value)| Field { key: format!("{}[{i}]", self.key), value, mistakes: self.mistakes };
        Some(list.iter().enumerate().map(item).collect())
    }

    /// A list of objects, each read to its end.
    pub fn objects<T>(&self, read: impl Fn(&Object<'a>) -> T) -> Option<Vec<T>> {
        let read = |field: &Field<'a>| {
            let object = field.object()?;
            let value = read(&object);
            object.finish();
            Some(value)
        };
        Some(self.list()?.iter().filter_map(read).collect())
    }

    /// Names and their texts: an object, or a list of `["name", "text"]` where a name comes twice.
    pub fn pairs(&self) -> Option<Vec<(String, String)>> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let pairs: Option<Vec<_>> = match self.value {
            Value::Object(map) => map.iter().map(|(name, value)| Some((name.clone(), text(value)?))).collect(),
            Value::Array(list) => list.iter().map(pair_of).collect(),
            _ => None,
        };
        self.typed(pairs, "write {\"name\":\"text\"}, or [[\"name\",\"text\"]] where a name comes twice")
    }
}

fn pair_of(value: &Value) -> Option<(String, String)> {
    match value.as_array()?.as_slice() {
        [Value::String(name), Value::String(text)] => Some((name.clone(), text.clone())),
        _ => None,
    }
}

/// What a number that JSON does not have is called.
const NOT_FINITE: [(&str, f64); 3] = [("NaN", f64::NAN), ("Infinity", f64::INFINITY), ("-Infinity", f64::NEG_INFINITY)];

/// A value as a mistake shows it.
fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain("…".chars()).collect() }
}
