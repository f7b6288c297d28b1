//! What reading the configuration finds: mistakes by their source, warnings and notes.

use std::cell::RefCell;
use std::fmt;

use bessai_domain::settings::{Mistake, Mistakes};

/// Mistakes and notes found so far. One list per source, so that they are reported in the order of the sources and not
/// in the order in which settings are combined.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// What makes a whole source useless, so that most other mistakes are its consequences.
    pub(super) causes: Mistakes,
    pub(super) environment: Mistakes,
    pub(super) env_file: Mistakes,
    pub(super) file: Mistakes,
    pub(super) profiles: Mistakes,
    pub(super) plugins: Mistakes,
    warnings: RefCell<Vec<String>>,
    notes: RefCell<Vec<String>>,
}

/// Everything that was found.
pub(super) struct Found {
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<String>,
    pub(super) notes: Vec<String>,
}

impl Findings {
    /// Adds something that is not a mistake but worth a line in the log; a repeated note is dropped.
    pub(super) fn note(&self, note: impl Into<String>) {
        let note = note.into();
        let mut notes = self.notes.borrow_mut();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Adds a risk that somebody should look at; a repeated one is dropped.
    pub(super) fn warn(&self, warning: impl Into<String>) {
        let warning = warning.into();
        let mut warnings = self.warnings.borrow_mut();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Everything without duplicates.
    pub(super) fn finish(self) -> Found {
        let mut all = Vec::new();
        for source in [self.causes, self.environment, self.env_file, self.file, self.profiles, self.plugins] {
            for mistake in source.into_vec() {
                if !all.contains(&mistake) {
                    all.push(mistake);
                }
            }
        }
        Found { mistakes: all, warnings: self.warnings.into_inner(), notes: self.notes.into_inner() }
    }
}

/// A value with its key or variable name, and the list for mistakes in its source.
pub(super) struct Sourced<'a, T> {
    pub(super) key: String,
    pub(super) value: T,
    pub(super) mistakes: &'a Mistakes,
}

impl<'a, T> Sourced<'a, T> {
    /// Converts the value.
    pub(super) fn map<U>(self, convert: impl FnOnce(T) -> U) -> Sourced<'a, U> {
        Sourced { key: self.key, value: convert(self.value), mistakes: self.mistakes }
    }

    /// Adds a mistake that shows `value`, which must not contain a secret.
    pub(super) fn reject(&self, value: impl fmt::Display, hint: impl Into<String>) {
        self.mistakes.add(Mistake::new(self.key.as_str(), value, hint));
    }
}
