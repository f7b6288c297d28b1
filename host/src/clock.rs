//! The wall clock: the only place that reads it.

#![allow(clippy::disallowed_methods, reason = "this is the clock module")]

use std::time::{SystemTime, UNIX_EPOCH};

use bessai_domain::time::Timestamp;

/// The current time in nanoseconds since 1970; zero while the system clock shows a time before that.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The local hour at a time, 0 to 23.
pub(crate) fn local_hour(at: Timestamp) -> f64 {
    let seconds = i64::try_from(at.seconds()).unwrap_or(0);
    let local = jiff::Timestamp::from_second(seconds).map(|at| jiff::tz::TimeZone::system().to_datetime(at));
    local.map_or(0.0, |local| f64::from(local.hour()))
}
