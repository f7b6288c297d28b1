//! Who holds a set-point, and whose applies when several do.

use std::fmt;

/// Who proposes set-points. A later variant yields to an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Holder {
    /// A person on this machine.
    Operator,
    /// A feed's plugin, by the feed's name.
    Feed(String),
    /// A model, by its name.
    Model(String),
    /// A digital input, by its device and channel; it sets limits only.
    Input(String),
}

impl Holder {
    /// The smaller one applies. Feeds that are not listed come after those that are, and are equal among themselves.
    pub(crate) fn rank(&self, priority: &[String]) -> (u8, usize) {
        match self {
            Self::Operator => (0, 0),
            Self::Feed(name) => (1, priority.iter().position(|listed| listed == name).unwrap_or(priority.len())),
            Self::Model(_) => (2, 0),
            Self::Input(_) => (3, 0),
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operator => f.write_str("operator"),
            Self::Feed(name) => write!(f, "feed/{name}"),
            Self::Model(name) => write!(f, "model/{name}"),
            Self::Input(name) => write!(f, "input/{name}"),
        }
    }
}
