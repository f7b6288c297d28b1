//! Whether the battery is within its limits, judged on each frame; what is not known is not safe.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::event::{Frame, Safety, Violation, Watchdog};
use crate::site::{Site, channel};
use crate::time::Timestamp;

/// Age at which a watched value counts as unknown.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// Between which values a channel is safe, in its own unit; an end that is none is open.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// The least safe value.
    pub min: Option<f64>,
    /// The greatest safe value.
    pub max: Option<f64>,
}

/// Limits by channel name.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits(pub BTreeMap<String, Bounds>);

impl Default for Limits {
    /// State of charge 10 to 95 %, temperature up to 45 °C.
    fn default() -> Self {
        let soc = Bounds { min: Some(10.0), max: Some(95.0) };
        let temperature = Bounds { min: None, max: Some(45.0) };
        Self(BTreeMap::from([(channel::SOC.into(), soc), (channel::TEMPERATURE.into(), temperature)]))
    }
}

/// A channel with a limit, of one device.
struct Watched {
    source: usize,
    position: usize,
    device: String,
    channel: String,
    bounds: Bounds,
    newest: Option<(Timestamp, f64)>,
}

/// A source whose readings are waited for.
struct Awaited {
    period: Duration,
    newest: Option<Timestamp>,
}

/// Judges a site's readings against its limits.
pub struct Guard {
    limits: Limits,
    watched: Vec<Watched>,
    awaited: BTreeMap<usize, Awaited>,
    started: Timestamp,
}

impl Guard {
    /// Nothing read yet.
    pub fn new(site: &Site, limits: &Limits, now: Timestamp) -> Self {
        let (watched, awaited) = (Vec::new(), BTreeMap::new());
        let mut guard = Self { limits: limits.clone(), watched, awaited, started: now };
        for (index, source) in site.sources.iter().enumerate() {
            // Nothing is awaited of a device that has not yet said what it has.
            if !source.channels.is_empty() {
                guard.awaited.insert(index, Awaited { period: source.period, newest: None });
            }
            for (position, channel) in source.channels.iter().enumerate() {
                let Some(&bounds) = limits.0.get(&channel.name) else { continue };
                let (device, channel) = (source.device.clone(), channel.name.clone());
                guard.watched.push(Watched { source: index, position, device, channel, bounds, newest: None });
            }
        }
        guard
    }

    /// The site has another description; what is known of channels that stay is kept.
    pub fn describe(&mut self, site: &Site) {
        let before = std::mem::replace(self, Self::new(site, &self.limits, self.started));
        for watched in &mut self.watched {
            let same = |known: &&Watched| (&known.device, &known.channel) == (&watched.device, &watched.channel);
            watched.newest = before.watched.iter().find(same).and_then(|known| known.newest);
        }
        for (index, awaited) in &mut self.awaited {
            awaited.newest = before.awaited.get(index).and_then(|known| known.newest);
        }
    }

    /// Takes note of a reading.
    pub fn observe(&mut self, at: Timestamp, frame: &Frame) {
        let Ok(source) = usize::try_from(frame.source) else { return };
        for watched in self.watched.iter_mut().filter(|watched| watched.source == source) {
            if let Some(value) = frame.good(watched.position) {
                watched.newest = Some((at, value));
            }
        }
        if let Some(awaited) = self.awaited.get_mut(&source).filter(|_| !frame.is_empty()) {
            awaited.newest = Some(at);
        }
    }

    /// What the newest readings say now.
    pub fn judge(&self, now: Timestamp) -> Safety {
        let violations: Vec<_> = self.watched.iter().filter_map(|watched| self.violation(watched, now)).collect();
        Safety { is_safe: violations.is_empty(), watchdog: self.watchdog(now), power_limit_kw: None, violations }
    }

    fn violation(&self, watched: &Watched, now: Timestamp) -> Option<Violation> {
        let broken = |rule: &str, value: f64, limit: f64| {
            let (device, channel) = (watched.device.clone(), watched.channel.clone());
            Some(Violation { rule: rule.into(), device, channel, value, limit })
        };
        let Some((at, value)) = watched.newest else {
            return self.unread(watched, now).and_then(|age| broken("unread", f64::NAN, age));
        };
        let age = now.since(at);
        if age > STALE_AFTER {
            return broken("stale", age.as_secs_f64(), STALE_AFTER.as_secs_f64());
        }
        match watched.bounds {
            Bounds { min: Some(min), .. } if value < min => broken("min", value, min),
            Bounds { max: Some(max), .. } if value > max => broken("max", value, max),
            _ => None,
        }
    }

    /// A channel never read: at once where its source brought nothing at all, else when the grace is over.
    fn unread(&self, watched: &Watched, now: Timestamp) -> Option<f64> {
        let answered = self.awaited.get(&watched.source).is_some_and(|awaited| awaited.newest.is_some());
        let grace_over = now.since(self.started) > STALE_AFTER;
        (!answered || grace_over).then_some(STALE_AFTER.as_secs_f64())
    }

    /// The worst of the sources that safety is judged on; of all, where it is judged on none.
    fn watchdog(&self, now: Timestamp) -> Watchdog {
        let judged =
            |index: usize| self.watched.is_empty() || self.watched.iter().any(|watched| watched.source == index);
        let states = self.awaited.iter().filter(|(index, _)| judged(**index)).map(|(_, awaited)| awaited.state(now));
        states.max_by_key(|state| severity(*state)).unwrap_or(Watchdog::Absent)
    }
}

impl Awaited {
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
        let mut guard = Guard::new(&site(), &Limits::default(), second(0));
        for (at, values) in frames {
            guard.observe(second(*at), &frame(*values));
        }
        let safety = guard.judge(second(now));
        let found: Vec<_> = safety.violations.iter().map(|v| (v.channel.as_str(), v.rule.as_str())).collect();
        assert_eq!((found.as_slice(), safety.watchdog), (rules, watchdog), "{frames:?} at {now}");
        assert_eq!(safety.is_safe, rules.is_empty());
    }

    const NAN: f64 = f64::NAN;

    #[test]
    fn limits() {
        check(&[(0, [50.0, 25.0])], 0, &[], Watchdog::Ok);
        check(&[(0, [10.0, 45.0])], 0, &[], Watchdog::Ok);
        check(&[(0, [95.0, 45.0])], 0, &[], Watchdog::Ok);
        check(&[(0, [9.9, 25.0])], 0, &[("soc_pct", "min")], Watchdog::Ok);
        check(&[(0, [95.1, 45.1])], 0, &[("soc_pct", "max"), ("temp_c", "max")], Watchdog::Ok);
        check(&[(0, [99.0, 25.0]), (5, [90.0, 25.0])], 5, &[], Watchdog::Ok);
    }

    #[test]
    fn what_is_not_known_is_not_safe() {
        check(&[], 0, &[("soc_pct", "unread"), ("temp_c", "unread")], Watchdog::Failed);
        check(&[(0, [NAN, NAN])], 0, &[("soc_pct", "unread"), ("temp_c", "unread")], Watchdog::Failed);
        check(&[(0, [50.0, NAN])], 5, &[], Watchdog::Ok);
        check(&[(0, [50.0, NAN]), (31, [50.0, NAN])], 31, &[("temp_c", "unread")], Watchdog::Ok);
        check(&[(0, [50.0, 25.0]), (20, [NAN, NAN])], 25, &[], Watchdog::Late);
        check(&[(0, [50.0, 25.0]), (31, [50.0, NAN])], 31, &[("temp_c", "stale")], Watchdog::Ok);
        check(&[(0, [50.0, 25.0])], 31, &[("soc_pct", "stale"), ("temp_c", "stale")], Watchdog::Failed);
    }

    #[test]
    fn a_site_without_watched_channels_is_judged_by_its_readings_alone() {
        let mut guard = Guard::new(&site(), &Limits(BTreeMap::new()), second(0));
        assert_eq!(guard.judge(second(0)).watchdog, Watchdog::Failed);
        guard.observe(second(0), &frame([1.0, 2.0]));
        let safety = guard.judge(second(1));
        assert!(safety.is_safe && safety.watchdog == Watchdog::Ok);
    }
}
