//! Judges whether the battery is within its limits. What is not known is not safe.
//!
//! Every limited channel of every device must have a good value that is younger than its age limit. Ages are monotonic, so
//! that a step of the wall clock changes no verdict.

use std::time::Duration;

use crate::event::{Frame, Safety, Violation, Watchdog};
use crate::site::Site;
use crate::time::MonotonicTime;

mod description;
mod limits;
mod readings;
mod rules;
mod set_point;
mod trips;

use limits::SHORTEST_AGE_LIMIT;
use readings::{LimitedChannel, ReadSource, severity};
use rules::Broken;
use trips::Trips;

pub use limits::{
    Alarm, Bounds, DISCHARGE_MARGIN_PCT, HIGHEST_TRIP_CEL, LOWEST_TRIP_CEL, SafetyLimits, SetPointLimits, age_limit,
};
pub use rules::rule;
pub(crate) use rules::{is_ignorance, reduces_only};
pub use set_point::{Block, Permit, SetPoint};

/// Judges a site's readings by its limits.
pub struct SafetyMonitor {
    limits: SafetyLimits,
    channels: Vec<LimitedChannel>,
    /// By the index in the site's description.
    sources: Vec<ReadSource>,
    trips: Trips,
    started: MonotonicTime,
}

impl SafetyMonitor {
    /// A monitor without readings: every limited channel is unknown.
    pub fn new(site: &Site, limits: &SafetyLimits, now: MonotonicTime) -> Self {
        let (limits, trips) = (limits.clone(), Trips::default());
        let mut monitor = Self { limits, channels: Vec::new(), sources: Vec::new(), trips, started: now };
        monitor.update_site(site);
        monitor
    }

    /// Records a reading.
    pub fn record(&mut self, at: MonotonicTime, frame: &Frame) {
        let Ok(index) = usize::try_from(frame.source) else { return };
        for channel in &mut self.channels {
            let Some(position) = channel.read_from.filter(|position| position.source == index) else { continue };
            if let Some(value) = frame.good(position.channel) {
                Self::latch_if_tripped(&mut self.trips, channel, value);
                channel.take(at, value);
            }
        }
        if let Some(source) = self.sources.get_mut(index).filter(|_| !frame.is_empty()) {
            source.newest = source.newest.max(Some(at));
        }
    }

    /// The verdict on the newest readings.
    pub fn evaluate(&self, now: MonotonicTime) -> Safety {
        let mut violations: Vec<_> = self.channels.iter().filter_map(|channel| self.violation(channel, now)).collect();
        violations.extend_from_slice(self.trips.list());
        let is_safe = violations.is_empty();
        violations.extend(self.channels.iter().flat_map(|channel| self.reductions(channel, now)));
        let power_limit_kw = if is_safe { self.power_limit_kw(&violations) } else { Some(0.0) };
        Safety { is_safe, watchdog: self.watchdog(now), power_limit_kw, violations }
    }

    /// Whether the verdict is more than the ignorance of a start: each limited channel was read, or had the time to be. A site
    /// without limited channels is judged by all its sources.
    pub fn is_settled(&self, now: MonotonicTime) -> bool {
        let since_start = now.since(self.started);
        let is_overdue = |limit: Duration| since_start > limit;
        if self.channels.is_empty() {
            return self.sources.iter().all(|source| source.newest.is_some() || is_overdue(age_limit(source.period)));
        }
        self.channels.iter().all(|channel| channel.newest.is_some() || is_overdue(self.age_limit(channel)))
    }

    /// When the next value expires, or the time of one that was never read is over, if nothing is read until then.
    pub fn next_expiry(&self, now: MonotonicTime) -> Option<MonotonicTime> {
        let expiry = |channel: &LimitedChannel| {
            let since = channel.newest.map_or(self.started, |(at, _)| at);
            since.plus(self.age_limit(channel))
        };
        self.channels.iter().map(expiry).filter(|expiry| *expiry >= now).min()
    }

    /// The age above which a channel's value is unknown.
    fn age_limit(&self, channel: &LimitedChannel) -> Duration {
        let source = channel.read_from.and_then(|position| self.sources.get(position.source));
        channel.bounds.max_age.unwrap_or_else(|| source.map_or(SHORTEST_AGE_LIMIT, |source| age_limit(source.period)))
    }

    /// The channel's value, or that it is not known.
    fn known_value(&self, channel: &LimitedChannel, now: MonotonicTime) -> Result<f64, Violation> {
        let limit = self.age_limit(channel);
        let unknown = |rule, value| Err(channel.violated(Broken { rule, value, limit: limit.as_secs_f64() }));
        let Some((at, value)) = channel.newest else { return unknown(rule::UNREAD, f64::NAN) };
        let age = now.since(at);
        if age > limit { unknown(rule::STALE, age.as_secs_f64()) } else { Ok(value) }
    }

    /// Why the channel is not safe.
    fn violation(&self, channel: &LimitedChannel, now: MonotonicTime) -> Option<Violation> {
        match self.known_value(channel, now) {
            Err(unknown) => Some(unknown),
            Ok(value) => rules::broken(&channel.bounds, value, channel.rate).map(|broken| channel.violated(broken)),
        }
    }

    /// The rules by which the channel's value reduces set-points.
    fn reductions(&self, channel: &LimitedChannel, now: MonotonicTime) -> impl Iterator<Item = Violation> {
        let is_known = !channel.reductions.is_empty() && self.known_value(channel, now).is_ok();
        channel.reductions.iter().filter(move |_| is_known).map(|broken| channel.violated(*broken))
    }

    /// The worst state of the sources with limited channels, or of all sources if there are none.
    fn watchdog(&self, now: MonotonicTime) -> Watchdog {
        let reads = |channel: &LimitedChannel, index: usize| match channel.read_from {
            Some(position) => position.source == index,
            None => self.sources.get(index).is_some_and(|source| source.device == channel.device),
        };
        let is_limited = |index: usize| self.channels.iter().any(|channel| reads(channel, index));
        let none_is_limited = !(0..self.sources.len()).any(is_limited);
        let judged = self.sources.iter().enumerate().filter(|(index, _)| none_is_limited || is_limited(*index));
        let states = judged.map(|(_, source)| source.state(now, self.started));
        states.max_by_key(|state| severity(*state)).unwrap_or(Watchdog::Absent)
    }
}

#[cfg(test)]
mod tests;
