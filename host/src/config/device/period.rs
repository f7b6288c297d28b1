//! Periods in which devices and their slower sources are read.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Time between the starts of two readings, the same as the Python gateway's.
pub(in super::super) const DEFAULT_PERIOD: Duration = Duration::from_secs(5);
/// Shorter than any device needs for a response, so the device is read as fast as it responds.
const SHORTEST_PERIOD: Duration = Duration::from_micros(100);
/// A day.
const LONGEST_PERIOD: Duration = Duration::from_hours(24);
/// All periods that can be configured.
pub(in super::super) const PERIODS: RangeInclusive<Duration> = SHORTEST_PERIOD..=LONGEST_PERIOD;
