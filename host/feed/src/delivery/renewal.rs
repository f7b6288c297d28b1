//! When the plugin wants to sign in again.
//!
//! The plugin names a wall-clock time, because a token's expiry is one. A clock that is set back must not keep a session
//! beyond the lifetime that the plugin gave it, and one that is set forward may have shown that the token expires earlier.
//! So the session is renewed when the wall clock shows the time, or when as much time has passed as was left at the start.

use std::time::Duration;

use bessai_domain::time::{Clock, MonotonicTime, Timestamp};
use tokio::time::Instant;

/// A session lasts at least this long, whatever the plugin asks for.
pub(super) const SHORTEST_SESSION: Duration = Duration::from_secs(1);
/// Longest time between two checks: the wall clock may be set in the meantime.
const CHECK_EVERY: Duration = Duration::from_secs(30);
/// Added to the remaining time: timers have this resolution, and the clocks must have passed the time.
const TIMER_RESOLUTION: Duration = Duration::from_millis(1);

pub(super) struct Renewal {
    at: Timestamp,
    /// When as much time has passed as was left at the start.
    at_latest: MonotonicTime,
    clock: Clock,
    not_before: Instant,
}

impl Renewal {
    /// For a session that begins now.
    pub(super) fn new(at: Timestamp, clock: Clock) -> Self {
        let now = clock();
        let at_latest = now.monotonic.plus(at.since(now.wall));
        Self { at, at_latest, clock, not_before: Instant::now() + SHORTEST_SESSION }
    }

    fn remaining(&self) -> Duration {
        let now = (self.clock)();
        self.at.since(now.wall).min(self.at_latest.since(now.monotonic))
    }

    pub(super) fn next_check(&self) -> Instant {
        let check_in = self.remaining().saturating_add(TIMER_RESOLUTION).min(CHECK_EVERY);
        (Instant::now() + check_in).max(self.not_before)
    }

    pub(super) fn is_due(&self) -> bool {
        Instant::now() >= self.not_before && self.remaining().is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::time::Moment;
    use std::cell::Cell;

    thread_local! {
        static NOW: Cell<Moment> = const { Cell::new(Moment { monotonic: MonotonicTime::from_nanos(0), wall: Timestamp::from_nanos(0) }) };
    }

    const HOUR: Duration = Duration::from_hours(1);
    const MINUTE: Duration = Duration::from_mins(1);

    /// A renewal in an hour; then that much time passes and the wall clock steps. Whether it is due then.
    async fn is_due_after(time: Duration, step: impl FnOnce(Timestamp) -> Timestamp) -> bool {
        let start = Moment::by_wall_clock(Timestamp::from_nanos(1_790_000_000_000_000_000));
        NOW.set(start);
        let renewal = Renewal::new(start.wall.plus(HOUR), || NOW.get());
        tokio::time::advance(time).await;
        let now = start.plus(time);
        NOW.set(Moment { wall: step(now.wall), ..now });
        renewal.is_due()
    }

    fn back(at: Timestamp, by: Duration) -> Timestamp {
        Timestamp::from_nanos(at.nanos() - u64::try_from(by.as_nanos()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_renewed_by_whichever_clock_comes_first() {
        assert!(!is_due_after(HOUR - MINUTE, |at| at).await);
        assert!(is_due_after(HOUR, |at| at).await);
        assert!(!is_due_after(HOUR - MINUTE, |at| back(at, HOUR)).await);
        assert!(is_due_after(HOUR, |at| back(at, HOUR)).await, "the clock was set back");
        assert!(is_due_after(MINUTE, |at| at.plus(HOUR)).await, "the clock was set forward");
        assert!(!is_due_after(Duration::ZERO, |at| at.plus(2 * HOUR)).await, "not before the shortest session");
    }
}
