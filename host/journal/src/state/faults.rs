//! What the disk refuses at present: logged when it begins, changes and ends, and shown in the journal's health.

use std::collections::BTreeMap;
use std::io;

/// What can fail, each for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DiskOperation {
    Sync,
    ReserveNumbers,
    SaveCursors,
    KeepReserve,
    Write,
}

/// Whether an error means that there is no space for more bytes.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The error of an operation whose thread panicked.
pub(crate) fn panicked() -> io::Error {
    io::Error::other("its thread panicked")
}

/// The current fault of each operation, as text.
#[derive(Default)]
pub(crate) struct Faults(BTreeMap<DiskOperation, String>);

impl DiskOperation {
    /// Completes "the journal cannot …".
    const fn verb(self) -> &'static str {
        match self {
            Self::Sync => "sync events to disk",
            Self::ReserveNumbers => "reserve event numbers",
            Self::SaveCursors => "save the feeds' cursors",
            Self::KeepReserve => "keep its reserve of disk space",
            Self::Write => "write events",
        }
    }

    const fn consequence(self) -> &'static str {
        match self {
            Self::Sync | Self::Write => "keeping the events in memory",
            Self::ReserveNumbers => "using numbers that are not reserved",
            Self::SaveCursors => "keeping the cursors in memory",
            Self::KeepReserve => "writing events to the space that is left",
        }
    }

    const fn recovery(self) -> &'static str {
        match self {
            Self::Sync => "event syncs recovered",
            Self::ReserveNumbers => "event number reservations recovered",
            Self::SaveCursors => "cursor writes recovered",
            Self::KeepReserve => "the reserve of disk space is there again",
            Self::Write => "event writes recovered",
        }
    }
}

impl Faults {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Events are not brought to disk at present.
    pub(crate) fn stop_syncs(&self) -> bool {
        self.0.contains_key(&DiskOperation::Sync) || self.0.contains_key(&DiskOperation::Write)
    }

    /// Events are not written at present.
    pub(crate) fn stop_writes(&self) -> bool {
        self.0.contains_key(&DiskOperation::Write)
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
        let fault = match is_full(error) {
            true => format!("the journal cannot {verb}: its disk is full, free some space on it"),
            false => format!("the journal cannot {verb}: {error}"),
        };
        if self.0.get(&operation) != Some(&fault) {
            tracing::error!("{fault}; retrying, {} meanwhile", operation.consequence());
            self.0.insert(operation, fault);
        }
    }
}
