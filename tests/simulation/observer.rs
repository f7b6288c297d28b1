//! Watches a run from outside and knows the invariants: it keeps records of its own and uses no rule of the gateway.

mod delivery;
mod safety;
#[cfg(test)]
mod tests;
mod trips;

pub(crate) use delivery::{Account, Crash, DeliveryRecord, Expectation};
pub(crate) use safety::{LimitedChannel, SafetyRecord};

/// An invariant that was violated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) detail: String,
}

/// What must hold at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// No verdict is safe, as an event or as shown, while a limited channel lacks a good young value.
    SafeOnlyIfKnown,
    /// A verdict is that of the newest readings: no false alarm.
    VerdictIsRight,
    /// A trip ends by a reset only, whatever happens to readings and processes.
    TripsLast,
    /// A good value of a frame is one that the device had when it was read.
    ValuesAreCurrent,
    /// What was promised to be durable is delivered, refused or quarantined for every feed.
    NothingIsLost,
    /// Each feed gets its events in their order for the first time.
    OrderPerFeed,
    /// No number stands for two events, and none is invented.
    NumbersAreUnique,
    /// A feed that behaves gets every event in time, whatever the others do.
    NeighboursAreNotDelayed,
    /// A plugin's state and its feed's position are saved together.
    StateFollowsPosition,
    /// When the faults end, everything is delivered and the verdict is right.
    EverythingDrains,
    /// No task panics.
    NoPanic,
}

impl Violation {
    pub(crate) fn new(invariant: Invariant, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}
