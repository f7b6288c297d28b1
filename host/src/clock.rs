//! Both clocks of the gateway: the only place that reads them.

#![allow(clippy::disallowed_methods, reason = "this is the clock module")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use bessai_domain::time::{Moment, MonotonicTime, Timestamp};
use bessai_inference::LocalTime;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};

/// The time zone that the settings name; without one that of the system applies.
static TIME_ZONE: OnceLock<TimeZone> = OnceLock::new();

/// Sets the time zone of [`local_time`], once, before anything calls it.
pub(crate) fn set_time_zone(zone: TimeZone) {
    // Fails only if it is set twice, which nobody does.
    let _ = TIME_ZONE.set(zone);
}

/// Nanoseconds in a second.
const NANOS_PER_S: i64 = 1_000_000_000;

/// Wall clock minus monotonic clock, in nanoseconds, when the wall clock last showed a plausible time; 0 if it never did in
/// this run.
static PLAUSIBLE_OFFSET: AtomicI64 = AtomicI64::new(0);

/// What the wall clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WallClock {
    /// A plausible time.
    Set,
    /// A time before 2025, although it was right before: the time since then is measured.
    Reset,
    /// A time before 2025 since the start: it was never set.
    NeverSet,
}

/// The current moment. While the wall clock shows a time before 2025 after it was right, its time is that of the last right
/// one plus the time since then.
pub(crate) fn now() -> Moment {
    let monotonic = monotonic();
    let wall = wall();
    if wall.is_plausible() {
        let offset = i64::try_from(wall.nanos()).unwrap_or(i64::MAX).saturating_sub(monotonic.nanos());
        PLAUSIBLE_OFFSET.store(offset, Ordering::Relaxed);
        return Moment { monotonic, wall };
    }
    let offset = PLAUSIBLE_OFFSET.load(Ordering::Relaxed);
    let extrapolated = u64::try_from(monotonic.nanos().saturating_add(offset)).unwrap_or_default();
    Moment { monotonic, wall: if offset == 0 { wall } else { Timestamp::from_nanos(extrapolated) } }
}

/// What the wall clock shows at present.
pub(crate) fn state() -> WallClock {
    match (wall().is_plausible(), PLAUSIBLE_OFFSET.load(Ordering::Relaxed)) {
        (true, _) => WallClock::Set,
        (false, 0) => WallClock::NeverSet,
        (false, _) => WallClock::Reset,
    }
}

/// The system's wall clock in nanoseconds since 1970; zero while it shows a time before that.
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The clock that also counts while the machine sleeps: a value that was read before is old when it wakes.
fn monotonic() -> MonotonicTime {
    let time = clock_gettime(ClockId::Boottime);
    MonotonicTime::from_nanos(time.tv_sec.saturating_mul(NANOS_PER_S).saturating_add(time.tv_nsec))
}

/// The local time at a time.
pub(crate) fn local_time(at: Timestamp) -> LocalTime {
    let seconds = i64::try_from(at.seconds()).unwrap_or(0);
    let zone = TIME_ZONE.get().cloned().unwrap_or_else(TimeZone::system);
    let local = jiff::Timestamp::from_second(seconds).map(|at| zone.to_datetime(at));
    let Ok(local) = local else { return LocalTime { second_of_day: 0, weekday: 0 } };
    let part = |part: i8| u32::try_from(part).unwrap_or_default();
    LocalTime {
        second_of_day: part(local.hour()) * 3600 + part(local.minute()) * 60 + part(local.second()),
        weekday: part(local.weekday().to_monday_zero_offset()),
    }
}
