//! Time that never steps, and moments on both clocks.

use std::time::Duration;

use super::Timestamp;

/// Nanoseconds on a clock that never steps and that counts while the machine sleeps. Its origin is the machine's last boot,
/// so that only differences mean something; what happened before that boot is negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(i64);

impl MonotonicTime {
    /// From nanoseconds since the origin.
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The time since an earlier point; zero if that one is later.
    pub const fn since(self, earlier: Self) -> Duration {
        let nanos = self.0.saturating_sub(earlier.0);
        Duration::from_nanos(if nanos > 0 { nanos.unsigned_abs() } else { 0 })
    }

    /// The point this much later.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The point this much earlier.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)))
    }
}

/// One moment on both clocks. They are never mixed: ages, timeouts and rates are differences of monotonic times, and the
/// wall clock, which may step at any time, only stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// For every age, timeout and rate.
    pub monotonic: MonotonicTime,
    /// For stamps, and for nothing else.
    pub wall: Timestamp,
}

impl Moment {
    /// The moment of that wall-clock time if the wall clock never stepped: for simulated time.
    pub fn by_wall_clock(wall: Timestamp) -> Self {
        Self { monotonic: MonotonicTime::from_nanos(i64::try_from(wall.nanos()).unwrap_or(i64::MAX)), wall }
    }

    /// The moment this much later, if the wall clock does not step until then.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self { monotonic: self.monotonic.plus(duration), wall: self.wall.plus(duration) }
    }
}

/// Reads both clocks.
pub type Clock = fn() -> Moment;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_never_negative() {
        let check = |from, to, nanos| {
            let (from, to) = (MonotonicTime::from_nanos(from), MonotonicTime::from_nanos(to));
            assert_eq!(to.since(from), Duration::from_nanos(nanos), "{from:?} to {to:?}");
        };
        check(1, 5, 4);
        check(5, 1, 0);
        check(-7, 5, 12);
        check(i64::MIN, i64::MAX, i64::MAX.unsigned_abs());
        let late = MonotonicTime::from_nanos(i64::MAX - 1);
        assert_eq!(late.plus(Duration::MAX), MonotonicTime::from_nanos(i64::MAX));
    }
}
