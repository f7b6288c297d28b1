//! The settings of a feed: a file of the plugins folder, or the defaults of the site's own feed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bessai_domain::journal::StartAt;
use bessai_domain::settings::{Mistake, SettingsTable};

use super::broker::{self, BrokerConfig, SiteBroker};
use super::device::Devices;
use super::findings::Findings;
use super::folder::{self, FeedFiles};
use super::limits::{self, FeedLimits};
use super::plugin_config;
use super::rights::{self, Rights};
use super::secret::{self, Encoding, Secret, SecretSources};
use super::start;
use super::topic_level::invalid_level;

/// The site's own feed, which runs unless its settings switch it off.
const DEFAULT_FEED: &str = "default";

/// The plugin, settings and broker of one customer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FeedConfig {
    /// The name of its files without their extension.
    pub(crate) name: String,
    /// The component that turns events into messages.
    pub(crate) component: ComponentSource,
    /// The position in the journal from which it reads if it has no cursor yet.
    pub(crate) start: StartAt,
    /// The broker that receives its messages.
    pub(crate) broker: BrokerConfig,
    /// Its `[config]` as JSON.
    pub(crate) config_json: String,
    /// The secrets that its plugin may sign with, by name.
    pub(crate) secrets: BTreeMap<String, (Secret, Encoding)>,
    /// What its plugin may see and do.
    pub(crate) rights: Rights,
    /// How much its plugin may use.
    pub(crate) limits: FeedLimits,
    /// Whether it is the site's own feed.
    pub(crate) is_default: bool,
}

/// Where a component is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ComponentSource {
    /// `bessai-json`, which is part of the program.
    BuiltIn,
    /// In a file.
    File(PathBuf),
}

/// What a feed's settings may refer to, and where its mistakes are collected.
pub(super) struct FeedContext<'a> {
    pub(super) dir: &'a Path,
    pub(super) devices: &'a Devices,
    pub(super) site_broker: &'a SiteBroker,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) findings: &'a Findings,
}

/// The files of all feeds: the site's own one first, the others by name.
pub(super) fn files(dir: &Path, is_dir_explicit: bool, findings: &Findings) -> Vec<(String, FeedFiles)> {
    let mut by_name = folder::scan(dir, is_dir_explicit, findings);
    let default = by_name.remove(DEFAULT_FEED).unwrap_or_default();
    std::iter::once((DEFAULT_FEED.to_owned(), default)).chain(by_name).collect()
}

/// Reads a feed; none if it is switched off or has mistakes. One that lacks a broker is added to `without_broker`.
pub(super) fn read(
    name: &str,
    files: &FeedFiles,
    context: &FeedContext<'_>,
    without_broker: &mut Vec<String>,
) -> Option<FeedConfig> {
    FeedReader { name, file: format!("{name}.toml"), context }.read(files, without_broker)
}

/// One mistake for all feeds that lack a broker.
pub(super) fn missing_broker(feeds: &[String]) -> Mistake {
    let feeds = feeds.join("`, `");
    Mistake::without_value("MQTT_BROKER_URL", format!("is missing; write mqtt://host:1883 (no broker for `{feeds}`)"))
}

/// Reads one feed.
struct FeedReader<'a> {
    name: &'a str,
    file: String,
    context: &'a FeedContext<'a>,
}

impl FeedReader<'_> {
    fn read(&self, files: &FeedFiles, without_broker: &mut Vec<String>) -> Option<FeedConfig> {
        let FeedContext { dir, devices, findings, environment, .. } = *self.context;
        let empty = toml::Table::new();
        let settings = files.settings.as_ref().unwrap_or(&empty);
        let table = SettingsTable::new(format!("{}:", self.file), settings, &findings.plugins);
        if table.boolean("enabled") == Some(false) {
            return None;
        }
        if let Some(hint) = invalid_level(self.name) {
            findings.plugins.add(Mistake::without_value(&self.file, format!("the feed's name {hint}")));
        }
        let sources = SecretSources { folder: dir, environment };
        let own_broker = table.table("broker").map(|table| broker::of_feed(&table, sources, findings));
        let component = self.component(&table, files);
        let limits = table.table("limits").map(|table| limits::read(&table)).unwrap_or_default();
        let devices = devices.known();
        let rights = table.table("rights").map(|table| rights::read(&table, devices.as_deref())).unwrap_or_default();
        let start = start::read(&table, "start");
        let config_json = plugin_config::read(&table);
        let secrets = read_secrets(&table, sources);
        table.report_unknown_keys();
        let broker = own_broker.unwrap_or_else(|| self.site_broker(without_broker))?;
        let name = self.name.to_owned();
        let (is_default, component) = (self.is_default(), component?);
        Some(FeedConfig { name, component, start, broker, config_json, secrets, rights, limits, is_default })
    }

    fn is_default(&self) -> bool {
        self.name == DEFAULT_FEED
    }

    /// The site's broker. Only the default feed gets its client id: a broker closes the older of two sessions with one id.
    fn site_broker(&self, without_broker: &mut Vec<String>) -> Option<BrokerConfig> {
        let Some(mut broker) = self.context.site_broker.broker.clone() else {
            without_broker.push(self.name.to_owned());
            return None;
        };
        broker.client_id = broker.client_id.filter(|_| self.is_default());
        Some(broker)
    }

    fn component(&self, table: &SettingsTable<'_>, files: &FeedFiles) -> Option<ComponentSource> {
        let FeedContext { dir, findings, .. } = *self.context;
        if let Some(configured) = table.text("component") {
            let path = dir.join(configured);
            if path.is_file() {
                return Some(ComponentSource::File(path));
            }
            table.add_mistake("component", format!("{} does not exist; copy the component there", path.display()));
            return None;
        }
        let file_name = format!("{}.wasm", self.name);
        if self.is_default() && files.has_component {
            let hint = "the name is reserved for the site's own feed; rename the file, or write \
                        component = \"default.wasm\" in default.toml";
            findings.plugins.add(Mistake::without_value(file_name, hint));
            return None;
        }
        if self.is_default() {
            return Some(ComponentSource::BuiltIn);
        }
        let path = dir.join(file_name);
        if !files.has_component {
            let hint = format!("{} does not exist; copy it there, or name another component", path.display());
            table.mistakes().add(Mistake::without_value(table.key("component"), hint));
            return None;
        }
        Some(ComponentSource::File(path))
    }
}

/// Reads `[secrets]`. Its mistakes show no values, not even if it is not a table.
fn read_secrets(table: &SettingsTable<'_>, sources: SecretSources<'_>) -> BTreeMap<String, (Secret, Encoding)> {
    let Some(value) = table.value("secrets") else { return BTreeMap::new() };
    let Some(secrets) = value.as_table() else {
        table.mistakes().add(Mistake::without_value(table.key("secrets"), "write a table"));
        return BTreeMap::new();
    };
    let read = |(name, value): (&String, &toml::Value)| {
        let key = format!("{}.{name}", table.key("secrets"));
        Some((name.clone(), secret::from_value(&key, value, sources, table.mistakes())?))
    };
    secrets.iter().filter_map(read).collect()
}
