//! `[[device]]`, and the variables that set the first one.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::plan::Blocks;
use bessai_domain::profile::{self, Pacing, Profile};
use bessai_domain::register::UnitId;
use bessai_domain::settings::{Mistake, Mistakes, Table, nearest};

use super::environment::Variables;
use super::findings::{Findings, Sourced};
use super::profiles::OwnProfiles;
use super::rights::Nameable;
use super::{ConfigFile, address as host_and_port, level_mistake};

mod address;
mod reading;

pub use address::{Address, Parity, Scheme, parse as parse_address};
pub use reading::Reading;

const DEFAULT_NAME: &str = "battery";
/// Between two readings, as the Python gateway has it.
const DEFAULT_PERIOD: Duration = Duration::from_secs(5);
/// Shorter than any device answers: as fast as it goes.
const SHORTEST_PERIOD: Duration = Duration::from_micros(100);
const LONGEST_PERIOD: Duration = Duration::from_hours(24);

/// One Modbus server address and unit id.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Unique in the site, and one level of a topic.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// The settings', else the profile's.
    pub unit: UnitId,
    /// The settings named the unit.
    pub unit_was_given: bool,
    /// What its registers mean.
    pub profile: Arc<Profile>,
    /// Time between two readings.
    pub period: Duration,
    /// How it is asked, and what of it is reported.
    pub reading: Reading,
}

/// The devices, and whether all that were written could be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Devices {
    pub(super) list: Vec<Device>,
    pub(super) complete: bool,
}

impl Devices {
    /// Whether every channel is known: a discovered device tells its own only when it is read.
    pub(super) fn know_channels(&self) -> bool {
        self.complete && !self.list.iter().any(|device| device.profile.is_discovered)
    }

    /// What rights may name; none where a device is missing here, as its mistakes are told already.
    pub(super) fn nameable(&self) -> Option<Vec<Nameable<'_>>> {
        self.complete.then(|| self.list.iter().map(Device::nameable).collect())
    }
}

impl Device {
    /// Whether one connection reaches both.
    pub fn shares_line(&self, other: &Self) -> bool {
        let shown = |device: &Self| {
            (device.reading.ca.clone(), device.reading.identity.clone(), device.reading.server_name.clone())
        };
        self.address == other.address && shown(self) == shown(other)
    }

    fn nameable(&self) -> Nameable<'_> {
        let points = self.profile.points.iter();
        let channels = points.map(|point| (point.channel.as_str(), point.to_channel().writable)).collect();
        Nameable { name: &self.name, channels: (!self.profile.is_discovered).then_some(channels) }
    }
}

/// A device as it was written.
struct Raw<'a> {
    name: String,
    address_key: String,
    address_is_wrong: bool,
    address: Option<Address>,
    host: Option<String>,
    port: Option<u16>,
    unit: Option<UnitId>,
    profile: Option<Sourced<'a, Reference>>,
    period: Option<Duration>,
    reading: Option<reading::Raw<'a>>,
}

/// A profile's name or path, and the file that a path means.
#[derive(Clone, PartialEq)]
struct Reference {
    written: String,
    path: PathBuf,
}

/// All devices of the file, the first with what the variables say; or one made of the variables.
pub(super) fn read(table: &Table<'_>, file: &ConfigFile, variables: &Variables<'_>, findings: &Findings) -> Devices {
    let tables = table.tables("device");
    let mut raws: Vec<_> = tables.iter().map(|table| Raw::from_table(table, &file.folder)).collect();
    check_names(&raws, table.mistakes());
    check_lines(&raws, table.mistakes());
    let from_variables = raws.is_empty();
    if from_variables {
        raws.push(Raw::named(DEFAULT_NAME));
    }
    if let Some(first) = raws.first_mut() {
        first.override_with(variables);
        // A file that cannot be read may well name the device's address.
        first.address_is_wrong |= !file.is_sound;
    }
    let count = raws.len();
    let mut known = Known { own: OwnProfiles::read(table, &file.folder, findings), read: Vec::new() };
    let list: Vec<_> = raws.into_iter().filter_map(|raw| raw.finish(from_variables, &mut known, findings)).collect();
    Devices { complete: list.len() == count, list }
}

fn check_names(raws: &[Raw<'_>], mistakes: &Mistakes) {
    for (index, raw) in raws.iter().enumerate() {
        let key = format!("device[{index}].name");
        if let Some(mend) = level_mistake(&raw.name) {
            mistakes.add(Mistake::new(&key, &raw.name, mend));
        }
        if raws.iter().take(index).any(|earlier| earlier.name == raw.name) {
            mistakes.add(Mistake::new(key, &raw.name, "is the name of an earlier device; give each its own"));
        }
    }
}

/// A serial port is spoken on in one way.
fn check_lines(raws: &[Raw<'_>], mistakes: &Mistakes) {
    let port = |raw: &Raw<'_>| match &raw.address {
        Some(Address::Serial(serial)) => Some(serial.clone()),
        _ => None,
    };
    for (index, raw) in raws.iter().enumerate() {
        let Some(serial) = port(raw) else { continue };
        let mut earlier = raws.iter().take(index).filter_map(port);
        if let Some(earlier) = earlier.find(|earlier| earlier.path == serial.path && *earlier != serial) {
            let mend = format!("an earlier device says {}; write the same for both", Address::Serial(earlier));
            mistakes.add(Mistake::new(&raw.address_key, Address::Serial(serial), mend));
        }
    }
}

impl<'a> Raw<'a> {
    fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            address_key: String::new(),
            address_is_wrong: false,
            address: None,
            host: None,
            port: None,
            unit: None,
            profile: None,
            period: None,
            reading: None,
        }
    }

    fn from_table(table: &Table<'a>, folder: &Path) -> Self {
        let address = address::read(table);
        let profile = table.text("profile").map(|written| Sourced {
            key: table.key("profile"),
            value: Reference { written: written.into(), path: folder.join(written) },
            mistakes: table.mistakes(),
        });
        let raw = Self {
            address_key: table.key("address"),
            address_is_wrong: address.is_none() && table.value("address").is_some(),
            address,
            unit: table.integer("unit", 0..=255).map(UnitId),
            period: table.duration("period", SHORTEST_PERIOD..=LONGEST_PERIOD),
            profile,
            reading: Some(reading::Raw::read(table, folder)),
            ..Self::named(table.text("name").unwrap_or(DEFAULT_NAME))
        };
        table.finish();
        raw
    }

    fn override_with(&mut self, variables: &Variables<'a>) {
        if let Some(variable) = variables.get("INVERTER_IP") {
            match host_alone(variable.value.trim()) {
                Ok(host) => self.host = Some(host),
                Err(mend) => {
                    variable.wrong(&variable.value, mend);
                    self.address_is_wrong = true;
                }
            }
        }
        let port = variables
            .parsed("INVERTER_PORT", "write a whole number from 1 to 65535", |text| host_and_port::port(text).ok());
        self.port = port;
        let unit = variables.parsed("MODBUS_UNIT_ID", "write a whole number from 0 to 255", |text| text.parse().ok());
        self.unit = unit.map(UnitId).or(self.unit);
        let mend = "write the seconds between two readings, from 0.001 to 86400";
        self.period = variables.parsed("WATCHDOG_TIMEOUT", mend, seconds).or(self.period);
        if let (Some(variable), Some(path)) =
            (variables.get("DRIVER_PROFILE_PATH"), variables.path("DRIVER_PROFILE_PATH"))
        {
            let written = variable.value.trim().to_owned();
            self.profile = Some(variable.map(|_| Reference { written, path: path.value }));
        }
    }

    fn finish(self, from_variables: bool, known: &mut Known, findings: &Findings) -> Option<Device> {
        if self.address.is_none() && self.host.is_none() && !self.address_is_wrong {
            let (mistakes, key) = if from_variables {
                (&findings.environment, "INVERTER_IP")
            } else {
                (&findings.file, self.address_key.as_str())
            };
            let mend = if from_variables {
                "is missing; write the address of the inverter, or a [[device]] into bessai.toml"
            } else {
                "is missing; write \"tcp://host:502\""
            };
            mistakes.add(Mistake::bare(key, mend));
        }
        let profile = match self.profile {
            Some(reference) => known.find(&reference, findings)?,
            None => Arc::new(profile::built_in(profile::DEFAULT)?),
        };
        for mended in &profile.mended {
            findings.note(format!("profile {}: {mended}", profile.name));
        }
        let reading = match self.reading {
            Some(raw) => raw.finish(&profile),
            None => Reading::of(&profile),
        };
        let address = match (self.address, self.host) {
            (Some(address), host) => address.moved(host, self.port),
            (None, host) => Address::tcp(host?, self.port),
        };
        reading::check_files(&address, &reading, &self.address_key, &findings.file);
        let unit = self.unit.unwrap_or(profile.unit);
        if unit == UnitId(0) && address.is_rtu() {
            let mend = "on a serial line unit 0 means all of them, and none answers; write the device's own, 1 to 247";
            findings.file.add(Mistake::new(&self.address_key, &address, mend));
        }
        Some(Device {
            name: self.name,
            address,
            unit,
            unit_was_given: self.unit.is_some(),
            profile,
            period: self.period.unwrap_or(DEFAULT_PERIOD),
            reading,
        })
    }
}

/// `INVERTER_IP`, which is a host and nothing more.
fn host_alone(text: &str) -> Result<String, &'static str> {
    if host_and_port::is_host(text) {
        return Ok(text.into());
    }
    if text.contains("://") || host_and_port::split(text).is_ok() {
        return Err("write the host alone, such as 192.168.1.20; its port goes into INVERTER_PORT");
    }
    Err("write an IP address or a host name, such as 192.168.1.20")
}

fn seconds(text: &str) -> Option<Duration> {
    let period = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    (SHORTEST_PERIOD..=LONGEST_PERIOD).contains(&period).then_some(period)
}

/// Profiles read so far: a hundred devices of one model have one.
struct Known {
    own: OwnProfiles,
    read: Vec<(Reference, Arc<Profile>)>,
}

impl Known {
    fn find(&mut self, reference: &Sourced<'_, Reference>, findings: &Findings) -> Option<Arc<Profile>> {
        if let Some((_, profile)) = self.read.iter().find(|(known, _)| *known == reference.value) {
            return Some(Arc::clone(profile));
        }
        let profile = Arc::new(find_profile(reference, &self.own, findings)?);
        self.read.push((reference.value.clone(), Arc::clone(&profile)));
        Some(profile)
    }
}

/// A profile by its name or its file, as a command line names it; own ones are looked for in the working folder.
pub fn profile(written: &str) -> Result<Profile, Vec<Mistake>> {
    let findings = Findings::default();
    let value = Reference { written: written.into(), path: PathBuf::from(written) };
    let reference = Sourced { key: "--profile".into(), value, mistakes: &findings.environment };
    let profile = find_profile(&reference, &OwnProfiles::beside(Path::new("")), &findings);
    profile.ok_or_else(|| findings.finish().0)
}

/// By the name of an own one, by its built-in name, by its file, or by a file's name that means a built-in one.
fn find_profile(reference: &Sourced<'_, Reference>, own: &OwnProfiles, findings: &Findings) -> Option<Profile> {
    let Reference { written, path } = &reference.value;
    let own_path = own.find(written, findings);
    let path = own_path.unwrap_or(path);
    if own_path.is_none() && profile::built_in_names().any(|name| name == written) {
        return profile::built_in(written);
    }
    let error = match std::fs::read_to_string(path) {
        Ok(text) => return read_profile(path, &text, findings),
        Err(error) => error,
    };
    let is_missing = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
    if let Some(profile) = profile::built_in(written).filter(|_| is_missing) {
        let Profile { name, .. } = &profile;
        findings.note(format!("{} = {written}: no such file; the built-in profile `{name}` is used", reference.key));
        return Some(profile);
    }
    let looks_like_path = written.contains(['/', '\\', '.']);
    let mend = match nearest(written, own.names().into_iter()).filter(|_| !looks_like_path) {
        Some(name) => format!("is no profile; did you mean `{name}`?"),
        None => {
            let names = own.names().join(", ");
            format!("{} cannot be read: {error}; write a path or one of {names}", path.display())
        }
    };
    reference.wrong(written, mend);
    None
}

fn read_profile(path: &Path, text: &str, findings: &Findings) -> Option<Profile> {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    match profile::read(&part(path.file_stem()), &part(path.file_name()), text) {
        Ok(profile) => Some(profile),
        Err(mistakes) => {
            mistakes.into_iter().for_each(|mistake| findings.profiles.add(mistake));
            None
        }
    }
}
