//! Registers of the Python gateway's profiles that the manufacturers' lists have otherwise: each is replaced by the point of
//! the same name in the built-in profile, or left out if that has none.

use crate::profile::{Point, Profile, built_in};

/// Names of points with their addresses.
type Registers = [(&'static str, u16)];

/// The built-in profile of each manufacturer, and the points that the Python gateway's profile has wrong, with their
/// addresses there; a file in which a point is elsewhere is its owner's own.
const WRONG: [(&str, &str, &Registers); 5] = [
    ("Huawei", "huawei-sun2000", &HUAWEI),
    ("SMA", "sma-sunny-tripower", &SMA),
    ("Victron", "victron-multiplus2", &VICTRON),
    ("Fronius", "fronius-gen24", &FRONIUS),
    ("SolarEdge", "solaredge-storedge", &SOLAREDGE),
];
/// 37762 is a status, 47087 is the switch "charge from grid".
const HUAWEI: [(&str, u16); 7] = [
    ("luna_soh", 37_761),
    ("luna_voltage", 37_800),
    ("luna_current", 37_801),
    ("luna_temperature", 37_752),
    ("luna_cycle_count", 37_762),
    ("luna_charge_target_soc", 47_087),
    ("watchdog_heartbeat", 40_900),
];
/// 40011 acknowledges faults, 40016 is in percent.
const SMA: [(&str, u16); 15] = [
    ("ac_current_total", 30_795),
    ("grid_relay_status", 30_211),
    ("power_factor", 30_807),
    ("daily_energy", 30_535),
    ("total_energy", 30_529),
    ("battery_soc", 30_845),
    ("battery_soh", 30_865),
    ("battery_power", 30_847),
    ("battery_current", 30_853),
    ("battery_charge_total", 31_393),
    ("battery_discharge_total", 31_397),
    ("operating_mode", 40_009),
    ("battery_min_soc", 40_011),
    ("active_power_limit", 40_016),
    ("watchdog_heartbeat", 40_042),
];
/// 34 is an alarm, 2900 is the state of BatteryLife.
const VICTRON: [(&str, u16); 15] = [
    ("ac_input_power", 12),
    ("ac_output_power", 23),
    ("ac_frequency", 21),
    ("battery_soc", 843),
    ("battery_temperature", 315),
    ("battery_power", 842),
    ("battery_voltage", 259),
    ("battery_current", 261),
    ("battery_consumed_ah", 265),
    ("time_to_go", 267),
    ("pv_power", 850),
    ("grid_power", 820),
    ("internal_temperature", 34),
    ("minimum_soc", 2901),
    ("watchdog_heartbeat", 2900),
];
/// 40355 is the greatest charging power.
const FRONIUS: [(&str, u16); 21] = [
    ("inverter_status", 40_107),
    ("ac_power_total", 40_083),
    ("ac_voltage_l1", 40_072),
    ("ac_voltage_l2", 40_074),
    ("ac_voltage_l3", 40_076),
    ("ac_frequency", 40_085),
    ("dc_power", 40_101),
    ("dc_voltage", 40_099),
    ("internal_temperature", 40_103),
    ("daily_energy", 40_093),
    ("total_energy", 40_095),
    ("battery_soc", 40_361),
    ("battery_power", 40_425),
    ("battery_voltage", 40_427),
    ("battery_current", 40_429),
    ("battery_temperature", 40_431),
    ("battery_status", 40_357),
    ("storage_control_mode", 40_349),
    ("storage_setpoint_power", 40_351),
    ("storage_minimum_soc", 40_353),
    ("watchdog_heartbeat", 40_355),
];
/// 57354 is a mode and 57355 a timeout, not the set-points.
const SOLAREDGE: [(&str, u16); 15] = [
    ("ac_power", 40_083),
    ("ac_power_sf", 40_085),
    ("ac_frequency", 40_086),
    ("ac_voltage_ab", 40_073),
    ("ac_current", 40_071),
    ("dc_power", 40_100),
    ("temperature", 40_103),
    ("energy_total_wh", 40_093),
    ("storage_soc", 57_362),
    ("storage_power", 57_350),
    ("storage_soh", 57_361),
    ("storage_control_mode", 57_348),
    ("storage_charge_setpoint", 57_354),
    ("storage_discharge_setpoint", 57_355),
    ("storage_reserve_soc", 57_352),
];

/// Replaces or leaves out the wrong points, and lists them in the profile's corrections.
pub(super) fn correct(profile: &mut Profile) {
    let maker = profile.manufacturer.to_lowercase();
    let known = WRONG.iter().find(|(manufacturer, ..)| maker.starts_with(&manufacturer.to_lowercase()));
    let Some((_, name, wrong)) = known else { return };
    let Some(own) = built_in(name) else { return };
    let (mut points, mut notes) = (Vec::new(), Vec::new());
    for point in std::mem::take(&mut profile.points) {
        if !wrong.contains(&(point.name.as_str(), point.address)) {
            points.push(point);
            continue;
        }
        // What was said of it no longer holds.
        profile.corrections.retain(|note| !is_about(note, &point));
        let same = own.points.iter().find(|same| same.name == point.name);
        notes.push(note(&point, same, name));
        points.extend(same.map(|same| Point { channel: point.channel, ..same.clone() }));
    }
    profile.points = points;
    profile.corrections.extend(notes);
    correct_controls(profile, &own);
}

fn is_about(note: &str, point: &Point) -> bool {
    let rest = note.strip_prefix(point.name.as_str());
    rest.is_some_and(|rest| rest.starts_with(": ") || rest.starts_with(" at "))
}

fn note(wrong: &Point, right: Option<&Point>, profile: &str) -> String {
    let (name, address) = (&wrong.name, wrong.address);
    match right {
        None => format!("{name}: no public register list has it at {address}; leaving it out"),
        Some(right) if right.unverified => {
            let right = right.address;
            format!(
                "{name}: no public register list confirms it at {address}; reading {right} as in {profile}, never writing it"
            )
        }
        Some(right) if right.address != address => {
            format!("{name}: {address} is another register; using {} as in {profile}", right.address)
        }
        Some(_) => {
            format!("{name}: its type, scale, unit or values at {address} are wrong; reading it as in {profile}")
        }
    }
}

/// The set-point and the watchdog without points that are left out or never written, with the built-in profile's modes.
fn correct_controls(profile: &mut Profile, own: &Profile) {
    let is_writable = |name: &Option<String>| {
        let name = name.as_deref();
        name.is_none_or(|name| profile.points.iter().any(|point| point.name == name && point.is_writable()))
    };
    let set_point = profile.set_point.clone().filter(|set_point| {
        [&set_point.power, &set_point.charge, &set_point.discharge, &set_point.mode].into_iter().all(is_writable)
    });
    let watchdog = profile.watchdog.clone().filter(|name| is_writable(&Some(name.clone())));
    let modes = own.set_point.as_ref().filter(|own| own.mode == set_point.as_ref().and_then(|one| one.mode.clone()));
    profile.set_point = set_point.map(|mut set_point| {
        if let Some(own) = modes {
            set_point.mode_values.clone_from(&own.mode_values);
        }
        set_point
    });
    profile.watchdog = watchdog;
}
