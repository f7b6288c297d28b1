//! How a device is read and which of its readings are reported: keys of `[[device]]` that are rarely needed.
//!
//! ```toml
//! timeout = "3s"            # time to wait for a response
//! request_gap = "50ms"      # pause between a response and the next request; learnt if not set
//! connect_pause = "1s"      # pause between connecting and the first request; learnt if not set
//! reconnect_after = 10      # consecutive errors
//! max_registers = 32        # per request; lowered if the device refuses
//! max_bits = 512            # per request; lowered if the device refuses
//! bridged_gap = 16          # unused registers between two points that are read along
//! sources = { nameplate = "5m" }     # periods of the profile's slower sources
//! models = [1, 103, 802]             # of a SunSpec device, only these models
//! sunspec_base = 40000      # of a SunSpec device, the register of "SunS"; looked for if not set
//! deadband = 0              # report a reading only if a value changed by more than this,
//! max_silence = "60s"       # or if nothing was reported for this long
//! channels.soc_pct = { deadband = 0.5, max_silence = "10s" }
//! local_echo = true         # the bus returns what is sent; recognised if not set
//! ca = "ca.pem"             # for tls://: the CA to trust, the client's certificate and key,
//! cert = "client.pem"
//! key = "client.key"
//! server_name = "plc-7"     # and the name in the device's certificate
//! ```

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::profile::toml::{read_limits, read_pacing, read_report_rule};
use bessai_domain::profile::{Pacing, Profile, ReadLimits};
use bessai_domain::report::ReportRule;
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable, unknown_name_hint};
use bessai_domain::time::parse_duration;
use bessai_files::CERTIFICATE_BYTES;
use bessai_tls::Identity;

use super::period::PERIODS;

/// `timeout`: the times that can be configured.
const TIMEOUTS: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(60);
/// `models`: SunSpec model ids; 65535 marks the end of a device's models.
const MODEL_IDS: RangeInclusive<i64> = 1..=65_534;

/// `sunspec_base`: the last register that leaves room for `SunS` and the end marker.
const LAST_SUNSPEC_BASE: u16 = 65_533;

/// How a device is read, and which of its readings are reported.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReadSettings {
    /// Time to wait for a response.
    pub(crate) timeout: Duration,
    /// Pauses between requests, and when to reconnect.
    pub(crate) pacing: Pacing,
    /// The largest requests.
    pub(crate) read_limits: ReadLimits,
    /// The profile's slower sources with their periods.
    pub(crate) sources: Vec<(String, Duration)>,
    /// The SunSpec models to read; none means all models.
    pub(crate) models: Option<Vec<u16>>,
    /// The register at which a SunSpec device's models begin; none if it is looked for.
    pub(crate) sunspec_base: Option<u16>,
    /// When a reading is reported, for channels without a rule of their own.
    pub(crate) report: Option<ReportRule>,
    /// When a reading is reported, by channel.
    pub(crate) channels: BTreeMap<String, ReportRule>,
    /// The certificates to trust and to present at a `tls://` address.
    pub(crate) tls: bessai_tls::Settings,
    /// The name in its certificate, if that is not its host.
    pub(crate) server_name: Option<String>,
    /// The bus returns what is sent.
    pub(crate) local_echo: bool,
}

/// The settings in a table, before the profile completes them.
pub(in super::super) struct PartialReadSettings<'a> {
    mistakes: &'a Mistakes,
    key_prefix: String,
    timeout: Option<Duration>,
    pacing: Pacing,
    registers: Option<u16>,
    bits: Option<u16>,
    bridged_gap: Option<u16>,
    sources: Vec<(String, Duration)>,
    models: Option<Vec<u16>>,
    sunspec_base: Option<u16>,
    report: Option<ReportRule>,
    channels: BTreeMap<String, ReportRule>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    identity_key: Option<PathBuf>,
    server_name: Option<String>,
    local_echo: bool,
}

impl ReadSettings {
    /// The profile's settings.
    pub(crate) fn of(profile: &Profile) -> Self {
        Self {
            timeout: profile.timeout,
            pacing: profile.pacing,
            read_limits: profile.read_limits,
            sources: profile.sources.clone(),
            models: None,
            sunspec_base: None,
            report: None,
            channels: BTreeMap::new(),
            tls: bessai_tls::Settings::default(),
            server_name: None,
            local_echo: false,
        }
    }

    /// When a reading of this channel is reported, if not always: the rule configured for the channel, else the
    /// profile's, else the device's.
    pub(crate) fn report(&self, channel: &str, profile: Option<ReportRule>) -> Option<ReportRule> {
        self.channels.get(channel).copied().or(profile).or(self.report)
    }
}

impl<'a> PartialReadSettings<'a> {
    pub(in super::super) fn read(table: &SettingsTable<'a>, folder: &Path) -> Self {
        let path = |key: &'static str| table.text(key).map(|path| folder.join(path));
        let period =
            |_: &str, value: &toml::Value| parse_duration(value.as_str()?).filter(|period| PERIODS.contains(period));
        let has = |key: &'static str| table.value(key).is_some();
        let read_limits = read_limits(table, ReadLimits::default());
        Self {
            mistakes: table.mistakes(),
            key_prefix: table.key(""),
            timeout: table.duration("timeout", TIMEOUTS),
            pacing: read_pacing(table),
            registers: has("max_registers").then_some(read_limits.registers),
            bits: has("max_bits").then_some(read_limits.bits),
            bridged_gap: has("bridged_gap").then_some(read_limits.bridged_gap),
            sources: table.named_entries("sources", period, "write a time such as \"60s\""),
            models: read_models(table),
            sunspec_base: table.integer("sunspec_base", 0..=LAST_SUNSPEC_BASE),
            report: read_report_rule(table),
            channels: read_channels(table),
            ca: path("ca"),
            cert: path("cert"),
            identity_key: path("key"),
            server_name: table.text("server_name").map(str::to_owned),
            local_echo: table.boolean("local_echo").unwrap_or(false),
        }
    }

    /// Takes from the profile what is not set.
    pub(in super::super) fn finish(self, profile: &Profile) -> ReadSettings {
        self.check_names(profile);
        self.check_files();
        let identity = self.identity();
        let period = |(name, default): &(String, Duration)| {
            let configured = self.sources.iter().find(|(known, _)| known == name);
            (name.clone(), configured.map_or(*default, |&(_, period)| period))
        };
        ReadSettings {
            timeout: self.timeout.unwrap_or(profile.timeout),
            pacing: Pacing {
                request_gap: self.pacing.request_gap.or(profile.pacing.request_gap),
                connect_pause: self.pacing.connect_pause.or(profile.pacing.connect_pause),
                reconnect_after: self.pacing.reconnect_after.or(profile.pacing.reconnect_after),
            },
            read_limits: ReadLimits {
                registers: self.registers.unwrap_or(profile.read_limits.registers),
                bits: self.bits.unwrap_or(profile.read_limits.bits),
                bridged_gap: self.bridged_gap.unwrap_or(profile.read_limits.bridged_gap),
            },
            sources: profile.sources.iter().map(period).collect(),
            models: self.models,
            sunspec_base: self.sunspec_base,
            report: self.report,
            channels: self.channels,
            tls: bessai_tls::Settings {
                peer: bessai_tls::Peer::Device,
                ca: self.ca,
                identity,
                names: bessai_tls::SettingNames::new(self.key_prefix),
                ..bessai_tls::Settings::default()
            },
            server_name: self.server_name,
            local_echo: self.local_echo,
        }
    }

    /// The client's certificate and its private key, which must both be set.
    fn identity(&self) -> Option<Identity> {
        let (key, hint) = match (&self.cert, &self.identity_key) {
            (Some(cert), Some(key)) => return Some(Identity::from_files(cert, key)),
            (None, None) => return None,
            (Some(_), None) => ("cert", "the certificate's private key is missing; write its file as `key`"),
            (None, Some(_)) => ("key", "the private key's certificate is missing; write its file as `cert`"),
        };
        self.mistakes.add(Mistake::without_value(format!("{}{key}", self.key_prefix), hint));
        None
    }

    /// Checks that the files can be read. They are read again for each connection, so a renewed certificate takes effect.
    fn check_files(&self) {
        for (key, path) in [("ca", &self.ca), ("cert", &self.cert), ("key", &self.identity_key)] {
            let check = |path: &PathBuf| Some((path.clone(), bessai_files::check(path, CERTIFICATE_BYTES).err()?));
            if let Some((path, error)) = path.as_ref().and_then(check) {
                let hint = format!("cannot be read: {error}");
                self.mistakes.add(Mistake::new(format!("{}{key}", self.key_prefix), path.display(), hint));
            }
        }
    }

    /// Checks names of sources and channels. The channels of a discovered device are not known yet.
    fn check_names(&self, profile: &Profile) {
        let sources = || profile.sources.iter().map(|(name, _)| name.as_str());
        for (name, _) in self.sources.iter().filter(|(name, _)| !sources().any(|known| known == name)) {
            self.mistakes.add(Mistake::without_value(
                format!("{}sources.{name}", self.key_prefix),
                unknown_name_hint(name, sources()),
            ));
        }
        let channels = || profile.points.iter().map(|point| point.channel.as_str());
        let unknown_channels = self.channels.keys().filter(|name| !channels().any(|known| known == name.as_str()));
        for name in unknown_channels.filter(|_| !profile.is_discovered) {
            self.mistakes.add(Mistake::without_value(
                format!("{}channels.{name}", self.key_prefix),
                unknown_name_hint(name, channels()),
            ));
        }
        let of_sunspec = [("models", self.models.is_some()), ("sunspec_base", self.sunspec_base.is_some())];
        for (key, _) in of_sunspec.into_iter().filter(|(_, is_set)| *is_set && !profile.is_discovered) {
            let hint = "applies only to devices with the profile `sunspec`; remove it";
            self.mistakes.add(Mistake::without_value(format!("{}{key}", self.key_prefix), hint));
        }
    }
}

fn read_models(table: &SettingsTable<'_>) -> Option<Vec<u16>> {
    let value = table.value("models")?;
    let ids = table.integers("models", MODEL_IDS);
    if value.as_array().is_some_and(Vec::is_empty) {
        table.add_mistake("models", "is empty; name a model, or remove it to read all models");
    }
    Some(ids.into_iter().filter_map(|id| u16::try_from(id).ok()).collect())
}

fn read_channels(table: &SettingsTable<'_>) -> BTreeMap<String, ReportRule> {
    let Some(channels) = table.table("channels") else { return BTreeMap::new() };
    let mut reports = BTreeMap::new();
    for (name, entry) in channels.entries() {
        let Some(entry) = entry else {
            channels.add_mistake(name, "write a table, such as { deadband = 0.5 }");
            continue;
        };
        let count_before = entry.mistakes().count();
        match read_report_rule(&entry) {
            Some(report) => {
                reports.insert(name.to_owned(), report);
            }
            None if entry.mistakes().count() == count_before => {
                let hint = "is missing; write how far the value may move without being reported";
                entry.mistakes().add(Mistake::without_value(entry.key("deadband"), hint));
            }
            None => {}
        }
        entry.report_unknown_keys();
    }
    reports
}
