//! The part of `check` about safety limits.

use std::time::Duration;

use bessai_domain::safety::age_limit;

use crate::cli::output::{OutputError, print_line};
use crate::config::{Config, DeviceConfig};

/// Prints each limit, and from which age on a value counts as unknown.
pub(super) fn print(config: &Config) -> Result<(), OutputError> {
    let bound = |bound: Option<f64>| bound.map_or_else(|| "open".to_owned(), |bound| bound.to_string());
    config.safety.bounds.iter().try_for_each(|(channel, bounds)| {
        let range = format!("safety {channel}: {} to {}", bound(bounds.min), bound(bounds.max));
        let limits: Vec<_> = config.devices.iter().filter_map(|device| age_limit_of(device, channel)).collect();
        match (limits.iter().min(), limits.iter().max()) {
            (None, _) | (_, None) => print_line(format_args!("{range}; no device has it yet")),
            (Some(least), Some(most)) if least == most => {
                print_line(format_args!("{range}; unknown when the last good value is older than {most:?}"))
            }
            (Some(_), Some(_)) => {
                print_line(format_args!("{range}; unknown when the last good value is too old:"))?;
                let devices = config.devices.iter();
                let mut of_devices = devices.filter_map(|device| Some((&device.name, age_limit_of(device, channel)?)));
                of_devices.try_for_each(|(name, limit)| print_line(format_args!("  {name}: older than {limit:?}")))
            }
        }
    })
}

/// The age above which a channel of the device is unknown; none if it has no such channel.
fn age_limit_of(device: &DeviceConfig, channel: &str) -> Option<Duration> {
    let points = |source| device.profile.source(source);
    if points(None).any(|point| point.channel == channel) {
        return Some(age_limit(device.period));
    }
    let mut slower = device.reading.sources.iter();
    let (_, period) = slower.find(|(name, _)| points(Some(name)).any(|point| point.channel == channel))?;
    Some(age_limit(*period))
}
