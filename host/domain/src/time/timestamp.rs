//! A point in time as a number.

use std::time::Duration;

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// 2025-01-01T00:00:00Z in seconds. A clock before it has not been set yet: nothing is signed or published with its
/// time.
const EARLIEST_S: u64 = 1_735_689_600;

impl Timestamp {
    /// From nanoseconds since 1970.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since 1970.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// The time since an earlier timestamp; zero if that one is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The timestamp this much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// The timestamp this much earlier; 1970 if that is before it.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Whether the clock that gave this time had been set.
    pub const fn is_plausible(self) -> bool {
        self.seconds() >= EARLIEST_S
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_2025_are_implausible() {
        assert!(!Timestamp::from_nanos(0).is_plausible());
        assert!(!Timestamp::from_nanos(1_735_689_599_999_999_999).is_plausible());
        assert!(Timestamp::from_nanos(1_735_689_600_000_000_000).is_plausible());
    }
}
