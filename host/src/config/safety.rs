//! `[safety]`: the limits of each channel, and those of set-points.

mod consistency;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use bessai_domain::safety::{Alarm, Bounds, DISCHARGE_MARGIN_PCT, SafetyLimits, SetPointLimits};
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable, most_similar, unknown_name_hint};
use bessai_domain::site::channel::SOC;

use super::device::Devices;
use super::findings::Findings;

/// The table in `[safety]` that belongs to no channel.
const SET_POINTS: &str = "set_points";
/// The keys of a channel, of which one must be written.
const KEYS: [&str; 11] = [
    "min",
    "max",
    "derate_above",
    "derate_discharge_below",
    "no_charge_below",
    "hysteresis",
    "trip_above",
    "trip_below",
    "ramp",
    "alarm",
    "max_age",
];
/// The keys of set-points, of which none can be the name of a device there.
const SET_POINT_KEYS: [&str; 3] = ["max_charge_kw", "max_discharge_kw", "ramp_kw_per_s"];
/// From which age on a value may count as unknown (SPEC-002, 6).
const MAX_AGE: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(1);
/// The highest number of a bit: values are 64-bit floats, which hold integers of 53 bits exactly.
const HIGHEST_BIT: i64 = 52;

/// The domain's default limits, changed by the section. A bound that is not set keeps its default.
pub(super) fn read(table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) -> SafetyLimits {
    let defaults = SafetyLimits::default();
    let mut limits = defaults.clone();
    let section = table.table("safety").and_then(|_| table.value("safety")?.as_table());
    if let Some(set_points) = table.table("safety").and_then(|safety| safety.table(SET_POINTS)) {
        limits.set_points = read_set_points(&set_points, SetPointLimits::default());
        limits.device_set_points = read_device_set_points(&set_points, &limits.set_points, devices);
    }
    for (channel, value) in section.into_iter().flatten().filter(|(channel, _)| *channel != SET_POINTS) {
        let key = format!("safety.{channel}");
        // Switching a default limit off is right whether or not a device has the channel.
        let is_switched_off = value == &toml::Value::Boolean(false) && defaults.bounds.contains_key(channel);
        if !is_switched_off {
            check_channel(&key, channel, devices, table.mistakes());
        }
        match value {
            toml::Value::Boolean(false) => {
                limits.bounds.remove(channel);
            }
            toml::Value::Table(bounds) => {
                let default = defaults.bounds.get(channel).copied().unwrap_or_default();
                let table = SettingsTable::new(key, bounds, table.mistakes());
                let bounds = read_bounds(channel, &table, default);
                consistency::check(channel, &bounds, &table, devices, findings);
                limits.bounds.insert(channel.clone(), bounds);
                limits.required.insert(channel.clone());
            }
            _ => table.mistakes().add(Mistake::new(
                key,
                value,
                "write { min = 10, max = 95 }, only one of the two, or false",
            )),
        }
    }
    if devices.know_channels() {
        let without_device = limits.bounds.keys().filter(|channel| !channels(devices).any(|known| known == *channel));
        without_device.filter(|channel| !limits.required.contains(*channel)).for_each(|channel| {
            findings.note(format!("no device has the channel `{channel}`; its limit has no effect"))
        });
    }
    limits
}

fn read_bounds(channel: &str, table: &SettingsTable<'_>, default: Bounds) -> Bounds {
    let bounds = Bounds {
        min: table.number("min").or(default.min),
        max: table.number("max").or(default.max),
        derate_above: table.number("derate_above").or(default.derate_above),
        derate_discharge_below: table.number("derate_discharge_below").or(default.derate_discharge_below),
        no_charge_below: table.number("no_charge_below").or(default.no_charge_below),
        hysteresis: read_hysteresis(table).unwrap_or(default.hysteresis),
        trip_above: table.number("trip_above").or(default.trip_above),
        trip_below: table.number("trip_below").or(default.trip_below),
        ramp: positive(table, "ramp").or(default.ramp),
        alarm: read_alarm(table).or(default.alarm),
        max_age: table.duration("max_age", MAX_AGE).or(default.max_age),
    };
    table.report_unknown_keys();
    if KEYS.into_iter().all(|key| table.value(key).is_none()) {
        table.mistakes().add(Mistake::without_value(table.key("min"), "is missing; write min, max or both"));
    }
    // The margin follows the smallest safe state of charge.
    let follows = channel == SOC && table.value("derate_discharge_below").is_none();
    let derate_discharge_below =
        if follows { bounds.min.map(|min| min + DISCHARGE_MARGIN_PCT) } else { bounds.derate_discharge_below };
    Bounds { derate_discharge_below, ..bounds }
}

fn read_hysteresis(table: &SettingsTable<'_>) -> Option<f64> {
    let number = table.number("hysteresis")?;
    if number >= 0.0 {
        return Some(number);
    }
    table.add_mistake("hysteresis", "write 0 or a number above it");
    None
}

/// `true`, or the numbers of the bits that are alarms.
fn read_alarm(table: &SettingsTable<'_>) -> Option<Alarm> {
    match table.value("alarm")? {
        toml::Value::Boolean(is_alarm) => is_alarm.then_some(Alarm::NonZero),
        _ => {
            let bits = table.integers("alarm", 0..=HIGHEST_BIT);
            if table.value("alarm").and_then(toml::Value::as_array).is_some_and(Vec::is_empty) {
                table.add_mistake("alarm", "names no bit; write the numbers of the bits that are alarms, or true");
            }
            Some(Alarm::Bits(bits.into_iter().fold(0, |mask, bit| mask | 1 << bit)))
        }
    }
}

/// The limits of every device; a key that is not written keeps its default. Tables in it belong to single devices.
fn read_set_points(table: &SettingsTable<'_>, default: SetPointLimits) -> SetPointLimits {
    SetPointLimits {
        max_charge_kw: positive(table, "max_charge_kw").or(default.max_charge_kw),
        max_discharge_kw: positive(table, "max_discharge_kw").or(default.max_discharge_kw),
        ramp_kw_per_s: positive(table, "ramp_kw_per_s").or(default.ramp_kw_per_s),
    }
}

/// `[safety.set_points.<device>]`: the limits of one device.
fn read_device_set_points(
    table: &SettingsTable<'_>,
    of_all: &SetPointLimits,
    devices: &Devices,
) -> BTreeMap<String, SetPointLimits> {
    let mut limits = BTreeMap::new();
    let names = || devices.list.iter().map(|device| device.name.as_str());
    for (name, of_device) in table.entries() {
        let Some(of_device) = of_device else {
            if !SET_POINT_KEYS.contains(&name) {
                let hint = unknown_name_hint(name, SET_POINT_KEYS.into_iter());
                table.mistakes().add(Mistake::without_value(table.key(name), hint));
            }
            continue;
        };
        if SET_POINT_KEYS.contains(&name) {
            continue;
        }
        if devices.is_complete && !names().any(|known| known == name) {
            let hint = match most_similar(name, names()) {
                Some(nearest) => format!("no device has this name; did you mean `{nearest}`?"),
                None => "no device has this name; remove it".into(),
            };
            table.mistakes().add(Mistake::without_value(table.key(name), hint));
        }
        limits.insert(name.to_owned(), read_set_points(&of_device, *of_all));
        of_device.report_unknown_keys();
    }
    limits
}

/// A number above 0.
fn positive(table: &SettingsTable<'_>, key: &'static str) -> Option<f64> {
    let number = table.number(key)?;
    if number > 0.0 {
        return Some(number);
    }
    table.add_mistake(key, "write a number above 0");
    None
}

fn check_channel(key: &str, channel: &str, devices: &Devices, mistakes: &Mistakes) {
    if !devices.know_channels() || channels(devices).any(|known| known == channel) {
        return;
    }
    let hint = match most_similar(channel, channels(devices)) {
        Some(nearest) => format!("no device has this channel; did you mean `{nearest}`?"),
        None => "no device has this channel; remove it".into(),
    };
    mistakes.add(Mistake::without_value(key, hint));
}

/// The channels that are read from the devices.
fn channels(devices: &Devices) -> impl Iterator<Item = &str> {
    devices.list.iter().flat_map(|device| device.profile.readable()).map(|point| point.channel.as_str())
}
