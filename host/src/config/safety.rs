//! `[safety]`: the safe range of each limited channel.

use bessai_domain::safety::{Bounds, SafetyLimits};
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable, most_similar};

use super::device::Devices;
use super::findings::Findings;

/// The domain's default limits, changed by the section. A bound that is not set keeps its default.
pub(super) fn read(table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) -> SafetyLimits {
    let defaults = SafetyLimits::default();
    let mut limits = defaults.clone();
    let section = table.table("safety").and_then(|_| table.value("safety")?.as_table());
    for (channel, value) in section.into_iter().flatten() {
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
                let bounds = read_bounds(&SettingsTable::new(key, bounds, table.mistakes()), default);
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

fn read_bounds(table: &SettingsTable<'_>, default: Bounds) -> Bounds {
    let bounds = Bounds { min: table.number("min").or(default.min), max: table.number("max").or(default.max) };
    table.report_unknown_keys();
    if table.value("min").is_none() && table.value("max").is_none() {
        table.mistakes().add(Mistake::without_value(table.key("min"), "is missing; write min, max or both"));
    }
    if let Bounds { min: Some(min), max: Some(max) } = bounds
        && min > max
    {
        let hint = format!("is above max = {max}; lower min or raise max");
        table.mistakes().add(Mistake::new(table.key("min"), min, hint));
    }
    bounds
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
