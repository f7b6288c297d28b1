//! The value that a point of any profile has in the simulated plant: plausible, and changing.

use std::f64::consts::{PI, TAU};

use bessai_domain::profile::{Access, Point, Profile};
use bessai_domain::site::{ChannelKind, channel};

use crate::battery::{BatteryState, CAPACITY_KWH, RATED_POWER_KW};

/// The highest power of the PV generator, in kW.
const PV_PEAK_KW: f64 = 60.0;
/// The hour of that power.
const NOON_HOUR: f64 = 12.5;
/// Half the time from sunrise to sunset, in hours.
const HALF_DAY_H: f64 = 6.5;
/// Voltage of the PV generator, in volts.
const PV_VOLTAGE_V: f64 = 620.0;
/// Voltage between a phase and neutral, in volts.
const PHASE_VOLTAGE_V: f64 = 230.0;
/// Voltage between two phases, in volts.
const LINE_VOLTAGE_V: f64 = 400.0;
/// Cells of the battery in series.
const CELLS: f64 = 220.0;
/// Watts in a kilowatt.
const WATTS_PER_KW: f64 = 1000.0;
/// The energy counters' value at the start of the simulation, in kWh.
const EARLIER_KWH: f64 = 12_000.0;
/// How long a named state lasts, in hours of the simulated day.
const STATE_H: f64 = 2.0;
/// Waves of a value that only fluctuates, per hour.
const WAVES_PER_H: f64 = 1.3;

/// The value of a point.
pub(super) enum Displayed {
    /// In the point's unit.
    Value(f64),
    /// The raw number of the registers.
    Raw(f64),
    Text(String),
}

/// The largest value of a unit in this plant, from which scale factors are chosen once.
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

/// The value of a point in this state of the battery.
pub(super) fn displayed(state: &BatteryState, profile: &Profile, point: &Point) -> Displayed {
    if point.layout.format.is_text() {
        return Displayed::Text(text(profile, point));
    }
    if point.access != Access::Read {
        return initial(state, point);
    }
    match point.kind {
        ChannelKind::State => Displayed::Raw(named_state(state, point)),
        // This plant has no faults.
        ChannelKind::Flag => Displayed::Raw(0.0),
        _ => Displayed::Value(within(point, value(state, point))),
    }
}

/// The value of a writable point before a client writes it.
fn initial(state: &BatteryState, point: &Point) -> Displayed {
    let is_target = point.access == Access::ReadWrite && point.kind == ChannelKind::Gauge;
    if is_target && !matches!(point.unit.as_str(), "W" | "kW" | "1") {
        return Displayed::Value(within(point, value(state, point)));
    }
    Displayed::Raw(point.names.first().map_or(0.0, |(raw, _)| small(*raw)))
}

fn text(profile: &Profile, point: &Point) -> String {
    let is_named = |words: &[&str]| is_named(point, words);
    let text = if is_named(&["serial", "sn"]) {
        "BE2600001"
    } else if is_named(&["version", "firmware", "vr"]) {
        "1.0"
    } else if is_named(&["manufacturer", "maker", "vendor", "mn"]) {
        &profile.manufacturer
    } else {
        &profile.model
    };
    let plain: String = text.chars().filter(char::is_ascii).collect();
    if plain.is_empty() { "simulated".to_owned() } else { plain }
}

/// Each of its named values in turn; without names idle, charging and discharging as 1, 2 and 3.
fn named_state(state: &BatteryState, point: &Point) -> f64 {
    if point.names.is_empty() {
        return if state.power_kw.abs() < 1.0 {
            1.0
        } else if state.power_kw < 0.0 {
            2.0
        } else {
            3.0
        };
    }
    let mut hour = 0.0;
    let mut names = point.names.iter().cycle();
    while hour + STATE_H <= state.hour_of_day {
        hour += STATE_H;
        names.next();
    }
    names.next().map_or(0.0, |(raw, _)| small(*raw))
}

fn value(state: &BatteryState, point: &Point) -> f64 {
    let fluctuation = fluctuation(state, point);
    match (point.channel.as_str(), point.unit.as_str()) {
        (channel::SOC, _) => state.soc_pct,
        (channel::TEMPERATURE, _) => state.temp_c,
        (channel::CYCLES, _) => f64::from(state.cycle_count),
        (_, "kW" | "kVA") => power_kw(state, point),
        (_, "W" | "VA") => power_kw(state, point) * WATTS_PER_KW,
        (_, "kvar") => 0.05 * state.power_kw + fluctuation,
        (_, "var") => (0.05 * state.power_kw + fluctuation) * WATTS_PER_KW,
        (_, "V") => voltage_v(state, point),
        (_, "A") => current_a(state, point),
        (_, "Hz") => state.frequency_hz,
        (_, "kWh") => energy_kwh(state, point),
        (_, "Wh") => energy_kwh(state, point) * WATTS_PER_KW,
        (_, "MWh") => energy_kwh(state, point) / WATTS_PER_KW,
        (_, "Cel") if is_battery(point) => state.temp_c,
        (_, "Cel") => state.temp_c + 9.0 + fluctuation,
        (_, "%") if is_named(point, &["soh", "health"]) => 98.5,
        (_, "%") => state.soc_pct,
        (_, "A.h") => (100.0 - state.soc_pct) / 100.0 * CAPACITY_KWH,
        (_, "1") if point.kind == ChannelKind::Counter => f64::from(state.cycle_count) + state.hour_of_day.floor(),
        (_, "1") if is_named(point, &["pf", "cos", "factor"]) => 0.97 + 0.02 * fluctuation,
        _ => 10.0 + fluctuation,
    }
}

fn power_kw(state: &BatteryState, point: &Point) -> f64 {
    if matches!(point.channel.as_str(), channel::POWER | "battery_power_kw") || is_battery(point) {
        state.power_kw
    } else if is_named(point, &["rated", "rating", "max", "limit"]) {
        RATED_POWER_KW
    } else if is_pv(point) {
        pv_kw(state)
    } else if is_named(point, &["grid", "meter", "feed"]) {
        pv_kw(state) + state.power_kw - load_kw(state, point)
    } else if is_named(point, &["load", "consumption", "house"]) {
        load_kw(state, point)
    } else {
        state.power_kw
    }
}

fn load_kw(state: &BatteryState, point: &Point) -> f64 {
    20.0 + 3.0 * fluctuation(state, point)
}

/// A smooth rise and fall over the day.
fn pv_kw(state: &BatteryState) -> f64 {
    let share = (state.hour_of_day - NOON_HOUR) / HALF_DAY_H;
    if share.abs() >= 1.0 { 0.0 } else { PV_PEAK_KW * 0.5 * (1.0 + (PI * share).cos()) }
}

fn voltage_v(state: &BatteryState, point: &Point) -> f64 {
    let fluctuation = fluctuation(state, point);
    if is_named(point, &["cell"]) {
        state.voltage_v / CELLS
    } else if is_battery(point) {
        state.voltage_v
    } else if is_pv(point) {
        PV_VOLTAGE_V + 15.0 * fluctuation
    } else if is_named(point, &["ab", "bc", "ca", "line"]) {
        LINE_VOLTAGE_V + 3.0 * fluctuation
    } else {
        PHASE_VOLTAGE_V + 2.0 * fluctuation
    }
}

fn current_a(state: &BatteryState, point: &Point) -> f64 {
    if is_battery(point) {
        state.current_a
    } else if is_pv(point) {
        pv_kw(state) * WATTS_PER_KW / PV_VOLTAGE_V
    } else {
        state.power_kw * WATTS_PER_KW / (3.0 * PHASE_VOLTAGE_V)
    }
}

fn energy_kwh(state: &BatteryState, point: &Point) -> f64 {
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

fn is_pv(point: &Point) -> bool {
    is_named(point, &["pv", "pv1", "pv2", "pv3", "pv4", "dc", "mppt", "solar"])
}

/// Whether the name of the point or of its channel contains one of these words.
fn is_named(point: &Point, words: &[&str]) -> bool {
    let parts = point.name.split('_').chain(point.channel.split('_'));
    parts.into_iter().any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

/// Between -1 and 1, with another phase for each register.
fn fluctuation(state: &BatteryState, point: &Point) -> f64 {
    (TAU * (WAVES_PER_H * state.hour_of_day + f64::from(point.address) / 7.0)).sin()
}

/// A value within the limits of the profile.
fn within(point: &Point, value: f64) -> f64 {
    value.max(point.min.unwrap_or(f64::NEG_INFINITY)).min(point.max.unwrap_or(f64::INFINITY))
}

/// A named value as a float; those of this plant are small.
fn small(raw: u64) -> f64 {
    u32::try_from(raw).map_or(0.0, f64::from)
}
