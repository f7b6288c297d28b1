//! Which channels are limited and from where they are read: taken over from the site's description and the settings.

use super::SafetyMonitor;
use super::limits::SafetyLimits;
use super::readings::{ChannelPosition, LimitedChannel, ReadSource};
use crate::site::Site;

impl SafetyMonitor {
    /// Takes over a new description. Readings of channels that remain are kept. A limited channel that disappears from its
    /// device stays limited, and is unknown from now on; only those of devices that are gone are forgotten.
    pub fn update_site(&mut self, site: &Site) {
        let known = std::mem::take(&mut self.channels);
        self.channels = self.described_channels(site);
        let is_described = |known: &LimitedChannel, described: &[LimitedChannel]| {
            described.iter().any(|channel| channel.is_same(known))
        };
        for channel in self.channels.iter_mut().filter(|channel| channel.read_from.is_some()) {
            if let Some(known) = known.iter().find(|known| known.is_same(channel)) {
                channel.continue_from(known);
            }
        }
        let has_device = |name: &str| site.devices.iter().any(|device| device.name == name);
        let gone = known.into_iter().filter(|known| has_device(&known.device) && !is_described(known, &self.channels));
        let gone = gone.map(|known| LimitedChannel::new(&known.device, &known.channel, known.bounds, None));
        let gone: Vec<_> = gone.collect();
        self.channels.extend(gone);
        self.add_required();
        let sources = std::mem::take(&mut self.sources);
        let same = |index: usize, device: &str| sources.get(index).filter(|source| source.device == device);
        self.sources = site
            .sources
            .iter()
            .enumerate()
            .map(|(index, source)| ReadSource {
                device: source.device.clone(),
                period: source.period,
                newest: same(index, &source.device).and_then(|source| source.newest),
            })
            .collect();
    }

    /// The limited channels of a description. A device whose channels are not discovered yet may have all of them.
    fn described_channels(&self, site: &Site) -> Vec<LimitedChannel> {
        let mut channels = Vec::new();
        for device in &site.devices {
            let sources = || site.sources.iter().enumerate().filter(|(_, source)| source.device == device.name);
            if sources().all(|(_, source)| source.channels.is_empty()) {
                let all = self.limits.bounds.iter();
                channels.extend(all.map(|(name, bounds)| LimitedChannel::new(&device.name, name, *bounds, None)));
                continue;
            }
            for (source, description) in sources() {
                for (position, channel) in description.channels.iter().enumerate() {
                    if let Some(bounds) = self.limits.bounds.get(&channel.name) {
                        let read_from = Some(ChannelPosition { source, channel: position });
                        channels.push(LimitedChannel::new(&device.name, &channel.name, *bounds, read_from));
                    }
                }
            }
        }
        channels
    }

    /// A required channel that no device has is unknown, too; it belongs to no device.
    fn add_required(&mut self) {
        for name in &self.limits.required {
            let bounds = self.limits.bounds.get(name).copied().unwrap_or_default();
            if !self.channels.iter().any(|channel| channel.channel == *name) {
                self.channels.push(LimitedChannel::new("", name, bounds, None));
            }
        }
    }

    /// Takes over new limits and a new description; see [`Self::update_site`].
    pub fn set_limits(&mut self, limits: &SafetyLimits, site: &Site) {
        self.limits = limits.clone();
        self.channels.retain(|channel| limits.bounds.contains_key(&channel.channel));
        for channel in &mut self.channels {
            channel.set_bounds(limits.bounds.get(&channel.channel).copied().unwrap_or(channel.bounds));
        }
        self.update_site(site);
    }
}
