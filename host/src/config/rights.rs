//! `[rights]`: what a feed's plugin may see and do.

use bessai_domain::settings::{Mistake, SettingsTable, unknown_name_hint};

use super::host_port;

/// What a feed's plugin may see and do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rights {
    /// The devices whose events it sees; none means all devices.
    pub(crate) read: Option<Vec<String>>,
    /// Filters of the topics under which it may publish; none means any topic.
    pub(crate) topics: Option<Vec<String>>,
    /// Filters of the topics that it may subscribe to.
    pub(crate) subscribe: Vec<String>,
    /// The hosts that its login may name instead of the configured broker.
    pub(crate) connect: Vec<String>,
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
    let rights = Rights {
        read: table.texts("read"),
        topics: table.texts("topics"),
        subscribe: table.texts("subscribe").unwrap_or_default(),
        connect: table.texts("connect").unwrap_or_default(),
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
    check("connect", &rights.connect, &invalid_host);
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
        level => !level.contains(['+', '#', '\0']),
    };
    let is_filter = !filter.is_empty() && filter.split('/').enumerate().all(is_level);
    (!is_filter).then(|| {
        "is not a topic filter; write `+` for one whole level, `#` as the last level for all levels that follow".into()
    })
}

fn invalid_host(host: &str) -> Option<String> {
    host_port::split(host).is_err().then(|| "write a host name, such as \"hub.example.com\"".into())
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
