//! The Python gateway's profiles: what is corrected in them, and what is refused.

use super::*;
use crate::plan::Plan;
use crate::profile::{Point, SetPoint, built_in};
use crate::register::Table;

fn profile(text: &str) -> Profile {
    read("box", text).unwrap()
}

fn point<'a>(profile: &'a Profile, channel: &str) -> &'a Point {
    profile.points.iter().find(|point| point.channel == channel).unwrap()
}

#[test]
fn reads_registers_and_finds_the_channels() {
    let profile = profile(
        r#"{ "device": {"manufacturer": "M", "model": "X", "slave_id_default": 3},
             "connection": {"byte_order": "BIG", "word_order": "BIG", "timeout_seconds": 2},
             "driver": {"slave_id": 7},
             "registers": {
               "soc": {"address": 0, "count": 1, "type": "UINT16", "access": "RO", "scale": 1, "unit": "%"},
               "temp_c": {"address": 1, "count": 1, "type": "UINT16", "scale": 1, "unit": "°C"},
               "active_power": {"address": 2, "count": 1, "type": "INT16", "scale": 1, "unit": "W"},
               "watchdog_heartbeat": {"address": 6, "count": 1, "type": "UINT16", "access": "RW", "scale": 1, "unit": "count"}
             } }"#,
    );
    assert_eq!(
        (profile.unit, profile.usual_unit, profile.timeout),
        (UnitId(7), Some(UnitId(3)), Duration::from_secs(2))
    );
    assert_eq!(point(&profile, "soc_pct").name, "soc");
    assert_eq!((point(&profile, "temp_c").unit.as_str(), point(&profile, "temp_c").address), ("Cel", 1));
    let power = point(&profile, "power_kw");
    assert_eq!((power.unit.as_str(), power.scaling.to_value(-8550.0)), ("kW", -8.55));
    assert!(profile.points.iter().all(|point| point.table == Table::Holding));
    assert_eq!(profile.corrections, ["active_power: in W; publishing kW"]);
}

#[test]
fn the_profiles_own_mapping_wins_and_signs_are_inverted() {
    let text = |transform: &str| {
        format!(
            r#"{{ "registers": {{
                 "storage_power": {{"address": 1, "type": "INT16", "scale": 1, "unit": "W",
                                    "description": "Battery power. Positive = charging, Negative = discharging."}},
                 "ac_power": {{"address": 2, "type": "INT16", "scale": 1, "unit": "W"}},
                 "temperature": {{"address": 3, "type": "INT16", "scale": 0.01, "unit": "°C"}},
                 "temp_c": {{"address": 4, "type": "INT16", "scale": 1, "unit": "°C"}} }},
               "bessai_mapping": {{ "temp_c": "temperature",
                 "active_power_kw": {{"register": "storage_power", "transform": "{transform}"}} }} }}"#
        )
    };
    for transform in ["divide_by_1000", "negate_divide_by_1000"] {
        let profile = profile(&text(transform));
        assert_eq!(point(&profile, "power_kw").scaling.to_value(-1500.0), 1.5, "{transform}");
        assert_eq!(point(&profile, "temp_c").name, "temperature");
        assert_eq!(point(&profile, "temp_c_register").name, "temp_c");
    }
}

#[test]
fn known_errors_are_corrected_and_listed() {
    let profile = profile(
        r#"{ "registers": {
               "ac_current": {"address": 40071, "count": 1, "type": "INT32", "scale": 0.001, "unit": "A"},
               "ac_voltage": {"address": 40072, "count": 2, "type": "FLOAT32", "scale": 1, "unit": "V"},
               "ac_power": {"address": 40083, "count": 1, "type": "INT16", "scale": null, "scale_register": 40085, "unit": "W"} } }"#,
    );
    assert_eq!(
        profile.corrections,
        [
            "ac_current: count 1 does not match INT32; reading 2 registers",
            "ac_power: scale is null; using the scale factor in register 40085",
            "ac_voltage at 40072 overlaps ac_current; reading them in separate requests",
            "ac_power: in W; publishing kW",
        ]
    );
    assert_eq!(point(&profile, "power_kw").scale_register, Some(40085));
}

#[test]
fn byte_and_word_order_give_all_four_layouts() {
    let check = |connection: &str, expected: (Order, Order)| {
        assert_eq!(orders(&serde_json::from_str(connection).unwrap()), expected, "{connection}");
    };
    check("{}", (Order::Big, Order::Big));
    check(r#"{"byte_order":"LITTLE"}"#, (Order::Little, Order::Little));
    check(r#"{"byte_order":"BIG","word_order":"LITTLE"}"#, (Order::Big, Order::Little));
    check(r#"{"byte_order":"LITTLE","word_order":"BIG"}"#, (Order::Little, Order::Big));
}

#[test]
fn other_errors_name_the_register() {
    let check = |text: &str, expected: &[&str]| {
        let mistakes: Vec<_> = read("box", text).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(mistakes, expected, "{text}");
    };
    check(
        r#"{"device": {"protocol": "CAN"}}"#,
        &["box: has no `registers`: it describes CAN, which is not read over Modbus"],
    );
    check(
        r#"{"registers": {"a": {"address": 70000, "type": "UINT16"}, "b": {"address": 1, "type": "STRING"}}}"#,
        &[
            "box.registers.a.address = 70000: write a register address from 0 to 65535",
            "box.registers.b.type = \"STRING\": write one of INT16, UINT16, INT32, UINT32, INT48, UINT48, INT64, UINT64, FLOAT16, FLOAT32, FLOAT64, BCD16, BCD32, BCD48, BCD64",
        ],
    );
    check(
        r#"{"registers": {"a": {"address": 1, "type": "UINT16", "scale": "x"}}}"#,
        &["box.registers.a.scale = \"x\": write a number other than 0"],
    );
    assert!(read("box", "{").unwrap_err()[0].to_string().starts_with("box: is not JSON"));
}

/// The six register maps of the Python gateway.
const PYTHON: [(&str, &str); 6] = [
    ("huawei_sun2000", include_str!("../../../../../tests/profiles/huawei_sun2000.json")),
    ("sma_sunny_tripower", include_str!("../../../../../tests/profiles/sma_sunny_tripower.json")),
    ("victron_multiplus2", include_str!("../../../../../tests/profiles/victron_multiplus2.json")),
    ("fronius_gen24_byd", include_str!("../../../../../tests/profiles/fronius_gen24_byd.json")),
    ("solaredge_storedge", include_str!("../../../../../tests/profiles/solaredge_storedge.json")),
    ("simulator", include_str!("../../../../../tests/profiles/simulator.json")),
];

fn python(name: &str) -> Profile {
    let (_, text) = PYTHON.iter().find(|(known, _)| *known == name).unwrap();
    read(name, text).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"))
}

#[test]
fn the_python_gateways_files_mean_what_the_built_in_profiles_do() {
    for (name, _) in PYTHON {
        let (own, profile) = (built_in(name).unwrap(), python(name));
        for point in &profile.points {
            let same = own.points.iter().find(|same| same.name == point.name).unwrap();
            assert_eq!((point.address, point.layout), (same.address, same.layout), "{name} {}", point.name);
            assert_eq!((point.access, point.kind), (same.access, same.kind), "{name} {}", point.name);
            assert_eq!(point.scale_register, same.scale_register, "{name} {}", point.name);
            if point.is_writable() {
                assert_eq!(point.dangerous, same.dangerous, "{name} {}", point.name);
                assert_eq!((point.min, point.max), (same.min, same.max), "{name} {}", point.name);
            }
            // The Python gateway's StorEdge profile maps power_kw to the battery, and temp_c to the heat sink.
            let mapped_otherwise = ["ac_power", "storage_power", "temperature"];
            if name != "solaredge_storedge" || !mapped_otherwise.contains(&point.name.as_str()) {
                assert_eq!(point.channel, same.channel, "{name} {}", point.name);
            }
            if point.unit == same.unit {
                let (value, expected) = (point.scaling.to_value(123.0), same.scaling.to_value(123.0));
                assert!((value - expected).abs() < 1e-9, "{name} {}: {value}, not {expected}", point.name);
            } else {
                assert_eq!((point.unit.as_str(), same.unit.as_str()), ("W", "kW"), "{name} {}", point.name);
            }
        }
        assert_eq!(profile.watchdog, own.watchdog, "{name}");
    }
    let units = PYTHON.map(|(name, _)| (python(name).unit.0, python(name).usual_unit.map_or(0, |unit| unit.0)));
    assert_eq!(units, [(1, 3), (1, 3), (1, 227), (1, 1), (1, 1), (1, 0)]);
}

#[test]
fn corrections_of_the_python_gateways_files_are_listed() {
    let expected = include_str!("../../../../../tests/vectors/corrections.txt");
    let lists: Vec<_> = expected.split("== ").skip(1).map(|list| list.split_once('\n').unwrap()).collect();
    assert_eq!(lists.iter().map(|(name, _)| *name).collect::<Vec<_>>(), PYTHON.map(|(name, _)| name));
    for (name, list) in lists {
        assert_eq!(python(name).corrections, list.lines().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn a_file_of_its_owner_keeps_the_registers_that_differ() {
    let text = r#"{ "device": {"manufacturer": "Huawei"}, "registers": {
        "luna_cycle_count": {"address": 37762, "type": "UINT16", "unit": "cycles"},
        "watchdog_heartbeat": {"address": 500, "type": "UINT16", "access": "RW"} } }"#;
    let profile = read("own", text).unwrap();
    let names: Vec<_> = profile.points.iter().map(|point| (point.name.as_str(), point.address)).collect();
    assert_eq!(names, [("watchdog_heartbeat", 500)]);
    assert_eq!(profile.watchdog.as_deref(), Some("watchdog_heartbeat"));
    assert_eq!(profile.corrections, ["luna_cycle_count: no public register list has it at 37762; leaving it out"]);
}

/// A point of a file by that manufacturer with one register.
fn control(manufacturer: &str, register: &str) -> Point {
    let text = format!(r#"{{ "device": {{"manufacturer": "{manufacturer}"}}, "registers": {{"mode": {register}}} }}"#);
    read("own", &text).unwrap().points.remove(0)
}

#[test]
fn control_registers_of_known_makers_have_their_range_and_their_mark() {
    let check = |maker: &str, register: &str, dangerous: bool, range: (Option<f64>, Option<f64>)| {
        let point = control(maker, register);
        assert_eq!((point.dangerous, (point.min, point.max)), (dangerous, range), "{maker} {register}");
    };
    let mode = r#"{"address": 47086, "type": "UINT16", "access": "RW"}"#;
    check("HUAWEI Technologies", mode, true, (Some(0.0), Some(5.0)));
    check("Huawei", &mode.replace("RW", "RO"), false, (None, None));
    // In another unit, and as a part of a longer value.
    check(
        "Huawei",
        r#"{"address": 47081, "type": "UINT16", "access": "RW", "scale": 0.001}"#,
        false,
        (Some(0.0), Some(1.0)),
    );
    check("Huawei", r#"{"address": 47085, "type": "UINT32", "access": "RW"}"#, true, (None, None));
    // Its numbers are others than those of the range.
    check("Huawei", r#"{"address": 47081, "type": "INT16", "access": "RW"}"#, true, (None, None));
    check("GoodWe", r#"{"address": 47511, "type": "UINT16", "access": "RW"}"#, true, (Some(1.0), Some(12.0)));
    check("SolarEdge", r#"{"address": 57350, "type": "UINT16", "access": "RW"}"#, true, (None, None));
    check("Fronius", r#"{"address": 40349, "type": "UINT16", "access": "RW"}"#, true, (None, None));
    check("Victron", r#"{"address": 37, "type": "INT16", "access": "RW", "unit": "W"}"#, false, (None, None));
    // Nothing is known about this one.
    check("Acme", mode, false, (None, None));
    let named = read("huawei_sun2000.json", &format!(r#"{{"registers": {{"mode": {mode}}}}}"#)).unwrap();
    assert!(named.points[0].dangerous);
}

#[test]
fn the_points_that_set_the_power_are_found() {
    assert_eq!(python("victron_multiplus2").set_point.unwrap().power.as_deref(), Some("ess_setpoint"));
    assert_eq!(python("fronius_gen24_byd").set_point, None);
    let expected = SetPoint {
        power: None,
        charge: Some("storage_charge_setpoint".into()),
        discharge: Some("storage_discharge_setpoint".into()),
        mode: Some("storage_control_mode".into()),
        mode_values: vec![("remote".into(), 4.0)],
        recipe: None,
    };
    assert_eq!(python("solaredge_storedge").set_point, Some(expected));
    assert_eq!(python("sma_sunny_tripower").set_point, None);
}

#[test]
fn all_of_their_points_can_be_read() {
    for (name, _) in PYTHON {
        let profile = python(name);
        let plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
        let read: usize = plan.requests().map(|request| plan.channels(request).count()).sum();
        assert_eq!(read, profile.readable().count(), "{name}");
    }
}

#[test]
fn files_without_registers_are_refused() {
    let check = |text: &str, expected: &str| assert_eq!(read("box", text).unwrap_err()[0].to_string(), expected);
    check(
        include_str!("../../../../../tests/profiles/byd_battery_box.json"),
        "box: has no `registers`: it describes CAN, which is not read over Modbus",
    );
    check(
        include_str!("../../../../../tests/profiles/tesla_powerwall3.json"),
        "box: has no `registers`: it describes HTTP_REST, which is not read over Modbus",
    );
}

#[test]
fn a_sign_that_is_not_documented_is_not_guessed() {
    let text = |description: &str| {
        format!(
            r#"{{"registers": {{"battery_power": {{"address": 1, "type": "INT16", "scale": 1, "unit": "W", "description": "{description}"}}}}}}"#
        )
    };
    let silent = profile(&text("Power"));
    assert_eq!((silent.points[0].channel.as_str(), silent.points[0].unit.as_str()), ("battery_power", "W"));
    let discharging = profile(&text("Power, + = discharge"));
    assert_eq!(point(&discharging, "battery_power_kw").scaling.to_value(1500.0), 1.5);
    let charging = profile(&text("Power. Positive = charging"));
    assert_eq!(point(&charging, "battery_power_kw").scaling.to_value(1500.0), -1.5);
}

#[test]
fn a_channel_name_that_is_taken_gets_a_free_one() {
    let profile = profile(
        r#"{"registers": {"temp_c": {"address": 1, "type": "UINT16"}, "temp_c_register": {"address": 2, "type": "UINT16"},
            "temperature": {"address": 3, "type": "UINT16"}}, "bessai_mapping": {"temp_c": "temperature"}}"#,
    );
    let channels: Vec<_> = profile.points.iter().map(|point| point.channel.as_str()).collect();
    assert_eq!(channels, ["temp_c_register_", "temp_c_register", "temp_c"]);
}

#[test]
fn timeouts_are_clamped_to_the_allowed_range() {
    let check = |seconds: &str, expected: Duration, corrections: &[&str]| {
        let text = format!(
            r#"{{"connection": {{"timeout_seconds": {seconds}}}, "registers": {{"a": {{"address": 1, "type": "UINT16"}}}}}}"#
        );
        assert_eq!(
            (profile(&text).timeout, profile(&text).corrections),
            (expected, corrections.iter().map(ToString::to_string).collect())
        );
    };
    check("2.5", Duration::from_millis(2500), &[]);
    check("300", Duration::from_secs(60), &["timeout_seconds 300 is out of range; using 60 s"]);
    check("1e-9", Duration::from_millis(10), &["timeout_seconds 1e-9 is out of range; using 0.01 s"]);
    check("-1", DEFAULT_TIMEOUT, &[]);
    check("1e300", DEFAULT_TIMEOUT, &[]);
}
