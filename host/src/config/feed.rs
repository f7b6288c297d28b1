//! The settings of a feed: a file of the plugins folder, or the defaults of the site's own feed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bessai_domain::broker_limits::{BrokerLimits, TopicRules};
use bessai_domain::journal::StartAt;
use bessai_domain::session::{Endpoint, EndpointRight};
use bessai_domain::settings::{Mistake, SettingsTable};
use bessai_feed::DeliveryOrder;

use super::broker::{self, BrokerConfig, SiteBroker};
use super::delivery;
use super::device::Devices;
use super::findings::Findings;
use super::limits::{self, FeedLimits};
use super::plugin_config;
use super::rights::{self, Rights};
use super::secret::{self, Encoding, Secret, SecretSources};
use super::start;
use super::topic_level::invalid_level;

/// The site's own feed, which runs unless its settings switch it off.
pub(crate) const DEFAULT_FEED: &str = "default";

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
    /// Which events go first after an outage.
    pub(crate) order: DeliveryOrder,
    /// Whether it is the site's own feed.
    pub(crate) is_default: bool,
    /// Whether it may publish at the site's broker, where the topics of the site's own feed are reserved.
    pub(crate) shares_site_broker: bool,
}

impl FeedConfig {
    /// The client id with which it signs in, if its plugin does not choose another one.
    pub(crate) fn client_id(&self, site: &str) -> String {
        self.broker.client_id.clone().unwrap_or_else(|| match self.is_default {
            true => format!("bessai-{site}"),
            false => format!("bessai-{site}-{}", self.name),
        })
    }
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

/// A feed's files, as far as they are read. No `Debug`: the settings may contain a password.
pub(super) struct FeedSource {
    /// Its settings; empty if there is no file with them.
    pub(super) settings: toml::Table,
    /// Whether there is a component with its name.
    pub(super) has_component: bool,
}

/// Reads a feed; none if it is switched off or has mistakes. One that lacks a broker sets `lacks_broker`.
pub(super) fn read(
    name: &str,
    source: &FeedSource,
    context: &FeedContext<'_>,
    lacks_broker: &mut bool,
) -> Option<FeedConfig> {
    FeedReader { name, file: format!("{name}.toml"), context }.read(source, lacks_broker)
}

/// The component that a feed's settings name.
pub(super) fn named_component(settings: &toml::Table, dir: &Path) -> Option<PathBuf> {
    Some(dir.join(settings.get("component")?.as_str()?))
}

/// One mistake for all feeds that lack a broker.
pub(super) fn missing_broker(feeds: &[String], site_broker: &SiteBroker) -> Mistake {
    let (feeds, not_found) = (feeds.join("`, `"), &site_broker.files_not_found);
    let hint = format!("is missing; write mqtt://host:1883 (no broker for `{feeds}`){not_found}");
    Mistake::without_value("MQTT_BROKER_URL", hint)
}

/// Reads one feed.
struct FeedReader<'a> {
    name: &'a str,
    file: String,
    context: &'a FeedContext<'a>,
}

impl FeedReader<'_> {
    fn read(&self, source: &FeedSource, lacks_broker: &mut bool) -> Option<FeedConfig> {
        let FeedContext { dir, devices, findings, environment, .. } = *self.context;
        let table = SettingsTable::new(format!("{}:", self.file), &source.settings, &findings.plugins);
        if table.boolean("enabled") == Some(false) {
            return None;
        }
        if let Some(hint) = invalid_level(self.name) {
            findings.plugins.add(Mistake::without_value(&self.file, format!("the feed's name {hint}")));
        }
        let file = dir.join(&self.file);
        let sources = SecretSources { folder: dir, settings: &file, environment };
        let own_broker = table.table("broker").map(|table| broker::of_feed(&table, sources, findings));
        let component = self.component(&table, source);
        let order = table.table("delivery").map(|table| delivery::read(&table)).unwrap_or_default();
        let limits = table.table("limits").map(|table| limits::read(&table)).unwrap_or_default();
        let devices = devices.known();
        let rights = table.table("rights").map(|table| rights::read(&table, devices.as_deref())).unwrap_or_default();
        let start = start::read(&table, "start");
        let config_json = plugin_config::read(&table);
        let secrets = read_secrets(&table, sources, findings);
        table.report_unknown_keys();
        let broker = own_broker.unwrap_or_else(|| self.site_broker(lacks_broker))?;
        let name = self.name.to_owned();
        let (is_default, component) = (self.is_default(), component?);
        if let Some(kind) = broker.kind {
            limits::check(&limits, kind, &table.key("limits"), &findings.plugins, findings);
            self.check_topics(kind, &component);
        }
        let shares_site_broker = !is_default && self.reaches_site_broker(&broker, &rights);
        Some(FeedConfig {
            name,
            component,
            start,
            broker,
            config_json,
            secrets,
            rights,
            limits,
            order,
            is_default,
            shares_site_broker,
        })
    }

    /// Whether its messages may arrive at the site's broker, by its settings or by a login of its plugin.
    fn reaches_site_broker(&self, broker: &BrokerConfig, rights: &Rights) -> bool {
        let Some(site) = self.context.site_broker.broker.as_ref().map(BrokerConfig::endpoint) else { return false };
        let of_right =
            |right: &EndpointRight| Endpoint { host: right.host.clone(), port: right.port.unwrap_or(site.port) };
        broker.endpoint().is_same_broker(&site)
            || rights.connect.iter().any(|right| of_right(right).is_same_broker(&site))
    }

    /// The built-in component publishes to topics of the site alone.
    fn check_topics(&self, kind: &BrokerLimits, component: &ComponentSource) {
        if *component == ComponentSource::BuiltIn && matches!(kind.topics, TopicRules::OneOf(_)) {
            let (feed, name) = (self.name, kind.name);
            self.context.findings.warn(format!(
                "feed {feed}: its topics begin with the site's name, and {name} takes messages to its own topics only, so all of \
                 them go to the quarantine; write `enabled = false` in {}, or give it another broker",
                self.file
            ));
        }
    }

    fn is_default(&self) -> bool {
        self.name == DEFAULT_FEED
    }

    /// The site's broker. Only the default feed gets its client id: a broker closes the older of two sessions with one id.
    fn site_broker(&self, lacks_broker: &mut bool) -> Option<BrokerConfig> {
        *lacks_broker = self.context.site_broker.broker.is_none();
        let mut broker = self.context.site_broker.broker.clone()?;
        broker.client_id = broker.client_id.filter(|_| self.is_default());
        Some(broker)
    }

    fn component(&self, table: &SettingsTable<'_>, source: &FeedSource) -> Option<ComponentSource> {
        let FeedContext { dir, findings, .. } = *self.context;
        if let Some(configured) = table.text("component") {
            let path = dir.join(configured);
            match bessai_files::check(&path, bessai_plugin_runtime::MAX_COMPONENT_BYTES) {
                Ok(()) => return Some(ComponentSource::File(path)),
                Err(error) if error.is_missing() => {
                    let hint = format!("{} does not exist; copy the component there", path.display());
                    table.add_mistake("component", hint);
                }
                Err(error) => table.add_mistake("component", format!("{} cannot be used: {error}", path.display())),
            }
            return None;
        }
        let file_name = format!("{}.wasm", self.name);
        if self.is_default() && source.has_component {
            let hint = "the name is reserved for the site's own feed; rename the file, or write \
                        component = \"default.wasm\" in default.toml";
            findings.plugins.add(Mistake::without_value(file_name, hint));
            return None;
        }
        if self.is_default() {
            return Some(ComponentSource::BuiltIn);
        }
        let path = dir.join(file_name);
        if !source.has_component {
            let hint = format!("{} does not exist; copy it there, or name another component", path.display());
            table.mistakes().add(Mistake::without_value(table.key("component"), hint));
            return None;
        }
        Some(ComponentSource::File(path))
    }
}

/// Reads `[secrets]`. Its mistakes show no values, not even if it is not a table.
fn read_secrets(
    table: &SettingsTable<'_>,
    sources: SecretSources<'_>,
    findings: &Findings,
) -> BTreeMap<String, (Secret, Encoding)> {
    let Some(value) = table.value("secrets") else { return BTreeMap::new() };
    let Some(secrets) = value.as_table() else {
        table.mistakes().add(Mistake::without_value(table.key("secrets"), "write a table"));
        return BTreeMap::new();
    };
    let read = |(name, value): (&String, &toml::Value)| {
        let key = format!("{}.{name}", table.key("secrets"));
        Some((name.clone(), secret::from_value(&key, value, sources, table.mistakes(), findings)?))
    };
    secrets.iter().filter_map(read).collect()
}
