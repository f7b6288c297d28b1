//! `[safety]`: what each key does, and nonsense that gets one sentence.

use super::*;
use bessai_domain::safety::{Alarm, SetPointLimits};

fn limits(text: &str) -> SafetyLimits {
    Case::new().file("bessai.toml", text).config().safety
}

/// The mistakes in the keys of a channel's limits.
fn check_limits(channel: &str, keys: &str, expected: &[&str]) {
    let text = format!("[safety]\n{channel} = {{ {keys} }}");
    let expected: Vec<_> = expected.iter().map(|mistake| format!("safety.{channel}.{mistake}")).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check_file(&text, &expected);
}

#[test]
fn invalid_safety_limits() {
    check_file("[safety]\nsoc = { min = 1 }", &["safety.soc: no device has this channel; did you mean `soc_pct`?"]);
    check_file("[safety]\nzzz = false", &["safety.zzz: no device has this channel; remove it"]);
    check_file(
        "[safety]\nsoc_pct = { min = 96 }",
        &["safety.soc_pct.min = 96: is above max = 95; lower min or raise max"],
    );
    check_file("[safety]\nsoc_pct = {}", &["safety.soc_pct.min: is missing; write min, max or both"]);
    check_file("[safety]\nsoc_pct = { mix = 1, max = 90 }", &["safety.soc_pct.mix: is unknown; did you mean `min`?"]);
    check_file("[safety]\nsoc_pct = { max = \"a\" }", &["safety.soc_pct.max = \"a\": write a number"]);
    let hint = "write { min = 10, max = 95 }, only one of the two, or false";
    check_file("[safety]\nsoc_pct = true", &[&format!("safety.soc_pct = true: {hint}")]);
    check_file("safety = 1", &["safety = 1: write a table"]);
}

#[test]
fn a_limit_on_a_channel_of_no_device_is_noted() {
    let profile = "[points]\nsoc_pct = { address = 1, type = \"uint16\", scale = 1 }";
    let case = Case::new().set("DRIVER_PROFILE_PATH", "p.toml").file("p.toml", profile);
    assert_eq!(case.notes(), ["no device has the channel `temp_c`; its limit has no effect"]);
}

#[test]
fn every_key_of_a_channel_is_read_and_the_others_keep_their_defaults() {
    let text = r#"
        [safety]
        temp_c = { max = 45 }
        soc_pct = { min = 15, max = 90, max_age = "10s", hysteresis = 0.5 }
        power_kw = { min = -5, max = 5, ramp = 2.5, alarm = [0, 3], trip_above = 8, trip_below = -8, derate_above = 4, no_charge_below = -4 }
    "#;
    let safety = limits(text);
    let defaults = SafetyLimits::default();
    // Above the largest safe value nothing is permitted, so that the default derating has no effect.
    assert_eq!(safety.bounds["temp_c"], Bounds { max: Some(45.0), ..defaults.bounds["temp_c"] });
    let soc = Bounds {
        min: Some(15.0),
        max: Some(90.0),
        derate_discharge_below: Some(20.0),
        max_age: Some(Duration::from_secs(10)),
        hysteresis: 0.5,
        ..Bounds::default()
    };
    assert_eq!(safety.bounds["soc_pct"], soc);
    let power = Bounds {
        min: Some(-5.0),
        max: Some(5.0),
        derate_above: Some(4.0),
        no_charge_below: Some(-4.0),
        trip_above: Some(8.0),
        trip_below: Some(-8.0),
        ramp: Some(2.5),
        alarm: Some(Alarm::Bits(0b1001)),
        ..Bounds::default()
    };
    assert_eq!(safety.bounds["power_kw"], power);
    assert_eq!(limits("[safety]\npower_kw = { alarm = true }").bounds["power_kw"].alarm, Some(Alarm::NonZero));
    assert_eq!(limits("[safety]\npower_kw = { max = 5, alarm = false }").bounds["power_kw"].alarm, None);
}

#[test]
fn set_points_are_limited_for_all_devices_and_for_single_ones() {
    let text = r#"
        [safety.set_points]
        max_charge_kw = 40
        ramp_kw_per_s = 5
        [safety.set_points.battery]
        max_charge_kw = 10
        max_discharge_kw = 12.5
    "#;
    let safety = limits(text);
    let of_all = SetPointLimits { max_charge_kw: Some(40.0), max_discharge_kw: None, ramp_kw_per_s: Some(5.0) };
    assert_eq!(safety.set_points, of_all);
    let battery = SetPointLimits { max_charge_kw: Some(10.0), max_discharge_kw: Some(12.5), ..of_all };
    assert_eq!(safety.device_set_points, [("battery".to_owned(), battery)].into());
}

#[test]
fn invalid_set_point_limits() {
    let check = |keys: &str, expected: &str| check_file(&format!("[safety.set_points]\n{keys}"), &[expected]);
    let positive = "write a number above 0";
    check("max_charge_kw = -40", &format!("safety.set_points.max_charge_kw = -40: {positive}"));
    check("ramp_kw_per_s = 0", &format!("safety.set_points.ramp_kw_per_s = 0: {positive}"));
    check("max_discharge_kw = nan", "safety.set_points.max_discharge_kw = nan: write a number");
    check("max_discharge_kw = \"50 kW\"", "safety.set_points.max_discharge_kw = \"50 kW\": write a number");
    check("max_charg_kw = 1", "safety.set_points.max_charg_kw: is unknown; did you mean `max_charge_kw`?");
    check("battery.max = 1", "safety.set_points.battery.max: is unknown; did you mean `max_charge_kw`?");
    check("batery.max_charge_kw = 1", "safety.set_points.batery: no device has this name; did you mean `battery`?");
    check("battery.max_charge_kw = 0", &format!("safety.set_points.battery.max_charge_kw = 0: {positive}"));
    check_file("[safety]\nset_points = 5", &["safety.set_points = 5: write a table"]);
}

#[test]
fn limits_that_cannot_be_meant() {
    check_limits("soc_pct", "max = 5", &["max = 5: is below min = 10; raise max or lower min"]);
    check_limits("temp_c", "max = nan", &["max = nan: write a number"]);
    check_limits("temp_c", "max = inf", &["max = inf: write a number"]);
    check_limits("temp_c", "ramp = 0", &["ramp = 0: write a number above 0"]);
    check_limits("temp_c", "ramp = -1", &["ramp = -1: write a number above 0"]);
    check_limits("temp_c", "hysteresis = -1", &["hysteresis = -1: write 0 or a number above it"]);
    check_limits("temp_c", "max_age = \"5s\"", &["max_age = \"5s\": write a time from 10s to 3600s, such as \"5s\""]);
    check_limits("temp_c", "trip_above = 61", &["trip_above = 61: a battery trips at 60 °C at the latest; lower it"]);
    check_limits(
        "temp_c",
        "trip_below = -40",
        &["trip_below = -40: a battery trips at -20 °C at the latest; raise it"],
    );
    let between = "write a value between min and max";
    check_limits("temp_c", "derate_above = 70", &[&format!("derate_above = 70: is above max = 60; {between}")]);
    check_limits(
        "temp_c",
        "no_charge_below = -30",
        &[&format!("no_charge_below = -30: is below min = -20; {between}")],
    );
    check_limits(
        "soc_pct",
        "derate_discharge_below = 5",
        &[&format!("derate_discharge_below = 5: is below min = 10; {between}")],
    );
    check_limits(
        "temp_c",
        "hysteresis = 80",
        &[
            "hysteresis = 80: reductions by derate_above = 45 end at -35, which is below min = -20; lower it",
            "hysteresis = 80: reductions by no_charge_below = -10 end at 70, which is above max = 60; lower it",
        ],
    );
    let always = |lowest: i32, highest: i32| {
        let hint = "so that the device always trips; let safe values remain between the limits";
        format!("every value is below {lowest} or above {highest}, {hint}")
    };
    check_limits("soc_pct", "trip_above = 5", &[&format!("trip_above = 5: {}", always(10, 5))]);
    check_limits("soc_pct", "trip_below = 99", &[&format!("trip_below = 99: {}", always(99, 95))]);
    let hint = "write a whole number from 0 to 52, or a list of them";
    check_limits("power_kw", "alarm = [64]", &[&format!("alarm = [64]: {hint}")]);
    check_limits("power_kw", "alarm = \"yes\"", &[&format!("alarm = \"yes\": {hint}")]);
    let hint = "every value but 0 is an alarm, and 0 is not between min and max; remove one of them";
    check_limits("soc_pct", "alarm = true", &[&format!("alarm = true: {hint}")]);
    let hint = "names no bit; write the numbers of the bits that are alarms, or true";
    check_limits("power_kw", "alarm = []", &[&format!("alarm = []: {hint}")]);
}

#[test]
fn an_age_that_ends_before_the_next_reading_is_a_mistake() {
    let profile = "sources = { slow = \"60s\" }\n[points]\nsoc_pct = { address = 1, type = \"uint16\", scale = 1, source = \"slow\" }\n\
                   temp_c = { address = 2, type = \"uint16\", scale = 1 }";
    let file = |text: &str| {
        let text = format!("[safety]\n{text}");
        Case::new().set("DRIVER_PROFILE_PATH", "p.toml").file("p.toml", profile).file("bessai.toml", &text)
    };
    let hint = "`battery` reads it every 60s, so that it is unknown in between; raise it";
    let mistakes = file("soc_pct = { max_age = \"30s\" }").mistakes();
    assert_eq!(mistakes, [format!("safety.soc_pct.max_age = \"30s\": {hint}")]);
    file("soc_pct = { max_age = \"60s\" }\ntemp_c = { max_age = \"10s\" }").config();
}

#[test]
fn ranges_that_were_always_accepted_stay_valid_and_what_is_odd_is_noted() {
    let check = |text: &str, expected: &str| {
        let case = Case::new().file("bessai.toml", &format!("[safety]\n{text}"));
        let bounds = case.config().safety.bounds;
        assert!(!bounds.is_empty());
        assert_eq!(case.notes(), [expected], "{text}");
    };
    check("temp_c = { max = 70 }", "safety.temp_c.max = 70 has no effect: the device trips above 60");
    check("temp_c = { min = -30 }", "safety.temp_c.min = -30 has no effect: the device trips below -20");
    check("soc_pct = { min = 2 }", "safety.soc_pct.min = 2 is below 5, from where SPEC-002 calls it critical");
    check("soc_pct = { max = 100 }", "safety.soc_pct.max = 100 is above 98, from where SPEC-002 calls it critical");
    let warnings = |text: &str| Case::new().file("bessai.toml", &format!("[safety]\n{text}")).warnings();
    assert_eq!(
        warnings("soc_pct = { min = 0.1, max = 0.95 }"),
        ["safety.soc_pct.max = 0.95 is in %: nothing above 0.95 % is safe; write 95 for 95 %"]
    );
    let hint = "so that the device always trips; write false if it is not a lithium battery's";
    assert_eq!(
        warnings("temp_c = { min = 290, max = 350 }"),
        [format!("safety.temp_c: every value is below 290 or above 60, {hint}")]
    );
}

/// A file with limits for a device of this profile.
fn with_profile(points: &str, limits: &str) -> Case {
    let profile = format!(
        "[points]\nsoc_pct = {{ address = 1, type = \"uint16\", scale = 1, min = 0, max = 100 }}\n\
         temp_c = {{ address = 2, type = \"int16\", scale = 1 }}\n{points}"
    );
    let case = Case::new().set("DRIVER_PROFILE_PATH", "p.toml").file("p.toml", &profile);
    case.file("bessai.toml", &format!("[safety]\n{limits}"))
}

#[test]
fn bits_that_an_alarm_register_lacks_are_a_mistake() {
    let check = |point: &str, alarm: &str, expected: Option<&str>| {
        let case =
            with_profile(&format!("alarms = {{ address = 9, {point} }}"), &format!("alarms = {{ alarm = {alarm} }}"));
        match expected {
            Some(expected) => {
                assert_eq!(case.mistakes(), [format!("safety.alarms.alarm = {alarm}: {expected}")], "{point}")
            }
            None => assert!(case.config().safety.bounds["alarms"].alarm.is_some(), "{point}"),
        }
    };
    let never = |bit: u32, last: u32| {
        format!("bit {bit} is never set: `alarms` of battery has the bits 0 to {last}; remove it")
    };
    let uint16 = "type = \"uint16\", scale = 1";
    check(uint16, "[0, 15]", None);
    check(uint16, "[16]", Some(&never(16, 15)));
    check(uint16, "[3, 20]", Some(&never(20, 15)));
    check("type = \"uint32\", scale = 1", "[31]", None);
    check("type = \"uint32\", scale = 1", "[32]", Some(&never(32, 31)));
    check("type = \"uint16\", bits = [4, 7], scale = 1", "[3]", None);
    check("type = \"uint16\", bits = [4, 7], scale = 1", "[4]", Some(&never(4, 3)));
    check("table = \"coil\"", "[0]", None);
    check("table = \"coil\"", "[1]", Some(&never(1, 0)));
    let case = with_profile("alarms = { address = 9, type = \"float32\", scale = 1 }", "alarms = { alarm = [0] }");
    let expected = "safety.alarms.alarm = [0] compares the bits of a scaled number or a fraction, `alarms` of battery; write \
                    max, or alarm = true";
    assert_eq!(case.warnings(), [expected]);
}

#[test]
fn an_alarm_that_is_switched_off_limits_nothing() {
    let hint = "sets no alarm; write true or the numbers of the bits that are alarms, or remove it";
    check_limits("alarm1", "alarm = false", &[&format!("alarm = false: {hint}")]);
    let case = Case::new().file("bessai.toml", "[safety]\nalarm1 = { max = 5, alarm = false }");
    assert_eq!(case.warnings(), [format!("safety.alarm1.alarm = false {hint}")]);
}

#[test]
fn limits_outside_of_what_a_profile_accepts() {
    let point = "level = { address = 9, type = \"uint16\", scale = 1, min = 5, max = 50 }";
    let notes = |limits: &str| with_profile(point, &format!("level = {{ {limits} }}")).notes();
    let warnings = |limits: &str| with_profile(point, &format!("level = {{ {limits} }}")).warnings();
    let mistakes = |limits: &str| with_profile(point, &format!("level = {{ {limits} }}")).mistakes();
    let none: [&str; 0] = [];
    assert_eq!((notes("min = 5, max = 50"), warnings("min = 6, max = 49")), (vec![], vec![]));
    let rest = "that the profile accepts; others count as faulty";
    assert_eq!(notes("max = 60"), [format!("safety.level.max = 60 has no effect: 50 is the largest value {rest}")]);
    assert_eq!(
        notes("trip_below = 2"),
        [format!("safety.level.trip_below = 2 has no effect: 5 is the smallest value {rest}")]
    );
    let never = "so that safety is never safe; write another limit";
    assert_eq!(
        warnings("max = 4"),
        [format!("safety.level.max = 4 is below 5, the smallest value that the profile accepts, {never}")]
    );
    assert_eq!(
        warnings("min = 51"),
        [format!("safety.level.min = 51 is above 50, the largest value that the profile accepts, {never}")]
    );
    let always = "so that the device always trips; write another limit";
    assert_eq!(
        mistakes("trip_above = 4"),
        [format!("safety.level.trip_above = 4: is below 5, the smallest value that the profile accepts, {always}")]
    );
    assert_eq!(
        mistakes("trip_below = 60"),
        [format!("safety.level.trip_below = 60: is above 50, the largest value that the profile accepts, {always}")]
    );
    assert_eq!(warnings("max = 40"), none);
}
