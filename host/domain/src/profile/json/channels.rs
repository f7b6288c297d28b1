//! Which registers become the channels that payloads, safety and models know by name, and which ones set the power.

use serde_json::Value;

use super::member::{member, nested};
use crate::profile::model::{Profile, SetPoint};
use crate::profile::point::{Access, Point};
use crate::site::channel;

/// Channel of the battery's own power, + = discharge.
const BATTERY_POWER: &str = "battery_power_kw";
/// Channel of the requested power, + = discharge.
const SET_POINT: &str = "set_point_kw";
/// The register that the Python gateway increments as a watchdog.
const WATCHDOG: &str = "watchdog_heartbeat";

/// Registers that become a channel if the profile maps none to it, the most likely first.
const ALIASES: [(&str, &[&str]); 4] = [
    (channel::SOC, &["soc_pct", "soc", "battery_soc", "luna_soc", "storage_soc"]),
    (channel::POWER, &["power_kw", "active_power", "ac_power_total", "ac_power", "ac_output_power"]),
    (channel::TEMPERATURE, &["temp_c", "luna_temperature", "battery_temperature"]),
    (channel::CYCLES, &["cycle_count", "luna_cycle_count", "battery_cycle_count"]),
];
/// Registers that become a channel only if their description says which sign means what, because a wrong sign would
/// charge instead of discharge.
const SIGNED: [(&str, &[&str]); 2] = [
    (BATTERY_POWER, &["luna_power", "battery_power", "storage_power"]),
    (SET_POINT, &["ess_setpoint", "storage_setpoint_power"]),
];

/// Assigns the channels, the set-point and the watchdog.
pub(super) fn assign_channels(profile: &mut Profile, value: &Value) {
    let mapping = member(value, "bessai_mapping");
    for (channel, aliases) in ALIASES {
        let mapped = match channel {
            channel::POWER => member(mapping, "active_power_kw"),
            other => member(mapping, other),
        };
        let register = mapped.as_str().or_else(|| member(mapped, "register").as_str());
        let soc_alias = nested(value, "soc", "register_alias").as_str().filter(|_| channel == channel::SOC);
        let names = register.into_iter().chain(soc_alias).chain(aliases.iter().copied());
        let indices: Vec<usize> = names.filter_map(|name| index_of(&profile.points, name)).collect();
        let Some(&index) = indices.first() else { continue };
        assign(profile, index, channel, member(mapped, "transform").as_str());
    }
    for (channel, names) in SIGNED {
        let is_unassigned = |point: &Point| names.contains(&point.name.as_str()) && point.channel == point.name;
        let is_signed = |point: &Point| positive_direction(point).is_some();
        if let Some(index) = profile.points.iter().position(|point| is_unassigned(point) && is_signed(point)) {
            assign(profile, index, channel, None);
        }
    }
    assign_controls(profile, value);
}

fn index_of(points: &[Point], name: &str) -> Option<usize> {
    points.iter().position(|point| point.name == name)
}

fn assign(profile: &mut Profile, index: usize, channel: &str, transform: Option<&str>) {
    // A register that has the channel's name without being that quantity gets another channel name.
    if let Some(other) = profile.points.iter().position(|point| point.channel == channel) {
        let mut free = format!("{channel}_register");
        while profile.points.iter().any(|point| point.channel == free) {
            free.push('_');
        }
        if let Some(point) = profile.points.get_mut(other) {
            point.channel = free;
        }
    }
    let Some(point) = profile.points.get_mut(index) else { return };
    point.channel = channel.into();
    let mut notes = Vec::new();
    if matches!(channel, channel::POWER | BATTERY_POWER | SET_POINT) {
        convert_to_kilowatts(point, transform, &mut notes);
        convert_sign(point, transform, &mut notes);
    } else if transform == Some("multiply_by_10") {
        point.scaling = point.scaling.times_ten_to(1);
    }
    profile.corrections.extend(notes);
}

fn convert_to_kilowatts(point: &mut Point, transform: Option<&str>, corrections: &mut Vec<String>) {
    if point.unit == "W" {
        point.scaling = point.scaling.times_ten_to(-3);
        point.unit = "kW".into();
        if transform.is_none() {
            corrections.push(format!("{}: in W; publishing kW", point.name));
        }
    }
}

/// The direction of power that is positive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Charge,
    Discharge,
}

/// The positive direction as the point's description gives it.
fn positive_direction(point: &Point) -> Option<Direction> {
    let description = point.description.to_lowercase().replace(' ', "");
    let contains = |what: &str| ["positive=", "+="].iter().any(|sign| description.contains(&format!("{sign}{what}")));
    match (contains("charg"), contains("discharg")) {
        (true, _) => Some(Direction::Charge),
        (_, true) => Some(Direction::Discharge),
        _ => None,
    }
}

/// Makes + mean discharge or export, whatever the register's sign.
fn convert_sign(point: &mut Point, transform: Option<&str>, corrections: &mut Vec<String>) {
    let is_negated = transform.is_some_and(|transform| transform.starts_with("negate"));
    let charge_is_positive = positive_direction(point) == Some(Direction::Charge);
    if is_negated || charge_is_positive {
        point.scaling = point.scaling.negated();
    }
    if charge_is_positive && !is_negated {
        let (name, channel) = (&point.name, &point.channel);
        corrections.push(format!("{name}: + = charge; inverting the sign, so that {channel} is + = discharge"));
    }
}

/// Assigns what sets the power, and the watchdog, which is never read, as in the built-in profiles.
fn assign_controls(profile: &mut Profile, value: &Value) {
    let mapping = member(value, "bessai_mapping");
    let writable = |name: Option<&str>| {
        let point = profile.points.iter().find(|point| Some(point.name.as_str()) == name)?;
        (point.access != Access::Read).then(|| point.name.clone())
    };
    let power = profile.points.iter().find(|point| point.channel == SET_POINT).map(|point| point.name.as_str());
    let (charge, discharge) = (member(mapping, "dispatch_register"), member(mapping, "dispatch_register_discharge"));
    let mode = writable(member(mapping, "mode_register").as_str());
    let mode_register = nested(value, "registers", mode.as_deref().unwrap_or_default());
    let remote = member(mode_register, "bessai_dispatch_mode").as_f64();
    let set_point = SetPoint {
        power: writable(power),
        charge: writable(charge.as_str().filter(|_| discharge.is_string())),
        discharge: writable(discharge.as_str()),
        mode,
        mode_values: remote.map(|value| ("remote".to_owned(), value)).into_iter().collect(),
        recipe: None,
    };
    profile.watchdog = writable(Some(WATCHDOG));
    if let Some(point) = profile.points.iter_mut().find(|point| Some(&point.name) == profile.watchdog.as_ref()) {
        point.access = Access::Write;
    }
    let both = [&set_point.charge, &set_point.discharge].map(Clone::clone);
    for point in profile.points.iter_mut().filter(|point| both.contains(&Some(point.name.clone()))) {
        convert_to_kilowatts(point, None, &mut profile.corrections);
    }
    profile.set_point = (set_point.power.is_some() || set_point.charge.is_some()).then_some(set_point);
}
