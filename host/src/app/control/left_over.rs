//! What may still be set on devices that a gateway has controlled and can no longer reach under the name that they had: after a
//! kill, a rename, or another address in the settings. They are known by their addresses.

use std::collections::BTreeMap;

use bessai_control::{ControlRoom, Memory};
use bessai_domain::address::Address;

use super::Control;
use crate::config::DeviceConfig;

/// Where each device is reached, by its name.
pub(super) type Locations = BTreeMap<String, String>;

/// Channels that may be set, by device and channel, with the values that single points get back.
pub(super) type Held = BTreeMap<(String, String), Option<f64>>;

/// A channel of a device that may still be set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LeftOver {
    pub(super) device: String,
    pub(super) channel: String,
    /// The value that a single point gets back.
    pub(super) before: Option<f64>,
    /// Where it was reached; none in files of earlier versions.
    pub(super) location: Option<String>,
}

/// Where the devices of the settings are reached. How fast a serial port is read makes it no other device.
pub(super) fn locations(devices: &[DeviceConfig]) -> Locations {
    let location = |device: &DeviceConfig| match &device.address {
        Address::Serial(serial) => format!("{} unit {}", serial.path, device.unit.0),
        Address::Network(_, host, port) => format!("{host}:{port} unit {}", device.unit.0),
    };
    devices.iter().map(|device| (device.name.clone(), location(device))).collect()
}

/// What is to be remembered across a restart.
pub(super) fn remembered(memory: &Memory, locations: &Locations, unknown: &[LeftOver]) -> Vec<LeftOver> {
    let of_room = memory.held.iter().map(|((device, channel), before)| LeftOver {
        device: device.clone(),
        channel: channel.clone(),
        before: *before,
        location: locations.get(device).cloned(),
    });
    of_room.chain(unknown.iter().cloned()).collect()
}

/// Finds the devices by their addresses. Returns what is set on them under their names of now, and what belongs to none.
pub(super) fn find(left_over: Vec<LeftOver>, locations: &Locations) -> (Held, Vec<LeftOver>) {
    let (mut found, mut unknown) = (Held::new(), Vec::new());
    for item in left_over {
        let LeftOver { device, channel, before, location } = &item;
        let of_name = locations.get(device);
        let name = match location {
            None => of_name.map(|_| device),
            location if of_name == location.as_ref() => Some(device),
            Some(location) => locations.iter().find(|(_, known)| *known == location).map(|(name, _)| name),
        };
        let Some(name) = name else {
            unknown.push(item);
            continue;
        };
        if name != device {
            tracing::info!(device = %name, "{device}/{channel} may still be set; that device is now named {name}; releasing it");
        }
        found.insert((name.clone(), channel.clone()), *before);
    }
    (found, unknown)
}

impl Control {
    /// Adopts what belongs to devices of the settings; the rest stays, until a reload brings its device or it is forgotten.
    pub(super) fn take_over(&self, left_over: Vec<LeftOver>) {
        let (found, unknown) = find(left_over, &self.shared.locations.borrow());
        self.shared.room.borrow_mut().take_over(found);
        unknown.iter().for_each(log_unknown);
        self.shared.unknown.replace(unknown);
        self.warn_of_uncontrolled();
    }

    /// Takes devices over whose connections end although they were not released, and looks for all that is left over among
    /// the devices of the new settings.
    pub(super) fn replace_locations(&self, locations: Locations) {
        let known = self.shared.locations.replace(locations);
        let abandoned = {
            let locations = self.shared.locations.borrow();
            let is_same = |name: &str| known.get(name).is_some_and(|known| locations.get(name) == Some(known));
            self.shared.room.borrow_mut().abandon(is_same)
        };
        let memory = Memory { held: abandoned, ..Memory::default() };
        let unknown = self.shared.unknown.take();
        let left_over = remembered(&memory, &known, &unknown);
        if !left_over.is_empty() {
            self.take_over(left_over);
        }
    }

    /// Forgets what may be set on a device that is not controlled; the error names the devices of which that is known.
    pub(in crate::app) fn forget(&self, device: &str) -> Result<(), String> {
        let in_room = self.shared.room.borrow_mut().forget(device);
        let mut unknown = self.shared.unknown.borrow_mut();
        let before = unknown.len();
        unknown.retain(|left_over| left_over.device != device);
        let is_known = in_room || unknown.len() < before;
        let others: Vec<_> = unknown.iter().map(|left_over| left_over.device.clone()).collect();
        drop(unknown);
        if is_known {
            tracing::warn!(%device, "an operator discarded the record that {device} may still be set; it is not released");
            self.remember();
            return Ok(());
        }
        let mut others: Vec<_> =
            self.shared.room.borrow().left_over().map(|(device, _)| device).chain(others).collect();
        others.dedup();
        Err(match others.as_slice() {
            [] => format!("nothing is left over on {device}, nor on any other device that is not controlled"),
            known => format!("nothing is left over on {device}; there is something on {}", known.join(", ")),
        })
    }

    /// Refuses the name of no device; the error names the known ones.
    pub(in crate::app) fn check_name(&self, device: &str) -> Result<(), String> {
        let locations = self.shared.locations.borrow();
        if locations.contains_key(device) {
            return Ok(());
        }
        let known: Vec<_> = locations.keys().map(String::as_str).collect();
        Err(format!("the gateway has no device {device}; it has {}", known.join(", ")))
    }

    /// The devices and channels that may still be set and are not released, each with where it was reached.
    pub(super) fn left_over(&self, room: &ControlRoom) -> Vec<(String, String, Option<String>)> {
        let locations = self.shared.locations.borrow();
        let of_room = room.left_over().map(|(device, channel)| {
            let location = locations.get(&device).cloned();
            (device, channel, location)
        });
        let unknown = self.shared.unknown.borrow();
        let unknown = unknown.iter().map(|item| (item.device.clone(), item.channel.clone(), item.location.clone()));
        of_room.chain(unknown).collect()
    }

    fn warn_of_uncontrolled(&self) {
        let is_off = self.shared.settings.borrow().is_none();
        for (device, channel) in self.shared.room.borrow().left_over() {
            let why = if is_off { "[control] is off".to_owned() } else { format!("[control] does not name {device}") };
            tracing::warn!(
                %device, %channel,
                "{device}/{channel} may still have the set-point of the previous run; {why}, so that it is not released; name \
                 it there, or run `bessai-edge control forget {device}`"
            );
        }
    }
}

fn log_unknown(left_over: &LeftOver) {
    let LeftOver { device, channel, location, .. } = left_over;
    let location = location.as_deref().map(|location| format!(" at {location}")).unwrap_or_default();
    tracing::warn!(
        %device, %channel,
        "{device}/{channel}{location} may still be set, and the settings have no such device, so that it is not released; \
         add the device, or run `bessai-edge control forget {device}`"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_their_addresses() {
        let locations = |list: &[(&str, &str)]| -> Locations {
            list.iter().map(|(name, location)| ((*name).to_owned(), (*location).to_owned())).collect()
        };
        let left_over = |location: Option<&str>| LeftOver {
            device: "battery".into(),
            channel: "set_point_kw".into(),
            before: None,
            location: location.map(str::to_owned),
        };
        let check = |devices: &[(&str, &str)], location: Option<&str>, expected: Option<&str>| {
            let (found, unknown) = find(vec![left_over(location)], &locations(devices));
            assert_eq!(found.keys().next().map(|(device, _)| device.as_str()), expected, "{devices:?} {location:?}");
            assert_eq!(unknown.len(), usize::from(expected.is_none()));
        };
        check(&[("battery", "a:502 unit 1")], Some("a:502 unit 1"), Some("battery"));
        check(&[("box", "a:502 unit 1")], Some("a:502 unit 1"), Some("box"));
        // Another device has taken the name.
        check(&[("battery", "b:502 unit 1"), ("box", "a:502 unit 1")], Some("a:502 unit 1"), Some("box"));
        check(&[("battery", "b:502 unit 1")], Some("a:502 unit 1"), None);
        check(&[("battery", "a:502 unit 2")], Some("a:502 unit 1"), None);
        // A file of an earlier version.
        check(&[("battery", "b:502 unit 1")], None, Some("battery"));
        check(&[("box", "a:502 unit 1")], None, None);
    }
}
