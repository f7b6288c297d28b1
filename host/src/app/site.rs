//! What the settings make of a site: its description, and the lines that its devices are read on.

use bessai_domain::profile::{Point, Profile};
use bessai_domain::report::Report;
use bessai_domain::site::{Channel, Device, Site, Source};

use super::adapters;
use crate::config::{self, Config};
use crate::modbus;

/// A device's sources: the one at its own period, then its profile's slower ones.
fn sources(device: &config::Device) -> Vec<(Option<String>, std::time::Duration)> {
    let slower = device.reading.sources.iter().map(|(name, period)| (Some(name.clone()), *period));
    [(None, device.period)].into_iter().chain(slower).collect()
}

/// The description of the site. Of devices that tell their points themselves only the places of their sources are known.
pub(super) fn describe(config: &Config) -> Site {
    let source = |device: &config::Device, name: Option<&str>, period| Source {
        device: device.name.clone(),
        period,
        channels: channels(&device.profile, name),
        attributes: name.map(|name| ("name".to_owned(), name.to_owned())).into_iter().collect(),
    };
    let of_device = |device: &config::Device| -> Vec<Source> {
        sources(device).into_iter().map(|(name, period)| source(device, name.as_deref(), period)).collect()
    };
    let device =
        |device: &config::Device| Device { name: device.name.clone(), attributes: attributes(&device.profile) };
    Site {
        id: config.site.clone(),
        revision: 1,
        devices: config.devices.iter().map(device).collect(),
        sources: config.devices.iter().flat_map(of_device).collect(),
        attributes: Vec::new(),
    }
}

/// What is known of a device from its profile.
pub(super) fn attributes(profile: &Profile) -> Vec<(String, String)> {
    let text = |key: &str, value: &str| (!value.is_empty()).then(|| (key.to_owned(), value.to_owned()));
    let attributes =
        [text("profile", &profile.name), text("manufacturer", &profile.manufacturer), text("model", &profile.model)];
    attributes.into_iter().flatten().collect()
}

/// The channels of a source, by position.
pub(super) fn channels(profile: &Profile, source: Option<&str>) -> Vec<Channel> {
    profile.source(source).map(Point::to_channel).collect()
}

/// When each channel of each source is worth a frame, by position.
pub(super) fn reports(config: &Config) -> Vec<Vec<Option<Report>>> {
    let of_source = |device: &config::Device, name: Option<&str>| {
        let points = device.profile.source(name);
        points.map(|point| device.reading.report(&point.channel, point.report)).collect()
    };
    let of_device = |device: &config::Device| -> Vec<Vec<Option<Report>>> {
        sources(device).into_iter().map(|(name, _)| of_source(device, name.as_deref())).collect()
    };
    config.devices.iter().flat_map(of_device).collect()
}

/// Devices of one address share one line.
pub(super) fn lines(devices: &[config::Device]) -> Vec<modbus::Line> {
    let mut lines: Vec<(&config::Device, modbus::Line)> = Vec::new();
    let mut place = 0;
    for device in devices {
        let sources = sources(device).into_iter().zip(place..);
        let sources: Vec<_> = sources.map(|((name, period), place)| modbus::Source { name, period, place }).collect();
        place = sources.last().map_or(place, |source| source.place + 1);
        let settings = adapters::device(device, sources);
        match lines.iter_mut().find(|(first, _)| first.shares_line(device)) {
            Some((_, line)) => line.devices.push(settings),
            None => {
                let address = adapters::address(device);
                lines.push((device, modbus::Line { address, devices: vec![settings] }));
            }
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}
