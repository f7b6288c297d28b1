//! Judges whether the battery is within its limits. What is not known is not safe.
//!
//! Every limited channel of every device must have a good value that is younger than its age limit. Ages are monotonic, so
//! that a step of the wall clock changes no verdict.

use std::time::Duration;

use crate::event::{Frame, Safety, Violation, Watchdog};
use crate::site::Site;
use crate::time::MonotonicTime;

mod limits;
mod rules;
mod set_point;
mod trips;

use limits::SHORTEST_AGE_LIMIT;
use rules::Broken;
use trips::Trips;

pub use limits::{
    Alarm, Bounds, DISCHARGE_MARGIN_PCT, HIGHEST_TRIP_CEL, LOWEST_TRIP_CEL, SafetyLimits, SetPointLimits, age_limit,
};
pub use rules::rule;
pub(crate) use rules::{is_ignorance, reduces_only};
pub use set_point::{Block, Permit, SetPoint};

/// A reading is late when it is older than this many periods.
const LATE_PERIODS: u32 = 2;

/// A limited channel of one device.
#[derive(Clone, Debug)]
struct LimitedChannel {
    device: String,
    channel: String,
    bounds: Bounds,
    /// Where it is read; none if the device has no such channel, or no longer.
    read_from: Option<ChannelPosition>,
    newest: Option<(MonotonicTime, f64)>,
    /// The change per second between the two newest values; none if they were not read at two times.
    rate: Option<f64>,
}

/// A channel's source and its position there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ChannelPosition {
    source: usize,
    channel: usize,
}

/// A source that is read periodically.
#[derive(Clone, Debug)]
struct ReadSource {
    device: String,
    period: Duration,
    newest: Option<MonotonicTime>,
}

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

    /// Takes over a new description. Readings of channels that remain are kept. A limited channel that disappears from its
    /// device stays limited, and is unknown from now on; only those of devices that are gone are forgotten.
    pub fn update_site(&mut self, site: &Site) {
        let known = std::mem::take(&mut self.channels);
        self.channels = self.described_channels(site);
        let is_described = |known: &LimitedChannel, described: &[LimitedChannel]| {
            described.iter().any(|channel| channel.is_same(known))
        };
        for channel in self.channels.iter_mut().filter(|channel| channel.read_from.is_some()) {
            if let Some(known) = known.iter().find(|known| known.is_same(channel)) {
                (channel.newest, channel.rate) = (known.newest, known.rate);
            }
        }
        let has_device = |name: &str| site.devices.iter().any(|device| device.name == name);
        let gone = known.into_iter().filter(|known| has_device(&known.device) && !is_described(known, &self.channels));
        let gone: Vec<_> =
            gone.map(|known| LimitedChannel { read_from: None, newest: None, rate: None, ..known }).collect();
        self.channels.extend(gone);
        self.add_required();
        let sources = std::mem::take(&mut self.sources);
        let same = |index: usize, device: &str| sources.get(index).filter(|source| source.device == device);
        self.sources = site
            .sources
            .iter()
            .enumerate()
            .map(|(index, source)| ReadSource {
                device: source.device.clone(),
                period: source.period,
                newest: same(index, &source.device).and_then(|source| source.newest),
            })
            .collect();
    }

    /// The limited channels of a description. A device whose channels are not discovered yet may have all of them.
    fn described_channels(&self, site: &Site) -> Vec<LimitedChannel> {
        let mut channels = Vec::new();
        let limited = |device: &str, channel: &str, bounds: Bounds, read_from| LimitedChannel {
            device: device.to_owned(),
            channel: channel.to_owned(),
            bounds,
            read_from,
            newest: None,
            rate: None,
        };
        for device in &site.devices {
            let sources = || site.sources.iter().enumerate().filter(|(_, source)| source.device == device.name);
            if sources().all(|(_, source)| source.channels.is_empty()) {
                let all = self.limits.bounds.iter();
                channels.extend(all.map(|(name, bounds)| limited(&device.name, name, *bounds, None)));
                continue;
            }
            for (source, description) in sources() {
                for (position, channel) in description.channels.iter().enumerate() {
                    if let Some(bounds) = self.limits.bounds.get(&channel.name) {
                        let read_from = Some(ChannelPosition { source, channel: position });
                        channels.push(limited(&device.name, &channel.name, *bounds, read_from));
                    }
                }
            }
        }
        channels
    }

    /// A required channel that no device has is unknown, too; it belongs to no device.
    fn add_required(&mut self) {
        for name in &self.limits.required {
            let bounds = self.limits.bounds.get(name).copied().unwrap_or_default();
            if !self.channels.iter().any(|channel| channel.channel == *name) {
                let (device, channel) = (String::new(), name.clone());
                self.channels.push(LimitedChannel {
                    device,
                    channel,
                    bounds,
                    read_from: None,
                    newest: None,
                    rate: None,
                });
            }
        }
    }

    /// Takes over new limits and a new description; see [`Self::update_site`].
    pub fn set_limits(&mut self, limits: &SafetyLimits, site: &Site) {
        self.limits = limits.clone();
        self.channels.retain(|channel| limits.bounds.contains_key(&channel.channel));
        for channel in &mut self.channels {
            channel.bounds = limits.bounds.get(&channel.channel).copied().unwrap_or(channel.bounds);
        }
        self.update_site(site);
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
        let known = self.known_value(channel, now).ok().into_iter();
        known
            .flat_map(move |value| rules::reductions(&channel.bounds, value))
            .map(move |broken| channel.violated(broken))
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

impl LimitedChannel {
    fn is_same(&self, other: &Self) -> bool {
        (&self.device, &self.channel) == (&other.device, &other.channel)
    }

    /// Takes over a value, unless a newer one is known.
    fn take(&mut self, at: MonotonicTime, value: f64) {
        if let Some((newest, before)) = self.newest {
            if at < newest {
                return;
            }
            let elapsed = at.since(newest).as_secs_f64();
            self.rate = (elapsed > 0.0).then(|| (value - before) / elapsed);
        }
        self.newest = Some((at, value));
    }

    fn violated(&self, Broken { rule, value, limit }: Broken) -> Violation {
        let (device, channel) = (self.device.clone(), self.channel.clone());
        Violation { rule: rule.into(), device, channel, value, limit }
    }
}

impl ReadSource {
    /// Whether it was read lately enough to be used.
    fn is_fresh(&self, now: MonotonicTime) -> bool {
        self.newest.is_some_and(|newest| now.since(newest) <= age_limit(self.period))
    }

    /// Before the first reading the time counts from the start.
    fn state(&self, now: MonotonicTime, started: MonotonicTime) -> Watchdog {
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

fn severity(watchdog: Watchdog) -> u8 {
    match watchdog {
        Watchdog::Absent => 0,
        Watchdog::Ok => 1,
        Watchdog::Late => 2,
        Watchdog::Failed => 3,
    }
}

#[cfg(test)]
mod tests;
