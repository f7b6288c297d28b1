//! What the disk refuses at present: logged when it begins, changes and ends, and shown in the journal's health.

use std::collections::BTreeMap;
use std::io;

/// What can fail, each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DiskOperation {
    Sync,
    Reserve,
    SaveCursors,
    Write,
}

/// The current fault of each operation, as text.
#[derive(Default)]
pub(crate) struct Faults(BTreeMap<DiskOperation, String>);

impl DiskOperation {
    /// Completes "the journal cannot …".
    const fn verb(self) -> &'static str {
        match self {
            Self::Sync => "sync events to disk",
            Self::Reserve => "reserve event numbers",
            Self::SaveCursors => "save the feeds' cursors",
            Self::Write => "write events",
        }
    }

    const fn consequence(self) -> &'static str {
        match self {
            Self::Sync | Self::Write => "keeping the events in memory",
            Self::Reserve => "using numbers that are not reserved",
            Self::SaveCursors => "keeping the cursors in memory",
        }
    }

    const fn recovery(self) -> &'static str {
        match self {
            Self::Sync => "event syncs recovered",
            Self::Reserve => "event number reservations recovered",
            Self::SaveCursors => "cursor writes recovered",
            Self::Write => "event writes recovered",
        }
    }
}

impl Faults {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All current faults, for people.
    pub(crate) fn describe(&self) -> Option<String> {
        (!self.is_empty()).then(|| Vec::from_iter(self.0.values().cloned()).join("; "))
    }

    /// Records an operation's outcome. A fault that persists is logged only once.
    pub(crate) fn record(&mut self, operation: DiskOperation, outcome: Result<(), &io::Error>) {
        let Err(error) = outcome else {
            if self.0.remove(&operation).is_some() {
                tracing::info!("journal: {}", operation.recovery());
            }
            return;
        };
        let verb = operation.verb();
        let fault = match error.kind() {
            io::ErrorKind::StorageFull => format!("the journal cannot {verb}: its disk is full, free some space on it"),
            _ => format!("the journal cannot {verb}: {error}"),
        };
        if self.0.get(&operation) != Some(&fault) {
            tracing::error!("{fault}; retrying, {} meanwhile", operation.consequence());
            self.0.insert(operation, fault);
        }
    }
}
