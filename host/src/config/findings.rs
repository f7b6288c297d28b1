//! What was found while reading: mistakes by the place that they stand in, and notes.

use std::cell::RefCell;
use std::fmt;

use bessai_domain::settings::{Mistake, Mistakes};

/// Everything found so far. One list per place, so that the order in which settings are combined does not show.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) environment: Mistakes,
    pub(super) env_file: Mistakes,
    pub(super) file: Mistakes,
    pub(super) profiles: Mistakes,
    pub(super) plugins: Mistakes,
    notes: RefCell<Vec<String>>,
}

impl Findings {
    /// Something that is no mistake but should be said once.
    pub(super) fn note(&self, note: impl Into<String>) {
        let note = note.into();
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// All mistakes, each once, and all notes.
    pub(super) fn finish(self) -> (Vec<Mistake>, Vec<String>) {
        let mut all = Vec::new();
        for place in [self.environment, self.env_file, self.file, self.profiles, self.plugins] {
            for mistake in place.into_vec() {
                if !all.contains(&mistake) {
                    all.push(mistake);
                }
            }
        }
        (all, self.notes.into_inner())
    }
}

/// A value with the name that it stands under, and the list for its mistakes.
pub(super) struct Sourced<'a, T> {
    pub(super) key: String,
    pub(super) value: T,
    pub(super) mistakes: &'a Mistakes,
}

impl<'a, T> Sourced<'a, T> {
    /// Another value from the same place.
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> Sourced<'a, U> {
        Sourced { key: self.key, value: change(self.value), mistakes: self.mistakes }
    }

    /// A mistake that shows what was written.
    pub(super) fn wrong(&self, shown: impl fmt::Display, mend: impl Into<String>) {
        self.mistakes.add(Mistake::new(self.key.as_str(), shown, mend));
    }
}

/// The text of a settings file as a table. The parser's own report would quote the line, with a password perhaps.
pub(crate) fn parse_toml(name: &str, text: &str, mistakes: &Mistakes) -> Option<toml::Table> {
    match text.parse() {
        Ok(table) => Some(table),
        Err(error) => {
            let error: toml::de::Error = error;
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            mistakes.add(Mistake::bare(name, format!("is not TOML: line {line}: {}", error.message())));
            None
        }
    }
}
