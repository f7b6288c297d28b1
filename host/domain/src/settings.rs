//! Reads a TOML table key by key and keeps every mistake, so that all can be told at once.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::time::parse_duration;

/// A setting that cannot be used: its key, its value unless that is secret, and the mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Key path, such as `broker.url`, or an environment variable's name.
    pub key: String,
    /// As it was written; none where it is missing or secret.
    pub value: Option<String>,
    /// What is wrong and what to write instead.
    pub mend: String,
}

impl Mistake {
    /// A mistake with its value shown.
    pub fn new(key: impl Into<String>, value: impl fmt::Display, mend: impl Into<String>) -> Self {
        Self { key: key.into(), value: Some(value.to_string()), mend: mend.into() }
    }

    /// A mistake without a value: it is missing, or must not be shown.
    pub fn bare(key: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, mend: mend.into() }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} = {}: {}", self.key, value, self.mend),
            None => write!(f, "{}: {}", self.key, self.mend),
        }
    }
}

/// The mistakes of one reading, shared by all its tables.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// One more.
    pub fn add(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    /// All of them, in the order in which they were found.
    pub fn into_vec(self) -> Vec<Mistake> {
        self.0.into_inner()
    }

    /// How many so far.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// One table: asks for its keys, then says which of the rest it does not know.
pub struct Table<'a> {
    path: String,
    table: &'a toml::Table,
    asked: RefCell<BTreeSet<&'static str>>,
    mistakes: &'a Mistakes,
}

impl<'a> Table<'a> {
    /// The whole document, or a table found at `path` in one.
    pub fn new(path: impl Into<String>, table: &'a toml::Table, mistakes: &'a Mistakes) -> Self {
        Self { path: path.into(), table, asked: RefCell::default(), mistakes }
    }

    /// `key` with the path of this table before it; a path that ends in `:` is a file's name.
    pub fn key(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.into(),
            file if file.ends_with(':') => format!("{file} {key}"),
            path => format!("{path}.{key}"),
        }
    }

    /// Where this table's mistakes go.
    pub fn mistakes(&self) -> &'a Mistakes {
        self.mistakes
    }

    /// A mistake at one of its keys, with the value as it was written.
    pub fn wrong(&self, key: &str, mend: impl Into<String>) {
        self.mistakes.add(Mistake { key: self.key(key), value: self.table.get(key).map(shown), mend: mend.into() });
    }

    /// The value as it stands.
    pub fn value(&self, key: &'static str) -> Option<&'a toml::Value> {
        self.asked.borrow_mut().insert(key);
        self.table.get(key)
    }

    fn typed<T>(&self, key: &'static str, read: impl FnOnce(&'a toml::Value) -> Option<T>, mend: &str) -> Option<T> {
        let value = self.value(key)?;
        let read = read(value);
        if read.is_none() {
            self.wrong(key, mend);
        }
        read
    }

    /// A text.
    pub fn text(&self, key: &'static str) -> Option<&'a str> {
        self.typed(key, toml::Value::as_str, "write a text in quotes")
    }

    /// A text whose value is never shown.
    pub fn secret(&self, key: &'static str) -> Option<&'a str> {
        let value = self.value(key)?;
        if !value.is_str() {
            self.mistakes.add(Mistake::bare(self.key(key), "write a text in quotes"));
        }
        value.as_str()
    }

    /// One of a few words.
    pub fn word<T: Copy>(&self, key: &'static str, words: &[(&str, T)]) -> Option<T> {
        let find = |value: &toml::Value| {
            let text = value.as_str()?;
            words.iter().find(|(word, _)| *word == text).map(|&(_, meaning)| meaning)
        };
        let known: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        self.typed(key, find, &format!("write {}", known.join(" or ")))
    }

    /// `true` or `false`.
    pub fn boolean(&self, key: &'static str) -> Option<bool> {
        self.typed(key, toml::Value::as_bool, "write true or false")
    }

    /// A number, whole or not.
    pub fn number(&self, key: &'static str) -> Option<f64> {
        self.typed(key, as_number, "write a number")
    }

    /// A whole number within a range.
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
        let mend = format!("write a time from {:?} to {:?}, such as \"5s\"", range.start(), range.end());
        self.typed(key, read, &mend)
    }

    /// A list of texts.
    pub fn texts(&self, key: &'static str) -> Option<Vec<String>> {
        let read = |value: &toml::Value| {
            let list = value.as_array()?;
            list.iter().map(|text| text.as_str().map(str::to_owned)).collect()
        };
        self.typed(key, read, "write a list of texts, such as [\"a\", \"b\"]")
    }

    /// A whole number, or a list of them.
    pub fn integers(&self, key: &'static str, range: RangeInclusive<i64>) -> Vec<i64> {
        let one = |value: &toml::Value| value.as_integer().filter(|number| range.contains(number));
        let read = |value: &toml::Value| match value.as_array() {
            Some(list) => list.iter().map(one).collect::<Option<Vec<_>>>(),
            None => one(value).map(|number| vec![number]),
        };
        let mend = format!("write a whole number from {} to {}, or a list of them", range.start(), range.end());
        self.typed(key, read, &mend).unwrap_or_default()
    }

    /// A table whose keys the user names, `key = { name = value }`.
    pub fn named<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str, &toml::Value) -> Option<T>,
        mend: &str,
    ) -> Vec<(String, T)> {
        let Some(table) = self.table(key) else { return Vec::new() };
        let entry = |(name, value): (&String, &toml::Value)| {
            let read = read(name, value);
            if read.is_none() {
                table.wrong(name, mend);
            }
            Some((name.clone(), read?))
        };
        table.table.iter().filter_map(entry).collect()
    }

    /// A table below this one.
    pub fn table(&self, key: &'static str) -> Option<Table<'a>> {
        let table = self.typed(key, toml::Value::as_table, "write a table")?;
        Some(Self::new(self.key(key), table, self.mistakes))
    }

    /// A list of tables, `[[key]]`.
    pub fn tables(&self, key: &'static str) -> Vec<Table<'a>> {
        let read = |value: &'a toml::Value| {
            let list = value.as_array()?;
            list.iter().map(toml::Value::as_table).collect::<Option<Vec<_>>>()
        };
        let tables = self.typed(key, read, &format!("write [[{key}]] tables")).unwrap_or_default();
        let numbered = tables.into_iter().enumerate();
        numbered.map(|(i, table)| Self::new(format!("{}[{i}]", self.key(key)), table, self.mistakes)).collect()
    }

    /// The tables below this one by the names that the user gave them.
    pub fn entries(&self) -> Vec<(&'a str, Option<Table<'a>>)> {
        let entry = |(name, value): (&'a String, &'a toml::Value)| {
            let table = value.as_table().map(|table| Self::new(self.key(name), table, self.mistakes));
            (name.as_str(), table)
        };
        self.table.iter().map(entry).collect()
    }

    /// Says which keys were never asked for, each with the nearest one that was.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for key in self.table.keys().filter(|key| !asked.contains(key.as_str())) {
            let mend = unknown(key, asked.iter().copied());
            self.mistakes.add(Mistake::bare(self.key(key), mend));
        }
    }
}

/// A value as a mistake shows it.
fn shown(value: &toml::Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    if text.chars().count() <= LONGEST { text } else { text.chars().take(LONGEST).chain("…".chars()).collect() }
}

fn as_number(value: &toml::Value) -> Option<f64> {
    #[allow(clippy::cast_precision_loss, reason = "settings are small numbers")]
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64)).filter(|number| number.is_finite())
}

/// The sentence for a name that is not known, with the nearest one that is.
pub fn unknown<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(nearest) => format!("is unknown; did you mean `{nearest}`?"),
        None => "is unknown; remove it".into(),
    }
}

/// The known name that is most like this one, if any is.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const ALIKE: f64 = 0.8;
    let alike = known.map(|known| (known, strsim::jaro_winkler(name, known)));
    let best = alike.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    (best.1 >= ALIKE).then_some(best.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str, read: impl FnOnce(&Table<'_>)) -> Vec<String> {
        let table: toml::Table = text.parse().unwrap();
        let mistakes = Mistakes::default();
        let reader = Table::new("", &table, &mistakes);
        read(&reader);
        reader.finish();
        mistakes.into_vec().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_names_key_value_and_mend() {
        let found =
            mistakes("name = 3\nport = 70000\nperiod = \"soon\"\npiriod = 1\nkind = \"x\"\npass = 5", |table| {
                table.text("name");
                table.integer("port", 1..=65_535);
                table.duration("period", Duration::from_millis(1)..=Duration::from_secs(60));
                table.word("kind", &[("a", 1), ("b", 2)]);
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
    fn tables_below_carry_their_path() {
        let found = mistakes("[a]\nb = \"x\"\n[[c]]\nd = 1\n[[c]]\ne = 2", |table| {
            let a = table.table("a").unwrap();
            a.number("b");
            a.finish();
            for c in table.tables("c") {
                c.number("d");
                c.finish();
            }
        });
        assert_eq!(found, ["a.b = \"x\": write a number", "c[1].e: is unknown; remove it"]);
    }
}
