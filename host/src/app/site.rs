//! What the settings make of a site: its description, and the lines that its devices are read on.

use std::collections::BTreeMap;

use bessai_domain::profile::Point;
use bessai_domain::report::Reporter;
use bessai_domain::site::{ChannelLists, Device, SOURCE_NAME, Site, Source};

use super::adapters;
use crate::config::{self, Config};
use crate::{modbus, pipeline};

/// A device's sources: the one at its own period, then its profile's slower ones.
fn sources(device: &config::Device) -> Vec<(Option<String>, std::time::Duration)> {
    let slower = device.reading.sources.iter().map(|(name, period)| (Some(name.clone()), *period));
    [(None, device.period)].into_iter().chain(slower).collect()
}

/// The description of the site. Of a device that tells its points itself they are taken to be those of the description in force,
/// until it says otherwise.
pub(super) fn describe(config: &Config, in_force: Option<&Site>) -> Site {
    let mut lists = ChannelLists::default();
    let mut source = |device: &config::Device, name: Option<&str>, period| {
        let attributes = name.map(|name| (SOURCE_NAME.to_owned(), name.to_owned())).into_iter().collect();
        let channels = lists.shared(device.profile.source(name).map(Point::to_channel).collect());
        let device = device.name.clone();
        Source { device, period, channels, attributes }
    };
    let of_device = |device: &config::Device| -> Vec<Source> {
        sources(device).into_iter().map(|(name, period)| source(device, name.as_deref(), period)).collect()
    };
    let device =
        |device: &config::Device| Device { name: device.name.clone(), attributes: device.profile.attributes() };
    let mut site = Site {
        id: config.site.clone(),
        revision: 1,
        devices: config.devices.iter().map(device).collect(),
        sources: config.devices.iter().flat_map(of_device).collect(),
        attributes: Vec::new(),
    };
    let discovered = config.devices.iter().filter(|device| device.profile.is_discovered);
    if let Some(in_force) = in_force {
        discovered.for_each(|device| presume(&mut site, &device.name, in_force));
    }
    site
}

fn presume(site: &mut Site, device: &str, in_force: &Site) {
    let profile = |device: &Device| device.attributes.iter().find(|(key, _)| key == "profile").cloned();
    let known = in_force.devices.iter().find(|known| known.name == device);
    let described = site.devices.iter_mut().find(|described| described.name == device);
    match (known, described) {
        (Some(known), Some(described)) if profile(known) == profile(described) => *described = known.clone(),
        _ => return,
    }
    for source in site.sources.iter_mut().filter(|source| source.device == device) {
        let same = |known: &&Source| known.device == source.device && known.attributes == source.attributes;
        if let Some(known) = in_force.sources.iter().find(same) {
            source.channels.clone_from(&known.channels);
        }
    }
}

/// Which readings of each source are worth a frame, by its place.
pub(super) fn reporters(devices: &[config::Device]) -> Vec<Reporter> {
    let of_source = |device: &config::Device, name: Option<&str>| {
        let points = device.profile.source(name);
        Reporter::new(points.map(|point| device.reading.report(&point.channel, point.report)))
    };
    let of_device = |device: &config::Device| -> Vec<Reporter> {
        sources(device).into_iter().map(|(name, _)| of_source(device, name.as_deref())).collect()
    };
    devices.iter().flat_map(of_device).collect()
}

/// The same for points that are known only when the device was asked.
pub(super) fn reports(devices: &[config::Device]) -> pipeline::Reports {
    let discovered = devices.iter().filter(|device| device.profile.is_discovered);
    let readings: BTreeMap<_, _> = discovered.map(|device| (device.name.clone(), device.reading.clone())).collect();
    Box::new(move |device, point| readings.get(device)?.report(&point.channel, point.report))
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
