//! `[control]`: which devices set-points are written to, and how far. Without it nothing is written.

mod consistency;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use bessai_control::{Contact, ControlSettings, ControlledDevice};
use bessai_domain::profile::Profile;
use bessai_domain::settings::{Mistake, SettingsTable, most_similar, unknown_name_hint};

use super::device::Devices;
use super::feed_scan::FeedScan;
use super::findings::Findings;
use super::topic_level::invalid_level;

/// `longest_lease`: the times that can be configured. A set-point of a holder that is gone must end within a day.
const LONGEST_LEASES: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
/// An input of a contact that was not read for this long counts as active.
pub(crate) const CONTACT_KNOWN_FOR: Duration = Duration::from_secs(15);
/// Who comes before all feeds, as events name it.
const OPERATOR: &str = "operator";
/// `writes_per_day`: more would wear out any flash.
const WRITES_PER_DAY: RangeInclusive<u32> = 0..=10_000;

/// The settings of control; none if it is off.
pub(super) fn read(table: &SettingsTable<'_>, devices: &Devices, findings: &Findings) -> Option<ControlSettings> {
    let table = table.table("control")?;
    let is_enabled = table.boolean("enabled").unwrap_or(false);
    let defaults = ControlSettings::default();
    let settings = ControlSettings {
        priority: table.texts("priority").unwrap_or_default(),
        longest_lease: table.duration("longest_lease", LONGEST_LEASES).unwrap_or(defaults.longest_lease),
        devices: read_devices(&table, devices),
        contacts: read_contacts(&table, devices),
    };
    check_contacts(&table, &settings, devices);
    check_longest_lease(&table, &settings);
    check_names(&table, is_enabled);
    consistency::check(&table, &settings, devices, findings);
    table.report_unknown_keys();
    is_enabled.then_some(settings)
}

/// Whether devices are named, and none twice.
fn check_names(table: &SettingsTable<'_>, is_enabled: bool) {
    let devices = table.value("devices");
    let names_none = match devices {
        Some(toml::Value::Array(names)) => names.is_empty(),
        Some(toml::Value::Table(entries)) => entries.is_empty(),
        _ => false,
    };
    if is_enabled && devices.is_none() {
        let hint = "is missing; name each device that may be written to, such as devices = [\"battery\"]";
        table.mistakes().add(Mistake::without_value(table.key("devices"), hint));
    } else if is_enabled && names_none {
        let hint =
            "names no device, so that nothing can be written; name each one that may be, or write enabled = false";
        table.add_mistake("devices", hint);
    }
    for key in ["devices", "priority"] {
        let names =
            table.value(key).and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str);
        let mut seen = BTreeSet::new();
        if let Some(name) = names.into_iter().find(|name| !seen.insert(*name)) {
            table.add_mistake(key, format!("names {name} twice; name it once"));
        }
    }
}

/// Finds what `priority` names that is no feed. Feeds may come and go while the gateway runs, so that an unknown one is a warning;
/// what can never be a feed is a mistake.
pub(super) fn check_priority(settings: &ControlSettings, scan: &FeedScan, findings: &Findings) {
    let add_mistake = |hint: String| {
        findings.file.add(Mistake::new("control.priority", format!("{:?}", settings.priority), hint));
    };
    let unknown = settings.priority.iter().filter(|name| scan.is_readable && !scan.names.contains(*name));
    for name in unknown {
        if name == OPERATOR {
            add_mistake("the operator comes before all feeds; remove the name".into());
        } else if let Some(reason) = invalid_level(name) {
            let meant = name.strip_prefix("feed/").filter(|meant| scan.names.contains(*meant));
            add_mistake(match meant {
                Some(meant) => format!("{name} is no name of a feed; write {meant}"),
                None => format!("{name} is no name of a feed: it {reason}"),
            });
        } else {
            let hint = match most_similar(name, scan.names.iter().map(String::as_str)) {
                Some(nearest) => format!("did you mean `{nearest}`?"),
                None => format!("add {name}.toml to the plugins folder, or remove the name"),
            };
            findings.warn(format!("control.priority names the feed {name}, which does not exist; {hint}"));
        }
    }
}

fn read_devices(table: &SettingsTable<'_>, devices: &Devices) -> BTreeMap<String, ControlledDevice> {
    let mut controlled = BTreeMap::new();
    if table.value("devices").is_some_and(toml::Value::is_array) {
        for name in table.texts("devices").unwrap_or_default() {
            match find(&name, devices) {
                Some(profile) => drop(controlled.insert(name, ControlledDevice::new(profile))),
                None if devices.is_complete => {
                    let hint = unknown_name_hint(&name, devices.list.iter().map(|device| device.name.as_str()));
                    table.add_mistake("devices", format!("the device {name} {hint}"));
                }
                None => {}
            }
        }
        return controlled;
    }
    let Some(section) = table.table("devices") else { return controlled };
    for (name, entry) in section.entries() {
        let Some(entry) = entry else {
            section.add_mistake(name, "write a table, such as { max_charge_kw = 5 } or {}");
            continue;
        };
        let profile = find(name, devices);
        if profile.is_none() && devices.is_complete {
            let hint = unknown_name_hint(name, devices.list.iter().map(|device| device.name.as_str()));
            table.mistakes().add(Mistake::without_value(section.key(name), hint));
        }
        let settings = read_device(&entry);
        if let Some(profile) = profile {
            controlled.insert(name.to_owned(), ControlledDevice { profile, ..settings });
        }
    }
    controlled
}

fn read_contacts(table: &SettingsTable<'_>, devices: &Devices) -> Vec<Contact> {
    let contacts = table.tables("contact").into_iter();
    contacts.filter_map(|contact| read_contact(&contact, devices)).collect()
}

/// A contact limits a controlled device only.
fn check_contacts(table: &SettingsTable<'_>, settings: &ControlSettings, devices: &Devices) {
    for contact in settings.contacts.iter().filter(|contact| find(&contact.device, devices).is_some()) {
        if !settings.devices.contains_key(&contact.device) {
            let hint = format!("names {}, which [control] devices does not; add it there", contact.device);
            table.mistakes().add(Mistake::without_value(format!("{}.device", table.key("contact")), hint));
        }
    }
}

/// The limits of a contact are renewed with each verdict, every 5 s at least.
fn check_longest_lease(table: &SettingsTable<'_>, settings: &ControlSettings) {
    if !settings.contacts.is_empty() && settings.longest_lease < CONTACT_KNOWN_FOR {
        let hint =
            format!("the limits of contacts would end before they are renewed; write {CONTACT_KNOWN_FOR:?} or more");
        table.add_mistake("longest_lease", hint);
    }
}

fn read_contact(table: &SettingsTable<'_>, devices: &Devices) -> Option<Contact> {
    let names = || devices.list.iter().map(|device| device.name.as_str());
    let text = |key: &'static str| {
        if table.value(key).is_none() {
            table.mistakes().add(Mistake::without_value(table.key(key), "is missing"));
        }
        table.text(key).map(str::to_owned)
    };
    let (input, device) = (text("input"), text("device"));
    let is_inverted = table.boolean("inverted").unwrap_or(false);
    let number = |key: &'static str| {
        let limit = table.number(key)?;
        if limit < 0.0 {
            table.add_mistake(key, "write a power in kW, 0 or more");
        }
        Some((key, limit))
    };
    let limits: Vec<_> = [number("charge_limit_kw"), number("discharge_limit_kw")].into_iter().flatten().collect();
    if limits.is_empty() {
        table.mistakes().add(Mistake::without_value(
            table.key("charge_limit_kw"),
            "is missing; write it, discharge_limit_kw or both",
        ));
    }
    if let Some(name) = device.as_deref().filter(|name| devices.is_complete && find(name, devices).is_none()) {
        table.add_mistake("device", unknown_name_hint(name, names()));
    }
    let input = input.and_then(|input| match input.split_once('/') {
        Some((of, channel)) => Some((of.to_owned(), channel.to_owned())),
        None => {
            table.add_mistake("input", "write \"device/channel\"");
            None
        }
    });
    if let Some((of, channel)) = input.as_ref().filter(|_| devices.is_complete) {
        match find(of, devices) {
            None => table.add_mistake("input", format!("the device {}", unknown_name_hint(of, names()))),
            Some(profile) if !profile.is_discovered && !profile.readable().any(|point| point.channel == *channel) => {
                let channels = profile.readable().map(|point| point.channel.as_str());
                table.add_mistake("input", format!("the channel {}", unknown_name_hint(channel, channels)));
            }
            Some(_) => {}
        }
    }
    table.report_unknown_keys();
    Some(Contact { input: input?, is_inverted, device: device?, limits })
}

/// The profile of a device.
fn find(name: &str, devices: &Devices) -> Option<Arc<Profile>> {
    devices.list.iter().find(|device| device.name == name).map(|device| Arc::clone(&device.profile))
}

fn read_device(table: &SettingsTable<'_>) -> ControlledDevice {
    let defaults = ControlledDevice::new(Arc::new(bessai_domain::profile::Profile::new("")));
    let device = ControlledDevice {
        max_charge_kw: table.number("max_charge_kw"),
        max_discharge_kw: table.number("max_discharge_kw"),
        charge_limit_fallback_kw: table.number("charge_limit_fallback_kw"),
        discharge_limit_fallback_kw: table.number("discharge_limit_fallback_kw"),
        writes_per_day: table.integer("writes_per_day", WRITES_PER_DAY).unwrap_or(defaults.writes_per_day),
        ..defaults
    };
    let powers = [
        ("max_charge_kw", device.max_charge_kw),
        ("max_discharge_kw", device.max_discharge_kw),
        ("charge_limit_fallback_kw", device.charge_limit_fallback_kw),
        ("discharge_limit_fallback_kw", device.discharge_limit_fallback_kw),
    ];
    for (key, _) in powers.into_iter().filter(|(_, power)| power.is_some_and(|power| power < 0.0)) {
        table.add_mistake(key, "write a power in kW, 0 or more");
    }
    table.report_unknown_keys();
    device
}
