//! `[safety]`: the limits of each channel, and those of set-points.

use std::ops::RangeInclusive;
use std::time::Duration;

use bessai_domain::safety::{
    Alarm, Bounds, DISCHARGE_MARGIN_PCT, HIGHEST_TRIP_CEL, LOWEST_TRIP_CEL, SafetyLimits, SetPointLimits,
};
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable, most_similar};
use bessai_domain::site::channel::{SOC, TEMPERATURE};

use super::device::Devices;
use super::findings::Findings;

/// The table in `[safety]` that belongs to no channel.
const SET_POINTS: &str = "set_points";
/// The keys of a channel, of which one must be written.
const KEYS: [&str; 10] = [
    "min",
    "max",
    "derate_above",
    "derate_discharge_below",
    "no_charge_below",
    "trip_above",
    "trip_below",
    "ramp",
    "alarm",
    "max_age",
];
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
        limits.set_points = read_set_points(&set_points);
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
                let bounds = read_bounds(channel, &SettingsTable::new(key, bounds, table.mistakes()), default);
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
    if let Bounds { min: Some(min), max: Some(max), .. } = bounds
        && min > max
    {
        let hint = format!("is above max = {max}; lower min or raise max");
        table.mistakes().add(Mistake::new(table.key("min"), min, hint));
    }
    if channel == TEMPERATURE {
        check_trips(table, &bounds);
    }
    // The margin follows the smallest safe state of charge.
    let follows = channel == SOC && table.value("derate_discharge_below").is_none();
    let derate_discharge_below =
        if follows { bounds.min.map(|min| min + DISCHARGE_MARGIN_PCT) } else { bounds.derate_discharge_below };
    Bounds { derate_discharge_below, ..bounds }
}

/// A battery's trip temperatures can be made stricter only.
fn check_trips(table: &SettingsTable<'_>, bounds: &Bounds) {
    if bounds.trip_above.is_some_and(|limit| limit > HIGHEST_TRIP_CEL) {
        table.add_mistake("trip_above", format!("a battery trips at {HIGHEST_TRIP_CEL} °C at the latest; lower it"));
    }
    if bounds.trip_below.is_some_and(|limit| limit < LOWEST_TRIP_CEL) {
        table.add_mistake("trip_below", format!("a battery trips at {LOWEST_TRIP_CEL} °C at the latest; raise it"));
    }
}

/// `true`, or the numbers of the bits that are alarms.
fn read_alarm(table: &SettingsTable<'_>) -> Option<Alarm> {
    match table.value("alarm")? {
        toml::Value::Boolean(is_alarm) => is_alarm.then_some(Alarm::NonZero),
        _ => {
            let bits = table.integers("alarm", 0..=HIGHEST_BIT);
            Some(Alarm::Bits(bits.into_iter().fold(0, |mask, bit| mask | 1 << bit)))
        }
    }
}

fn read_set_points(table: &SettingsTable<'_>) -> SetPointLimits {
    let limits = SetPointLimits {
        max_charge_kw: positive(table, "max_charge_kw"),
        max_discharge_kw: positive(table, "max_discharge_kw"),
        ramp_kw_per_s: positive(table, "ramp_kw_per_s"),
    };
    table.report_unknown_keys();
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
