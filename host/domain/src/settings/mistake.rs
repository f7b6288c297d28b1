//! Mistakes in settings.

use std::cell::RefCell;
use std::fmt;

use crate::text::visible;

/// A setting that cannot be used: its key, its value unless that is secret, and a hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Key path, such as `broker.url`, or the name of an environment variable.
    pub key: String,
    /// The value as written; none if it is missing or secret.
    pub value: Option<String>,
    /// What is wrong and what to write instead.
    pub hint: String,
}

impl Mistake {
    /// A mistake that shows the value.
    pub fn new(key: impl Into<String>, value: impl fmt::Display, hint: impl Into<String>) -> Self {
        Self { key: key.into(), value: Some(value.to_string()), hint: hint.into() }
    }

    /// A mistake without a value, because there is none or it is secret.
    pub fn without_value(key: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, hint: hint.into() }
    }
}

impl fmt::Display for Mistake {
    /// On one line: names of files and values can contain anything.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&self.key))?;
        if let Some(value) = &self.value {
            write!(f, " = {}", visible(value))?;
        }
        write!(f, ": {}", visible(&self.hint))
    }
}

/// The mistakes found so far, shared by all tables of a document.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    /// Adds a mistake.
    pub fn add(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    /// All mistakes in the order in which they were found.
    pub fn into_vec(self) -> Vec<Mistake> {
        self.0.into_inner()
    }

    /// Number of mistakes so far.
    pub fn count(&self) -> usize {
        self.0.borrow().len()
    }
}

/// The text, cut off if it is too long for a message.
pub(crate) fn shortened(text: String) -> String {
    /// More characters do not help to find a value in its file.
    const MAX_CHARACTERS: usize = 80;
    if text.chars().count() <= MAX_CHARACTERS {
        return text;
    }
    text.chars().take(MAX_CHARACTERS).chain("…".chars()).collect()
}
