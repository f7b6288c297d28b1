//! How a device is asked, and what of its readings is reported: keys of `[[device]]` that hardly anyone needs.
//!
//! ```toml
//! timeout = "3s"            # for an answer
//! request_gap = "50ms"      # between an answer and the next request; learnt where it is not given
//! connect_pause = "1s"      # between connecting and the first request; learnt where it is not given
//! reconnect_after = 10      # errors in a row
//! max_registers = 32        # that one request reads; learnt from refusals
//! max_bits = 512
//! bridged_gap = 16          # registers between two points that are read along
//! sources = { nameplate = "5m" }     # periods of the profile's slower sources
//! models = [1, 103, 802]             # of a SunSpec device, only these
//! deadband = 0              # report a reading only when a value changed by more, or
//! max_silence = "60s"       # nothing was reported for so long
//! channels.soc_pct = { deadband = 0.5, max_silence = "10s" }
//! ca = "ca.pem"             # with tls://: whom to trust, who we are, and the name in its certificate
//! cert = "client.pem"
//! key = "client.key"
//! server_name = "plc-7"
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bessai_domain::profile::toml::{read_blocks, read_pacing, read_report};
use bessai_domain::report::Report;
use bessai_domain::settings::unknown;
use bessai_domain::time::parse_duration;

use super::{
    Address, Blocks, Duration, LONGEST_PERIOD, Mistake, Mistakes, Pacing, Profile, SHORTEST_PERIOD, Scheme, Table,
};

/// How a device is asked, and what is reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// Time that it has for an answer.
    pub timeout: Duration,
    /// How it wants to be asked.
    pub pacing: Pacing,
    /// How much it gives at once.
    pub blocks: Blocks,
    /// The profile's slower sources with their periods.
    pub sources: Vec<(String, Duration)>,
    /// SunSpec's models that are read; all where there is no list.
    pub models: Option<Vec<u16>>,
    /// When a change is worth a frame: for all channels,
    pub report: Option<Report>,
    /// and for single ones.
    pub channels: BTreeMap<String, Report>,
    /// Roots to trust, PEM.
    pub ca: Option<PathBuf>,
    /// Our certificate chain and its key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// The name in its certificate, where that is not its host's.
    pub server_name: Option<String>,
}

/// The keys as they were written.
pub(super) struct Raw<'a> {
    mistakes: &'a Mistakes,
    key: String,
    timeout: Option<Duration>,
    pacing: Pacing,
    blocks: Blocks,
    has_blocks: [bool; 3],
    sources: Vec<(String, Duration)>,
    models: Option<Vec<u16>>,
    report: Option<Report>,
    channels: BTreeMap<String, Report>,
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    identity_key: Option<PathBuf>,
    server_name: Option<String>,
}

impl Reading {
    /// As the profile has it.
    pub fn of(profile: &Profile) -> Self {
        Self {
            timeout: profile.timeout,
            pacing: profile.pacing,
            blocks: profile.blocks,
            sources: profile.sources.clone(),
            models: None,
            report: None,
            channels: BTreeMap::new(),
            ca: None,
            identity: None,
            server_name: None,
        }
    }

    /// When a channel is worth a frame, if not each time: what the settings say of it, else the profile, else the settings of the
    /// device.
    pub fn report(&self, channel: &str, profile: Option<Report>) -> Option<Report> {
        self.channels.get(channel).copied().or(profile).or(self.report)
    }
}

impl<'a> Raw<'a> {
    pub(super) fn read(table: &Table<'a>, folder: &Path) -> Self {
        let path = |key: &'static str| table.text(key).map(|written| folder.join(written));
        let period = |_: &str, value: &toml::Value| {
            parse_duration(value.as_str()?).filter(|period| (SHORTEST_PERIOD..=LONGEST_PERIOD).contains(period))
        };
        let models = table.value("models").is_some().then(|| {
            let ids = table.integers("models", 1..=i64::from(u16::MAX - 1));
            if table.value("models").and_then(toml::Value::as_array).is_some_and(Vec::is_empty) {
                table.wrong("models", "names no model; remove it to read all");
            }
            ids.into_iter().filter_map(|id| u16::try_from(id).ok()).collect()
        });
        let has = |key: &'static str| table.value(key).is_some();
        Self {
            mistakes: table.mistakes(),
            key: table.key(""),
            timeout: table.duration("timeout", Duration::from_millis(1)..=Duration::from_secs(60)),
            pacing: read_pacing(table),
            blocks: read_blocks(table, Blocks::default()),
            has_blocks: [has("max_registers"), has("max_bits"), has("bridged_gap")],
            sources: table.named("sources", period, "write a time such as \"60s\""),
            models,
            report: read_report(table),
            channels: read_channels(table),
            ca: path("ca"),
            cert: path("cert"),
            identity_key: path("key"),
            server_name: table.text("server_name").map(str::to_owned),
        }
    }

    /// What is not said here is as the profile has it.
    pub(super) fn finish(self, profile: &Profile) -> Reading {
        self.check_names(profile);
        let given = self.pacing;
        let [registers, bits, gap] = self.has_blocks;
        let period = |(name, usual): &(String, Duration)| {
            let given = self.sources.iter().find(|(known, _)| known == name);
            (name.clone(), given.map_or(*usual, |&(_, period)| period))
        };
        let identity = match (self.cert, self.identity_key) {
            (Some(cert), Some(key)) => Some((cert, key)),
            (None, None) => None,
            (Some(_), None) => {
                self.mistakes.add(Mistake::bare(
                    format!("{}cert", self.key),
                    "has no key; write its private key's file as `key`",
                ));
                None
            }
            (None, Some(_)) => {
                self.mistakes
                    .add(Mistake::bare(format!("{}key", self.key), "has no certificate; write its file as `cert`"));
                None
            }
        };
        Reading {
            timeout: self.timeout.unwrap_or(profile.timeout),
            pacing: Pacing {
                request_gap: given.request_gap.or(profile.pacing.request_gap),
                connect_pause: given.connect_pause.or(profile.pacing.connect_pause),
                reconnect_after: given.reconnect_after.or(profile.pacing.reconnect_after),
            },
            blocks: Blocks {
                registers: if registers { self.blocks.registers } else { profile.blocks.registers },
                bits: if bits { self.blocks.bits } else { profile.blocks.bits },
                bridged_gap: if gap { self.blocks.bridged_gap } else { profile.blocks.bridged_gap },
            },
            sources: profile.sources.iter().map(period).collect(),
            models: self.models,
            report: self.report,
            channels: self.channels,
            ca: self.ca,
            identity,
            server_name: self.server_name,
        }
    }

    /// What a discovered device has is not known here.
    fn check_names(&self, profile: &Profile) {
        let sources = || profile.sources.iter().map(|(name, _)| name.as_str());
        for (name, _) in self.sources.iter().filter(|(name, _)| !sources().any(|known| known == name)) {
            self.mistakes.add(Mistake::bare(format!("{}sources.{name}", self.key), unknown(name, sources())));
        }
        let channels = || profile.points.iter().map(|point| point.channel.as_str());
        let unknown_channels = self.channels.keys().filter(|name| !channels().any(|known| known == name.as_str()));
        for name in unknown_channels.filter(|_| !profile.is_discovered) {
            self.mistakes.add(Mistake::bare(format!("{}channels.{name}", self.key), unknown(name, channels())));
        }
        if self.models.is_some() && !profile.is_discovered {
            let mend = "is for devices of the profile `sunspec`; remove it";
            self.mistakes.add(Mistake::bare(format!("{}models", self.key), mend));
        }
    }
}

fn read_channels(table: &Table<'_>) -> BTreeMap<String, Report> {
    let Some(channels) = table.table("channels") else { return BTreeMap::new() };
    let mut reports = BTreeMap::new();
    for (name, entry) in channels.entries() {
        let Some(entry) = entry else {
            channels.wrong(name, "write a table, such as { deadband = 0.5 }");
            continue;
        };
        let before = entry.mistakes().count();
        match read_report(&entry) {
            Some(report) => {
                reports.insert(name.to_owned(), report);
            }
            None if entry.mistakes().count() == before => {
                entry
                    .mistakes()
                    .add(Mistake::bare(entry.key("deadband"), "is missing; write how far the value may move"));
            }
            None => {}
        }
        entry.finish();
    }
    reports
}

/// Certificates belong to TLS.
pub(super) fn check_files(address: &Address, reading: &Reading, address_key: &str, mistakes: &Mistakes) {
    let has_files = reading.ca.is_some() || reading.identity.is_some() || reading.server_name.is_some();
    if has_files && !matches!(address, Address::Network(Scheme::Tls, ..)) {
        let mend = "certificates are shown to tls:// addresses alone; write tls://host:802, or remove ca, cert, key and server_name";
        mistakes.add(Mistake::new(address_key, address, mend));
    }
}
