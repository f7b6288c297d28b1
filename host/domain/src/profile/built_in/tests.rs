//! Every point of the built-in profiles, compared with the manufacturers' register maps.

mod maps;
mod recipes;

use super::*;
use crate::plan::Plan;
use crate::profile::Revert;
use crate::register::{UnitId, WriteFunction};
use crate::site::{ChannelKind, channel};

/// What independent public sources say of each profile's registers, in files of this project's own format.
const MAPS: [(&str, &str); 12] = [
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
    ("pylontech", include_str!("../../../../../tests/maps/pylontech.map")),
];

fn profile(name: &str) -> Profile {
    let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name).unwrap();
    toml::read(name, text).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"))
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
            let has_sign = ["battery_power_kw", "set_point_kw"].contains(&point.channel.as_str());
            assert!(!has_sign || maps::stated_plus(point) == Some("discharge"), "{name} {}", point.name);
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
    check_main("growatt-sph", ["battery_soc", "ac_power", "battery_temperature", ""]);
    check_main("goodwe-et", ["battery_soc", "total_inverter_power", "battery_temperature", "battery_power"]);
    check_main("deye-hybrid", ["battery_soc", "inverter_power", "battery_temperature", "battery_power"]);
    check_main("byd-box", ["battery_soc", "", "temperature_max", ""]);
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
    check(
        "pylontech",
        &[
            ("soc_pct", "battery_soc"),
            ("power_kw", "ac_power"),
            ("temp_c", "battery_temperature"),
            ("battery_power_kw", "battery_power"),
            ("cycle_count", "battery_cycles"),
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
    let mode = |name: &str| profile(name).set_point.map(|set_point| (set_point.mode, set_point.mode_values));
    let remote = |name: &str, value| Some((Some(name.to_owned()), vec![("remote".to_owned(), value)]));
    assert_eq!(mode("victron-multiplus2"), remote("ess_mode", 3.0));
    assert_eq!(mode("solaredge-storedge"), remote("storage_control_mode", 4.0));
    assert_eq!(mode("huawei-sun2000"), Some((None, Vec::new())));
    assert_eq!(mode("simulator"), None);
    for name in built_in_names() {
        // No manufacturer documents a register for a heartbeat.
        let watchdog = built_in(name).unwrap().watchdog;
        assert_eq!(watchdog.is_some(), name == "simulator", "{name}");
    }
}

fn requests(profile: &Profile, writes: &[(&str, f64)]) -> Vec<(u16, Vec<u16>)> {
    let request = |(point, value): &(&str, f64)| {
        let point = profile.points.iter().find(|one| one.name == *point).unwrap();
        let exponent = point.scale_register.map(|_| -2);
        let request = point.write(*value, exponent, profile.unit).unwrap_or_else(|error| panic!("{error}"));
        (request.address, request.words)
    };
    writes.iter().map(request).collect()
}

#[test]
fn every_recipe_can_be_released_and_names_what_is_dangerous() {
    for (name, _) in MAPS {
        let profile = profile(name);
        let recipe = profile.set_point.clone().and_then(|set_point| set_point.recipe);
        let Some(recipe) = recipe else {
            let without = ["growatt-sph", "deye-hybrid", "byd-box", "pylontech"];
            assert!(without.contains(&name), "{name} has no recipe");
            continue;
        };
        assert!(!requests(&profile, &recipe.release()).is_empty(), "{name}");
        if let Some(Revert::Point(point)) = &recipe.revert {
            assert!(profile.point(point).unwrap().is_writable(), "{name} {point}");
        }
        // A recipe takes control from the device: at least one of its points needs a confirmation when it is written by hand.
        let is_dangerous = |point: &str| profile.point(point).unwrap().dangerous;
        assert!(recipe.writes().any(|write| is_dangerous(&write.point)), "{name}");
    }
    assert!(profile("huawei-sun2000").point("luna_charge_from_grid").unwrap().dangerous);
    assert!(!profile("huawei-sun2000").point("luna_charge_target_soc").unwrap().dangerous);
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
    let counts = MAPS.map(|(name, _)| {
        let profile = profile(name);
        let plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
        (name, plan.requests().len(), profile.readable().count())
    });
    let expected = [
        ("huawei-sun2000", 7, 38),
        ("sma-sunny-tripower", 9, 25),
        ("victron-multiplus2", 7, 26),
        ("fronius-gen24", 6, 24),
        ("fronius-gen24-int", 6, 23),
        ("solaredge-storedge", 3, 22),
        ("sungrow-sh", 6, 32),
        ("growatt-sph", 4, 21),
        ("goodwe-et", 4, 29),
        ("deye-hybrid", 3, 23),
        ("byd-box", 1, 10),
        ("pylontech", 3, 26),
    ];
    assert_eq!(counts, expected);
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
