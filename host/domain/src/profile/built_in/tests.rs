//! Every point of the built-in profiles, compared with the manufacturers' register maps.

use super::*;
use crate::plan::Plan;
use crate::profile::{Access, Point};
use crate::register::{Order, UnitId, WriteFunction};
use crate::site::{ChannelKind, channel};

/// What independent public sources say of each profile's registers, in files of this project's own format.
const MAPS: [(&str, &str); 11] = [
    ("huawei-sun2000", include_str!("../../../../../tests/maps/huawei-sun2000.map")),
    ("sma-sunny-tripower", include_str!("../../../../../tests/maps/sma-sunny-tripower.map")),
    ("victron-multiplus2", include_str!("../../../../../tests/maps/victron-multiplus2.map")),
    ("fronius-gen24", include_str!("../../../../../tests/maps/fronius-gen24.map")),
    ("fronius-gen24-int", include_str!("../../../../../tests/maps/fronius-gen24-int.map")),
    ("solaredge-storedge", include_str!("../../../../../tests/maps/solaredge-storedge.map")),
    ("sungrow-sh", include_str!("../../../../../tests/maps/sungrow-sh.map")),
    ("growatt-sph", include_str!("../../../../../tests/maps/growatt-sph.map")),
    ("goodwe-et", include_str!("../../../../../tests/maps/goodwe-et.map")),
    ("deye-hybrid", include_str!("../../../../../tests/maps/deye-hybrid.map")),
    ("byd-box", include_str!("../../../../../tests/maps/byd-box.map")),
];
/// Points whose sign is inverted, so that + = discharge, or because the device counts what was taken.
const INVERTED: [&str; 5] = ["luna_power", "battery_power", "storage_power", "ess_setpoint", "battery_consumed_ah"];
/// Profiles whose battery power has the sign of its register.
const AS_IN_THE_REGISTER: [&str; 3] = ["sungrow-sh", "goodwe-et", "deye-hybrid"];

fn profile(name: &str) -> Profile {
    let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name).unwrap();
    toml::read(name, text).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"))
}

/// The fact about a point as its source has it: the table, the address, the type and the factor.
fn fact(profile: &Profile, point: &Point) -> String {
    let unit = point.unit_id.filter(|unit| *unit != profile.unit);
    let unit = unit.map(|unit| format!("{}/", unit.0)).unwrap_or_default();
    let swapped = if point.layout.words == Order::Little && point.layout.format.width() > 1 { "_s" } else { "" };
    format!("{unit}{} {} {}{swapped}", point.table.name(), point.address, point.layout.format.name())
}

#[test]
fn every_verified_point_agrees_with_an_independent_public_map() {
    for (name, map) in MAPS {
        let profile = profile(name);
        let lines: Vec<Vec<&str>> =
            map.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect()).collect();
        for point in &profile.points {
            let fact = fact(&profile, point);
            let line = lines.iter().find(|line| line[..3].join(" ") == fact);
            if point.unverified {
                assert!(line.is_none(), "{name} {}: the map confirms {fact}", point.name);
                continue;
            }
            let line = line.unwrap_or_else(|| panic!("{name} {}: no public map has {fact}", point.name));
            let thousand = if matches!(point.unit.as_str(), "kW" | "kWh" | "kvar") { 1000.0 } else { 1.0 };
            let raw = point.scaling.to_value(1000.0) - point.scaling.to_value(0.0);
            let factor = line[3].parse::<f64>().unwrap();
            let is_in_kilo = (raw.abs() * thousand - 1000.0 * factor).abs() < 1e-6;
            // An energy is in kWh in most sources.
            assert!(is_in_kilo || (raw.abs() - 1000.0 * factor).abs() < 1e-6, "{name} {}: {line:?}", point.name);
            assert!(point.access == Access::Read || line[4] == "rw", "{name} {} is read-only: {line:?}", point.name);
            let scale = point.scale_register.map(|register| format!("{register}"));
            let is_known = |register: &String| lines.iter().any(|line| line[1] == register && line[2] == "int16");
            assert!(scale.as_ref().is_none_or(is_known), "{name} {}: {scale:?}", point.name);
        }
    }
}

#[test]
fn an_unverified_point_is_neither_written_nor_a_set_point() {
    for (name, _) in MAPS {
        for point in profile(name).points.iter().filter(|point| point.unverified) {
            let written = point.write(1.0, Some(0), profile(name).unit);
            assert!(written.is_err() && !point.to_channel().writable, "{name} {}", point.name);
        }
    }
    let text = "set_point = { power = \"p\" }\n[points]\np = { address = 1, type = \"int16\", scale = 1, access = \"RW\", unverified = true }";
    let mistakes = toml::read("box", text).unwrap_err();
    let expected = "box.set_point.power = \"p\": `p` is unverified and never written; name another point";
    assert_eq!(mistakes[0].to_string(), expected);
}

#[test]
fn nothing_that_a_source_calls_otherwise_is_written() {
    let written = |name: &str| {
        let profile = profile(name);
        let points = profile.points.iter().filter(|point| point.is_writable());
        points.map(|point| (point.address, point.name.clone())).collect::<Vec<_>>()
    };
    let check = |name: &str, address: u16| assert!(written(name).iter().all(|(known, _)| *known != address), "{name}");
    // A switch of SMA's faults and a limit in percent; Victron's BatteryLife; Fronius's charging power; Huawei's 40900.
    check("sma-sunny-tripower", 40_011);
    check("sma-sunny-tripower", 40_016);
    check("victron-multiplus2", 2900);
    check("fronius-gen24", 40_355);
    check("huawei-sun2000", 40_900);
    let from_grid = profile("huawei-sun2000");
    let switch = from_grid.points.iter().find(|point| point.address == 47_087).unwrap();
    assert_eq!((switch.name.as_str(), switch.min, switch.max), ("luna_charge_from_grid", Some(0.0), Some(1.0)));
    assert!(switch.write(80.0, None, UnitId(1)).is_err());
}

#[test]
fn channels_have_the_same_names_units_and_signs_in_every_profile() {
    let check = |name: &str, expected: &[(&str, &str)]| {
        let profile = profile(name);
        for (channel, point) in expected {
            let found = profile.points.iter().find(|point| point.channel == *channel);
            assert_eq!(found.map(|point| point.name.as_str()), Some(*point), "{name} {channel}");
        }
        let renamed = profile.points.iter().filter(|point| point.channel != point.name).count();
        let same = expected.iter().filter(|(channel, point)| channel == point).count();
        assert_eq!(renamed + same, expected.len(), "{name}");
        for point in &profile.points {
            match point.channel.as_str() {
                channel::SOC => assert_eq!((point.unit.as_str(), point.min, point.max), ("%", Some(0.0), Some(100.0))),
                channel::POWER | "battery_power_kw" | "set_point_kw" => assert_eq!(point.unit, "kW", "{name}"),
                channel::TEMPERATURE => assert_eq!(point.unit, "Cel", "{name}"),
                channel::CYCLES => assert_eq!(point.kind, ChannelKind::Counter, "{name}"),
                _ => {}
            }
            let is_inverted = point.scaling.to_value(1.0) < point.scaling.to_value(0.0);
            let is_expected = INVERTED.contains(&point.name.as_str()) && !AS_IN_THE_REGISTER.contains(&name);
            assert_eq!(is_inverted, is_expected, "{name} {}", point.name);
            assert!(point.names.is_empty() || point.kind == ChannelKind::State, "{name} {}", point.name);
        }
    };
    let check_main = |name: &str, points: [&str; 4]| {
        let channels = ["soc_pct", "power_kw", "temp_c", "battery_power_kw"];
        let expected: Vec<_> = channels.into_iter().zip(points).filter(|(_, point)| !point.is_empty()).collect();
        check(name, &expected);
    };
    check_main("huawei-sun2000", ["luna_soc", "active_power", "luna_temperature", "luna_power"]);
    check_main("sma-sunny-tripower", ["battery_soc", "ac_power_total", "battery_temperature", ""]);
    check_main("fronius-gen24", ["battery_soc", "ac_power_total", "", ""]);
    check_main("fronius-gen24-int", ["battery_soc", "ac_power_total", "", ""]);
    check_main("solaredge-storedge", ["storage_soc", "ac_power", "storage_temperature", "storage_power"]);
    check_main("sungrow-sh", ["battery_soc", "active_power", "battery_temperature", "battery_power"]);
    check_main("growatt-sph", ["battery_soc", "ac_power", "", ""]);
    check_main("goodwe-et", ["battery_soc", "total_inverter_power", "battery_temperature", "battery_power"]);
    check_main("deye-hybrid", ["battery_soc", "inverter_power", "battery_temperature", "battery_power"]);
    check_main("byd-box", ["battery_soc", "", "battery_temperature", ""]);
    check(
        "victron-multiplus2",
        &[
            ("soc_pct", "battery_soc"),
            ("power_kw", "ac_output_power"),
            ("temp_c", "battery_temperature"),
            ("battery_power_kw", "battery_power"),
            ("cycle_count", "charge_cycles"),
            ("set_point_kw", "ess_setpoint"),
        ],
    );
    check("simulator", &[("soc_pct", "soc"), ("power_kw", "active_power"), ("temp_c", "temp_c")]);
}

#[test]
fn default_and_usual_unit_ids() {
    let unit = |name: &str| (profile(name).unit.0, profile(name).usual_unit);
    assert_eq!(unit("huawei-sun2000"), (1, Some(UnitId(3))));
    let others = ["sma-sunny-tripower", "victron-multiplus2", "fronius-gen24", "solaredge-storedge", "goodwe-et"];
    assert_eq!(others.map(unit), [(3, None), (227, None), (1, None), (1, None), (247, None)]);
}

#[test]
fn set_points_and_watchdogs_are_writable_points() {
    let power = |name: &str, value: f64| {
        let profile = profile(name);
        let point = profile.set_point.clone().and_then(|set_point| set_point.power);
        let write = profile.point(&point.unwrap()).unwrap().write(value, None, profile.unit).unwrap();
        (write.unit.0, write.function, write.address, write.words)
    };
    // Discharging with 3 kW: in the register + = charge.
    assert_eq!(power("victron-multiplus2", 3.0), (227, WriteFunction::Register, 37, vec![0xf448]));
    let solaredge = profile("solaredge-storedge");
    let set_point = solaredge.set_point.clone().unwrap();
    assert_eq!((set_point.power, set_point.mode_values), (None, vec![("remote".into(), 4.0)]));
    let address = |name: Option<String>| solaredge.point(&name.unwrap()).unwrap().address;
    assert_eq!([set_point.charge, set_point.discharge, set_point.mode].map(address), [57358, 57360, 57348]);
    let mode = |name: &str| profile(name).set_point.map(|set_point| (set_point.mode, set_point.mode_values));
    let remote = |name: &str, value| Some((Some(name.to_owned()), vec![("remote".to_owned(), value)]));
    assert_eq!(mode("victron-multiplus2"), remote("ess_mode", 3.0));
    assert_eq!(mode("huawei-sun2000"), None);
    assert_eq!(mode("simulator"), None);
    for name in built_in_names() {
        // No manufacturer documents a register for a heartbeat.
        let watchdog = built_in(name).unwrap().watchdog;
        assert_eq!(watchdog.is_some(), name == "simulator", "{name}");
    }
}

#[test]
fn only_channels_that_can_be_written_are_described_with_their_limits() {
    let limits = |name: &str, point: &str| {
        let channel = profile(name).point(point).unwrap().to_channel();
        let limits = channel.attributes.iter().filter(|(key, _)| key == "min" || key == "max");
        let limits: Vec<_> = limits.map(|(key, limit)| format!("{key} {limit}")).collect();
        (channel.writable, limits.join(", "))
    };
    assert_eq!(limits("fronius-gen24", "storage_charge_limit"), (true, "min -100, max 100".into()));
    assert_eq!(limits("sma-sunny-tripower", "bms_charge_power_max"), (true, "min 0".into()));
    assert_eq!(limits("victron-multiplus2", "ess_setpoint"), (true, String::new()));
    assert_eq!(limits("fronius-gen24", "battery_soc"), (false, String::new()));
}

#[test]
fn a_cycle_takes_far_fewer_requests_than_points() {
    for (name, _) in MAPS {
        let profile = profile(name);
        let plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
        let (requests, points) = (plan.requests().len(), profile.readable().count());
        assert!(2 * requests <= points, "{name}: {requests} requests for {points} points");
    }
}

#[test]
fn overlapping_points_get_separate_requests() {
    let text = "[points]
        a = { address = 10, type = \"float32\", scale = 1 }
        b = { address = 11, type = \"float32\", scale = 1, overlaps = true }";
    let profile = toml::read("box", text).unwrap();
    let plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
    let blocks: Vec<_> = plan.requests().map(|request| (request.start, request.count)).collect();
    assert_eq!(blocks, [(10, 2), (11, 2)]);
}

#[test]
fn file_names_of_the_python_gateway_select_built_in_profiles() {
    let check = |name: &str, expected: Option<&str>| {
        assert_eq!(built_in(name).map(|profile| profile.name).as_deref(), expected, "{name}");
    };
    check("huawei-sun2000", Some("huawei-sun2000"));
    check("registry/huawei_sun2000.json", Some("huawei-sun2000"));
    check("HUAWEI_SUN2000.JSON", Some("huawei-sun2000"));
    check("registry/sma_sunny_tripower.json", Some("sma-sunny-tripower"));
    check("registry/victron_multiplus2.json", Some("victron-multiplus2"));
    check("registry/fronius_gen24_byd.json", Some("fronius-gen24"));
    check("registry/solaredge_storedge.json", Some("solaredge-storedge"));
    check("a\\simulator.toml", Some("simulator"));
    check("registry/unknown.json", None);
    check("registry/byd_battery_box.json", None);
    assert!(built_in(DEFAULT).is_some());
    for name in built_in_names() {
        assert!(built_in(name).is_some(), "{name}");
    }
}
