//! `[rights]`: what a feed may see and do.

use bessai_domain::settings::{Mistake, Table, unknown};

use super::address;
use super::device::{Device, Devices};

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

/// Reads them; every device, channel and filter that they name must be one.
pub(super) fn read(table: &Table<'_>, devices: &Devices) -> Rights {
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
    if devices.complete {
        check("read", rights.read.as_deref().unwrap_or_default(), &|name| find(name, &devices.list).err());
        check("write", &rights.write, &|entry| write_fault(entry, &devices.list));
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

fn find<'a>(name: &str, devices: &'a [Device]) -> Result<&'a Device, String> {
    let found = devices.iter().find(|device| device.name == name);
    found.ok_or_else(|| format!("the device {}", unknown(name, devices.iter().map(|device| device.name.as_str()))))
}

fn write_fault(entry: &str, devices: &[Device]) -> Option<String> {
    let Some((device, channel)) = entry.split_once('/') else { return Some("write \"device/channel\"".into()) };
    let device = match find(device, devices) {
        Ok(device) => device,
        Err(mend) => return Some(mend),
    };
    let points = &device.profile.points;
    match points.iter().find(|point| point.channel == channel) {
        None => Some(format!("the channel {}", unknown(channel, points.iter().map(|point| point.channel.as_str())))),
        Some(point) if !point.to_channel().writable => Some("the profile lets this channel only be read".into()),
        Some(_) => None,
    }
}
