//! What a plugin's test case says as a feed's settings do, read by the same readers.

use bessai_domain::settings::Table;
use bessai_domain::site::{Site, Source};

use super::feed::{self, FeedLimits};
use super::rights::{self, Nameable, Rights};

/// `[config]`, `[rights]` and `[limits]` of a test case.
pub(crate) struct CaseSettings {
    pub(crate) config_json: String,
    pub(crate) rights: Rights,
    pub(crate) limits: FeedLimits,
}

impl CaseSettings {
    /// Its rights name what is in the site, if that is known.
    pub(crate) fn read(table: &Table<'_>, site: Option<&Site>) -> Self {
        let devices = site.map(nameable);
        let rights = table.table("rights").map(|table| rights::read(&table, devices.as_deref()));
        let limits = table.table("limits").map(|table| feed::read_limits(&table));
        Self {
            config_json: feed::read_config(table),
            rights: rights.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
        }
    }
}

fn nameable(site: &Site) -> Vec<Nameable<'_>> {
    let of = |name: &str| {
        let sources = site.sources.iter().filter(|source: &&Source| source.device == name);
        let channels = sources.flat_map(|source| source.channels.iter());
        Some(channels.map(|channel| (channel.name.as_str(), channel.writable)).collect())
    };
    site.devices.iter().map(|device| Nameable { name: &device.name, channels: of(&device.name) }).collect()
}
