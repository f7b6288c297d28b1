//! From the environment, `config/.env`, `bessai.toml` and the plugins' folder to one [`Config`], or to all mistakes.
//!
//! The environment goes before `config/.env`, and that before the file. Only files are read; whether a certificate, a
//! model or a component is any good is found out by who uses it.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use bessai_domain::safety::Limits;
use bessai_domain::settings::{Mistake, Table, unknown};
use bessai_domain::topic::bad_level_character;

mod address;
mod broker;
mod broker_url;
mod case;
mod device;
mod env_file;
mod environment;
mod feed;
mod findings;
mod folder;
mod journal;
mod json;
mod names;
mod plugins;
mod profiles;
mod rights;
mod safety;
mod secret;
mod size;
mod start;
#[cfg(test)]
mod tests;

pub use self::broker::{Broker, Protocol, Tls};
pub(crate) use self::case::CaseSettings;
pub use self::device::{Address, Device, Parity, Reading, Scheme, parse_address, profile};
pub use self::feed::{Component, Feed, FeedLimits};
pub use self::journal::{Journal, Sync};
pub use self::plugins::{Found, Plugins};
pub use self::rights::Rights;
pub use self::secret::{Encoding, Secret};
pub use self::start::Start;

use self::device::Devices;
use self::environment::Variables;
use self::findings::Findings;
pub(crate) use self::findings::parse_toml;
use self::secret::Place;

/// The settings' file where none is named.
const DEFAULT_FILE: &str = "bessai.toml";
const DEFAULT_SITE: &str = "bessai";
const DEFAULT_MODEL: &str = "dispatch";
/// Where `/health` is served unless `HEALTH_PORT` says otherwise.
pub const HEALTH_PORT: u16 = 8000;
/// Bytes of a site's, device's or feed's name, so that topics and client ids stay short.
const LONGEST_NAME_BYTES: usize = 128;
const LOG_LEVELS: [(&str, LogLevel); 7] = [
    ("TRACE", LogLevel::Trace),
    ("DEBUG", LogLevel::Debug),
    ("INFO", LogLevel::Info),
    ("WARNING", LogLevel::Warn),
    ("WARN", LogLevel::Warn),
    ("ERROR", LogLevel::Error),
    ("CRITICAL", LogLevel::Error),
];

/// What surrounds the process. No `Debug`: the environment may hold a password.
#[derive(Clone)]
pub struct Outside {
    /// Its environment.
    pub variables: BTreeMap<String, String>,
    /// The folder that it was started in.
    pub working_dir: PathBuf,
}

/// Everything that was set, or its default.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The prefix of the default topics.
    pub site: String,
    /// At least one.
    pub devices: Vec<Device>,
    /// The broker of the feeds that have none of their own.
    pub broker: Option<Broker>,
    /// Between which values the channels are safe.
    pub safety: Limits,
    /// Models to run.
    pub models: Vec<Model>,
    /// The feeds that are switched on, the default one first.
    pub feeds: Vec<Feed>,
    /// Where plugins are dropped in.
    pub plugins: Plugins,
    /// How events are kept.
    pub journal: Journal,
    /// Where `/health` is served.
    pub health: SocketAddr,
    /// How much is logged.
    pub log_level: LogLevel,
    /// Where things are kept.
    pub data_dir: PathBuf,
    /// Where things are kept that can be made again, if there is a place for them.
    pub cache_dir: Option<PathBuf>,
    /// What should be said once, though it is no mistake.
    pub notes: Vec<String>,
}

/// A model to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// What it is called.
    pub name: String,
    /// Its ONNX file; it need not exist.
    pub file: PathBuf,
    /// The device that it looks at; None: the first.
    pub device: Option<String>,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `bessai.toml`.
struct ConfigFile {
    table: toml::Table,
    folder: PathBuf,
    /// It could be read, or there is none.
    is_sound: bool,
}

/// Reads everything. `config_file` must exist where it is named.
pub fn load(config_file: Option<&Path>, outside: &Outside) -> Result<Config, Vec<Mistake>> {
    let findings = Findings::default();
    let config = read(config_file, outside, &findings);
    let (mistakes, notes) = findings.finish();
    if mistakes.is_empty() { Ok(Config { notes, ..config }) } else { Err(mistakes) }
}

/// Where a gateway that was started here serves `/health`, whatever else is wrong by now.
pub fn health_address(outside: &Outside) -> SocketAddr {
    read_health(&Variables::read(outside, &Findings::default()))
}

/// Where compiled components are kept when no gateway is configured.
pub fn cache_dir(outside: &Outside) -> Option<PathBuf> {
    environment::users_cache_dir(outside)
}

/// `[config]` as JSON, rights and limits of a feed's settings, without the gateway that they are meant for.
pub fn read_alone(path: &Path) -> Result<(String, Rights, FeedLimits), Vec<Mistake>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| vec![Mistake::bare(name.as_str(), format!("cannot be read: {error}"))])?;
    let mistakes = bessai_domain::settings::Mistakes::default();
    let parsed = parse_toml(&name, &text, &mistakes).unwrap_or_default();
    let table = Table::new(format!("{name}:"), &parsed, &mistakes);
    let CaseSettings { config_json, rights, limits } = CaseSettings::read(&table, None);
    // What only a gateway can judge.
    for key in ["component", "enabled", "start", "broker", "secrets"] {
        table.value(key);
    }
    table.finish();
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok((config_json, rights, limits)) } else { Err(mistakes) }
}

fn read(config_file: Option<&Path>, outside: &Outside, findings: &Findings) -> Config {
    let variables = Variables::read(outside, findings);
    let file = read_file(config_file, outside, findings);
    let table = Table::new("", &file.table, &findings.file);
    let place = Place { folder: &file.folder, environment: &outside.variables };
    let data_dir = variables.data_dir();
    let site = read_site(&table, &variables, findings);
    let devices = device::read(&table, &file, &variables, findings);
    let mut site_broker = broker::of_site(&table, place, &variables, findings);
    site_broker.is_written |= !file.is_sound;
    let safety = safety::read(&table, &devices, findings);
    let models = read_models(&table, &file.folder, &devices);
    let journal = journal::read(&table, &file.folder, &data_dir);
    let written = plugins::read_table(&table, &file.folder, &variables);
    table.finish();
    let environment = outside.variables.clone();
    let plugins = Plugins::new(written, &data_dir, devices.clone(), site_broker.clone(), environment);
    let feeds = plugins.read_all(findings);
    Config {
        site,
        devices: devices.list,
        broker: site_broker.broker,
        safety,
        models,
        feeds,
        plugins,
        journal,
        health: read_health(&variables),
        log_level: read_log_level(&variables),
        cache_dir: variables.cache_dir(),
        data_dir,
        notes: Vec::new(),
    }
}

fn read_file(config_file: Option<&Path>, outside: &Outside, findings: &Findings) -> ConfigFile {
    let path = outside.working_dir.join(config_file.unwrap_or(Path::new(DEFAULT_FILE)));
    let name = config_file.map_or_else(|| DEFAULT_FILE.into(), |path| path.display().to_string());
    let table = match std::fs::read_to_string(&path) {
        Ok(text) => parse_toml(&name, &text, &findings.file),
        Err(error) if config_file.is_none() && error.kind() == ErrorKind::NotFound => Some(toml::Table::new()),
        Err(error) => {
            findings.file.add(Mistake::bare(name, format!("cannot be read: {error}")));
            None
        }
    };
    let folder = path.parent().unwrap_or(&outside.working_dir).to_owned();
    ConfigFile { is_sound: table.is_some(), table: table.unwrap_or_default(), folder }
}

fn read_site(table: &Table<'_>, variables: &Variables<'_>, findings: &Findings) -> String {
    let in_file = table.text("site");
    if let Some(mend) = in_file.and_then(level_mistake) {
        table.wrong("site", mend);
    }
    if let Some(variable) = variables.get("SITE_ID") {
        let site = variable.value.trim();
        if let Some(mend) = level_mistake(site) {
            variable.wrong(site, mend);
        }
        return site.into();
    }
    if in_file.is_none() {
        findings.note(format!("SITE_ID is not set: the site is called `{DEFAULT_SITE}`"));
    }
    in_file.unwrap_or(DEFAULT_SITE).into()
}

/// What keeps a name from being one level of a topic.
fn level_mistake(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("is empty; write a name".into());
    }
    if name.len() > LONGEST_NAME_BYTES {
        return Some(format!("has {} bytes; write at most {LONGEST_NAME_BYTES}", name.len()));
    }
    bad_level_character(name)
        .map(|character| format!("has {character:?}, which cannot stand in a topic's level; leave it out"))
}

fn read_models(table: &Table<'_>, folder: &Path, devices: &Devices) -> Vec<Model> {
    let mut models: Vec<Model> = Vec::new();
    for table in table.tables("model") {
        let model = read_model(&table, folder, devices);
        if models.iter().any(|earlier| earlier.name == model.name) {
            let mend = "is the name of an earlier model; give each its own";
            table.mistakes().add(Mistake::new(table.key("name"), &model.name, mend));
        }
        models.push(model);
    }
    models
}

fn read_model(table: &Table<'_>, folder: &Path, devices: &Devices) -> Model {
    let file = table.text("file");
    if table.value("file").is_none() {
        table.mistakes().add(Mistake::bare(table.key("file"), "is missing; write the path of an ONNX file"));
    }
    let device = table.text("device");
    let names = || devices.list.iter().map(|device| device.name.as_str());
    if let Some(device) = device.filter(|device| devices.complete && !names().any(|name| name == *device)) {
        table.wrong("device", format!("the device {}", unknown(device, names())));
    }
    let model = Model {
        name: table.text("name").unwrap_or(DEFAULT_MODEL).into(),
        file: folder.join(file.unwrap_or_default()),
        device: device.map(str::to_owned),
    };
    table.finish();
    model
}

fn read_health(variables: &Variables<'_>) -> SocketAddr {
    let address = |text: &str| if text == "localhost" { Some(Ipv4Addr::LOCALHOST.into()) } else { text.parse().ok() };
    let host: Option<IpAddr> =
        variables.parsed("HEALTH_HOST", "write an IP address, such as 127.0.0.1 or 0.0.0.0", address);
    let port = variables.parsed("HEALTH_PORT", "write a whole number from 0 to 65535", |text| text.parse().ok());
    SocketAddr::new(host.unwrap_or(Ipv4Addr::LOCALHOST.into()), port.unwrap_or(HEALTH_PORT))
}

fn read_log_level(variables: &Variables<'_>) -> LogLevel {
    let named =
        |text: &str| LOG_LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, level)| level);
    let level = variables.parsed("LOG_LEVEL", "write ERROR, WARNING, INFO, DEBUG or TRACE", named);
    level.unwrap_or(LogLevel::Info)
}
