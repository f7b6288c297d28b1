//! Points in time, as numbers; whoever needs "now" is handed it.

use std::time::Duration;

mod utc;

pub use utc::parse_utc;

/// Nanoseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// 2025-01-01T00:00:00Z in seconds. A clock before it was never set: nothing is signed or published under it.
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

    /// How much later this is; zero when it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// That much later.
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Whether the clock that gave this was ever set.
    pub const fn is_plausible(self) -> bool {
        self.seconds() >= EARLIEST_S
    }
}

/// `5s`, `250ms`, `72h`, `30m`, `2d`; a number alone is seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds_per_unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        };
        check("5s", Some(5000));
        check("5", Some(5000));
        check("0.25 s", Some(250));
        check("250ms", Some(250));
        check("1m", Some(60_000));
        check("72h", Some(259_200_000));
        check("2d", Some(172_800_000));
        check("-1s", None);
        check("s", None);
        check("5 weeks", None);
        check("1e30s", None);
    }

    #[test]
    fn a_clock_before_2025_was_never_set() {
        assert!(!Timestamp::from_nanos(0).is_plausible());
        assert!(!Timestamp::from_nanos(1_735_689_599_999_999_999).is_plausible());
        assert!(Timestamp::from_nanos(1_735_689_600_000_000_000).is_plausible());
    }
}
