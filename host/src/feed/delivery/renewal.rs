//! When the plugin wants to sign in again, by the wall clock: that is what a token's expiry is counted by.

use std::time::Duration;

use bessai_domain::time::Timestamp;
use tokio::time::Instant;

/// A session lasts at least so long, whatever the plugin asks for.
pub(super) const SOONEST: Duration = Duration::from_secs(1);
/// How often the clock is looked at: somebody may set it meanwhile.
const LOOK: Duration = Duration::from_secs(30);

pub(super) struct Renewal {
    at: Timestamp,
    clock: fn() -> Timestamp,
    not_before: Instant,
}

impl Renewal {
    /// Of a session that begins now.
    pub(super) fn new(at: Timestamp, clock: fn() -> Timestamp) -> Self {
        Self { at, clock, not_before: Instant::now() + SOONEST }
    }

    pub(super) fn next_look(&self) -> Instant {
        // A timer is as good as a millisecond, and the clock must have passed the time.
        const GRAIN: Duration = Duration::from_millis(1);
        let left = self.at.since((self.clock)());
        (Instant::now() + left.saturating_add(GRAIN).min(LOOK)).max(self.not_before)
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.not_before && (self.clock)() >= self.at
    }
}
