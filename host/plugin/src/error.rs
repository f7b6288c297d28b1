//! Why a component cannot be loaded.

use std::fmt;

/// Why a component cannot be loaded: a sentence without its subject, which is the component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The component is at fault: it can be loaded only once it is changed.
    Component(String),
    /// This machine cannot do it now, for example because memory is short: a later attempt may succeed.
    Host(String),
}

impl LoadError {
    /// The same error with another sentence.
    #[must_use]
    pub fn map(self, sentence: impl FnOnce(&str) -> String) -> Self {
        match self {
            Self::Component(reason) => Self::Component(sentence(&reason)),
            Self::Host(reason) => Self::Host(sentence(&reason)),
        }
    }

    /// Whether a later attempt may succeed with the same component.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Host(_))
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Component(reason) | Self::Host(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for LoadError {}

impl From<LoadError> for String {
    fn from(error: LoadError) -> Self {
        error.to_string()
    }
}
