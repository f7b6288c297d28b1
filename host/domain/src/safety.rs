//! Evaluates on each frame whether the battery is within its limits; unknown values are not safe.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{Frame, Safety, Violation, Watchdog};
use crate::site::{Site, channel};
use crate::time::Timestamp;

/// Age from which the value of a limited channel counts as unknown.
const STALE_AFTER: Duration = Duration::from_secs(30);

/// The safe range of a channel in its unit; a bound that is none is open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The smallest safe value.
    pub min: Option<f64>,
    /// The largest safe value.
    pub max: Option<f64>,
}

/// Limits by channel name.
#[derive(Clone, Debug, PartialEq)]
pub struct SafetyLimits(pub BTreeMap<String, Bounds>);

impl Default for SafetyLimits {
    /// State of charge 10 to 95 %, temperature up to 45 °C.
    fn default() -> Self {
        let soc = Bounds { min: Some(10.0), max: Some(95.0) };
        let temperature = Bounds { min: None, max: Some(45.0) };
        Self(BTreeMap::from([(channel::SOC.into(), soc), (channel::TEMPERATURE.into(), temperature)]))
    }
}

/// A limited channel of one device.
struct LimitedChannel {
    source: usize,
    position: usize,
    device: String,
    channel: String,
    bounds: Bounds,
    newest: Option<(Timestamp, f64)>,
}

/// A source that is read periodically.
struct ReadSource {
    period: Duration,
    newest: Option<Timestamp>,
}

/// Evaluates a site's readings against its limits.
pub struct SafetyMonitor {
    limits: SafetyLimits,
    channels: Vec<LimitedChannel>,
    sources: BTreeMap<usize, ReadSource>,
    started: Timestamp,
}

impl SafetyMonitor {
    /// A monitor without readings.
    pub fn new(site: &Site, limits: &SafetyLimits, now: Timestamp) -> Self {
        let (channels, sources) = (Vec::new(), BTreeMap::new());
        let mut monitor = Self { limits: limits.clone(), channels, sources, started: now };
        for (index, source) in site.sources.iter().enumerate() {
            // A device whose channels are not discovered yet has no readings.
            if !source.channels.is_empty() {
                monitor.sources.insert(index, ReadSource { period: source.period, newest: None });
            }
            for (position, channel) in source.channels.iter().enumerate() {
                let Some(&bounds) = limits.0.get(&channel.name) else { continue };
                let (device, channel) = (source.device.clone(), channel.name.clone());
                monitor.channels.push(LimitedChannel {
                    source: index,
                    position,
                    device,
                    channel,
                    bounds,
                    newest: None,
                });
            }
        }
        monitor
    }

    /// Takes over a new description of the site and keeps the readings of channels that remain.
    pub fn update_site(&mut self, site: &Site) {
        let before = std::mem::replace(self, Self::new(site, &self.limits, self.started));
        for channel in &mut self.channels {
            let same = |known: &&LimitedChannel| (&known.device, &known.channel) == (&channel.device, &channel.channel);
            channel.newest = before.channels.iter().find(same).and_then(|known| known.newest);
        }
        for (index, source) in &mut self.sources {
            source.newest = before.sources.get(index).and_then(|known| known.newest);
        }
    }

    /// Records a reading.
    pub fn record(&mut self, at: Timestamp, frame: &Frame) {
        let Ok(index) = usize::try_from(frame.source) else { return };
        for channel in self.channels.iter_mut().filter(|channel| channel.source == index) {
            if let Some(value) = frame.good(channel.position) {
                channel.newest = Some((at, value));
            }
        }
        if let Some(source) = self.sources.get_mut(&index).filter(|_| !frame.is_empty()) {
            source.newest = Some(at);
        }
    }

    /// The verdict on the newest readings.
    pub fn evaluate(&self, now: Timestamp) -> Safety {
        let violations: Vec<_> = self.channels.iter().filter_map(|channel| self.violation(channel, now)).collect();
        Safety { is_safe: violations.is_empty(), watchdog: self.watchdog(now), power_limit_kw: None, violations }
    }

    fn violation(&self, channel: &LimitedChannel, now: Timestamp) -> Option<Violation> {
        let violated = |rule: &str, value: f64, limit: f64| {
            let (device, channel) = (channel.device.clone(), channel.channel.clone());
            Some(Violation { rule: rule.into(), device, channel, value, limit })
        };
        let Some((at, value)) = channel.newest else {
            return self.unread(channel, now).and_then(|limit| violated("unread", f64::NAN, limit));
        };
        let age = now.since(at);
        if age > STALE_AFTER {
            return violated("stale", age.as_secs_f64(), STALE_AFTER.as_secs_f64());
        }
        match channel.bounds {
            Bounds { min: Some(min), .. } if value < min => violated("min", value, min),
            Bounds { max: Some(max), .. } if value > max => violated("max", value, max),
            _ => None,
        }
    }

    /// The violated limit of a channel that was never read: at once if its source has no reading, else after
    /// [`STALE_AFTER`].
    fn unread(&self, channel: &LimitedChannel, now: Timestamp) -> Option<f64> {
        let has_reading = self.sources.get(&channel.source).is_some_and(|source| source.newest.is_some());
        let is_overdue = now.since(self.started) > STALE_AFTER;
        (!has_reading || is_overdue).then_some(STALE_AFTER.as_secs_f64())
    }

    /// The worst state of the sources with limited channels, or of all sources if there are none.
    fn watchdog(&self, now: Timestamp) -> Watchdog {
        let counts =
            |index: usize| self.channels.is_empty() || self.channels.iter().any(|channel| channel.source == index);
        let states = self.sources.iter().filter(|(index, _)| counts(**index)).map(|(_, source)| source.state(now));
        states.max_by_key(|state| severity(*state)).unwrap_or(Watchdog::Absent)
    }
}

impl ReadSource {
    fn state(&self, now: Timestamp) -> Watchdog {
        let Some(newest) = self.newest else { return Watchdog::Failed };
        let age = now.since(newest);
        let late = self.period * 2;
        if age > STALE_AFTER.max(late) {
            Watchdog::Failed
        } else if age > late {
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
mod tests {
    use super::*;
    use crate::event::{Fault, FaultKind};
    use crate::site::{Channel, ChannelKind, Device, Source};

    fn site() -> Site {
        let channel = |name: &str, unit: &str| Channel {
            name: name.into(),
            unit: unit.into(),
            kind: ChannelKind::Gauge,
            writable: false,
            attributes: Vec::new(),
        };
        let source = Source {
            device: "battery".into(),
            period: Duration::from_secs(5),
            channels: [channel("soc_pct", "%"), channel("temp_c", "Cel")].into(),
            attributes: Vec::new(),
        };
        let device = Device { name: "battery".into(), attributes: Vec::new() };
        Site { id: "S".into(), revision: 1, devices: vec![device], sources: vec![source], attributes: Vec::new() }
    }

    fn frame(values: [f64; 2]) -> Frame {
        let missing = (0..).zip(values).filter(|(_, value)| value.is_nan());
        let faults = missing.map(|(channel, _)| Fault { channel, kind: FaultKind::Missing }).collect();
        Frame { source: 0, values: values.to_vec(), faults, texts: Vec::new() }
    }

    fn second(seconds: u64) -> Timestamp {
        Timestamp::from_nanos((1_740_000_000 + seconds) * 1_000_000_000)
    }

    fn check(frames: &[(u64, [f64; 2])], now: u64, rules: &[(&str, &str)], watchdog: Watchdog) {
        let mut monitor = SafetyMonitor::new(&site(), &SafetyLimits::default(), second(0));
        for (at, values) in frames {
            monitor.record(second(*at), &frame(*values));
        }
        let safety = monitor.evaluate(second(now));
        let found: Vec<_> = safety.violations.iter().map(|v| (v.channel.as_str(), v.rule.as_str())).collect();
        assert_eq!((found.as_slice(), safety.watchdog), (rules, watchdog), "{frames:?} at {now}");
        assert_eq!(safety.is_safe, rules.is_empty());
    }

    const NAN: f64 = f64::NAN;

    #[test]
    fn values_beyond_a_bound_violate_it() {
        check(&[(0, [50.0, 25.0])], 0, &[], Watchdog::Ok);
        check(&[(0, [10.0, 45.0])], 0, &[], Watchdog::Ok);
        check(&[(0, [95.0, 45.0])], 0, &[], Watchdog::Ok);
        check(&[(0, [9.9, 25.0])], 0, &[("soc_pct", "min")], Watchdog::Ok);
        check(&[(0, [95.1, 45.1])], 0, &[("soc_pct", "max"), ("temp_c", "max")], Watchdog::Ok);
        check(&[(0, [99.0, 25.0]), (5, [90.0, 25.0])], 5, &[], Watchdog::Ok);
    }

    #[test]
    fn unknown_values_are_not_safe() {
        check(&[], 0, &[("soc_pct", "unread"), ("temp_c", "unread")], Watchdog::Failed);
        check(&[(0, [NAN, NAN])], 0, &[("soc_pct", "unread"), ("temp_c", "unread")], Watchdog::Failed);
        check(&[(0, [50.0, NAN])], 5, &[], Watchdog::Ok);
        check(&[(0, [50.0, NAN]), (31, [50.0, NAN])], 31, &[("temp_c", "unread")], Watchdog::Ok);
        check(&[(0, [50.0, 25.0]), (20, [NAN, NAN])], 25, &[], Watchdog::Late);
        check(&[(0, [50.0, 25.0]), (31, [50.0, NAN])], 31, &[("temp_c", "stale")], Watchdog::Ok);
        check(&[(0, [50.0, 25.0])], 31, &[("soc_pct", "stale"), ("temp_c", "stale")], Watchdog::Failed);
    }

    #[test]
    fn a_site_without_limited_channels_depends_on_its_readings_alone() {
        let mut monitor = SafetyMonitor::new(&site(), &SafetyLimits(BTreeMap::new()), second(0));
        assert_eq!(monitor.evaluate(second(0)).watchdog, Watchdog::Failed);
        monitor.record(second(0), &frame([1.0, 2.0]));
        let safety = monitor.evaluate(second(1));
        assert!(safety.is_safe && safety.watchdog == Watchdog::Ok);
    }
}
