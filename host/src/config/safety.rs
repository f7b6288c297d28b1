//! `[safety]`: between which values the channels are safe.

use bessai_domain::safety::{Bounds, Limits};
use bessai_domain::settings::{Mistake, Mistakes, Table, nearest};

use super::device::Devices;
use super::findings::Findings;

/// The limits of the domain, with what the file says. An end that is not written keeps its default.
pub(super) fn read(table: &Table<'_>, devices: &Devices, findings: &Findings) -> Limits {
    let defaults = Limits::default();
    let mut limits = defaults.clone();
    let written = table.table("safety").and_then(|_| table.value("safety")?.as_table());
    for (channel, value) in written.into_iter().flatten() {
        let key = format!("safety.{channel}");
        check_channel(&key, channel, devices, &defaults, table.mistakes());
        match value {
            toml::Value::Boolean(false) => {
                limits.0.remove(channel);
            }
            toml::Value::Table(written) => {
                let before = defaults.0.get(channel).copied().unwrap_or_default();
                let bounds = read_bounds(&Table::new(key, written, table.mistakes()), before);
                limits.0.insert(channel.clone(), bounds);
            }
            _ => table.mistakes().add(Mistake::new(key, value, "write { min = 10, max = 95 }, one of them, or false")),
        }
    }
    let unwatched =
        limits.0.keys().filter(|channel| devices.know_channels() && !channels(devices).any(|known| known == *channel));
    unwatched
        .for_each(|channel| findings.note(format!("no device has the channel `{channel}`: its limit watches nothing")));
    limits
}

fn read_bounds(table: &Table<'_>, before: Bounds) -> Bounds {
    let bounds = Bounds { min: table.number("min").or(before.min), max: table.number("max").or(before.max) };
    table.finish();
    if table.value("min").is_none() && table.value("max").is_none() {
        table.mistakes().add(Mistake::bare(table.key("min"), "is missing; write min, max or both"));
    }
    if let Bounds { min: Some(min), max: Some(max) } = bounds
        && min > max
    {
        table.mistakes().add(Mistake::new(table.key("min"), min, format!("is above max = {max}; write it below")));
    }
    bounds
}

fn check_channel(key: &str, channel: &str, devices: &Devices, defaults: &Limits, mistakes: &Mistakes) {
    if !devices.know_channels() || defaults.0.contains_key(channel) || channels(devices).any(|known| known == channel) {
        return;
    }
    let mend = match nearest(channel, channels(devices)) {
        Some(near) => format!("no device has this channel; did you mean `{near}`?"),
        None => "no device has this channel; remove it".into(),
    };
    mistakes.add(Mistake::bare(key, mend));
}

/// The channels that are read from the devices.
fn channels(devices: &Devices) -> impl Iterator<Item = &str> {
    devices.list.iter().flat_map(|device| device.profile.readable()).map(|point| point.channel.as_str())
}
