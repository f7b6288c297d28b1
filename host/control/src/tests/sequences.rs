//! What a device gets, and what holders are told, in the cases that the properties do not tell apart.

use std::time::Duration;

use bessai_domain::event::SafetyState;
use bessai_domain::proposal::{SetValue, WriteOutcome};

use super::bench::{Behaviour, Bench};
use crate::{CHARGE_LIMIT, ControlSettings, DISCHARGE_LIMIT, Holder, Input, Purpose, SET_POINT};

fn bench() -> Bench {
    let mut bench = Bench::new(5.0, 24);
    bench.set_online(true);
    bench.judge(SafetyState::Safe);
    bench
}

fn feed(name: &str) -> Holder {
    Holder::Feed(name.into())
}

fn verified(value: f64) -> WriteOutcome {
    WriteOutcome::Verified(SetValue::Number(value))
}

fn refused(bench: &Bench, proposal: usize) -> String {
    match &bench.outcomes(proposal)[..] {
        [WriteOutcome::Refused(reason)] => reason.clone(),
        other => panic!("{other:?}"),
    }
}

fn writes(bench: &Bench, purpose: Purpose) -> Vec<(&str, f64)> {
    let of_purpose = bench.orders.iter().filter(|order| order.purpose == purpose);
    of_purpose.map(|order| (order.point.as_str(), order.value)).collect()
}

#[test]
fn a_set_point_is_written_by_recipe_and_released_at_its_end() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(-3.0), 20);
    assert_eq!(writes(&bench, Purpose::SetPoint), [("power", -3000.0), ("mode", 1.0)]);
    assert_eq!(bench.outcomes(0), [verified(-3.0)]);
    bench.wait(Duration::from_secs(21));
    assert_eq!(writes(&bench, Purpose::Release), [("mode", 0.0)]);
    assert_eq!(bench.outcomes(0), [verified(-3.0), WriteOutcome::Expired]);
}

#[test]
fn operator_comes_before_feeds_by_priority_before_models_and_the_next_one_follows() {
    let mut bench = bench();
    bench.propose(Holder::Model("dispatch".into()), SET_POINT, Some(1.0), 60);
    bench.propose(feed("other"), SET_POINT, Some(2.0), 60);
    bench.propose(feed("trader"), SET_POINT, Some(3.0), 60);
    bench.propose(Holder::Operator, SET_POINT, Some(4.0), 60);
    bench.propose(feed("other"), SET_POINT, Some(2.5), 60);
    assert_eq!(bench.device["power"], 4000.0);
    let superseded = |by: &str| WriteOutcome::Superseded(by.into());
    assert_eq!(bench.outcomes(0), [verified(1.0), superseded("feed/other")]);
    assert_eq!(bench.outcomes(2), [verified(3.0), superseded("operator")]);
    assert_eq!(bench.outcomes(4), [superseded("operator")]);
    bench.propose(Holder::Operator, SET_POINT, None, 1);
    assert_eq!(bench.device["power"], 3000.0);
    bench.propose(feed("trader"), SET_POINT, None, 1);
    assert_eq!(bench.device["power"], 2500.0);
    assert_eq!(bench.outcomes(4), [superseded("operator"), verified(2.5)]);
    bench.wait(Duration::from_secs(61));
    assert_eq!(bench.device["mode"], 0.0);
}

#[test]
fn refusals_name_the_reason() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(5.1), 60);
    assert_eq!(refused(&bench, 0), "5.1 kW is outside -5 to 5 kW, which [control] allows for battery");
    bench.propose(feed("trader"), "mode", Some(1.0), 60);
    assert_eq!(refused(&bench, 1), "mode belongs to the device's set-point; propose set_point_kw instead");
    bench.propose(feed("trader"), "soc", Some(1.0), 60);
    assert_eq!(refused(&bench, 2), "soc cannot be set: its profile makes it read-only or a text");
    bench.propose(feed("trader"), SET_POINT, Some(1.0), 901);
    assert_eq!(refused(&bench, 3), "it would hold for 901s; [control] longest_lease allows 900s");
    bench.propose(feed("trader"), SET_POINT, None, 1);
    assert_eq!(refused(&bench, 4), "feed/trader holds nothing on battery/set_point_kw");
    bench.judge(SafetyState::Unsafe);
    bench.propose(feed("trader"), SET_POINT, Some(1.0), 60);
    assert_eq!(refused(&bench, 5), "safety rule max: battery temp_c is 61, limit 60");
    assert_eq!(writes(&bench, Purpose::SetPoint), []);
}

#[test]
fn a_hold_survives_a_reconnect_and_a_foreign_change() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    bench.set_online(false);
    bench.wait(Duration::from_secs(65));
    assert_eq!(bench.device["mode"], 0.0, "the device has released itself");
    bench.set_online(true);
    assert_eq!((bench.device["mode"], bench.device["power"]), (2.0, 2000.0));
    bench.foreign("power", 500.0);
    bench.wait(Duration::from_secs(12));
    assert_eq!(bench.device["power"], 2000.0);
}

#[test]
fn the_device_s_timer_is_renewed_until_the_pipeline_stops() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 600);
    bench.wait(Duration::from_secs(200));
    assert_eq!(bench.device["mode"], 2.0);
    let counts = writes(&bench, Purpose::Watchdog).len();
    assert!(counts >= 200, "the watchdog has counted to {counts}");
    bench.stop_pipeline();
    bench.wait(Duration::from_secs(20));
    let counts = writes(&bench, Purpose::Watchdog).len();
    assert_eq!(bench.device["mode"], 0.0, "released when no verdict comes any more");
    bench.wait(Duration::from_secs(20));
    assert_eq!(writes(&bench, Purpose::Watchdog).len(), counts);
}

#[test]
fn a_limit_holds_the_set_point_back_while_it_lasts() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(-4.0), 300);
    bench.propose(feed("grid"), CHARGE_LIMIT, Some(1.5), 60);
    assert_eq!((bench.device["power"], bench.outcomes(1)), (-1500.0, vec![WriteOutcome::Acknowledged]));
    bench.wait(Duration::from_secs(61));
    assert_eq!(bench.device["power"], -4000.0);
}

#[test]
fn a_value_that_is_acknowledged_and_not_taken_is_a_failure_and_the_device_is_released() {
    let mut bench = bench();
    bench.behaviour = Behaviour::Ignores;
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    assert_eq!(bench.outcomes(0).first(), Some(&WriteOutcome::Failed("acknowledged, still 0".into())));
    bench.behaviour = Behaviour::Obeys;
    bench.wait(Duration::from_secs(120));
    assert_eq!(bench.device["mode"], 0.0);
    assert_eq!(writes(&bench, Purpose::Release).last(), Some(&("mode", 0.0)));
}

#[test]
fn safety_suspends_a_hold() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    bench.judge(SafetyState::Unknown);
    assert_eq!(bench.device["mode"], 0.0);
    bench.judge(SafetyState::Safe);
    assert_eq!((bench.device["mode"], bench.device["power"]), (2.0, 2000.0));
}

#[test]
fn safety_reduces_a_set_point_and_approaches_it_by_its_ramp() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(4.0), 300);
    bench.allow(1.5, None);
    assert_eq!(bench.device["power"], 1500.0);
    bench.propose(feed("trader"), SET_POINT, None, 1);
    bench.allow(f64::INFINITY, Some(0.5));
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    assert_eq!((bench.device["power"], bench.outcomes(2)), (500.0, vec![verified(0.5)]));
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.device["power"], 1000.0);
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.device["power"], 2000.0);
    bench.propose(feed("trader"), SET_POINT, None, 1);
    assert_eq!(bench.device["mode"], 0.0, "a release needs no ramp");
}

#[test]
fn what_a_killed_gateway_held_is_released_and_its_writes_count() {
    let mut bench = Bench::new(5.0, 3);
    bench.set_online(true);
    bench.judge(SafetyState::Safe);
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    bench.propose(Holder::Operator, "reserve", Some(50.0), 300);
    bench.restart();
    assert_eq!((bench.device["mode"], bench.device["reserve"]), (0.0, 20.0));
    bench.judge(SafetyState::Safe);
    bench.propose(Holder::Operator, "reserve", Some(60.0), 300);
    let reason = "reserve is kept in flash, and its 3 writes within 24 h are used up; writes_per_day changes that";
    assert_eq!(refused(&bench, 2), reason);
}

#[test]
fn a_stop_releases_all_and_refuses_what_follows() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    bench.input_of(Input::Stop);
    assert_eq!((bench.device["mode"], bench.room.is_releasing()), (0.0, false));
    let released = WriteOutcome::Released("the gateway stops".into());
    assert_eq!(bench.outcomes(0), [verified(2.0), released]);
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    assert_eq!(refused(&bench, 1), "the gateway stops");
}

#[test]
fn new_settings_release_devices_that_they_no_longer_name() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 300);
    let named = bench.settings();
    bench.set_online(false);
    bench.input_of(Input::Settings(ControlSettings::default()));
    bench.propose(feed("trader"), SET_POINT, Some(3.0), 300);
    let reason = "battery is not controlled; [control] in bessai.toml names the devices that are written to";
    assert_eq!(refused(&bench, 1), reason);
    bench.set_online(true);
    assert_eq!(bench.device["mode"], 0.0);
    bench.input_of(Input::Settings(named));
    bench.set_online(true);
    bench.judge(SafetyState::Safe);
    bench.propose(feed("trader"), SET_POINT, Some(3.0), 300);
    assert_eq!(bench.device["power"], 3000.0);
}

#[test]
fn new_settings_limit_a_set_point_that_holds() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(3.0), 300);
    let mut settings = bench.settings();
    settings.devices.values_mut().for_each(|device| device.max_discharge_kw = Some(2.0));
    bench.input_of(Input::Settings(settings));
    bench.judge(SafetyState::Safe);
    assert_eq!(bench.device["power"], 2000.0);
}

#[test]
fn a_fallback_applies_from_the_start_and_when_its_holder_falls_silent() {
    let mut bench = bench();
    let mut settings = bench.settings();
    settings.devices.values_mut().for_each(|device| device.discharge_limit_fallback_kw = Some(1.0));
    bench.input_of(Input::Settings(settings));
    bench.propose(feed("trader"), SET_POINT, Some(4.0), 600);
    assert_eq!(bench.device["power"], 1000.0);
    bench.propose(feed("grid"), DISCHARGE_LIMIT, Some(3.0), 60);
    assert_eq!(bench.device["power"], 3000.0);
    bench.wait(Duration::from_secs(61));
    assert_eq!(bench.device["power"], 1000.0);
    bench.propose(feed("grid"), DISCHARGE_LIMIT, Some(3.0), 60);
    bench.propose(feed("grid"), DISCHARGE_LIMIT, None, 1);
    assert_eq!(bench.device["power"], 4000.0);
}

#[test]
fn a_set_point_is_renewed_without_a_further_outcome() {
    let mut bench = bench();
    bench.propose(Holder::Model("dispatch".into()), SET_POINT, Some(2.0), 20);
    bench.wait(Duration::from_secs(15));
    let now = bench.now;
    assert!(bench.room.renew(now, bench.proposals[0], Duration::from_secs(20)));
    bench.wait(Duration::from_secs(15));
    assert_eq!((bench.device["mode"], bench.outcomes(0)), (2.0, vec![verified(2.0)]));
    bench.wait(Duration::from_secs(10));
    let now = bench.now;
    assert!(!bench.room.renew(now, bench.proposals[0], Duration::from_secs(20)));
    assert_eq!(bench.device["mode"], 0.0);
}

#[test]
fn what_others_say_does_not_end_the_fallback_of_a_holder_that_fell_silent() {
    let mut bench = bench();
    let mut settings = bench.settings();
    settings.devices.values_mut().for_each(|device| device.discharge_limit_fallback_kw = Some(1.0));
    bench.input_of(Input::Settings(settings));
    bench.propose(feed("trader"), SET_POINT, Some(4.0), 900);
    // A contact knows of its own limit alone.
    let contact = || Holder::Input("meter/di1".into());
    bench.propose(contact(), DISCHARGE_LIMIT, Some(3.0), 60);
    bench.propose(contact(), DISCHARGE_LIMIT, None, 60);
    assert_eq!(bench.device["power"], 1000.0);
    bench.propose(feed("grid"), DISCHARGE_LIMIT, Some(3.0), 30);
    assert_eq!(bench.device["power"], 3000.0);
    bench.wait(Duration::from_secs(31));
    assert_eq!(bench.device["power"], 1000.0);
    bench.propose(feed("other"), DISCHARGE_LIMIT, Some(5.0), 60);
    bench.propose(feed("other"), DISCHARGE_LIMIT, None, 60);
    let proposal = bench.proposals.len();
    bench.propose(feed("stranger"), DISCHARGE_LIMIT, None, 60);
    assert_eq!(refused(&bench, proposal), "feed/stranger holds nothing on battery/discharge_limit_kw");
    assert_eq!(bench.device["power"], 1000.0);
    bench.propose(feed("grid"), DISCHARGE_LIMIT, None, 60);
    assert_eq!(bench.outcomes(proposal + 1), [WriteOutcome::Released("feed/grid".into())]);
    assert_eq!(bench.device["power"], 4000.0);
    // The operator overrules it.
    bench.propose(feed("grid"), DISCHARGE_LIMIT, Some(3.0), 30);
    bench.wait(Duration::from_secs(31));
    assert_eq!(bench.device["power"], 1000.0);
    bench.propose(Holder::Operator, DISCHARGE_LIMIT, None, 60);
    assert_eq!(bench.device["power"], 4000.0);
}

#[test]
fn no_number_and_no_time_that_is_none_reaches_a_register() {
    let mut bench = bench();
    bench.propose(feed("trader"), SET_POINT, Some(2.0), 600);
    let orders = bench.orders.len();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN] {
        for channel in [SET_POINT, "reserve"] {
            let proposal = bench.proposals.len();
            bench.propose(feed("trader"), channel, Some(value), 60);
            assert!(!refused(&bench, proposal).is_empty(), "{channel} {value}");
        }
    }
    for channel in [SET_POINT, DISCHARGE_LIMIT, "reserve"] {
        let proposal = bench.proposals.len();
        bench.propose(feed("trader"), channel, Some(1.0), 0);
        assert_eq!(refused(&bench, proposal), "its end is in the past");
        bench.propose(feed("stranger"), channel, None, 60);
    }
    let of_writes = bench.orders[orders..].iter().filter(|order| order.purpose != Purpose::Watchdog);
    assert_eq!(of_writes.count(), 0);
    assert_eq!((bench.device["power"], bench.device["mode"]), (2000.0, 2.0));
}

#[test]
fn of_two_feeds_without_priority_the_newest_applies_and_the_other_one_follows() {
    let mut bench = bench();
    bench.propose(feed("a"), SET_POINT, Some(1.0), 60);
    bench.propose(feed("b"), SET_POINT, Some(2.0), 60);
    assert_eq!(bench.device["power"], 2000.0);
    bench.propose(feed("a"), SET_POINT, Some(3.0), 60);
    assert_eq!(bench.device["power"], 3000.0);
    bench.propose(feed("a"), SET_POINT, None, 60);
    assert_eq!(bench.device["power"], 2000.0);
    assert_eq!(bench.outcomes(0)[..1], [verified(1.0)]);
}

#[test]
fn a_proposal_without_end_holds_no_longer_than_the_longest_lease() {
    let mut bench = bench();
    let longest_lease = Duration::from_secs(20);
    bench.input_of(Input::Settings(ControlSettings { longest_lease, ..bench.settings() }));
    bench.propose_without_end(feed("trader"), SET_POINT, 2.0);
    bench.wait(Duration::from_secs(5));
    assert_eq!(bench.outcomes(0), [verified(2.0)]);
    bench.wait(longest_lease);
    assert_eq!(bench.outcomes(0).last(), Some(&WriteOutcome::Expired));
}
