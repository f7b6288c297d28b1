//! The plugins' folder: a feed for each plugin in it, and the default one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::message::Qos;
use bessai_domain::settings::{Mistake, Table};

use super::broker::{self, Broker, SiteBroker};
use super::device::Devices;
use super::findings::Findings;
use super::folder::{self, Files};
use super::json;
use super::level_mistake;
use super::rights::{self, Rights};
use super::secret::{self, Encoding, Place, Secret};
use super::size::{self, MIB};
use super::start::{self, Start};

/// The feed that always runs unless its settings switch it off.
const DEFAULT_FEED: &str = "default";
/// Linear memory; language runtimes need this much.
const DEFAULT_MEMORY_BYTES: u64 = 64 * MIB;
const LARGEST_MEMORY_BYTES: u64 = 4096 * MIB;
const DEFAULT_CALL: Duration = Duration::from_millis(500);
const LONGEST_CALL: Duration = Duration::from_mins(1);
const OLDEST: Duration = Duration::from_hours(24 * 3650);

/// Plugin component, settings and broker of one customer.
#[derive(Clone, Debug, PartialEq)]
pub struct Feed {
    /// The file's, without its ending.
    pub name: String,
    /// What turns events into messages.
    pub component: Component,
    /// Where it begins the first time.
    pub start: Start,
    /// Where its messages go.
    pub broker: Broker,
    /// Its `[config]` as JSON.
    pub config_json: String,
    /// What it may sign with.
    pub secrets: BTreeMap<String, (Secret, Encoding)>,
    /// What it may see and do.
    pub rights: Rights,
    /// What it may use up.
    pub limits: FeedLimits,
    /// The site's own.
    pub is_default: bool,
}

/// Where a component is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Component {
    /// `bessai-json`, inside the program.
    BuiltIn,
    /// A file.
    File(PathBuf),
}

/// What a feed may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedLimits {
    /// Linear memory.
    pub memory_bytes: u64,
    /// Time for one call.
    pub call: Duration,
    /// Messages per second; None: any number.
    pub rate_per_s: Option<u32>,
    /// The highest quality of service; what is above is lowered to it.
    pub qos: Qos,
    /// Older events are passed over.
    pub max_age: Option<Duration>,
}

impl Default for FeedLimits {
    fn default() -> Self {
        Self {
            memory_bytes: DEFAULT_MEMORY_BYTES,
            call: DEFAULT_CALL,
            rate_per_s: None,
            qos: Qos::AtLeastOnce,
            max_age: None,
        }
    }
}

/// What feeds refer to.
pub(super) struct Surroundings<'a> {
    pub(super) dir: &'a Path,
    pub(super) devices: &'a Devices,
    pub(super) site_broker: &'a SiteBroker,
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) findings: &'a Findings,
}

/// The names of the feeds that were found without a broker.
pub(super) type WithoutBroker = Vec<String>;

/// The files of all feeds, the default one first, then by name.
pub(super) fn files(dir: &Path, dir_is_explicit: bool, findings: &Findings) -> Vec<(String, Files)> {
    let mut found = folder::scan(dir, dir_is_explicit, findings);
    let default = found.remove(DEFAULT_FEED).unwrap_or_default();
    std::iter::once((DEFAULT_FEED.to_owned(), default)).chain(found).collect()
}

/// A feed that is switched on and sound.
pub(super) fn read(
    name: &str,
    files: &Files,
    surroundings: &Surroundings<'_>,
    without_broker: &mut WithoutBroker,
) -> Option<Feed> {
    Reader { name, file: format!("{name}.toml"), surroundings }.read(files, without_broker)
}

/// What is said of feeds without a broker.
pub(super) fn missing_broker(feeds: &WithoutBroker) -> Mistake {
    let feeds = feeds.join("`, `");
    Mistake::bare("MQTT_BROKER_URL", format!("is missing; write mqtt://host:1883 (no broker for `{feeds}`)"))
}

/// One feed being read.
struct Reader<'a> {
    name: &'a str,
    file: String,
    surroundings: &'a Surroundings<'a>,
}

impl Reader<'_> {
    fn read(&self, files: &Files, without_broker: &mut Vec<String>) -> Option<Feed> {
        let Surroundings { dir, devices, findings, environment, .. } = *self.surroundings;
        let empty = toml::Table::new();
        let settings = files.settings.as_ref().unwrap_or(&empty);
        let table = Table::new(format!("{}:", self.file), settings, &findings.plugins);
        if table.boolean("enabled") == Some(false) {
            return None;
        }
        if let Some(mend) = level_mistake(self.name) {
            findings.plugins.add(Mistake::bare(&self.file, format!("the feed's name {mend}")));
        }
        let place = Place { folder: dir, environment };
        let own_broker = table.table("broker").map(|table| broker::of_feed(&table, place, findings));
        let component = self.component(&table, files);
        let limits = table.table("limits").map(|table| read_limits(&table)).unwrap_or_default();
        let nameable = devices.nameable();
        let rights = table.table("rights").map(|table| rights::read(&table, nameable.as_deref())).unwrap_or_default();
        let start = start::read(&table, "start");
        let config_json = read_config(&table);
        let secrets = read_secrets(&table, place);
        table.finish();
        let broker = own_broker.unwrap_or_else(|| self.site_broker(without_broker))?;
        let name = self.name.to_owned();
        let (is_default, component) = (self.is_default(), component?);
        Some(Feed { name, component, start, broker, config_json, secrets, rights, limits, is_default })
    }

    fn is_default(&self) -> bool {
        self.name == DEFAULT_FEED
    }

    /// The site's broker; its client id is for the default feed alone, or two would fight over one session.
    fn site_broker(&self, without_broker: &mut Vec<String>) -> Option<Broker> {
        let Some(mut broker) = self.surroundings.site_broker.broker.clone() else {
            without_broker.push(self.name.to_owned());
            return None;
        };
        broker.client_id = broker.client_id.filter(|_| self.is_default());
        Some(broker)
    }

    fn component(&self, table: &Table<'_>, files: &Files) -> Option<Component> {
        let Surroundings { dir, findings, .. } = *self.surroundings;
        if let Some(written) = table.text("component") {
            let path = dir.join(written);
            if path.is_file() {
                return Some(Component::File(path));
            }
            table.wrong("component", format!("{} is not there; put it there", path.display()));
            return None;
        }
        let component = format!("{}.wasm", self.name);
        if self.is_default() && files.component {
            let mend = "this name belongs to the site's own feed; rename the file, or write \
                        component = \"default.wasm\" into default.toml";
            findings.plugins.add(Mistake::bare(component, mend));
            return None;
        }
        if self.is_default() {
            return Some(Component::BuiltIn);
        }
        if !files.component {
            let mend = format!("{} is not there; put it there, or name another", dir.join(&component).display());
            table.mistakes().add(Mistake::bare(table.key("component"), mend));
            return None;
        }
        Some(Component::File(dir.join(component)))
    }
}

pub(super) fn read_limits(table: &Table<'_>) -> FeedLimits {
    const QOS: [Qos; 3] = [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce];
    let default = FeedLimits::default();
    let memory = size::read(table, "memory", MIB..=LARGEST_MEMORY_BYTES);
    let qos = table.integer("qos", 0..=2_u8).and_then(|qos| QOS.get(usize::from(qos)).copied());
    let limits = FeedLimits {
        memory_bytes: memory.unwrap_or(default.memory_bytes),
        call: table.duration("call", Duration::from_millis(1)..=LONGEST_CALL).unwrap_or(default.call),
        rate_per_s: read_rate(table),
        qos: qos.unwrap_or(default.qos),
        max_age: table.duration("max_age", Duration::from_secs(1)..=OLDEST),
    };
    table.finish();
    limits
}

fn read_rate(table: &Table<'_>) -> Option<u32> {
    let text = table.value("rate")?.as_str();
    let rate = text.and_then(|text| text.strip_suffix("/s")?.trim().parse().ok()).filter(|rate| *rate > 0);
    if rate.is_none() {
        table.wrong("rate", "write the messages per second, such as \"100/s\"");
    }
    rate
}

/// `[config]` as JSON.
pub(super) fn read_config(table: &Table<'_>) -> String {
    let config = table.table("config").and_then(|_| table.value("config"));
    config.map_or_else(|| "{}".into(), |config| json::text(&table.key("config"), config, table.mistakes()))
}

/// A value in it is never shown, even where it should be a table.
fn secrets_table<'a>(table: &Table<'a>) -> Option<&'a toml::Table> {
    let value = table.value("secrets")?;
    if !value.is_table() {
        table.mistakes().add(Mistake::bare(table.key("secrets"), "write a table"));
    }
    value.as_table()
}

fn read_secrets(table: &Table<'_>, place: Place<'_>) -> BTreeMap<String, (Secret, Encoding)> {
    let Some(secrets) = secrets_table(table) else { return BTreeMap::new() };
    let read = |(name, value): (&String, &toml::Value)| {
        let key = format!("{}.{name}", table.key("secrets"));
        Some((name.clone(), secret::from_value(&key, value, place, table.mistakes())?))
    };
    secrets.iter().filter_map(read).collect()
}
