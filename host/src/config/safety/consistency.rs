//! Limits that contradict each other, can have no effect, or end safety for good.

use bessai_domain::profile::{Point, Profile};
use bessai_domain::safety::{Alarm, Bounds, HIGHEST_TRIP_CEL, LOWEST_TRIP_CEL};
use bessai_domain::settings::SettingsTable;
use bessai_domain::site::ChannelKind;
use bessai_domain::site::channel::{SOC, TEMPERATURE};

use crate::config::device::{DeviceConfig, Devices};
use crate::config::findings::Findings;

/// The state of charge below which SPEC-002 (4.1) calls a lithium iron phosphate battery's charge critical, %.
const LOWEST_SOC_PCT: f64 = 5.0;
/// The state of charge above which SPEC-002 (4.1) calls a lithium iron phosphate battery's charge critical, %.
const HIGHEST_SOC_PCT: f64 = 98.0;

/// Adds a mistake for each new key that cannot be meant, and a note or a warning for settings that were always accepted.
pub(super) fn check(channel: &str, bounds: &Bounds, table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) {
    check_range(bounds, table);
    check_reductions(bounds, table);
    check_trips(channel, bounds, table, findings);
    check_alarm(channel, bounds, table, devices, findings);
    check_plausible(channel, bounds, table, devices, findings);
    check_age(channel, bounds, table, devices);
    warn_of_ineffective(channel, bounds, table, findings);
    if devices.list.iter().any(|device| is_text(&device.profile, channel)) {
        findings.warn(format!("safety.{channel} limits a text, so that safety is always unknown; remove it"));
    }
}

fn check_range(bounds: &Bounds, table: &SettingsTable<'_>) {
    if let Bounds { min: Some(min), max: Some(max), .. } = bounds
        && min > max
    {
        let key = if table.value("min").is_some() { "min" } else { "max" };
        let hint = match key {
            "min" => format!("is above max = {max}; lower min or raise max"),
            _ => format!("is below min = {min}; raise max or lower min"),
        };
        table.add_mistake(key, hint);
    }
}

/// A limit that reduces set-points must lie within the safe values, where set-points are possible.
fn check_reductions(bounds: &Bounds, table: &SettingsTable<'_>) {
    let written = |key| table.value(key).is_some();
    let reducing = [
        ("derate_above", bounds.derate_above, -bounds.hysteresis),
        ("derate_discharge_below", bounds.derate_discharge_below, bounds.hysteresis),
        ("no_charge_below", bounds.no_charge_below, bounds.hysteresis),
    ];
    for (key, limit, hysteresis) in reducing {
        let Some(limit) = limit else { continue };
        let is_outside = |value: f64| match (bounds.min, bounds.max) {
            (Some(min), _) if value < min => Some(format!("below min = {min}")),
            (_, Some(max)) if value > max => Some(format!("above max = {max}")),
            _ => None,
        };
        match is_outside(limit) {
            Some(side) if written(key) => {
                table.add_mistake(key, format!("is {side}; write a value between min and max"));
            }
            None if written("hysteresis") => {
                if let Some(side) = is_outside(limit + hysteresis) {
                    let end = limit + hysteresis;
                    let hint = format!("reductions by {key} = {limit} end at {end}, which is {side}; lower it");
                    table.add_mistake("hysteresis", hint);
                }
            }
            _ => {}
        }
    }
}

/// A battery's trip temperatures can be made stricter only, and some safe value must not trip.
fn check_trips(channel: &str, bounds: &Bounds, table: &SettingsTable<'_>, findings: &Findings) {
    let Bounds { min, max, trip_above, trip_below, .. } = *bounds;
    if channel == TEMPERATURE && trip_above.is_some_and(|limit| limit > HIGHEST_TRIP_CEL) {
        table.add_mistake("trip_above", format!("a battery trips at {HIGHEST_TRIP_CEL} °C at the latest; lower it"));
    }
    if channel == TEMPERATURE && trip_below.is_some_and(|limit| limit < LOWEST_TRIP_CEL) {
        table.add_mistake("trip_below", format!("a battery trips at {LOWEST_TRIP_CEL} °C at the latest; raise it"));
    }
    let lowest = min.into_iter().chain(trip_below).reduce(f64::max);
    let highest = max.into_iter().chain(trip_above).reduce(f64::min);
    let (Some(lowest), Some(highest)) = (lowest, highest) else { return };
    let is_about_trips = trip_above == Some(highest) || trip_below == Some(lowest);
    if lowest < highest || !is_about_trips || min.zip(max).is_some_and(|(min, max)| min > max) {
        return;
    }
    let hint = format!("every value is below {lowest} or above {highest}, so that the device always trips");
    match ["trip_above", "trip_below"].into_iter().find(|key| table.value(key).is_some()) {
        Some(key) => table.add_mistake(key, format!("{hint}; let safe values remain between the limits")),
        None => findings.warn(format!("safety.{channel}: {hint}; write false if it is not a lithium battery's")),
    }
}

/// With 0 outside the safe values a register of which every other value is an alarm is never safe; a bit that no device's
/// register has is never set.
fn check_alarm(channel: &str, bounds: &Bounds, table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) {
    check_alarm_bits(channel, bounds, table, devices, findings);
    if table.value("alarm") == Some(&toml::Value::Boolean(false)) {
        let hint = "sets no alarm; write true or the numbers of the bits that are alarms, or remove it";
        // Without another key the channel would have no limit at all.
        match table.len() {
            1 => table.add_mistake("alarm", hint),
            _ => findings.warn(format!("{} {hint}", shown(table, "alarm"))),
        }
    }
    let is_outside = bounds.min.is_some_and(|min| min > 0.0) || bounds.max.is_some_and(|max| max < 0.0);
    if bounds.alarm == Some(Alarm::NonZero) && is_outside {
        table.add_mistake(
            "alarm",
            "every value but 0 is an alarm, and 0 is not between min and max; remove one of them",
        );
    }
}

fn check_alarm_bits(channel: &str, bounds: &Bounds, table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) {
    let Some(Alarm::Bits(mask)) = bounds.alarm.filter(|_| table.value("alarm").is_some()) else { return };
    let points = points_of(channel, devices);
    let widths: Vec<_> = points.iter().map(|(device, point)| (*device, point.bits())).collect();
    if widths.iter().any(|(_, bits)| bits.is_some_and(|bits| 64 - mask.leading_zeros() <= bits)) {
        return;
    }
    // Without a device that is known nothing can be said.
    let Some((device, bits)) = widths.into_iter().max_by_key(|(_, bits)| *bits) else { return };
    match bits {
        Some(bits) => {
            let (highest, last) = (63 - mask.leading_zeros(), bits.saturating_sub(1));
            let hint = format!("bit {highest} is never set: `{channel}` of {device} has the bits 0 to {last}; remove it");
            table.add_mistake("alarm", hint);
        }
        None => findings.warn(format!(
            "{} compares the bits of a scaled number or a fraction, `{channel}` of {device}; write max, or alarm = true",
            shown(table, "alarm")
        )),
    }
}

/// A reading outside of the profile's plausible range counts as faulty: a limit beyond that range has no effect on one side of it,
/// and is always broken on the other.
fn check_plausible(channel: &str, bounds: &Bounds, table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) {
    let points = points_of(channel, devices);
    let all =
        |limit: fn(&Point) -> Option<f64>| points.iter().map(|(_, point)| limit(point)).collect::<Option<Vec<_>>>();
    let smallest = all(|point| point.min).and_then(|limits| limits.into_iter().reduce(f64::min));
    let largest = all(|point| point.max).and_then(|limits| limits.into_iter().reduce(f64::max));
    let written =
        |(key, limit): (&'static str, Option<f64>)| Some((key, limit.filter(|_| table.value(key).is_some())?));
    let always_broken = |key: &'static str, hint: String| match key {
        "trip_above" | "trip_below" => {
            table.add_mistake(key, format!("{hint}, so that the device always trips; write another limit"));
        }
        _ => findings.warn(format!("{} {hint}, so that safety is never safe; write another limit", shown(table, key))),
    };
    let no_effect = |key: &'static str, hint: String| {
        findings.note(format!(
            "{} has no effect: {hint} that the profile accepts; others count as faulty",
            shown(table, key)
        ));
    };
    for (key, limit) in [("max", bounds.max), ("trip_above", bounds.trip_above)].into_iter().filter_map(written) {
        match (smallest, largest) {
            (Some(smallest), _) if limit < smallest => {
                always_broken(key, format!("is below {smallest}, the smallest value that the profile accepts"));
            }
            (_, Some(largest)) if limit > largest => no_effect(key, format!("{largest} is the largest value")),
            _ => {}
        }
    }
    for (key, limit) in [("min", bounds.min), ("trip_below", bounds.trip_below)].into_iter().filter_map(written) {
        match (smallest, largest) {
            (_, Some(largest)) if limit > largest => {
                always_broken(key, format!("is above {largest}, the largest value that the profile accepts"));
            }
            (Some(smallest), _) if limit < smallest => no_effect(key, format!("{smallest} is the smallest value")),
            _ => {}
        }
    }
}

/// A key with its value, for a warning.
fn shown(table: &SettingsTable<'_>, key: &'static str) -> String {
    let value = table.value(key).map(toml::Value::to_string).unwrap_or_default();
    format!("{} = {value}", table.key(key))
}

/// The points that are read for a channel, with their devices; none while one of them is not known.
fn points_of<'a>(channel: &str, devices: &'a Devices) -> Vec<(&'a str, &'a Point)> {
    if !devices.know_channels() {
        return Vec::new();
    }
    let of_device = |device: &'a DeviceConfig| device.profile.readable().map(|point| (device.name.as_str(), point));
    devices.list.iter().flat_map(of_device).filter(|(_, point)| point.channel == channel).collect()
}

/// A value that is too old before the next one is read makes safety unknown again and again.
fn check_age(channel: &str, bounds: &Bounds, table: &SettingsTable<'_>, devices: &Devices) {
    let Some(max_age) = bounds.max_age else { return };
    let periods = devices.list.iter().filter_map(|device| Some((&device.name, device.period_of(channel)?)));
    if let Some((device, period)) = periods.max_by_key(|(_, period)| *period).filter(|(_, period)| max_age < *period) {
        let hint = format!("`{device}` reads it every {period:?}, so that it is unknown in between; raise it");
        table.add_mistake("max_age", hint);
    }
}

/// Ranges that gateways have accepted since they can be configured: they stay valid, and a person reads what is odd.
fn warn_of_ineffective(channel: &str, bounds: &Bounds, table: &SettingsTable<'_>, findings: &Findings) {
    let path = format!("safety.{channel}");
    let Bounds { min, max, trip_above, trip_below, .. } = bounds;
    if let (Some(max), Some(trip)) = (max.filter(|_| table.value("max").is_some()), trip_above)
        && max > *trip
    {
        findings.note(format!("{path}.max = {max} has no effect: the device trips above {trip}"));
    }
    if let (Some(min), Some(trip)) = (min.filter(|_| table.value("min").is_some()), trip_below)
        && min < *trip
    {
        findings.note(format!("{path}.min = {min} has no effect: the device trips below {trip}"));
    }
    if channel != SOC {
        return;
    }
    if let Some(max) = max.filter(|max| *max <= 1.0) {
        findings.warn(format!("{path}.max = {max} is in %: nothing above {max} % is safe; write 95 for 95 %"));
    }
    if let Some(max) = max.filter(|max| *max > HIGHEST_SOC_PCT) {
        findings.note(format!("{path}.max = {max} is above {HIGHEST_SOC_PCT}, from where SPEC-002 calls it critical"));
    }
    if let Some(min) = min.filter(|min| *min < LOWEST_SOC_PCT) {
        findings.note(format!("{path}.min = {min} is below {LOWEST_SOC_PCT}, from where SPEC-002 calls it critical"));
    }
}

fn is_text(profile: &Profile, channel: &str) -> bool {
    let mut points = profile.readable();
    points.any(|point| point.channel == channel && point.to_channel().kind == ChannelKind::Text)
}
