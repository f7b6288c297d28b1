//! Both clocks of the gateway: the only place that reads them.

#![allow(clippy::disallowed_methods, reason = "this is the clock module")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// The monotonic time at which the main loop was last known to run, in nanoseconds; 0 before it runs.
static LAST_RUN: AtomicI64 = AtomicI64::new(0);
/// The monotonic time at which the last pause of the main loop began, and when it was over.
static PAUSE_BEGAN: AtomicI64 = AtomicI64::new(0);
static PAUSE_ENDED: AtomicI64 = AtomicI64::new(0);
/// A main loop that is asked once a second and has not run for this long was stopped, or the machine slept.
const PAUSE: Duration = Duration::from_secs(3);
/// For this long after a pause what is read may have arrived in it.
const AFTER_PAUSE: Duration = Duration::from_secs(2);

/// Notes that the main loop runs; to be called about once a second.
pub(crate) fn note_running() {
    let now = monotonic();
    let last = LAST_RUN.swap(now.nanos(), Ordering::Relaxed);
    if last != 0 && now.since(MonotonicTime::from_nanos(last)) > PAUSE {
        PAUSE_BEGAN.store(last, Ordering::Relaxed);
        PAUSE_ENDED.store(now.nanos(), Ordering::Relaxed);
    }
}

/// The earliest moment at which something that is read now may have arrived: while the process was stopped, it waited.
pub(crate) fn earliest_arrival() -> Moment {
    let now = now();
    let last = LAST_RUN.load(Ordering::Relaxed);
    let ended = MonotonicTime::from_nanos(PAUSE_ENDED.load(Ordering::Relaxed));
    let since = |nanos: i64| MonotonicTime::from_nanos(nanos);
    let arrival = if last != 0 && now.monotonic.since(since(last)) > PAUSE {
        since(last)
    } else if ended.nanos() != 0 && now.monotonic.since(ended) < AFTER_PAUSE {
        since(PAUSE_BEGAN.load(Ordering::Relaxed))
    } else {
        now.monotonic
    };
    Moment { monotonic: arrival, wall: now.wall.minus(now.monotonic.since(arrival)) }
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
