//! Reads a TOML table key by key.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::mistake::{Mistake, Mistakes, shortened};
use super::names::unknown_name_hint;
use crate::time::{duration_text, parse_duration};

/// One table: its keys are read one by one, then [`report_unknown_keys`](Self::report_unknown_keys) adds a mistake for
/// each other key.
pub struct SettingsTable<'a> {
    path: String,
    table: &'a toml::Table,
    read: RefCell<BTreeSet<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> SettingsTable<'a> {
    /// A whole document, or the table at `path` in one.
    pub fn new(path: impl Into<String>, table: &'a toml::Table, mistakes: &'a Mistakes) -> Self {
        Self { path: path.into(), table, read: RefCell::default(), mistakes }
    }

    /// The path of a key of this table; a table path that ends in `:` is a file name.
    pub fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.into(),
            file if file.ends_with(':') => format!("{file} {key}"),
            path => format!("{path}.{key}"),
        }
    }

    /// Where its mistakes are collected.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// Adds a mistake at one of its keys that shows the value.
    pub fn add_mistake(&self, key: &str, hint: impl Into<String>) {
        self.mistakes.add(Mistake { key: self.key(key), value: self.table.get(key).map(shown), hint: hint.into() });
    }

    /// The value itself.
    pub fn value(&self, key: &'static str) -> Option<&'a toml::Value> {
        self.read.borrow_mut().insert(key);
        self.table.get(key)
    }

    /// Number of its keys.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether it has no key.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    fn typed<T>(&self, key: &'static str, read: impl FnOnce(&'a toml::Value) -> Option<T>, hint: &str) -> Option<T> {
        let value = self.value(key)?;
        let read = read(value);
        if read.is_none() {
            self.add_mistake(key, hint);
        }
        read
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<&'a str> {
        self.typed(key, toml::Value::as_str, "write a text in quotes")
    }

    /// A text that is never shown.
    pub fn secret(&self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        if !value.is_str() {
            self.mistakes.add(Mistake::without_value(self.key(key), "write a text in quotes"));
        }
        value.as_str()
    }

    /// One of the names in a table.
    pub fn choice<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let find = |value: &toml::Value| {
            let text = value.as_str()?;
            words.iter().find(|(word, _)| *word == text).map(|&(_, value)| value)
        };
        let known: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.typed(key, find, &format!("write {}", known.join(" or ")))
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.typed(key, toml::Value::as_bool, "write true or false")
    }

    /// A number, integer or not.
    pub fn number(&self, key: &'static str) -> Option<f64> {
        self.typed(key, as_number, "write a number")
    }

    /// An integer within a range.
    pub fn integer<T>(&self, key: &'static str, range: RangeInclusive<T>) -> Option<T>
    where
        T: TryFrom<i64> + PartialOrd + fmt::Display + Copy,
    {
        let read = |value: &toml::Value| T::try_from(value.as_integer()?).ok().filter(|number| range.contains(number));
        self.typed(key, read, &format!("write a whole number from {} to {}", range.start(), range.end()))
    }

    /// A duration such as `"5s"`, within a range.
    pub fn duration(&self, key: &'static str, range: RangeInclusive<Duration>) -> Option<Duration> {
        let read = |value: &toml::Value| parse_duration(value.as_str()?).filter(|duration| range.contains(duration));
        let (min, max) = (duration_text(*range.start()), duration_text(*range.end()));
        self.typed(key, read, &format!("write a time from {min} to {max}, such as \"5s\""))
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let read = |value: &toml::Value| {
            let list = value.as_array()?;
            list.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        };
        self.typed(key, read, "write a list of texts, such as [\"a\", \"b\"]")
    }

    /// An integer or a list of integers, each within a range.
    pub fn integers(&self, key: &'static str, range: RangeInclusive<i64>) -> Vec<i64> {
        let one = |value: &toml::Value| value.as_integer().filter(|number| range.contains(number));
        let read = |value: &toml::Value| match value.as_array() {
            Some(list) => list.iter().map(one).collect::<Option<Vec<_>>>(),
            None => one(value).map(|number| vec![number]),
        };
        let hint = format!("write a whole number from {} to {}, or a list of them", range.start(), range.end());
        self.typed(key, read, &hint).unwrap_or_default()
    }

    /// A table whose keys are names chosen by the user, `key = { name = value }`.
    pub fn named_entries<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str, &toml::Value) -> Option<T>,
        hint: &str,
    ) -> Vec<(String, T)> {
        let Some(table) = self.table(key) else { return Vec::new() };
        let entry = |(name, value): (&String, &toml::Value)| {
            let read = read(name, value);
            if read.is_none() {
                table.add_mistake(name, hint);
            }
            Some((name.clone(), read?))
        };
        table.table.iter().filter_map(entry).collect()
    }

    /// A table in this one.
    pub fn table(&self, key: &'static str) -> Option<SettingsTable<'a>> {
        let table = self.typed(key, toml::Value::as_table, "write a table")?;
        Some(Self::new(self.key(key), table, self.mistakes))
    }

    /// A list of tables, `[[key]]`.
    pub fn tables(&self, key: &'static str) -> Vec<SettingsTable<'a>> {
        let read = |value: &'a toml::Value| {
            let list = value.as_array()?;
            list.iter().map(toml::Value::as_table).collect::<Option<Vec<_>>>()
        };
        let tables = self.typed(key, read, &format!("write [[{key}]] tables")).unwrap_or_default();
        let numbered = tables.into_iter().enumerate();
        numbered.map(|(i, table)| Self::new(format!("{}[{i}]", self.key(key)), table, self.mistakes)).collect()
    }

    /// The tables in this one by the names that the user has given them; none for a value that is not a table.
    pub fn entries(&self) -> Vec<(&'a str, Option<SettingsTable<'a>>)> {
        let entry = |(name, value): (&'a String, &'a toml::Value)| {
            let table = value.as_table().map(|table| Self::new(self.key(name), table, self.mistakes));
            (name.as_str(), table)
        };
        self.table.iter().map(entry).collect()
    }

    /// Adds a mistake for each key that has not been read, with the most similar one that has.
    pub fn report_unknown_keys(&self) {
        let read = self.read.borrow();
        for key in self.table.keys().filter(|key| !read.contains(key.as_str())) {
            self.mistakes.add(Mistake::without_value(self.key(key), unknown_name_hint(key, read.iter().copied())));
        }
    }
}

/// A value as a mistake shows it.
fn shown(value: &toml::Value) -> String {
    shortened(value.to_string())
}

fn as_number(value: &toml::Value) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "integers in settings are far below 2^53")]
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64)).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, read: impl FnOnce(&SettingsTable<'_>)) -> Vec<String> {
        let table: toml::Table = text.parse().unwrap();
        let mistakes = Mistakes::default();
        let reader = SettingsTable::new("", &table, &mistakes);
        read(&reader);
        reader.report_unknown_keys();
        mistakes.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_has_key_value_and_hint() {
        let found =
            mistakes("name = 3\nport = 70000\nperiod = \"soon\"\npiriod = 1\nkind = \"x\"\npass = 5", |table| {
                table.text("name");
                table.integer("port", 1..=65_535);
                table.duration("period", Duration::from_millis(1)..=Duration::from_secs(60));
                table.choice("kind", &[("a", 1), ("b", 2)]);
                table.secret("pass");
            });
        assert_eq!(
            found,
            [
                "name = 3: write a text in quotes",
                "port = 70000: write a whole number from 1 to 65535",
                "period = \"soon\": write a time from 1ms to 60s, such as \"5s\"",
                "kind = \"x\": write \"a\" or \"b\"",
                "pass: write a text in quotes",
                "piriod: is unknown; did you mean `period`?",
            ]
        );
    }

    #[test]
    fn nested_tables_have_their_path_in_mistakes() {
        let found = mistakes("[a]\nb = \"x\"\n[[c]]\nd = 1\n[[c]]\ne = 2", |table| {
            let a = table.table("a").unwrap();
            a.number("b");
            a.report_unknown_keys();
            for c in table.tables("c") {
                c.number("d");
                c.report_unknown_keys();
            }
        });
        assert_eq!(found, ["a.b = \"x\": write a number", "c[1].e: is unknown; remove it"]);
    }
}
