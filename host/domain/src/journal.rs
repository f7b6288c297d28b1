//! Settings of the journal that more than one crate needs.

use std::time::Duration;

use crate::time::Timestamp;

/// When events are synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Together, once per interval.
    Interval(Duration),
    /// Each event before a feed sees it.
    EveryEvent,
    /// Never: events are kept in memory and lost with the process.
    Memory,
}

/// Where a feed starts that has no cursor yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// With the next event.
    Now,
    /// With the oldest event in the journal.
    Oldest,
    /// With the first event at or after this time.
    At(Timestamp),
}
