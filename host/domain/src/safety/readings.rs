//! What was read last: the newest value of each limited channel, and when each source was read.

use std::time::Duration;

use super::limits::{Bounds, age_limit};
use super::rules::{self, Broken};
use crate::event::{Violation, Watchdog};
use crate::time::MonotonicTime;

/// A reading is late when it is older than this many periods.
const LATE_PERIODS: u32 = 2;

/// A limited channel of one device.
#[derive(Clone, Debug)]
pub(super) struct LimitedChannel {
    pub(super) device: String,
    pub(super) channel: String,
    pub(super) bounds: Bounds,
    /// Where it is read; none if the device has no such channel, or no longer.
    pub(super) read_from: Option<ChannelPosition>,
    pub(super) newest: Option<(MonotonicTime, f64)>,
    /// The change per second between the two newest values; none if they were not read at two times.
    pub(super) rate: Option<f64>,
    /// The rules by which the newest value reduces set-points.
    pub(super) reductions: Vec<Broken>,
}

/// A channel's source and its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChannelPosition {
    pub(super) source: usize,
    pub(super) channel: usize,
}

/// A source that is read periodically.
#[derive(Clone, Debug)]
pub(super) struct ReadSource {
    pub(super) device: String,
    pub(super) period: Duration,
    pub(super) newest: Option<MonotonicTime>,
}

impl LimitedChannel {
    /// A channel without readings.
    pub(super) fn new(device: &str, channel: &str, bounds: Bounds, read_from: Option<ChannelPosition>) -> Self {
        let (device, channel) = (device.to_owned(), channel.to_owned());
        Self { device, channel, bounds, read_from, newest: None, rate: None, reductions: Vec::new() }
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.device, &self.channel) == (&other.device, &other.channel)
    }

    /// Takes over a value, unless a newer one is known.
    pub(super) fn take(&mut self, at: MonotonicTime, value: f64) {
        if let Some((newest, before)) = self.newest {
            if at < newest {
                return;
            }
            let elapsed = at.since(newest).as_secs_f64();
            self.rate = (elapsed > 0.0).then(|| (value - before) / elapsed);
        }
        self.newest = Some((at, value));
        self.reductions = rules::reductions(&self.bounds, value, &self.reductions);
    }

    /// Takes over the readings of the same channel in another description.
    pub(super) fn continue_from(&mut self, known: &Self) {
        (self.newest, self.rate) = (known.newest, known.rate);
        self.reductions.clone_from(&known.reductions);
    }

    /// Takes over other limits. A reduction that the old ones kept in force is forgotten.
    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        if bounds != self.bounds {
            self.bounds = bounds;
            self.reductions = self.newest.map(|(_, value)| rules::reductions(&bounds, value, &[])).unwrap_or_default();
        }
    }

    pub(super) fn violated(&self, Broken { rule, value, limit }: Broken) -> Violation {
        let (device, channel) = (self.device.clone(), self.channel.clone());
        Violation { rule: rule.into(), device, channel, value, limit }
    }
}

impl ReadSource {
    /// Whether it was read lately enough to be used.
    pub(super) fn is_fresh(&self, now: MonotonicTime) -> bool {
        self.newest.is_some_and(|newest| now.since(newest) <= age_limit(self.period))
    }

    /// Before the first reading the time counts from the start.
    pub(super) fn state(&self, now: MonotonicTime, started: MonotonicTime) -> Watchdog {
        let age = now.since(self.newest.unwrap_or(started));
        if age > age_limit(self.period) {
            Watchdog::Failed
        } else if age > self.period.saturating_mul(LATE_PERIODS) {
            Watchdog::Late
        } else {
            Watchdog::Ok
        }
    }
}

/// How bad a state is, compared with others.
pub(super) fn severity(watchdog: Watchdog) -> u8 {
    match watchdog {
        Watchdog::Absent => 0,
        Watchdog::Ok => 1,
        Watchdog::Late => 2,
        Watchdog::Failed => 3,
    }
}
