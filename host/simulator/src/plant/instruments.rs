//! What a point of any profile shows of the battery and the plant around it: plausible, and moving.

use std::f64::consts::{PI, TAU};

use bessai_domain::profile::{Access, Point, Profile};
use bessai_domain::site::{ChannelKind, channel};

use crate::battery::{CAPACITY_KWH, RATED_POWER_KW, State};

/// The sun's greatest power, in kW, at this hour, and half the length of its day.
const SUN_KW: f64 = 60.0;
const NOON_HOUR: f64 = 12.5;
const HALF_DAY_H: f64 = 6.5;
const SUN_VOLTAGE_V: f64 = 620.0;
const PHASE_VOLTAGE_V: f64 = 230.0;
const LINE_VOLTAGE_V: f64 = 400.0;
const CELLS: f64 = 220.0;
const WATTS_PER_KW: f64 = 1000.0;
/// What the plant had moved before the simulation began, in kWh.
const EARLIER_KWH: f64 = 12_000.0;
/// How long a state without names of its own lasts, in hours of the simulated day.
const STATE_H: f64 = 2.0;
/// Waves of what only wobbles, per hour.
const WAVES_PER_H: f64 = 1.3;

/// What a point shows.
pub(super) enum Shown {
    /// In the point's unit.
    Value(f64),
    /// As it lies in the registers.
    Raw(f64),
    Text(String),
}

/// The largest value of a unit that this plant shows, so that scale factors can be chosen once.
pub(super) fn largest(unit: &str) -> f64 {
    match unit {
        "W" | "VA" | "var" => 250_000.0,
        "kW" | "kVA" | "kvar" => 250.0,
        "V" => 1000.0,
        "A" => 500.0,
        "Hz" => 70.0,
        "Wh" => 1e9,
        "kWh" => 1e6,
        "%" => 110.0,
        "Cel" => 100.0,
        _ => 1000.0,
    }
}

pub(super) fn shown(state: &State, profile: &Profile, point: &Point) -> Shown {
    if point.layout.format.is_text() {
        return Shown::Text(text(profile, point));
    }
    if point.access != Access::Read {
        return first(state, point);
    }
    match point.kind {
        ChannelKind::State => Shown::Raw(state_now(state, point)),
        // Nothing is wrong with this plant.
        ChannelKind::Flag => Shown::Raw(0.0),
        _ => Shown::Value(within(point, value(state, point))),
    }
}

/// What a point that clients may write holds before one does.
fn first(state: &State, point: &Point) -> Shown {
    let is_target = point.access == Access::ReadWrite && point.kind == ChannelKind::Gauge;
    if is_target && !matches!(point.unit.as_str(), "W" | "kW" | "1") {
        return Shown::Value(within(point, value(state, point)));
    }
    Shown::Raw(point.names.first().map_or(0.0, |(raw, _)| small(*raw)))
}

fn text(profile: &Profile, point: &Point) -> String {
    let says = |words: &[&str]| is_named(point, words);
    let text = if says(&["serial", "sn"]) {
        "BE2600001"
    } else if says(&["version", "firmware", "vr"]) {
        "1.0"
    } else if says(&["manufacturer", "maker", "vendor", "mn"]) {
        &profile.manufacturer
    } else {
        &profile.model
    };
    let plain: String = text.chars().filter(char::is_ascii).collect();
    if plain.is_empty() { "simulated".to_owned() } else { plain }
}

/// One of its names after the other; without names idle, charging and discharging as 1, 2 and 3.
fn state_now(state: &State, point: &Point) -> f64 {
    if point.names.is_empty() {
        return if state.power_kw.abs() < 1.0 {
            1.0
        } else if state.power_kw < 0.0 {
            2.0
        } else {
            3.0
        };
    }
    let mut at = 0.0;
    let mut names = point.names.iter().cycle();
    while at + STATE_H <= state.hour_of_day {
        at += STATE_H;
        names.next();
    }
    names.next().map_or(0.0, |(raw, _)| small(*raw))
}

fn value(state: &State, point: &Point) -> f64 {
    let wobble = wobble(state, point);
    match (point.channel.as_str(), point.unit.as_str()) {
        (channel::SOC, _) => state.soc_pct,
        (channel::TEMPERATURE, _) => state.temp_c,
        (channel::CYCLES, _) => f64::from(state.cycle_count),
        (_, "kW" | "kVA") => power_kw(state, point),
        (_, "W" | "VA") => power_kw(state, point) * WATTS_PER_KW,
        (_, "kvar") => 0.05 * state.power_kw + wobble,
        (_, "var") => (0.05 * state.power_kw + wobble) * WATTS_PER_KW,
        (_, "V") => voltage_v(state, point),
        (_, "A") => current_a(state, point),
        (_, "Hz") => state.frequency_hz,
        (_, "kWh") => energy_kwh(state, point),
        (_, "Wh") => energy_kwh(state, point) * WATTS_PER_KW,
        (_, "MWh") => energy_kwh(state, point) / WATTS_PER_KW,
        (_, "Cel") if is_battery(point) => state.temp_c,
        (_, "Cel") => state.temp_c + 9.0 + wobble,
        (_, "%") if is_named(point, &["soh", "health"]) => 98.5,
        (_, "%") => state.soc_pct,
        (_, "A.h") => (100.0 - state.soc_pct) / 100.0 * CAPACITY_KWH,
        (_, "1") if point.kind == ChannelKind::Counter => f64::from(state.cycle_count) + state.hour_of_day.floor(),
        (_, "1") if is_named(point, &["pf", "cos", "factor"]) => 0.97 + 0.02 * wobble,
        _ => 10.0 + wobble,
    }
}

fn power_kw(state: &State, point: &Point) -> f64 {
    if matches!(point.channel.as_str(), channel::POWER | "battery_power_kw") || is_battery(point) {
        state.power_kw
    } else if is_named(point, &["rated", "rating", "max", "limit"]) {
        RATED_POWER_KW
    } else if is_sun(point) {
        sun_kw(state)
    } else if is_named(point, &["grid", "meter", "feed"]) {
        sun_kw(state) + state.power_kw - load_kw(state, point)
    } else if is_named(point, &["load", "consumption", "house"]) {
        load_kw(state, point)
    } else {
        state.power_kw
    }
}

fn load_kw(state: &State, point: &Point) -> f64 {
    20.0 + 3.0 * wobble(state, point)
}

/// A smooth rise and fall over the day.
fn sun_kw(state: &State) -> f64 {
    let share = (state.hour_of_day - NOON_HOUR) / HALF_DAY_H;
    if share.abs() >= 1.0 { 0.0 } else { SUN_KW * 0.5 * (1.0 + (PI * share).cos()) }
}

fn voltage_v(state: &State, point: &Point) -> f64 {
    let wobble = wobble(state, point);
    if is_named(point, &["cell"]) {
        state.voltage_v / CELLS
    } else if is_battery(point) {
        state.voltage_v
    } else if is_sun(point) {
        SUN_VOLTAGE_V + 15.0 * wobble
    } else if is_named(point, &["ab", "bc", "ca", "line"]) {
        LINE_VOLTAGE_V + 3.0 * wobble
    } else {
        PHASE_VOLTAGE_V + 2.0 * wobble
    }
}

fn current_a(state: &State, point: &Point) -> f64 {
    if is_battery(point) {
        state.current_a
    } else if is_sun(point) {
        sun_kw(state) * WATTS_PER_KW / SUN_VOLTAGE_V
    } else {
        state.power_kw * WATTS_PER_KW / (3.0 * PHASE_VOLTAGE_V)
    }
}

fn energy_kwh(state: &State, point: &Point) -> f64 {
    if is_named(point, &["capacity", "rated", "rating"]) {
        return CAPACITY_KWH;
    }
    let moved_kwh = if is_named(point, &["charge", "charged", "import", "absorbed"]) {
        state.energy_charged_kwh
    } else if is_named(point, &["discharge", "discharged", "export", "injected"]) {
        state.energy_discharged_kwh
    } else {
        state.energy_charged_kwh + state.energy_discharged_kwh
    };
    if is_named(point, &["daily", "today", "day"]) { moved_kwh } else { EARLIER_KWH + moved_kwh }
}

fn is_battery(point: &Point) -> bool {
    is_named(point, &["battery", "bat", "luna", "storage", "bank", "soc"])
}

fn is_sun(point: &Point) -> bool {
    is_named(point, &["pv", "pv1", "pv2", "pv3", "pv4", "dc", "mppt", "solar"])
}

/// Whether the point's or its channel's name has one of these words.
fn is_named(point: &Point, words: &[&str]) -> bool {
    let parts = point.name.split('_').chain(point.channel.split('_'));
    parts.into_iter().any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Between -1 and 1, for each register at another time.
fn wobble(state: &State, point: &Point) -> f64 {
    (TAU * (WAVES_PER_H * state.hour_of_day + f64::from(point.address) / 7.0)).sin()
}

/// A value that the profile believes.
fn within(point: &Point, value: f64) -> f64 {
    value.max(point.min.unwrap_or(f64::NEG_INFINITY)).min(point.max.unwrap_or(f64::INFINITY))
}

/// A named value; those of this plant are small.
fn small(raw: u64) -> f64 {
    u32::try_from(raw).map_or(0.0, f64::from)
}
