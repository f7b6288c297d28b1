//! Every point of the built-in profiles, compared with the manufacturers' register maps.

use super::*;
use crate::plan::Plan;
use crate::profile::{Access, Point};
use crate::register::{Table, UnitId, WriteFunction};
use crate::site::{ChannelKind, channel};

/// Every point of the six register maps of the Python gateway after correction: `name address type scale unit`, then
/// `RW`, `W`, a unit id or the register of a scale factor, if any. The scale is the register's, before conversion to kW
/// and of the sign.
const HUAWEI: &str = "
    inverter_state 32089 uint16 1 1
    pv1_voltage 32016 int16 0.1 V
    pv1_current 32017 int16 0.01 A
    pv2_voltage 32018 int16 0.1 V
    pv2_current 32019 int16 0.01 A
    pv_total_power 32064 int32 0.001 kW
    ac_voltage 32069 uint16 0.1 V
    ac_current 32072 int32 0.001 A
    active_power 32080 int32 0.001 kW
    reactive_power 32082 int32 0.001 kvar
    power_factor 32084 int16 0.001 1
    frequency 32085 uint16 0.01 Hz
    internal_temperature 32087 int16 0.1 Cel
    daily_energy 32114 uint32 0.01 kWh
    total_energy 32106 uint32 0.01 kWh
    alarm1 32008 uint16 1 1
    alarm2 32009 uint16 1 1
    alarm3 32010 uint16 1 1
    luna_soc 37760 uint16 0.1 %
    luna_soh 37761 uint16 0.1 %
    luna_power 37765 int32 0.001 kW
    luna_voltage 37800 uint16 0.1 V
    luna_current 37801 int16 0.1 A
    luna_temperature 37752 int16 0.1 Cel
    luna_capacity 37758 uint32 0.001 kWh
    luna_cycle_count 37762 uint16 1 1
    luna_working_mode 47086 uint16 1 1 RW
    luna_charge_target_soc 47087 uint16 0.1 % RW
    watchdog_heartbeat 40900 uint16 1 1 W";
const SMA: &str = "
    device_status 30201 uint32 1 1
    grid_relay_status 30211 uint32 1 1
    ac_power_total 30775 int32 1 W
    ac_voltage_l1 30783 uint32 0.01 V
    ac_voltage_l2 30785 uint32 0.01 V
    ac_voltage_l3 30787 uint32 0.01 V
    ac_current_total 30795 int32 0.001 A
    grid_frequency 30803 uint32 0.01 Hz
    reactive_power 30805 int32 1 var
    power_factor 30807 int32 0.001 1
    internal_temperature 30953 int32 0.1 Cel
    daily_energy 30535 uint64 1 Wh
    total_energy 30529 uint64 1 Wh
    battery_soc 30845 uint32 0.01 %
    battery_soh 30865 uint32 0.01 %
    battery_power 30847 int32 1 W
    battery_temperature 30849 int32 0.1 Cel
    battery_voltage 30851 uint32 0.01 V
    battery_current 30853 int32 0.001 A
    battery_charge_total 31393 uint64 1 Wh
    battery_discharge_total 31397 uint64 1 Wh
    operating_mode 40009 uint32 1 1 RW
    battery_min_soc 40011 uint32 0.01 % RW
    active_power_limit 40016 uint32 1 W RW
    watchdog_heartbeat 40042 uint32 1 1 W";
const VICTRON: &str = "
    ac_input_voltage 3 uint16 0.1 V
    ac_input_current 6 int16 0.1 A
    ac_input_power 12 int16 1 W
    ac_output_voltage 15 uint16 0.1 V
    ac_output_current 18 int16 0.1 A
    ac_output_power 23 int16 1 W
    ac_frequency 21 uint16 0.01 Hz
    inverter_state 31 uint16 1 1
    vebus_error 32 uint16 1 1
    battery_voltage 259 uint16 0.01 V
    battery_current 261 int16 0.1 A
    battery_power 842 int16 1 W unit=225
    battery_soc 843 uint16 0.01 %
    battery_temperature 315 int16 0.1 Cel
    battery_consumed_ah 265 uint16 0.1 A.h
    time_to_go 267 uint16 0.01 h
    pv_power 850 uint16 1 W unit=225
    grid_power 820 int16 1 W unit=225
    internal_temperature 34 int16 0.1 Cel
    ess_setpoint 37 int16 1 W RW
    minimum_soc 2901 uint16 0.01 % RW
    watchdog_heartbeat 2900 uint16 1 1 W";
const FRONIUS: &str = "
    inverter_status 40107 uint16 1 1
    ac_power_total 40083 float32 1 W
    ac_voltage_l1 40072 float32 1 V
    ac_voltage_l2 40074 float32 1 V
    ac_voltage_l3 40076 float32 1 V
    ac_current_total 40071 float32 1 A
    ac_frequency 40085 float32 1 Hz
    dc_power 40101 float32 1 W
    dc_voltage 40099 float32 1 V
    internal_temperature 40103 float32 1 Cel
    daily_energy 40093 float32 1 Wh
    total_energy 40095 float32 1 Wh
    battery_soc 40361 float32 1 %
    battery_power 40425 float32 1 W
    battery_voltage 40427 float32 1 V
    battery_current 40429 float32 1 A
    battery_temperature 40431 float32 1 Cel
    battery_status 40357 uint16 1 1
    grid_power 40097 float32 1 W unit=200
    storage_control_mode 40349 uint16 1 1 RW
    storage_setpoint_power 40351 float32 1 W RW
    storage_minimum_soc 40353 float32 1 % RW
    watchdog_heartbeat 40355 uint16 1 1 W";
const SOLAREDGE: &str = "
    inverter_status 40107 uint16 1 1
    ac_power 40083 int16 1 W factor=40085
    ac_power_sf 40085 int16 1 1
    ac_frequency 40086 uint16 0.01 Hz
    ac_voltage_ab 40073 uint16 0.1 V
    ac_current 40071 uint16 0.1 A
    dc_power 40100 int16 0.001 kW
    temperature 40103 int16 0.01 Cel
    energy_total_wh 40093 uint32 1 Wh
    storage_soc 57362 uint16 0.01 %
    storage_power 57350 int16 1 W
    storage_soh 57361 uint16 0.01 %
    storage_control_mode 57348 uint16 1 1 RW
    storage_charge_setpoint 57354 uint16 1 W RW
    storage_discharge_setpoint 57355 uint16 1 W RW
    storage_reserve_soc 57352 uint16 0.01 % RW";
const SIMULATOR: &str = "
    soc 0 uint16 1 %
    temp_c 1 uint16 1 Cel
    active_power 2 int16 1 W
    inverter_state 3 uint16 1 1
    frequency 4 uint16 1 Hz
    ac_voltage 5 uint16 1 V
    watchdog_heartbeat 6 uint16 1 1 W";
const ALL: [(&str, &str, usize); 6] = [
    ("huawei-sun2000", HUAWEI, 29),
    ("sma-sunny-tripower", SMA, 25),
    ("victron-multiplus2", VICTRON, 22),
    ("fronius-gen24", FRONIUS, 23),
    ("solaredge-storedge", SOLAREDGE, 16),
    ("simulator", SIMULATOR, 7),
];
/// Points whose sign is inverted, so that + = discharge.
const INVERTED: [&str; 5] = ["luna_power", "battery_power", "storage_power", "ess_setpoint", "storage_setpoint_power"];

fn profile(name: &str) -> Profile {
    let (_, text) = BUILT_IN.iter().find(|(known, _)| *known == name).unwrap();
    toml::read(name, text).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:?}"))
}

/// The line of the tables above that describes the point.
fn line(point: &Point, scale: &str) -> String {
    let format = point.layout.format.name();
    let published_in_kilowatts = point.unit == "kW" && !matches!(scale, "0.001");
    let unit = if published_in_kilowatts { "W" } else { &point.unit };
    let mut line = format!("{} {} {format} {scale} {unit}", point.name, point.address);
    match point.access {
        Access::Read => {}
        Access::ReadWrite => line += " RW",
        Access::Write => line += " W",
    }
    line += &point.unit_id.map(|unit| format!(" unit={}", unit.0)).unwrap_or_default();
    line + &point.scale_register.map(|register| format!(" factor={register}")).unwrap_or_default()
}

#[test]
fn every_point_has_its_address_type_scale_and_unit() {
    for (name, table, count) in ALL {
        let profile = profile(name);
        let lines: Vec<_> = table.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!((lines.len(), profile.points.len()), (count, count), "{name}");
        for expected in lines {
            let mut words = expected.split(' ');
            let point = profile.points.iter().find(|point| Some(point.name.as_str()) == words.clone().next());
            let point = point.unwrap_or_else(|| panic!("{name} lacks {expected}"));
            let (scale, unit) = (words.nth(3).unwrap(), words.next().unwrap());
            assert_eq!(line(point, scale), expected, "{name}");
            let thousandth = if unit == "W" && point.unit == "kW" { 1000.0 } else { 1.0 };
            let sign = if INVERTED.contains(&point.name.as_str()) { -1.0 } else { 1.0 };
            let expected = sign * 12_345.0 * scale.parse::<f64>().unwrap() / thousandth;
            let value = point.scaling.to_value(12_345.0);
            assert!((value - expected).abs() < 1e-9, "{name} {}: {value}, not {expected}", point.name);
            assert_eq!(point.table, Table::Holding, "{name} {}", point.name);
        }
    }
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
            let is_inverted = point.scaling.to_value(1.0) < 0.0;
            assert_eq!(is_inverted, INVERTED.contains(&point.name.as_str()), "{name} {}", point.name);
            assert!(point.names.is_empty() || point.kind == ChannelKind::State, "{name} {}", point.name);
        }
    };
    check(
        "huawei-sun2000",
        &[
            ("soc_pct", "luna_soc"),
            ("power_kw", "active_power"),
            ("temp_c", "luna_temperature"),
            ("cycle_count", "luna_cycle_count"),
            ("battery_power_kw", "luna_power"),
        ],
    );
    let battery = [
        ("soc_pct", "battery_soc"),
        ("power_kw", "ac_power_total"),
        ("temp_c", "battery_temperature"),
        ("battery_power_kw", "battery_power"),
    ];
    check("sma-sunny-tripower", &battery);
    check("fronius-gen24", &[battery.as_slice(), &[("set_point_kw", "storage_setpoint_power")]].concat());
    check(
        "victron-multiplus2",
        &[
            ("soc_pct", "battery_soc"),
            ("power_kw", "ac_output_power"),
            ("temp_c", "battery_temperature"),
            ("battery_power_kw", "battery_power"),
            ("set_point_kw", "ess_setpoint"),
        ],
    );
    check(
        "solaredge-storedge",
        &[
            ("soc_pct", "storage_soc"),
            ("power_kw", "ac_power"),
            ("temp_c", "temperature"),
            ("battery_power_kw", "storage_power"),
        ],
    );
    check("simulator", &[("soc_pct", "soc"), ("power_kw", "active_power"), ("temp_c", "temp_c")]);
}

#[test]
fn default_and_usual_unit_ids() {
    let units: Vec<_> = ALL.iter().map(|(name, ..)| (profile(name).unit.0, profile(name).usual_unit)).collect();
    let expected = [(1, Some(UnitId(3))), (3, None), (227, None), (1, None), (1, None), (1, None)];
    assert_eq!(units, expected);
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
    assert_eq!(power("fronius-gen24", 3.0), (1, WriteFunction::Registers, 40351, vec![0xc53b, 0x8000]));
    let solaredge = profile("solaredge-storedge");
    let set_point = solaredge.set_point.clone().unwrap();
    assert_eq!((set_point.power, set_point.mode_values), (None, vec![("remote".into(), 3.0)]));
    let address = |name: Option<String>| solaredge.point(&name.unwrap()).unwrap().address;
    assert_eq!([set_point.charge, set_point.discharge, set_point.mode].map(address), [57354, 57355, 57348]);
    let mode = |name: &str| profile(name).set_point.map(|set_point| (set_point.mode, set_point.mode_values));
    let remote = |name: &str, value| Some((Some(name.to_owned()), vec![("remote".to_owned(), value)]));
    assert_eq!(mode("huawei-sun2000"), remote("luna_working_mode", 3.0));
    assert_eq!(mode("fronius-gen24"), remote("storage_control_mode", 2.0));
    assert_eq!(mode("sma-sunny-tripower"), Some((Some("operating_mode".into()), vec![])));
    assert_eq!(mode("simulator"), None);
    for (name, ..) in ALL {
        let profile = profile(name);
        let watchdog = profile.watchdog.as_deref().map(|name| profile.point(name).unwrap().access);
        assert_eq!(watchdog, (name != "solaredge-storedge").then_some(Access::Write), "{name}");
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
    assert_eq!(limits("fronius-gen24", "storage_setpoint_power"), (true, "min -12, max 12".into()));
    assert_eq!(limits("sma-sunny-tripower", "active_power_limit"), (true, "min 0".into()));
    assert_eq!(limits("victron-multiplus2", "ess_setpoint"), (true, String::new()));
    assert_eq!(limits("fronius-gen24", "battery_soc"), (false, String::new()));
}

#[test]
fn a_cycle_takes_far_fewer_requests_than_points() {
    let counts = ALL.map(|(name, ..)| {
        let profile = profile(name);
        let plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
        (plan.requests().len(), profile.readable().count())
    });
    assert_eq!(counts, [(5, 28), (7, 24), (7, 21), (5, 22), (2, 16), (1, 6)]);
}

#[test]
fn overlapping_points_get_separate_requests() {
    let profile = profile("fronius-gen24");
    let plan = Plan::new(profile.readable(), profile.unit, profile.read_limits);
    let blocks: Vec<_> = plan.requests().map(|request| (request.unit.0, request.start, request.count)).collect();
    assert!(blocks.contains(&(1, 40071, 2)), "{blocks:?}");
    assert!(blocks.iter().any(|block| block.1 == 40072), "{blocks:?}");
    assert!(blocks.contains(&(200, 40097, 2)), "{blocks:?}");
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
