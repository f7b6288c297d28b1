//! Verdicts on readings, silence and changed descriptions.

mod properties;
mod set_points;
mod trips;

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::event::{Fault, FaultKind, SafetyState};
use crate::site::{Channel, ChannelKind, Device, Source};

const NAN: f64 = f64::NAN;

fn source(device: &str, period_s: u64, channels: &[&str]) -> Source {
    let channel = |name: &&str| Channel {
        name: (*name).into(),
        unit: "1".into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    Source {
        device: device.into(),
        period: Duration::from_secs(period_s),
        channels: channels.iter().map(channel).collect(),
        attributes: Vec::new(),
    }
}

fn site(sources: Vec<Source>) -> Site {
    let mut devices: Vec<_> = sources.iter().map(|source| source.device.clone()).collect();
    devices.dedup();
    let devices = devices.into_iter().map(|name| Device { name, attributes: Vec::new() }).collect();
    Site { id: "S".into(), revision: 1, devices, sources, attributes: Vec::new() }
}

fn battery() -> Site {
    site(vec![source("battery", 5, &["soc_pct", "temp_c"])])
}

fn frame(source: u32, values: &[f64]) -> Frame {
    let missing = (0..).zip(values).filter(|(_, value)| value.is_nan());
    let faults = missing.map(|(channel, _)| Fault { channel, kind: FaultKind::Missing }).collect();
    Frame { source, values: values.to_vec(), faults, texts: Vec::new() }
}

fn second(seconds: i64) -> MonotonicTime {
    MonotonicTime::from_nanos(seconds * 1_000_000_000)
}

fn monitor(site: &Site) -> SafetyMonitor {
    SafetyMonitor::new(site, &SafetyLimits::default(), second(0))
}

fn rules(safety: &Safety) -> Vec<(&str, &str)> {
    safety.violations.iter().map(|violation| (violation.channel.as_str(), violation.rule.as_str())).collect()
}

fn check(frames: &[(i64, [f64; 2])], now: i64, expected: &[(&str, &str)], state: SafetyState, watchdog: Watchdog) {
    let mut monitor = monitor(&battery());
    for (at, values) in frames {
        monitor.record(second(*at), &frame(0, values));
    }
    let safety = monitor.evaluate(second(now));
    let found = (rules(&safety), safety.state(), safety.watchdog);
    assert_eq!(found, (expected.to_vec(), state, watchdog), "{frames:?} at {now}");
    assert_eq!(safety.is_safe, state == SafetyState::Safe);
}

#[test]
fn values_beyond_a_bound_violate_it() {
    use SafetyState::{Safe, Unsafe};
    check(&[(0, [50.0, 25.0])], 0, &[], Safe, Watchdog::Ok);
    check(&[(0, [15.0, 45.0])], 0, &[], Safe, Watchdog::Ok);
    check(&[(0, [95.0, 45.0])], 0, &[], Safe, Watchdog::Ok);
    let low = [("soc_pct", "min"), ("soc_pct", "derate-discharge")];
    check(&[(0, [9.9, 25.0])], 0, &low, Unsafe, Watchdog::Ok);
    let hot = [("soc_pct", "max"), ("temp_c", "max"), ("temp_c", "trip"), ("temp_c", "derate")];
    check(&[(0, [95.1, 60.1])], 0, &hot, Unsafe, Watchdog::Ok);
    check(&[(0, [99.0, 25.0]), (5, [90.0, 25.0])], 5, &[], Safe, Watchdog::Ok);
    check(&[(0, [99.0, NAN])], 0, &[("soc_pct", "max"), ("temp_c", "unread")], Unsafe, Watchdog::Ok);
}

#[test]
fn values_beyond_a_reducing_limit_are_safe_and_named() {
    use SafetyState::{Safe, Unknown};
    check(&[(0, [10.0, 25.0])], 0, &[("soc_pct", "derate-discharge")], Safe, Watchdog::Ok);
    check(&[(0, [50.0, 45.1])], 0, &[("temp_c", "derate")], Safe, Watchdog::Ok);
    check(&[(0, [50.0, 60.0])], 0, &[("temp_c", "derate")], Safe, Watchdog::Ok);
    check(&[(0, [50.0, -10.1])], 0, &[("temp_c", "no-charge")], Safe, Watchdog::Ok);
    let half_known = [("soc_pct", "unread"), ("temp_c", "derate")];
    check(&[(0, [NAN, 50.0])], 0, &half_known, Unknown, Watchdog::Ok);
}

#[test]
fn a_value_that_trembles_on_a_reducing_limit_reduces_until_it_is_back_by_the_hysteresis() {
    let mut monitor = monitor(&battery());
    let mut limits = |soc, temperature| {
        monitor.record(second(0), &frame(0, &[soc, temperature]));
        let safety = monitor.evaluate(second(0));
        let rules: Vec<_> = safety.violations.iter().map(|found| (found.rule.clone(), found.limit)).collect();
        assert!(safety.is_safe, "{safety:?}");
        rules
    };
    let derate = |limit| vec![("derate".to_owned(), limit)];
    assert_eq!(limits(50.0, 44.5), []);
    assert_eq!(limits(50.0, 45.0), []);
    assert_eq!(limits(50.0, 45.1), derate(45.0));
    assert_eq!(limits(50.0, 45.0), derate(44.0));
    assert_eq!(limits(50.0, 44.1), derate(44.0));
    assert_eq!(limits(50.0, 44.0), []);
    assert_eq!(limits(50.0, 44.5), []);
    assert_eq!(limits(50.0, -10.1), [("no-charge".to_owned(), -10.0)]);
    assert_eq!(limits(50.0, -9.1), [("no-charge".to_owned(), -9.0)]);
    assert_eq!(limits(50.0, -9.0), []);
    assert_eq!(limits(14.9, 25.0), [("derate-discharge".to_owned(), 15.0)]);
    assert_eq!(limits(15.9, 25.0), [("derate-discharge".to_owned(), 16.0)]);
    assert_eq!(limits(16.0, 25.0), []);
}

#[test]
fn new_settings_end_a_reduction_that_only_the_hysteresis_keeps() {
    let mut monitor = monitor(&battery());
    monitor.record(second(0), &frame(0, &[50.0, 46.0]));
    monitor.record(second(1), &frame(0, &[50.0, 44.5]));
    assert_eq!(rules(&monitor.evaluate(second(1))), [("temp_c", "derate")]);
    monitor.set_limits(&SafetyLimits::default(), &battery());
    assert_eq!(rules(&monitor.evaluate(second(1))), [("temp_c", "derate")]);
    let mut limits = SafetyLimits::default();
    limits.bounds.get_mut("temp_c").unwrap().hysteresis = 0.0;
    monitor.set_limits(&limits, &battery());
    assert_eq!(rules(&monitor.evaluate(second(1))), []);
}

/// A monitor of `x` alone.
fn monitor_of(bounds: Bounds) -> SafetyMonitor {
    let bounds = BTreeMap::from([("x".to_owned(), bounds)]);
    let limits = SafetyLimits { bounds, required: BTreeSet::new(), ..SafetyLimits::default() };
    SafetyMonitor::new(&site(vec![source("battery", 5, &["x"])]), &limits, second(0))
}

fn check_rule(bounds: Bounds, values: &[f64], expected: Option<(&str, f64, f64)>) {
    let mut monitor = monitor_of(bounds);
    let mut now = second(0);
    for (at, value) in (0..).step_by(5).zip(values) {
        now = second(at);
        monitor.record(now, &frame(0, &[*value]));
    }
    let safety = monitor.evaluate(now);
    let found = safety.violations.first().map(|found| (found.rule.as_str(), found.value, found.limit));
    assert_eq!(found, expected, "{values:?}");
}

#[test]
fn an_alarm_register_ends_safety() {
    let alarm = |alarm| Bounds { alarm: Some(alarm), ..Bounds::default() };
    check_rule(alarm(Alarm::NonZero), &[0.0], None);
    check_rule(alarm(Alarm::NonZero), &[4.0], Some(("alarm", 4.0, 0.0)));
    check_rule(alarm(Alarm::NonZero), &[4.0, 0.0], None);
    check_rule(alarm(Alarm::Bits(0b1001)), &[6.0], None);
    check_rule(alarm(Alarm::Bits(0b1001)), &[8.0], Some(("alarm", 8.0, 0.0)));
    check_rule(alarm(Alarm::Bits(0b1001)), &[-1.0], Some(("alarm", -1.0, 0.0)));
}

#[test]
fn a_value_that_changes_too_fast_ends_safety_until_the_next_reading() {
    let ramp = Bounds { ramp: Some(2.0), ..Bounds::default() };
    check_rule(ramp, &[0.0, 10.0], None);
    check_rule(ramp, &[0.0, 11.0], Some(("ramp", 2.2, 2.0)));
    check_rule(ramp, &[0.0, -11.0], Some(("ramp", -2.2, 2.0)));
    check_rule(ramp, &[0.0, 11.0, 12.0], None);
    check_rule(ramp, &[0.0, NAN, 20.0], None);
}

#[test]
fn the_settings_may_shorten_the_age_limit() {
    let mut monitor = monitor_of(Bounds { max_age: Some(Duration::from_secs(10)), ..Bounds::default() });
    monitor.record(second(0), &frame(0, &[1.0]));
    assert_eq!(monitor.next_expiry(second(0)), Some(second(10)));
    assert_eq!(monitor.evaluate(second(10)).state(), SafetyState::Safe);
    assert_eq!(monitor.evaluate(second(11)).state(), SafetyState::Unknown);
}

#[test]
fn values_that_are_not_known_make_safety_unknown() {
    use SafetyState::{Safe, Unknown};
    let unread = [("soc_pct", "unread"), ("temp_c", "unread")];
    check(&[], 0, &unread, Unknown, Watchdog::Ok);
    check(&[], 11, &unread, Unknown, Watchdog::Late);
    check(&[], 31, &unread, Unknown, Watchdog::Failed);
    check(&[(0, [NAN, NAN])], 0, &unread, Unknown, Watchdog::Ok);
    check(&[(0, [50.0, NAN])], 5, &[("temp_c", "unread")], Unknown, Watchdog::Ok);
    check(&[(0, [50.0, 25.0]), (20, [NAN, NAN])], 25, &[], Safe, Watchdog::Late);
    check(&[(0, [50.0, 25.0]), (31, [50.0, NAN])], 31, &[("temp_c", "stale")], Unknown, Watchdog::Ok);
    check(&[(0, [50.0, 25.0])], 31, &[("soc_pct", "stale"), ("temp_c", "stale")], Unknown, Watchdog::Failed);
}

#[test]
fn the_age_limit_follows_the_period() {
    let limits = [(1, 30), (10, 30), (11, 33), (60, 180)];
    for (period, limit) in limits {
        assert_eq!(age_limit(Duration::from_secs(period)), Duration::from_secs(limit));
    }
    let mut monitor = monitor(&site(vec![source("battery", 60, &["soc_pct"])]));
    monitor.record(second(0), &frame(0, &[50.0]));
    assert_eq!(monitor.next_expiry(second(0)), Some(second(180)));
    assert_eq!(monitor.evaluate(second(180)).state(), SafetyState::Safe);
    assert_eq!(monitor.evaluate(second(181)).state(), SafetyState::Unknown);
}

#[test]
fn a_limited_channel_that_disappears_is_unknown_until_its_device_is_gone() {
    let mut monitor = monitor(&battery());
    monitor.record(second(0), &frame(0, &[99.0, 25.0]));
    assert_eq!(monitor.evaluate(second(1)).state(), SafetyState::Unsafe);
    monitor.update_site(&site(vec![source("battery", 5, &["temp_c"])]));
    monitor.record(second(2), &frame(0, &[25.0]));
    let safety = monitor.evaluate(second(2));
    assert_eq!((rules(&safety), safety.state()), (vec![("soc_pct", "unread")], SafetyState::Unknown));
    monitor.update_site(&battery());
    monitor.record(second(3), &frame(0, &[50.0, 25.0]));
    assert_eq!(monitor.evaluate(second(3)).state(), SafetyState::Safe);
    monitor.update_site(&site(vec![source("meter", 5, &["power_kw"])]));
    assert_eq!(monitor.evaluate(second(3)).violations, []);
}

#[test]
fn a_device_whose_channels_are_not_discovered_may_have_every_limited_one() {
    let mut monitor = monitor(&site(vec![source("inverter", 5, &[])]));
    let safety = monitor.evaluate(second(0));
    assert_eq!((safety.state(), safety.violations.len()), (SafetyState::Unknown, 2));
    monitor.update_site(&site(vec![source("inverter", 5, &["power_kw", "soc_pct"])]));
    assert_eq!(rules(&monitor.evaluate(second(1))), [("soc_pct", "unread"), ("temp_c", "unread")]);
}

#[test]
fn a_device_that_loses_its_description_loses_its_readings() {
    let mut monitor = monitor(&battery());
    monitor.record(second(0), &frame(0, &[50.0, 25.0]));
    assert_eq!(monitor.evaluate(second(0)).state(), SafetyState::Safe);
    monitor.update_site(&site(vec![source("battery", 5, &[])]));
    assert_eq!(rules(&monitor.evaluate(second(0))), [("soc_pct", "unread"), ("temp_c", "unread")]);
}

#[test]
fn a_channel_that_the_operator_limits_must_exist() {
    let mut limits = SafetyLimits::default();
    limits.required.insert("soc_pct".into());
    let mut monitor = SafetyMonitor::new(&site(vec![source("meter", 5, &["power_kw"])]), &limits, second(0));
    monitor.record(second(0), &frame(0, &[1.0]));
    let safety = monitor.evaluate(second(0));
    assert_eq!((rules(&safety), safety.state()), (vec![("soc_pct", "unread")], SafetyState::Unknown));
    monitor.update_site(&battery());
    monitor.record(second(1), &frame(0, &[50.0, 20.0]));
    assert_eq!(monitor.evaluate(second(1)).state(), SafetyState::Safe);
}

#[test]
fn a_start_is_settled_when_each_channel_was_read_or_had_the_time() {
    let two = site(vec![source("a", 5, &["soc_pct"]), source("b", 20, &["soc_pct"])]);
    let mut monitor = monitor(&two);
    assert!(!monitor.is_settled(second(0)));
    monitor.record(second(1), &frame(0, &[50.0]));
    assert!(!monitor.is_settled(second(1)));
    assert!(!monitor.is_settled(second(60)));
    assert!(monitor.is_settled(second(61)));
    monitor.record(second(2), &frame(1, &[50.0]));
    assert!(monitor.is_settled(second(2)));
}

#[test]
fn a_site_without_limited_channels_depends_on_its_readings_alone() {
    let limits = SafetyLimits { bounds: BTreeMap::new(), ..SafetyLimits::default() };
    let mut monitor = SafetyMonitor::new(&battery(), &limits, second(0));
    assert!(!monitor.is_settled(second(0)));
    assert_eq!(monitor.evaluate(second(31)).watchdog, Watchdog::Failed);
    monitor.record(second(0), &frame(0, &[1.0, 2.0]));
    assert!(monitor.is_settled(second(0)));
    let safety = monitor.evaluate(second(1));
    assert!(safety.is_safe && safety.watchdog == Watchdog::Ok);
}
