//! The journal's own time line: when each event occurred on a clock that never steps, whatever the wall clock showed.
//!
//! Events carry the wall clock's time, and each segment says how far that was from the monotonic clock: in its header, and in
//! a record before each event from which on the distance is another one, because the wall clock was set. So the monotonic time
//! of every event is known, exact to [`STEP`].
//!
//! A segment also says during which boot of which machine it was written. Times of this boot are comparable across restarts of
//! the gateway. The time between two boots is unknown, since no wall clock is trusted with it: it counts as [`RESTART`]. So the
//! ages of events never contain the time that a machine was off, and an event can be kept longer than the journal's `max_age`.

#![allow(clippy::disallowed_methods, reason = "it runs at the start and in commands")]

use std::sync::Arc;
use std::time::Duration;
use std::{fs, process};

use bessai_domain::time::{Moment, MonotonicTime, Timestamp};

use crate::segment::Segment;

/// A wall clock that differs by more than this from what the segment says was set meanwhile. Much more than a busy machine
/// needs between reading one clock and the other, much less than any age limit.
const STEP: Duration = Duration::from_millis(100);
/// What the unknown time between two boots counts as: about what the restart of a machine takes at least, and enough to tell
/// a feed that the events before it are not of the present.
const RESTART: Duration = Duration::from_mins(1);
/// The kernel's random identifier of this boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The offsets of the clocks, in a container that has its own.
const CLOCK_OFFSETS: &str = "/proc/self/timens_offsets";

/// Identifies what a monotonic clock counts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Boot(pub(crate) Arc<str>);

impl Boot {
    /// The current boot. Where the kernel does not identify it, each run has its own.
    pub(crate) fn current(now: Moment) -> Self {
        let id = fs::read_to_string(BOOT_ID).unwrap_or_default();
        let id = match id.trim() {
            "" => format!("{} {}", process::id(), now.wall.nanos()),
            id => id.to_owned(),
        };
        let offsets = fs::read_to_string(CLOCK_OFFSETS).unwrap_or_default();
        let of_clock = |line: &&str| line.starts_with("boottime");
        let words: Vec<_> = offsets.lines().find(of_clock).unwrap_or_default().split_whitespace().collect();
        match words.as_slice() {
            [] | [_, "0", "0"] => Self(id.into()),
            offset => Self(format!("{id} {}", offset.join(" ")).into()),
        }
    }
}

/// How far the wall clock is ahead of the monotonic clock, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockDistance(pub(crate) i64);

impl ClockDistance {
    pub(crate) const fn between(at: Timestamp, occurred: MonotonicTime) -> Self {
        Self(at.nanos().cast_signed().wrapping_sub(occurred.nanos()))
    }

    /// The monotonic time at which the wall clock showed `at`.
    pub(crate) const fn monotonic(self, at: Timestamp) -> MonotonicTime {
        MonotonicTime::from_nanos(at.nanos().cast_signed().wrapping_sub(self.0))
    }

    /// Whether the wall clock was set between the times of the two distances.
    pub(crate) fn is_stepped_from(self, other: Self) -> bool {
        u128::from(self.0.abs_diff(other.0)) > STEP.as_nanos()
    }
}

/// Where a segment's times are on this run's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeLine {
    /// So many nanoseconds after what the segment says.
    Shifted(i64),
    /// The segment says no monotonic times: all of its events count as of this one.
    Fixed(MonotonicTime),
}

impl TimeLine {
    /// Of the segments that this run writes.
    pub(crate) const THIS_RUN: Self = Self::Shifted(0);

    /// A time of the segment on this run's clock.
    pub(crate) const fn place(self, time: MonotonicTime) -> MonotonicTime {
        match self {
            Self::Shifted(nanos) => MonotonicTime::from_nanos(time.nanos().saturating_add(nanos)),
            Self::Fixed(time) => time,
        }
    }
}

fn earlier(time: MonotonicTime, by: Duration) -> MonotonicTime {
    let nanos = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
    MonotonicTime::from_nanos(time.nanos().saturating_sub(nanos))
}

/// Places the segments of earlier runs, oldest first, on this run's clock, which shows `now`.
pub(crate) fn place(segments: &mut [Segment], boot: &Boot, now: MonotonicTime) {
    // The segments that are still to be placed were written before this time.
    let mut limit = now;
    let runs = segments.chunk_by_mut(|one, next| one.boot == next.boot).rev();
    for (nth, run) in runs.enumerate() {
        let of_run = run.first().and_then(|segment| segment.boot.clone());
        let is_this_boot = of_run.as_ref() == Some(boot);
        if nth > 0 || !is_this_boot {
            limit = earlier(limit, RESTART);
        }
        let newest = run.iter().map(|segment| segment.occurred.newest).max().unwrap_or_default();
        let shift = limit.nanos().saturating_sub(newest.nanos());
        let line = match of_run {
            None => TimeLine::Fixed(limit),
            // Times of this boot need no shift, unless they are in the future: then they are another clock's.
            Some(_) if is_this_boot => TimeLine::Shifted(shift.min(0)),
            Some(_) => TimeLine::Shifted(shift),
        };
        run.iter_mut().for_each(|segment| segment.line = line);
        limit = run.iter().map(Segment::oldest_occurred).min().unwrap_or(limit).min(limit);
    }
}

/// Places segments on the clock of the run that wrote the newest one.
pub(crate) fn place_on_newest(segments: &mut [Segment]) {
    let Some(newest) = segments.last() else { return };
    let (boot, now) = (newest.boot.clone(), newest.occurred.newest);
    place(segments, &boot.unwrap_or_else(|| Boot("".into())), now);
}
