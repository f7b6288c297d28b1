//! Which set-points are permitted, reduced and refused.

use super::*;

/// The state of charge and the temperature of a battery that may be charged with 40 kW and discharged with 100 kW.
fn battery_at(soc: f64, temperature: f64, ramp_kw_per_s: Option<f64>) -> SafetyMonitor {
    let set_points = SetPointLimits { max_charge_kw: Some(40.0), max_discharge_kw: Some(100.0), ramp_kw_per_s };
    let limits = SafetyLimits { set_points, ..SafetyLimits::default() };
    let mut monitor = SafetyMonitor::new(&battery(), &limits, second(0));
    monitor.record(second(0), &frame(0, &[soc, temperature]));
    monitor
}

fn set_point(power_kw: f64) -> SetPoint<'static> {
    SetPoint { device: "battery", power_kw, rated_kw: None, applied_kw: 0.0, applied_at: second(0) }
}

/// The permitted power and the rule that reduced it, or the rule that refused it.
fn permitted(monitor: &SafetyMonitor, set_point: SetPoint<'_>, at: i64) -> Result<(f64, Option<String>), String> {
    let rule = |found: Violation| found.rule;
    let permit = monitor.permits(&set_point, second(at));
    permit.map(|permit| (permit.power_kw, permit.reduced_by.map(rule))).map_err(|block| rule(block.0))
}

fn check(values: (f64, f64), power_kw: f64, expected: Result<(f64, Option<&str>), &str>) {
    let found = permitted(&battery_at(values.0, values.1, None), set_point(power_kw), 1);
    let expected = expected.map(|(kw, rule)| (kw, rule.map(str::to_owned))).map_err(str::to_owned);
    assert_eq!(found, expected, "{power_kw} kW at {values:?}");
}

#[test]
fn only_a_safe_site_permits_set_points() {
    check((50.0, 25.0), 100.0, Ok((100.0, None)));
    check((50.0, 25.0), -40.0, Ok((-40.0, None)));
    check((9.0, 25.0), 10.0, Err("min"));
    check((NAN, 25.0), 10.0, Err("unread"));
    check((NAN, 61.0), 10.0, Err("trip"));
    check((50.0, 25.0), NAN, Err("not-finite"));
    check((50.0, 25.0), f64::INFINITY, Err("not-finite"));
    let monitor = battery_at(50.0, 25.0, None);
    assert_eq!(permitted(&monitor, set_point(10.0), 31), Err("stale".into()));
    assert_eq!(permitted(&monitor, SetPoint { device: "other", ..set_point(10.0) }, 1), Err("unread".into()));
}

#[test]
fn more_than_the_largest_power_is_refused() {
    check((50.0, 25.0), 100.1, Err("max-discharge"));
    check((50.0, 25.0), -40.1, Err("max-charge"));
    let monitor = battery_at(50.0, 25.0, None);
    let rated = |power_kw| SetPoint { rated_kw: Some(30.0), ..set_point(power_kw) };
    assert_eq!(permitted(&monitor, rated(31.0), 1), Err("max-discharge".into()));
    assert_eq!(permitted(&monitor, rated(-30.0), 1), Ok((-30.0, None)));
    let block = monitor.permits(&set_point(150.0), second(1)).unwrap_err();
    assert_eq!(block.to_string(), "safety rule max-discharge: battery set_point_kw is 150, limit 100");
}

#[test]
fn a_derated_battery_gets_half_the_power() {
    check((50.0, 45.1), 100.0, Ok((50.0, Some("derate"))));
    check((50.0, 45.1), -40.0, Ok((-20.0, Some("derate"))));
    check((50.0, 45.1), 20.0, Ok((20.0, None)));
    check((12.0, 25.0), 80.0, Ok((50.0, Some("derate-discharge"))));
    check((12.0, 25.0), -40.0, Ok((-40.0, None)));
    check((12.0, 50.0), 80.0, Ok((50.0, Some("derate-discharge"))));
    check((50.0, -11.0), -1.0, Err("no-charge"));
    check((50.0, -11.0), 100.0, Ok((100.0, None)));
    check((50.0, -11.0), 0.0, Ok((0.0, None)));
}

#[test]
fn half_of_a_power_that_is_not_known_is_nothing() {
    let mut monitor = monitor(&battery());
    monitor.record(second(0), &frame(0, &[50.0, 50.0]));
    assert_eq!(permitted(&monitor, set_point(10.0), 1), Err("derate".into()));
    assert_eq!(
        permitted(&monitor, SetPoint { rated_kw: Some(16.0), ..set_point(10.0) }, 1).map(|found| found.0),
        Ok(8.0)
    );
    assert_eq!(monitor.evaluate(second(1)).power_limit_kw, None);
}

#[test]
fn the_verdict_names_the_power_that_is_allowed_in_both_directions() {
    let limit = |soc, temperature| battery_at(soc, temperature, None).evaluate(second(1)).power_limit_kw;
    assert_eq!(limit(50.0, 25.0), Some(40.0));
    assert_eq!(limit(50.0, 50.0), Some(20.0));
    assert_eq!(limit(50.0, -11.0), Some(0.0));
    assert_eq!(limit(9.0, 25.0), Some(0.0));
    assert_eq!(limit(NAN, 25.0), Some(0.0));
}

#[test]
fn a_set_point_is_approached_at_the_ramp_and_leaves_at_once_what_is_not_allowed() {
    let monitor = battery_at(50.0, 25.0, Some(10.0));
    let from = |applied_kw, power_kw| SetPoint { applied_kw, ..set_point(power_kw) };
    let ramp = Some("ramp".to_owned());
    assert_eq!(permitted(&monitor, from(0.0, 80.0), 3), Ok((30.0, ramp.clone())));
    assert_eq!(permitted(&monitor, from(0.0, 80.0), 8), Ok((80.0, None)));
    assert_eq!(permitted(&monitor, from(50.0, -20.0), 6), Ok((-10.0, ramp.clone())));
    assert_eq!(permitted(&monitor, from(-30.0, 20.0), 1), Ok((-20.0, ramp)));
    let derated = battery_at(50.0, 50.0, Some(10.0));
    assert_eq!(permitted(&derated, from(90.0, 10.0), 1), Ok((50.0, Some("derate".into()))));
}

#[test]
fn a_device_may_have_limits_of_its_own() {
    let max = Some(100.0);
    let set_points = SetPointLimits { max_charge_kw: max, max_discharge_kw: max, ramp_kw_per_s: None };
    let small = SetPointLimits { max_charge_kw: Some(5.0), max_discharge_kw: Some(8.0), ramp_kw_per_s: Some(1.0) };
    let device_set_points = BTreeMap::from([("small".to_owned(), small)]);
    let limits = SafetyLimits { set_points, device_set_points, ..SafetyLimits::default() };
    let both = site(vec![source("battery", 5, &["soc_pct", "temp_c"]), source("small", 5, &["soc_pct", "temp_c"])]);
    let mut monitor = SafetyMonitor::new(&both, &limits, second(0));
    (0..2).for_each(|source| monitor.record(second(0), &frame(source, &[50.0, 25.0])));
    let of_small = |power_kw| SetPoint { device: "small", ..set_point(power_kw) };
    assert_eq!(permitted(&monitor, set_point(90.0), 20), Ok((90.0, None)));
    assert_eq!(permitted(&monitor, of_small(9.0), 20), Err("max-discharge".into()));
    assert_eq!(permitted(&monitor, of_small(-5.5), 20), Err("max-charge".into()));
    assert_eq!(permitted(&monitor, of_small(8.0), 2), Ok((2.0, Some("ramp".into()))));
    assert_eq!(monitor.evaluate(second(1)).power_limit_kw, Some(5.0));
    // Each battery has a temperature, so that one is not derated because the other one is hot.
    monitor.record(second(5), &frame(0, &[50.0, 50.0]));
    assert_eq!(permitted(&monitor, set_point(90.0), 20), Ok((50.0, Some("derate".into()))));
    assert_eq!(permitted(&monitor, of_small(8.0), 20), Ok((8.0, None)));
    monitor.record(second(6), &frame(1, &[50.0, 50.0]));
    assert_eq!(permitted(&monitor, of_small(8.0), 20), Ok((4.0, Some("derate".into()))));
    assert_eq!(monitor.evaluate(second(6)).power_limit_kw, Some(2.5));
}

#[test]
fn a_battery_that_is_a_device_of_its_own_derates_the_inverter_that_sets_its_power() {
    let max = Some(100.0);
    let set_points = SetPointLimits { max_charge_kw: max, max_discharge_kw: max, ramp_kw_per_s: None };
    let limits = SafetyLimits { set_points, ..SafetyLimits::default() };
    let two = site(vec![source("inverter", 5, &["power_kw"]), source("battery", 5, &["soc_pct", "temp_c"])]);
    let mut monitor = SafetyMonitor::new(&two, &limits, second(0));
    monitor.record(second(0), &frame(0, &[10.0]));
    monitor.record(second(0), &frame(1, &[50.0, 46.0]));
    let of_inverter = |power_kw| SetPoint { device: "inverter", ..set_point(power_kw) };
    assert_eq!(permitted(&monitor, of_inverter(80.0), 1), Ok((50.0, Some("derate".into()))));
    monitor.record(second(1), &frame(1, &[50.0, -11.0]));
    assert_eq!(permitted(&monitor, of_inverter(-80.0), 1), Err("no-charge".into()));
}
