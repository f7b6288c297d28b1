//! Trips stay until they are reset, whatever happens to readings, descriptions and settings.

use super::*;

fn tripped() -> SafetyMonitor {
    let mut monitor = monitor(&battery());
    monitor.record(second(0), &frame(0, &[50.0, 61.0]));
    monitor.record(second(5), &frame(0, &[50.0, 30.0]));
    monitor
}

fn states(monitor: &SafetyMonitor, at: i64) -> (SafetyState, Vec<(String, f64, f64)>) {
    let safety = monitor.evaluate(second(at));
    let found = safety.violations.iter().map(|found| (found.rule.clone(), found.value, found.limit)).collect();
    (safety.state(), found)
}

const NOBODY: Option<&str> = None;

#[test]
fn a_trip_stays_when_the_value_returns() {
    let monitor = tripped();
    assert_eq!(states(&monitor, 5), (SafetyState::Unsafe, vec![("trip".into(), 61.0, 60.0)]));
    assert_eq!(monitor.evaluate(second(5)).power_limit_kw, Some(0.0));
}

#[test]
fn a_late_reading_trips_too() {
    let mut monitor = monitor(&battery());
    monitor.record(second(5), &frame(0, &[50.0, 30.0]));
    monitor.record(second(4), &frame(0, &[50.0, -20.5]));
    assert_eq!(states(&monitor, 5), (SafetyState::Unsafe, vec![("trip".into(), -20.5, -20.0)]));
}

#[test]
fn a_reset_ends_a_trip_whose_cause_is_over() {
    let mut monitor = tripped();
    let reset = monitor.reset_trips(Some("battery"), second(5)).unwrap();
    assert_eq!((reset.len(), reset[0].value), (1, 61.0));
    assert_eq!(states(&monitor, 5), (SafetyState::Safe, vec![]));
    assert_eq!(monitor.reset_trips(NOBODY, second(5)), Ok(vec![]));
}

#[test]
fn a_reset_is_refused_while_the_value_is_beyond_its_limit_or_not_known() {
    let mut monitor = monitor(&battery());
    monitor.record(second(0), &frame(0, &[50.0, 61.0]));
    let cause = monitor.reset_trips(NOBODY, second(1)).unwrap_err();
    assert_eq!((cause.rule.as_str(), cause.value, cause.limit), ("trip", 61.0, 60.0));
    monitor.record(second(2), &frame(0, &[50.0, 30.0]));
    assert_eq!(monitor.reset_trips(NOBODY, second(40)).unwrap_err().rule, "stale");
    assert_eq!(monitor.reset_trips(Some("meter"), second(40)), Ok(vec![]));
    assert_eq!(monitor.trips().len(), 1);
}

#[test]
fn a_trip_survives_a_restart_and_other_descriptions_and_settings() {
    let before = tripped().evaluate(second(5));
    let mut monitor = monitor(&battery());
    monitor.restore_trips(&before);
    assert_eq!(monitor.evaluate(second(0)).state(), SafetyState::Unsafe);
    let limits = SafetyLimits { bounds: BTreeMap::new(), ..SafetyLimits::default() };
    let meter = site(vec![source("meter", 5, &["power_kw"])]);
    monitor.set_limits(&limits, &meter);
    assert_eq!(states(&monitor, 1), (SafetyState::Unsafe, vec![("trip".into(), 61.0, 60.0)]));
    // No device has the channel any more, so that nothing will say that it is over.
    assert_eq!(monitor.reset_trips(NOBODY, second(1)).map(|reset| reset.len()), Ok(1));
}
