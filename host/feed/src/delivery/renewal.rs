//! When the plugin wants to sign in again, by the wall clock, because a token's expiry is a wall-clock time.

use std::time::Duration;

use bessai_domain::time::Timestamp;
use tokio::time::Instant;

/// A session lasts at least this long, whatever the plugin asks for.
pub(super) const SHORTEST_SESSION: Duration = Duration::from_secs(1);
/// Longest time between two checks: the wall clock may be set in the meantime.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// Added to the remaining time: timers have this resolution, and the wall clock must have passed the time.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

pub(super) struct Renewal {
    at: Timestamp,
    clock: fn() -> Timestamp,
    not_before: Instant,
}

impl Renewal {
    /// For a session that begins now.
    pub(super) fn new(at: Timestamp, clock: fn() -> Timestamp) -> Self {
        Self { at, clock, not_before: Instant::now() + SHORTEST_SESSION }
    }

    pub(super) fn next_check(&self) -> Instant {
        let remaining = self.at.since((self.clock)());
        (Instant::now() + remaining.saturating_add(TIMER_RESOLUTION).min(CHECK_EVERY)).max(self.not_before)
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.not_before && (self.clock)() >= self.at
    }
}
