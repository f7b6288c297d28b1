//! Combines the environment, `config/.env`, `bessai.toml` and the plugins folder into one [`Config`], or collects all
//! mistakes in them.
//!
//! The environment overrides `config/.env`, and both override the file. Only files are read: the contents of
//! certificates, models and components are checked by the modules that use them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bessai_control::ControlSettings;
use bessai_domain::safety::SafetyLimits;
use bessai_domain::settings::{Mistake, SettingsTable};
use bessai_inference::ModelSettings;
use bessai_journal::JournalSettings;

mod broker;
mod broker_url;
mod control;
mod delivery;
mod device;
mod devices;
mod env_file;
mod environment;
mod feed;
mod feed_scan;
mod findings;
mod folder;
mod health;
mod host_port;
mod journal;
mod limits;
mod log_level;
mod modbus_servers;
mod models;
mod names;
mod plugin_config;
mod plugins;
mod profile_lookup;
mod profiles;
mod public_host;
mod rate;
mod rights;
mod safety;
mod secret;
mod secret_file;
mod site;
mod size;
mod standalone;
mod start;
#[cfg(test)]
mod tests;
mod time_zone;
mod toml_file;
mod topic_level;
mod watchdog;

pub(crate) use self::broker::{BrokerConfig, BrokerHabits, ProxyConfig};
pub(crate) use self::control::CONTACT_KNOWN_FOR;
pub(crate) use self::device::{DeviceConfig, ReadSettings, parse_address};
pub(crate) use self::environment::ProcessEnvironment;
pub(crate) use self::feed::{ComponentSource, DEFAULT_FEED, FeedConfig};
pub(crate) use self::feed_scan::{FeedOff, FeedScan, READ_LIMIT, owner as feed_owner};
pub(crate) use self::limits::FeedLimits;
pub(crate) use self::log_level::LogLevel;
pub(crate) use self::modbus_servers::{ModbusServerConfig, ServerWrites};
pub(crate) use self::plugins::Plugins;
pub(crate) use self::profile_lookup::profile;
pub(crate) use self::rights::Rights;
pub(crate) use self::secret::Secret;
pub(crate) use self::standalone::StandaloneSettings;
pub(crate) use self::toml_file::parse_toml;

use self::environment::Variables;
use self::findings::Findings;
use self::secret::SecretSources;

/// The settings of the gateway, with defaults for those that are not set.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The name of the site, first level of the default topics.
    pub(crate) site: String,
    /// The devices; at least one.
    pub(crate) devices: Vec<DeviceConfig>,
    /// The servers that show devices to other programs.
    pub(crate) modbus_servers: Vec<ModbusServerConfig>,
    /// The broker of the feeds without a broker of their own.
    pub(crate) broker: Option<BrokerConfig>,
    /// The safe range of each limited channel.
    pub(crate) safety: SafetyLimits,
    /// The devices that set-points are written to; none if nothing is ever written.
    pub(crate) control: Option<ControlSettings>,
    /// The models to run.
    pub(crate) models: Vec<ModelSettings>,
    /// The feeds that are switched on and can run, the site's own one first.
    pub(crate) feeds: Vec<FeedConfig>,
    /// The feeds that cannot: a mistake in a feed's file is a matter of that feed alone.
    pub(crate) off: Vec<FeedOff>,
    /// Mistakes in the plugins folder itself.
    pub(crate) folder_mistakes: Vec<Mistake>,
    /// The plugins folder.
    pub(crate) plugins: Arc<Plugins>,
    /// Where and how long events are kept.
    pub(crate) journal: JournalSettings,
    /// The address that serves `/health`.
    pub(crate) health: SocketAddr,
    /// The least severe level that is logged.
    pub(crate) log_level: LogLevel,
    /// The folder of everything that the gateway stores.
    pub(crate) data_dir: PathBuf,
    /// The folder of files that can be recreated; none if neither `BESSAI_DATA` nor a home folder is set.
    pub(crate) cache_dir: Option<PathBuf>,
    /// How long the main loop may not respond before the process is aborted.
    pub(crate) abort_after: Duration,
    /// The time zone of the variables in `config/.env`, if they set one; the process's own is not read here.
    pub(crate) time_zone: Option<jiff::tz::TimeZone>,
    /// Risks that somebody should look at.
    pub(crate) warnings: Vec<String>,
    /// What is not a mistake but worth a line in the log.
    pub(crate) notes: Vec<String>,
}

impl Config {
    /// Every mistake that switches a feed off.
    pub(crate) fn feed_mistakes(&self) -> Vec<Mistake> {
        self.folder_mistakes.iter().chain(self.off.iter().flat_map(|feed| &feed.mistakes)).cloned().collect()
    }
}

/// Reads the configuration, or reports all mistakes in it, including those of feeds, if the site itself has some.
/// `config_file` replaces `bessai.toml` and must exist.
pub(crate) fn load(config_file: Option<&Path>, environment: &ProcessEnvironment) -> Result<Config, Vec<Mistake>> {
    let findings = Findings::default();
    let config = read(config_file, environment, &findings);
    let found = findings.finish();
    if found.mistakes.is_empty() {
        let warnings = found.warnings.into_iter().chain(config.warnings).collect();
        Ok(Config { warnings, notes: found.notes, ..config })
    } else {
        Err(found.mistakes.into_iter().chain(config.feed_mistakes()).collect())
    }
}

/// The address at which a gateway with this environment serves `/health`, whatever mistakes the configuration has.
pub(crate) fn health_address(environment: &ProcessEnvironment) -> SocketAddr {
    health::read(&Variables::read(environment, &Findings::default()))
}

/// The data folder of a gateway with this environment, whatever mistakes the configuration has.
pub(crate) fn data_dir(environment: &ProcessEnvironment) -> PathBuf {
    Variables::read(environment, &Findings::default()).data_dir()
}

/// The folder of compiled components for commands that need no gateway.
pub(crate) fn cache_dir(environment: &ProcessEnvironment) -> Option<PathBuf> {
    environment.user_cache_dir()
}

fn read(config_file: Option<&Path>, environment: &ProcessEnvironment, findings: &Findings) -> Config {
    let variables = Variables::read(environment, findings);
    let file = toml_file::read(config_file, &environment.working_dir, findings);
    let table = SettingsTable::new("", &file.table, &findings.file);
    let sources = SecretSources { folder: &file.folder, settings: &file.path, environment: &environment.variables };
    let data_dir = variables.data_dir();
    let site = site::read(&table, &variables, findings);
    let devices = devices::read(&table, &file, &variables, findings);
    let modbus_servers = modbus_servers::read(&table, &devices, findings);
    let mut site_broker = broker::of_site(&table, sources, &variables, findings);
    // A file that cannot be read may contain the broker: do not report it as missing.
    site_broker.is_configured |= !file.is_readable || !variables.are_complete();
    site_broker.files_not_found = variables.files_not_found(&file);
    let safety = safety::read(&table, &devices, findings);
    let control = control::read(&table, &devices, findings);
    let models = models::read(&table, &file.folder, &devices, control.as_ref(), findings);
    let journal = journal::read(&table, &file.folder, &data_dir);
    let abort_after = watchdog::read(&table);
    let section = plugins::read_section(&table, &file.folder, &variables);
    table.report_unknown_keys();
    let variables_of_process = environment.variables.clone();
    let plugins = Plugins::new(&site, section, &data_dir, devices.clone(), site_broker.clone(), variables_of_process);
    let plugins = Arc::new(plugins);
    let scan = read_feeds(&plugins, findings);
    if let Some(control) = &control {
        control::check_priority(control, &scan, findings);
        modbus_servers::check_control(&modbus_servers, control, findings);
    }
    Config {
        site,
        devices: devices.list,
        modbus_servers,
        broker: site_broker.broker,
        safety,
        control,
        models,
        feeds: scan.feeds,
        off: scan.off,
        folder_mistakes: scan.mistakes,
        plugins,
        journal,
        health: health::read(&variables),
        log_level: log_level::read(&variables),
        cache_dir: variables.cache_dir(),
        data_dir,
        abort_after,
        time_zone: time_zone::read(&variables),
        warnings: scan.warnings,
        notes: Vec::new(),
    }
}

/// Reads the feeds at the start, when what the site's own feed needs is needed by the site.
fn read_feeds(plugins: &Arc<Plugins>, findings: &Findings) -> FeedScan {
    let mut scan = plugins.read();
    let dir = plugins.dir.display();
    if plugins.is_dir_explicit && !scan.exists {
        findings.note(format!("the plugins folder {dir} does not exist; only the default feed runs"));
    }
    for ignored in &scan.ignored {
        findings.note(format!("ignored in the plugins folder: {ignored}"));
    }
    let without_broker = scan.without_site_broker();
    if !without_broker.is_empty() && !plugins.site_broker.is_configured {
        findings.environment.add(feed::missing_broker(&without_broker, &plugins.site_broker));
    }
    scan
}
