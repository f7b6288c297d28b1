//! Settings of `[control]` that contradict each other or the device's profile, or can have no effect.

use bessai_control::{Contact, ControlSettings, ControlledDevice};
use bessai_domain::settings::{Mistake, SettingsTable};

use super::CONTACT_KNOWN_FOR;
use crate::config::device::{DeviceConfig, Devices};
use crate::config::findings::Findings;

/// Adds a mistake for what can never work, and a warning for what has no effect but may be meant.
pub(super) fn check(table: &SettingsTable<'_>, settings: &ControlSettings, devices: &Devices, findings: &Findings) {
    for (name, device) in &settings.devices {
        let path = format!("{}.{name}", table.key("devices"));
        check_writable(&path, device, table);
        check_modes(&path, device, table);
        warn_of_limits(&path, device, findings);
    }
    for (index, contact) in settings.contacts.iter().enumerate() {
        check_contact(&format!("{}[{index}]", table.key("contact")), contact, settings, devices, table, findings);
    }
}

/// A device without anything that may be written cannot be controlled.
fn check_writable(path: &str, device: &ControlledDevice, table: &SettingsTable<'_>) {
    let profile = &device.profile;
    let is_writable = profile.points.iter().any(|point| point.is_writable() && !point.dangerous);
    if profile.set_point.is_none() && !profile.is_discovered && !is_writable {
        let hint = format!("its profile {} has nothing that may be written; remove it", profile.name);
        table.mistakes().add(Mistake::without_value(path, hint));
    }
}

/// A device that only takes a mode has one power in that direction, which a lower limit forbids; 0 forbids it on purpose.
fn check_modes(path: &str, device: &ControlledDevice, table: &SettingsTable<'_>) {
    let Some(recipe) = device.profile.set_point.as_ref().and_then(|set_point| set_point.recipe.as_ref()) else {
        return;
    };
    let directions = [
        ("max_charge_kw", device.max_charge_kw, "charges", recipe.charge_kw),
        ("max_discharge_kw", device.max_discharge_kw, "discharges", recipe.discharge_kw),
    ];
    for (key, limit, verb, power) in directions {
        let (Some(limit), Some(power)) = (limit, power) else { continue };
        if limit > 0.0 && limit < power {
            let hint =
                format!("the device {verb} with {power} kW or not at all; write {power} or more, or 0 to forbid it");
            table.mistakes().add(Mistake::new(format!("{path}.{key}"), limit, hint));
        }
    }
}

/// Powers that nothing reaches.
fn warn_of_limits(path: &str, device: &ControlledDevice, findings: &Findings) {
    let directions = [
        ("charge", device.max_charge_kw, device.charge_limit_fallback_kw),
        ("discharge", device.max_discharge_kw, device.discharge_limit_fallback_kw),
    ];
    for (direction, most, fallback) in directions {
        let Some(most) = most else { continue };
        if let Some(greatest) = device.profile_kw().filter(|greatest| most > *greatest) {
            findings.warn(format!(
                "{path}.max_{direction}_kw = {most} is more than the {greatest} kW that the device's registers take; lower it"
            ));
        }
        if let Some(fallback) = fallback.filter(|fallback| *fallback >= most) {
            findings.warn(format!(
                "{path}.{direction}_limit_fallback_kw = {fallback} limits nothing: max_{direction}_kw = {most}; lower it"
            ));
        }
    }
}

/// An input that is read too seldom counts as active between its readings, and a text is never active or inactive.
fn check_contact(
    path: &str,
    contact: &Contact,
    settings: &ControlSettings,
    devices: &Devices,
    table: &SettingsTable<'_>,
    findings: &Findings,
) {
    let (of, channel) = &contact.input;
    let input = devices.list.iter().find(|device| device.name == *of);
    let mistake =
        |hint: String| table.mistakes().add(Mistake::new(format!("{path}.input"), format!("{of}/{channel}"), hint));
    if let Some(period) =
        input.and_then(|device| device.period_of(channel)).filter(|period| *period >= CONTACT_KNOWN_FOR)
    {
        mistake(format!(
            "{of} reads it every {period:?}, and it counts as active when it has not been read for {CONTACT_KNOWN_FOR:?}; read \
             it more often"
        ));
    }
    let is_text = |device: &DeviceConfig| {
        device.profile.readable().any(|point| point.channel == *channel && point.layout.format.is_text())
    };
    if input.is_some_and(is_text) {
        mistake("it is a text, so that it is always active; write the channel of a digital input".into());
    }
    let Some(device) = settings.devices.get(&contact.device) else { return };
    for (limit, kilowatts) in &contact.limits {
        let most = if limit.starts_with("charge") { device.max_charge_kw } else { device.max_discharge_kw };
        if let Some(most) = most.filter(|most| kilowatts >= most) {
            findings.warn(format!(
                "{path}.{limit} = {kilowatts} limits nothing: {} is never set to more than {most} kW; lower it",
                contact.device
            ));
        }
    }
}
