//! What the settings say about a site: its description, and the connections that its devices are read on.

use std::collections::BTreeMap;
use std::sync::Arc;

use bessai_domain::profile::Point;
use bessai_domain::report::ReportFilter;
use bessai_domain::site::{ChannelLists, Device, SOURCE_NAME, Site, Source};
use bessai_modbus::{Bus, BusEndpoint, DeviceSettings, SourceSettings};
use bessai_pipeline::ReportRules;

use crate::config::{self, Config};

/// A device's sources: the one at its own period, then its profile's slower ones.
fn sources(device: &config::DeviceConfig) -> Vec<(Option<String>, std::time::Duration)> {
    let slower = device.reading.sources.iter().map(|(name, period)| (Some(name.clone()), *period));
    [(None, device.period)].into_iter().chain(slower).collect()
}

/// Describes the site. A device whose points are discovered keeps the channels of the description in force until it is
/// discovered again.
pub(super) fn describe(config: &Config, in_force: Option<&Site>) -> Site {
    let mut lists = ChannelLists::default();
    let mut source = |device: &config::DeviceConfig, name: Option<&str>, period| {
        let attributes = name.map(|name| (SOURCE_NAME.to_owned(), name.to_owned())).into_iter().collect();
        let channels = lists.share(device.profile.source(name).map(Point::to_channel).collect());
        let device = device.name.clone();
        Source { device, period, channels, attributes }
    };
    let of_device = |device: &config::DeviceConfig| -> Vec<Source> {
        sources(device).into_iter().map(|(name, period)| source(device, name.as_deref(), period)).collect()
    };
    let device =
        |device: &config::DeviceConfig| Device { name: device.name.clone(), attributes: device.profile.attributes() };
    let mut site = Site {
        id: config.site.clone(),
        revision: 1,
        devices: config.devices.iter().map(device).collect(),
        sources: config.devices.iter().flat_map(of_device).collect(),
        attributes: Vec::new(),
    };
    let discovered = config.devices.iter().filter(|device| device.profile.is_discovered);
    if let Some(in_force) = in_force {
        discovered.for_each(|device| assume_known_channels(&mut site, &device.name, in_force));
    }
    site
}

fn assume_known_channels(site: &mut Site, device: &str, in_force: &Site) {
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

/// The report rules of each source, by its index.
pub(super) fn report_filters(devices: &[config::DeviceConfig]) -> Vec<ReportFilter> {
    let of_source = |device: &config::DeviceConfig, name: Option<&str>| {
        let points = device.profile.source(name);
        ReportFilter::new(points.map(|point| device.reading.report(&point.channel, point.report)))
    };
    let of_device = |device: &config::DeviceConfig| -> Vec<ReportFilter> {
        sources(device).into_iter().map(|(name, _)| of_source(device, name.as_deref())).collect()
    };
    devices.iter().flat_map(of_device).collect()
}

/// The report rules of discovered devices, whose points are known only later.
pub(super) fn reports(devices: &[config::DeviceConfig]) -> ReportRules {
    let discovered = devices.iter().filter(|device| device.profile.is_discovered);
    let readings: BTreeMap<_, _> = discovered.map(|device| (device.name.clone(), device.reading.clone())).collect();
    Box::new(move |device, point| readings.get(device)?.report(&point.channel, point.report))
}

/// The Modbus connections of the site: devices at one address share one.
pub(super) fn buses(devices: &[config::DeviceConfig]) -> Vec<Bus> {
    let mut buses: Vec<(&config::DeviceConfig, Bus)> = Vec::new();
    let mut next_index = 0;
    for device in devices {
        let sources = sources(device).into_iter().zip(next_index..);
        let sources: Vec<_> = sources.map(|((name, period), index)| SourceSettings { name, period, index }).collect();
        next_index = sources.last().map_or(next_index, |source| source.index + 1);
        let settings = self::device(device, sources);
        match buses.iter_mut().find(|(first, _)| first.shares_connection(device)) {
            Some((_, bus)) => {
                bus.endpoint.local_echo |= device.reading.local_echo;
                bus.devices.push(settings);
            }
            None => buses.push((device, Bus { endpoint: endpoint(device), devices: vec![settings] })),
        }
    }
    buses.into_iter().map(|(_, bus)| bus).collect()
}

/// How a device is reached.
pub(super) fn endpoint(device: &config::DeviceConfig) -> BusEndpoint {
    BusEndpoint {
        address: device.address.clone(),
        tls: device.reading.tls.clone(),
        server_name: device.reading.server_name.clone(),
        local_echo: device.reading.local_echo,
        framing: Arc::default(),
    }
}

/// How a device is read.
pub(super) fn device(device: &config::DeviceConfig, sources: Vec<SourceSettings>) -> DeviceSettings {
    DeviceSettings {
        name: device.name.clone(),
        unit: device.unit,
        unit_is_configured: device.unit_is_configured,
        profile: Arc::clone(&device.profile),
        models: device.reading.models.clone(),
        timeout: device.reading.timeout,
        pacing: device.reading.pacing,
        read_limits: device.reading.read_limits,
        sources,
    }
}
