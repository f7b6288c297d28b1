//! `[[device]]`, and the variables that override the first one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::address::{Address, Scheme};
use bessai_domain::profile::{self, Profile};
use bessai_domain::register::UnitId;
use bessai_domain::settings::{Mistake, Mistakes, SettingsTable};
use bessai_tls::{Identity, KeySource};

use super::device::period::{DEFAULT_PERIOD, PERIODS};
use super::device::read_settings::PartialReadSettings;
use super::device::{DeviceConfig, Devices, ReadSettings, address};
use super::environment::Variables;
use super::findings::{Findings, Sourced};
use super::host_port;
use super::profile_lookup::{ProfileCache, ProfileReference};
use super::profiles::SiteProfiles;
use super::secret::warn_if_exposed;
use super::toml_file::ConfigFile;
use super::topic_level::invalid_level;

/// The name of a device that has none.
const DEFAULT_NAME: &str = "battery";

/// The settings of a device before the profile and defaults complete them.
struct PartialDevice<'a> {
    name: String,
    address_key: String,
    is_address_invalid: bool,
    address: Option<Address>,
    host: Option<String>,
    port: Option<u16>,
    unit: Option<UnitId>,
    profile: Option<Sourced<'a, ProfileReference>>,
    period: Option<Duration>,
    reading: Option<PartialReadSettings<'a>>,
}

/// Reads all devices of the file, the first one overridden by variables; without any, the device of the variables.
pub(super) fn read(
    table: &SettingsTable<'_>,
    file: &ConfigFile,
    variables: &Variables<'_>,
    findings: &Findings,
) -> Devices {
    let tables = table.tables("device");
    let mut devices: Vec<_> = tables.iter().map(|table| PartialDevice::from_table(table, &file.folder)).collect();
    check_names(&devices, table.mistakes());
    check_serial_ports(&devices, table.mistakes());
    let is_from_variables = devices.is_empty();
    if is_from_variables {
        devices.push(PartialDevice::named(DEFAULT_NAME));
    }
    if let Some(first) = devices.first_mut() {
        first.override_with(variables);
        // A file that cannot be read may contain the address: do not report it as missing.
        first.is_address_invalid |= !file.is_readable || !variables.are_complete();
    }
    let count = devices.len();
    let mut profiles = ProfileCache::new(SiteProfiles::read(table, &file.folder, findings));
    let devices = devices.into_iter();
    let not_found = variables.files_not_found(file);
    let finish = |device: PartialDevice<'_>| device.finish(is_from_variables, &not_found, &mut profiles, findings);
    let list: Vec<_> = devices.filter_map(finish).collect();
    Devices { is_complete: list.len() == count, list }
}

fn check_names(devices: &[PartialDevice<'_>], mistakes: &Mistakes) {
    for (index, device) in devices.iter().enumerate() {
        let key = format!("device[{index}].name");
        if let Some(hint) = invalid_level(&device.name) {
            mistakes.add(Mistake::new(&key, &device.name, hint));
        }
        if devices.iter().take(index).any(|earlier| earlier.name == device.name) {
            let hint = "is the name of an earlier device; give each device a unique name";
            mistakes.add(Mistake::new(key, &device.name, hint));
        }
    }
}

/// A serial port can be opened with one set of options only.
fn check_serial_ports(devices: &[PartialDevice<'_>], mistakes: &Mistakes) {
    let port = |device: &PartialDevice<'_>| match &device.address {
        Some(Address::Serial(serial)) => Some(serial.clone()),
        _ => None,
    };
    for (index, device) in devices.iter().enumerate() {
        let Some(serial) = port(device) else { continue };
        let mut earlier = devices.iter().take(index).filter_map(port);
        if let Some(earlier) = earlier.find(|earlier| earlier.path == serial.path && *earlier != serial) {
            let hint = format!("an earlier device has {}; write the same options for both", Address::Serial(earlier));
            mistakes.add(Mistake::new(&device.address_key, Address::Serial(serial), hint));
        }
    }
}

impl<'a> PartialDevice<'a> {
    fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            address_key: String::new(),
            is_address_invalid: false,
            address: None,
            host: None,
            port: None,
            unit: None,
            profile: None,
            period: None,
            reading: None,
        }
    }

    fn from_table(table: &SettingsTable<'a>, folder: &Path) -> Self {
        let address = address::read(table);
        let profile = table.text("profile").map(|name_or_path| Sourced {
            key: table.key("profile"),
            value: ProfileReference { name_or_path: name_or_path.into(), path: folder.join(name_or_path) },
            mistakes: table.mistakes(),
        });
        let device = Self {
            address_key: table.key("address"),
            is_address_invalid: address.is_none() && table.value("address").is_some(),
            address,
            unit: table.integer("unit", 0..=255).map(UnitId),
            period: table.duration("period", PERIODS),
            profile,
            reading: Some(PartialReadSettings::read(table, folder)),
            ..Self::named(table.text("name").unwrap_or(DEFAULT_NAME))
        };
        table.report_unknown_keys();
        device
    }

    fn override_with(&mut self, variables: &Variables<'a>) {
        if let Some(variable) = variables.get("INVERTER_IP") {
            match parse_host(variable.value.trim()) {
                Ok(host) => self.host = Some(host),
                Err(hint) => {
                    variable.reject(&variable.value, hint);
                    self.is_address_invalid = true;
                }
            }
        }
        let hint = "write a whole number from 1 to 65535";
        self.port = variables.parsed("INVERTER_PORT", hint, |text| host_port::port(text).ok());
        let unit = variables.parsed("MODBUS_UNIT_ID", "write a whole number from 0 to 255", |text| text.parse().ok());
        self.unit = unit.map(UnitId).or(self.unit);
        let hint = "write the seconds between two readings, from 0.0001 to 86400";
        self.period = variables.parsed("WATCHDOG_TIMEOUT", hint, parse_seconds).or(self.period);
        if let (Some(variable), Some(path)) =
            (variables.get("DRIVER_PROFILE_PATH"), variables.path("DRIVER_PROFILE_PATH"))
        {
            let name_or_path = variable.value.trim().to_owned();
            self.profile = Some(variable.map(|_| ProfileReference { name_or_path, path: path.value }));
        }
    }

    fn finish(
        self,
        is_from_variables: bool,
        not_found: &str,
        profiles: &mut ProfileCache,
        findings: &Findings,
    ) -> Option<DeviceConfig> {
        if self.address.is_none() && self.host.is_none() && !self.is_address_invalid {
            report_missing_address(is_from_variables, &self.address_key, not_found, findings);
        }
        let profile = match self.profile {
            Some(reference) => profiles.find(&reference, findings)?,
            None => Arc::new(profile::built_in(profile::DEFAULT)?),
        };
        for correction in &profile.corrections {
            findings.note(format!("profile {}: {correction}", profile.name));
        }
        let reading = match self.reading {
            Some(reading) => reading.finish(&profile),
            None => ReadSettings::of(&profile),
        };
        let profile = with_sunspec_base(profile, reading.sunspec_base);
        let address = match (self.address, self.host) {
            (Some(address), host) => address::with_host_and_port(address, host, self.port),
            (None, host) => address::tcp(host?, self.port),
        };
        if let Some(Identity { key: KeySource::File(key), .. }) = &reading.tls.identity {
            warn_if_exposed(&format!("device {}: key", self.name), key, findings);
        }
        check_scheme(&address, &reading, &self.address_key, &findings.file);
        if reading.local_echo && !address.is_rtu() {
            let hint = "local_echo applies only to rtu:// and rtu+tcp:// addresses; remove it";
            findings.file.add(Mistake::new(&self.address_key, &address, hint));
        }
        let unit = self.unit.unwrap_or(profile.unit);
        if unit == UnitId(0) && address.is_rtu() {
            let hint = "unit 0 is the broadcast address on a serial bus, and no device responds to it; write the \
                        device's own unit id, 1 to 247";
            findings.file.add(Mistake::new(&self.address_key, &address, hint));
        }
        Some(DeviceConfig {
            name: self.name,
            address,
            unit,
            unit_is_configured: self.unit.is_some(),
            profile,
            period: self.period.unwrap_or(DEFAULT_PERIOD),
            reading,
        })
    }
}

/// The profile of a SunSpec device whose models begin at this register.
fn with_sunspec_base(profile: Arc<Profile>, base: Option<u16>) -> Arc<Profile> {
    if base.is_none() {
        return profile;
    }
    let mut profile = Arc::unwrap_or_clone(profile);
    profile.sunspec_base = base;
    Arc::new(profile)
}

fn report_missing_address(is_from_variables: bool, address_key: &str, not_found: &str, findings: &Findings) {
    if is_from_variables {
        let hint =
            format!("is missing; write the address of the inverter, or add a [[device]] to bessai.toml{not_found}");
        findings.environment.add(Mistake::without_value("INVERTER_IP", hint));
    } else {
        findings.file.add(Mistake::without_value(address_key, "is missing; write \"tcp://host:502\""));
    }
}

/// Checks that certificates are configured for a `tls://` address only.
fn check_scheme(address: &Address, reading: &ReadSettings, address_key: &str, mistakes: &Mistakes) {
    let tls = &reading.tls;
    let has_certificates = tls.ca.is_some() || tls.identity.is_some() || reading.server_name.is_some();
    if has_certificates && !matches!(address, Address::Network(Scheme::Tls, ..)) {
        let hint = "certificates apply only to tls:// addresses; write tls://host:802, or remove ca, cert, key and \
                    server_name";
        mistakes.add(Mistake::new(address_key, address, hint));
    }
}

/// Parses `INVERTER_IP`, which is a host without a port.
fn parse_host(text: &str) -> Result<String, &'static str> {
    if host_port::is_host(text) {
        return Ok(text.into());
    }
    if text.contains("://") || host_port::split(text).is_ok() {
        return Err("write only the host, such as 192.168.1.20, and its port in INVERTER_PORT");
    }
    Err("write an IP address or a host name, such as 192.168.1.20")
}

fn parse_seconds(text: &str) -> Option<Duration> {
    let period = Duration::try_from_secs_f64(text.parse().ok()?).ok()?;
    PERIODS.contains(&period).then_some(period)
}
