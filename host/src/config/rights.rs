//! `[rights]`: what a feed may see and do.

use bessai_domain::settings::{Mistake, Table, unknown};

use super::address;

/// What a feed may see and do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// The devices that it sees; None: all.
    pub read: Option<Vec<String>>,
    /// Filters of the topics that it may publish under; None: any.
    pub topics: Option<Vec<String>>,
    /// Filters of the topics that it may subscribe to.
    pub subscribe: Vec<String>,
    /// Hosts that its sign-in may name.
    pub connect: Vec<String>,
    /// What it may ask to write, as `device/channel`.
    pub write: Vec<String>,
}

/// A device that rights may name.
pub(super) struct Nameable<'a> {
    pub(super) name: &'a str,
    /// Its channels, and whether they can be written; none where the device tells them when it is read.
    pub(super) channels: Option<Vec<(&'a str, bool)>>,
}

/// Reads them; every device, channel and filter that they name must be one, as far as the devices are
/// known.
pub(super) fn read(table: &Table<'_>, devices: Option<&[Nameable<'_>]>) -> Rights {
    let rights = Rights {
        read: table.texts("read"),
        topics: table.texts("topics"),
        subscribe: table.texts("subscribe").unwrap_or_default(),
        connect: table.texts("connect").unwrap_or_default(),
        write: table.texts("write").unwrap_or_default(),
    };
    table.finish();
    let check = |key: &str, entries: &[String], fault: &dyn Fn(&str) -> Option<String>| {
        for entry in entries {
            if let Some(mend) = fault(entry) {
                table.mistakes().add(Mistake::new(table.key(key), format!("\"{entry}\""), mend));
            }
        }
    };
    check("topics", rights.topics.as_deref().unwrap_or_default(), &filter_fault);
    check("subscribe", &rights.subscribe, &filter_fault);
    check("connect", &rights.connect, &host_fault);
    if let Some(devices) = devices {
        check("read", rights.read.as_deref().unwrap_or_default(), &|name| find(name, devices).err());
        check("write", &rights.write, &|entry| write_fault(entry, devices));
    }
    rights
}

/// A topic filter has `+` as a whole level, `#` as the last one (MQTT 5.0 §4.7.1).
fn filter_fault(filter: &str) -> Option<String> {
    let levels = filter.split('/').count();
    let is_level = |(index, level): (usize, &str)| match level {
        "+" => true,
        "#" => index + 1 == levels,
        level => !level.contains(['+', '#', '\0']),
    };
    let is_filter = !filter.is_empty() && filter.split('/').enumerate().all(is_level);
    (!is_filter).then(|| "is no topic filter; `+` stands for one whole level, `#` for all that follow".into())
}

fn host_fault(host: &str) -> Option<String> {
    (address::split(host).is_err()).then(|| "write a host's name, such as \"hub.example.com\"".into())
}

fn find<'a, 'b>(name: &str, devices: &'a [Nameable<'b>]) -> Result<&'a Nameable<'b>, String> {
    let found = devices.iter().find(|device| device.name == name);
    found.ok_or_else(|| format!("the device {}", unknown(name, devices.iter().map(|device| device.name))))
}

fn write_fault(entry: &str, devices: &[Nameable<'_>]) -> Option<String> {
    let Some((device, channel)) = entry.split_once('/') else { return Some("write \"device/channel\"".into()) };
    let device = match find(device, devices) {
        Ok(device) => device,
        Err(mend) => return Some(mend),
    };
    let channels = device.channels.as_ref()?;
    match channels.iter().find(|(name, _)| *name == channel) {
        None => Some(format!("the channel {}", unknown(channel, channels.iter().map(|(name, _)| *name)))),
        Some((_, false)) => Some("the profile lets this channel only be read".into()),
        Some((_, true)) => None,
    }
}
