//! `[[modbus_server]]`: the devices shown to other programs as a Modbus/TCP server.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use bessai_control::ControlSettings;
use bessai_domain::settings::{Mistake, SettingsTable, unknown_name_hint};
use bessai_modbus_server::{IpNet, ServerSettings};

use super::device::{DeviceConfig, Devices};
use super::findings::Findings;

/// Ages that `max_age` may allow.
const MAX_AGES: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
/// The hint for `listen`.
const LISTEN: &str = "write an IP address and a port, such as \"127.0.0.1:1502\"";

/// A Modbus server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ModbusServerConfig {
    /// Where it listens, and for whom.
    pub(crate) settings: ServerSettings,
    /// The names of the devices by the unit ids under which they are shown.
    pub(crate) units: BTreeMap<u8, String>,
    /// What its clients may write.
    pub(crate) write: ServerWrites,
    /// How old the registers of a reading may be; two periods of their source if none.
    pub(crate) max_age: Option<Duration>,
}

/// What the clients of a Modbus server may write.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum ServerWrites {
    /// Nothing.
    Nothing,
    /// Every point that its profile allows to write.
    EveryPoint,
    /// These points of them, as `device/point`.
    Points(Vec<String>),
}

/// Reads all servers.
pub(super) fn read(table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) -> Vec<ModbusServerConfig> {
    let mut servers: Vec<ModbusServerConfig> = Vec::new();
    for table in table.tables("modbus_server") {
        let server = read_server(&table, devices);
        table.report_unknown_keys();
        let Some(server) = server else { continue };
        if servers.iter().any(|other| other.settings.listen == server.settings.listen) {
            table
                .add_mistake("listen", "is the address of an earlier [[modbus_server]]; give each server its own port");
        }
        warn_if_open(&server, findings);
        servers.push(server);
    }
    servers
}

fn read_server(table: &SettingsTable<'_>, devices: &Devices) -> Option<ModbusServerConfig> {
    let listen = read_listen(table);
    let allow = read_allow(table);
    let units = read_units(table, devices);
    let write = read_writes(table, devices);
    let max_age = table.duration("max_age", MAX_AGES);
    Some(ModbusServerConfig { settings: ServerSettings { listen: listen?, allow }, units, write, max_age })
}

fn read_listen(table: &SettingsTable<'_>) -> Option<SocketAddr> {
    let Some(value) = table.value("listen") else {
        table.mistakes().add(Mistake::without_value(table.key("listen"), format!("is missing; {LISTEN}")));
        return None;
    };
    let parse = |text: &str| match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().ok()?))),
        None => text.parse().ok(),
    };
    let listen = value.as_str().and_then(parse).filter(|address| address.port() != 0);
    if listen.is_none() {
        table.add_mistake("listen", LISTEN);
    }
    listen
}

fn read_allow(table: &SettingsTable<'_>) -> Vec<IpNet> {
    let parse = |text: &String| text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<std::net::IpAddr>().ok()?)));
    let mut allow = Vec::new();
    for text in table.texts("allow").unwrap_or_default() {
        match parse(&text) {
            Some(network) => allow.push(network),
            None => {
                let hint = "write networks or addresses, such as \"192.168.1.0/24\" or \"192.168.1.10\"";
                table.mistakes().add(Mistake::new(table.key("allow"), format!("\"{text}\""), hint));
            }
        }
    }
    allow
}

/// The devices of the key, or all of them under their own unit ids.
fn read_units(table: &SettingsTable<'_>, devices: &Devices) -> BTreeMap<u8, String> {
    let mut units = BTreeMap::new();
    if table.value("devices").is_none() {
        for DeviceConfig { name, unit, .. } in &devices.list {
            if let Some(other) = units.insert(unit.0, name.clone()) {
                let hint = format!(
                    "is missing, and {other} and {name} both have unit id {}; write the unit ids under which they are \
                     shown, devices = {{ {other} = 1, {name} = 2 }}",
                    unit.0
                );
                table.mistakes().add(Mistake::without_value(table.key("devices"), hint));
            }
        }
        return units;
    }
    let unit = |_: &str, value: &toml::Value| value.as_integer().and_then(|unit| u8::try_from(unit).ok());
    let key = table.key("devices");
    for (name, unit) in table.named_entries("devices", unit, "write a unit id from 0 to 255") {
        let is_known = devices.list.iter().any(|device| device.name == name);
        if !is_known && devices.is_complete {
            let hint = unknown_name_hint(&name, devices.list.iter().map(|device| device.name.as_str()));
            table.mistakes().add(Mistake::without_value(format!("{key}.{name}"), hint));
        }
        if let Some(other) = units.insert(unit, name.clone()) {
            let hint = format!("is the unit id of {other}, too; give each device its own");
            table.mistakes().add(Mistake::new(format!("{key}.{name}"), unit, hint));
        }
    }
    units
}

fn read_writes(table: &SettingsTable<'_>, devices: &Devices) -> ServerWrites {
    let points = match table.value("write") {
        None => return ServerWrites::Nothing,
        Some(toml::Value::Boolean(may_write)) => {
            return if *may_write { ServerWrites::EveryPoint } else { ServerWrites::Nothing };
        }
        Some(toml::Value::Array(list)) => list.iter().map(|text| text.as_str().map(str::to_owned)).collect(),
        Some(_) => None,
    };
    let Some(points): Option<Vec<String>> = points else {
        table.add_mistake("write", "write true, false, or a list of points, such as [\"inverter/limit\"]");
        return ServerWrites::Nothing;
    };
    for point in &points {
        if let Some(hint) = invalid_point(point, devices) {
            table.mistakes().add(Mistake::new(table.key("write"), format!("\"{point}\""), hint));
        }
    }
    ServerWrites::Points(points)
}

/// Why a name is none of a writable point; none also where that is not known.
fn invalid_point(text: &str, devices: &Devices) -> Option<String> {
    let Some((device, name)) = text.split_once('/') else {
        return Some("write the device and the point, such as \"inverter/limit\"".into());
    };
    let Some(device) = devices.list.iter().find(|known| known.name == device) else {
        let hint = || unknown_name_hint(device, devices.list.iter().map(|device| device.name.as_str()));
        return devices.is_complete.then(hint);
    };
    if device.profile.is_discovered {
        return None;
    }
    match device.profile.points.iter().find(|point| point.name == name) {
        None => Some(unknown_name_hint(name, device.profile.points.iter().map(|point| point.name.as_str()))),
        Some(point) if !point.is_writable() => {
            Some("cannot be written: its profile does not allow it; remove it".into())
        }
        Some(_) => None,
    }
}

/// Warns of points that clients may write by the settings, and that control writes itself.
pub(super) fn check_control(servers: &[ModbusServerConfig], control: &ControlSettings, findings: &Findings) {
    let listed = servers.iter().flat_map(|server| match &server.write {
        ServerWrites::Points(points) => points.as_slice(),
        ServerWrites::Nothing | ServerWrites::EveryPoint => &[],
    });
    for text in listed {
        let Some((device, point)) = text.split_once('/') else { continue };
        let Some(controlled) = control.devices.get(device) else { continue };
        if let Some(reason) = bessai_control::reserved_by_profile(device, &controlled.profile, point) {
            findings.warn(format!("modbus_server.write lists {text}, which clients cannot write: it {reason}"));
        }
    }
}

/// Modbus has no passwords: anyone who can reach the port can use it.
fn warn_if_open(server: &ModbusServerConfig, findings: &Findings) {
    let ServerSettings { listen, allow } = &server.settings;
    if listen.ip().is_loopback() || !allow.is_empty() {
        return;
    }
    let may = if server.write == ServerWrites::Nothing { "read" } else { "read and write" };
    findings.warn(format!(
        "[[modbus_server]] on {listen}: every machine that reaches this address may {may} the devices; list the clients, \
         allow = [\"192.168.1.0/24\"], or listen on 127.0.0.1"
    ));
}
