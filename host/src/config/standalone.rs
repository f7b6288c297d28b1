//! The settings of a plugin that runs without a gateway: in a test case or a benchmark.

use std::path::Path;

use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};
use bessai_domain::site::{Site, Source};
use bessai_files::SETTINGS_BYTES;

use super::limits::{self, FeedLimits};
use super::plugin_config;
use super::rights::{self, KnownDevice, Rights};
use super::toml_file::parse_toml;

/// Keys of a feed's file that only a gateway can check.
const GATEWAY_KEYS: [&str; 5] = ["component", "enabled", "start", "broker", "secrets"];

/// `[config]`, `[rights]` and `[limits]`, as in a feed's file.
pub(crate) struct StandaloneSettings {
    pub(crate) config_json: String,
    pub(crate) rights: Rights,
    pub(crate) limits: FeedLimits,
}

impl Default for StandaloneSettings {
    fn default() -> Self {
        Self { config_json: plugin_config::EMPTY.into(), rights: Rights::default(), limits: FeedLimits::default() }
    }
}

impl StandaloneSettings {
    /// Reads the three sections; rights may name what is in the site, if it is known.
    pub(crate) fn read(table: &SettingsTable<'_>, site: Option<&Site>) -> Self {
        let devices = site.map(known_devices);
        let rights = table.table("rights").map(|table| rights::read(&table, devices.as_deref()));
        let limits = table.table("limits").map(|table| limits::read(&table));
        Self {
            config_json: plugin_config::read(table),
            rights: rights.unwrap_or_default(),
            limits: limits.unwrap_or_default(),
        }
    }

    /// Reads the three sections of a feed's file.
    pub(crate) fn read_file(path: &Path) -> Result<Self, Vec<Mistake>> {
        let name = path.display().to_string();
        let text = bessai_files::read_text(path, SETTINGS_BYTES)
            .map_err(|error| vec![Mistake::without_value(name.as_str(), format!("cannot be read: {error}"))])?;
        let mistakes = Mistakes::default();
        let parsed = parse_toml(&name, &text, &mistakes).unwrap_or_default();
        let table = SettingsTable::new(format!("{name}:"), &parsed, &mistakes);
        let settings = Self::read(&table, None);
        for key in GATEWAY_KEYS {
            table.value(key);
        }
        table.report_unknown_keys();
        let mistakes = mistakes.into_vec();
        if mistakes.is_empty() { Ok(settings) } else { Err(mistakes) }
    }
}

fn known_devices(site: &Site) -> Vec<KnownDevice<'_>> {
    let channels = |device: &str| {
        let sources = site.sources.iter().filter(|source: &&Source| source.device == device);
        let channels = sources.flat_map(|source| source.channels.iter());
        Some(channels.map(|channel| (channel.name.as_str(), channel.writable)).collect())
    };
    site.devices.iter().map(|device| KnownDevice { name: &device.name, channels: channels(&device.name) }).collect()
}
