//! `[rights]`: what a feed's plugin may see and do.

use std::net::Ipv4Addr;

use bessai_domain::session::EndpointRight;
use bessai_domain::settings::{Mistake, SettingsTable, unknown_name_hint};
use bessai_domain::topic;

use super::host_port;

/// The most characters of a host name and of one of its labels (RFC 1035 §2.3.4).
const HOST_CHARACTERS: (usize, usize) = (253, 63);

/// What a feed's plugin may see and do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The devices whose events it sees; none means all devices.
    pub(crate) read: Option<Vec<String>>,
    /// Filters of the topics under which it may publish; none means any topic.
    pub(crate) topics: Option<Vec<String>>,
    /// Filters of the topics that it may subscribe to.
    pub(crate) subscribe: Vec<String>,
    /// The brokers that its login may name instead of the configured one.
    pub(crate) connect: Vec<EndpointRight>,
    /// The channels that it may propose to write, as `device/channel`.
    pub(crate) write: Vec<String>,
}

/// A device that rights may name.
pub(super) struct KnownDevice<'a> {
    pub(super) name: &'a str,
    /// Its channels, each with whether it is writable; none if they are known only once the device was read.
    pub(super) channels: Option<Vec<(&'a str, bool)>>,
}

/// Reads the section and checks the names in it; those of devices and channels only if `devices` are known.
pub(super) fn read(table: &SettingsTable<'_>, devices: Option<&[KnownDevice<'_>]>) -> Rights {
    let connect = table.texts("connect").unwrap_or_default();
    let mut rights = Rights {
        read: table.texts("read"),
        topics: table.texts("topics"),
        subscribe: table.texts("subscribe").unwrap_or_default(),
        connect: Vec::new(),
        write: table.texts("write").unwrap_or_default(),
    };
    table.report_unknown_keys();
    let check = |key: &str, entries: &[String], invalid: &dyn Fn(&str) -> Option<String>| {
        for entry in entries {
            if let Some(hint) = invalid(entry) {
                table.mistakes().add(Mistake::new(table.key(key), format!("\"{entry}\""), hint));
            }
        }
    };
    check("topics", rights.topics.as_deref().unwrap_or_default(), &invalid_filter);
    check("subscribe", &rights.subscribe, &invalid_filter);
    check("connect", &connect, &|entry| connect_right(entry).err());
    rights.connect = connect.iter().filter_map(|entry| connect_right(entry).ok()).collect();
    if let Some(devices) = devices {
        check("read", rights.read.as_deref().unwrap_or_default(), &|name| find(name, devices).err());
        check("write", &rights.write, &|entry| invalid_write(entry, devices));
    }
    rights
}

/// In a topic filter `+` is a whole level and `#` the last one (MQTT 5.0 §4.7.1).
fn invalid_filter(filter: &str) -> Option<String> {
    let levels = filter.split('/').count();
    let is_level = |(index, level): (usize, &str)| match level {
        "+" => true,
        "#" => index + 1 == levels,
        level => !level.contains(['+', '#']),
    };
    let is_filter = !filter.is_empty() && filter.split('/').enumerate().all(is_level);
    if !is_filter {
        let hint =
            "is not a topic filter; write `+` for one whole level, `#` as the last level for all levels that follow";
        return Some(hint.into());
    }
    // No topic with such characters, or as long, is ever published.
    let without_wildcards = filter.replace(['+', '#'], "x");
    topic::check(&without_wildcards).err().map(|error| format!("can never match: {error}"))
}

/// Reads `host` or `host:port`. The error says why nothing can ever match.
fn connect_right(entry: &str) -> Result<EndpointRight, String> {
    /// The forms that can match.
    const FORMS: &str = "write a host, such as \"hub.example.com\", or a host and a port, such as \
                         \"hub.example.com:8883\"";
    if entry.contains("://") {
        return Err(format!("is a URL, which a host never equals; {FORMS}"));
    }
    if entry.contains(['*', '+', '#', '?']) {
        return Err(format!("has a wildcard, which is not supported here; {FORMS}"));
    }
    // An IPv6 address may be written without brackets if it has no port.
    let split = match host_port::is_host(entry) {
        true => Ok((entry.to_owned(), None)),
        false => host_port::split(entry),
    };
    let (host, port) = split.map_err(|error| format!("{error}; {FORMS}"))?;
    match invalid_name(&host) {
        Some(reason) => Err(format!("{reason}, so no host has this name; {FORMS}")),
        None => Ok(EndpointRight { host, port }),
    }
}

/// Why no host can have this name. One whose last label is a number is an IPv4 address or nothing.
fn invalid_name(host: &str) -> Option<String> {
    let (host_length, label_length) = HOST_CHARACTERS;
    if host.contains(':') {
        return None;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_number = |label: &str| !label.is_empty() && label.chars().all(|c| c.is_ascii_digit());
    if name.len() > host_length || name.split('.').any(|label| label.len() > label_length) {
        return Some(format!("is longer than {host_length} characters, or {label_length} between two dots"));
    }
    if name.split('.').any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-')) {
        return Some("has nothing between two dots, or a `-` beside one".into());
    }
    let ends_in_number = name.rsplit('.').next().is_some_and(is_number);
    (ends_in_number && name.parse::<Ipv4Addr>().is_err()).then(|| "ends in a number but is no IPv4 address".into())
}

fn find<'a, 'b>(name: &str, devices: &'a [KnownDevice<'b>]) -> Result<&'a KnownDevice<'b>, String> {
    let found = devices.iter().find(|device| device.name == name);
    found.ok_or_else(|| format!("the device {}", unknown_name_hint(name, devices.iter().map(|device| device.name))))
}

fn invalid_write(entry: &str, devices: &[KnownDevice<'_>]) -> Option<String> {
    let Some((device, channel)) = entry.split_once('/') else { return Some("write \"device/channel\"".into()) };
    let device = match find(device, devices) {
        Ok(device) => device,
        Err(hint) => return Some(hint),
    };
    let channels = device.channels.as_ref()?;
    match channels.iter().find(|(name, _)| *name == channel) {
        None => Some(format!("the channel {}", unknown_name_hint(channel, channels.iter().map(|(name, _)| *name)))),
        Some((_, false)) => Some("the device's profile makes this channel read-only; remove it".into()),
        Some((_, true)) => None,
    }
}
