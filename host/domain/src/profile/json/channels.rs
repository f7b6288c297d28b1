//! Which registers carry the channels that payloads, safety and models know by name, and what sets the power.

use serde_json::Value;

use super::field;
use crate::profile::{Access, Point, Profile, SetPoint};
use crate::site::channel;

/// The battery's own power, + = discharge.
const BATTERY_POWER: &str = "battery_power_kw";
/// The power that is wanted, + = discharge.
const SET_POINT: &str = "set_point_kw";
/// The register that the Python gateway counts up.
const WATCHDOG: &str = "watchdog_heartbeat";

/// Registers that are a channel where the profile maps none itself, the likeliest first.
const ALIASES: [(&str, &[&str]); 4] = [
    (channel::SOC, &["soc_pct", "soc", "battery_soc", "luna_soc", "storage_soc"]),
    (channel::POWER, &["power_kw", "active_power", "ac_power_total", "ac_power", "ac_output_power"]),
    (channel::TEMPERATURE, &["temp_c", "luna_temperature", "battery_temperature"]),
    (channel::CYCLES, &["cycle_count", "luna_cycle_count", "battery_cycle_count"]),
];
/// Registers that are a channel if their description says which sign is which: with this one nobody may be wrong.
const SIGNED: [(&str, &[&str]); 2] = [
    (BATTERY_POWER, &["luna_power", "battery_power", "storage_power"]),
    (SET_POINT, &["ess_setpoint", "storage_setpoint_power"]),
];

/// Names the channels, the set-point and the watchdog.
pub(super) fn map(profile: &mut Profile, value: &Value) {
    let mapping = field(value, "bessai_mapping");
    for (channel, aliases) in ALIASES {
        let mapped = match channel {
            channel::POWER => field(mapping, "active_power_kw"),
            other => field(mapping, other),
        };
        let register = mapped.as_str().or_else(|| field(mapped, "register").as_str());
        let soc_alias = field(field(value, "soc"), "register_alias").as_str().filter(|_| channel == channel::SOC);
        let names = register.into_iter().chain(soc_alias).chain(aliases.iter().copied());
        let places: Vec<usize> = names.filter_map(|name| position(&profile.points, name)).collect();
        let Some(&place) = places.first() else { continue };
        assign(profile, place, channel, field(mapped, "transform").as_str());
    }
    for (channel, names) in SIGNED {
        let is_it = |point: &Point| names.contains(&point.name.as_str()) && point.channel == point.name;
        let is_signed = |point: &Point| positive(point).is_some();
        if let Some(place) = profile.points.iter().position(|point| is_it(point) && is_signed(point)) {
            assign(profile, place, channel, None);
        }
    }
    name_controls(profile, value);
}

fn position(points: &[Point], name: &str) -> Option<usize> {
    points.iter().position(|point| point.name == name)
}

fn assign(profile: &mut Profile, place: usize, channel: &str, transform: Option<&str>) {
    // A register that happens to bear the channel's name without being it steps aside.
    for point in profile.points.iter_mut().filter(|point| point.channel == channel) {
        point.channel = format!("{}_register", point.name);
    }
    let Some(point) = profile.points.get_mut(place) else { return };
    point.channel = channel.into();
    let mut notes = Vec::new();
    if matches!(channel, channel::POWER | BATTERY_POWER | SET_POINT) {
        to_kilowatts(point, transform, &mut notes);
        turn(point, transform, &mut notes);
    } else if transform == Some("multiply_by_10") {
        point.scaling = point.scaling.times_ten_to(1);
    }
    profile.mended.extend(notes);
}

fn to_kilowatts(point: &mut Point, transform: Option<&str>, mended: &mut Vec<String>) {
    if point.unit == "W" {
        point.scaling = point.scaling.times_ten_to(-3);
        point.unit = "kW".into();
        if transform.is_none() {
            mended.push(format!("{}: W is published as kW", point.name));
        }
    }
}

/// Which way of the battery's power a description calls positive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Positive {
    Charge,
    Discharge,
}

fn positive(point: &Point) -> Option<Positive> {
    let description = point.description.to_lowercase().replace(' ', "");
    let says = |what: &str| ["positive=", "+="].iter().any(|sign| description.contains(&format!("{sign}{what}")));
    match (says("charg"), says("discharg")) {
        (true, _) => Some(Positive::Charge),
        (_, true) => Some(Positive::Discharge),
        _ => None,
    }
}

/// + is discharge or export, whatever the register has.
fn turn(point: &mut Point, transform: Option<&str>, mended: &mut Vec<String>) {
    let negated = transform.is_some_and(|transform| transform.starts_with("negate"));
    let charge_is_positive = positive(point) == Some(Positive::Charge);
    if negated || charge_is_positive {
        point.scaling = point.scaling.negated();
    }
    if charge_is_positive && !negated {
        mended.push(format!("{}: its + = charge is turned, {} is + = discharge", point.name, point.channel));
    }
}

/// What sets the power, and what a living controller writes: that is never read, as in the built-in profiles.
fn name_controls(profile: &mut Profile, value: &Value) {
    let mapping = field(value, "bessai_mapping");
    let writable = |name: Option<&str>| {
        let point = profile.points.iter().find(|point| Some(point.name.as_str()) == name)?;
        (point.access != Access::Read).then(|| point.name.clone())
    };
    let power = profile.points.iter().find(|point| point.channel == SET_POINT).map(|point| point.name.as_str());
    let (first, second) = (field(mapping, "dispatch_register"), field(mapping, "dispatch_register_discharge"));
    let mode = writable(field(mapping, "mode_register").as_str());
    let dispatch = field(field(value, "registers"), mode.as_deref().unwrap_or_default());
    let remote = field(dispatch, "bessai_dispatch_mode").as_f64();
    let set_point = SetPoint {
        power: writable(power),
        charge: writable(first.as_str().filter(|_| second.is_string())),
        discharge: writable(second.as_str()),
        mode,
        mode_values: remote.map(|value| ("remote".to_owned(), value)).into_iter().collect(),
    };
    profile.watchdog = writable(Some(WATCHDOG));
    if let Some(point) = profile.points.iter_mut().find(|point| Some(&point.name) == profile.watchdog.as_ref()) {
        point.access = Access::Write;
    }
    let both = [&set_point.charge, &set_point.discharge].map(Clone::clone);
    for point in profile.points.iter_mut().filter(|point| both.contains(&Some(point.name.clone()))) {
        to_kilowatts(point, None, &mut profile.mended);
    }
    profile.set_point = (set_point.power.is_some() || set_point.charge.is_some()).then_some(set_point);
}
