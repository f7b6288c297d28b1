//! A device as configured: its address, its profile, and how it is read.

use std::sync::Arc;
use std::time::Duration;

use bessai_control::{CHARGE_LIMIT, DISCHARGE_LIMIT, SET_POINT};
use bessai_domain::address::Address;
use bessai_domain::profile::Profile;
use bessai_domain::register::UnitId;

use super::rights::KnownDevice;

pub(super) mod address;
pub(super) mod period;
pub(super) mod read_settings;

pub(crate) use address::parse as parse_address;
pub(crate) use read_settings::ReadSettings;

/// One Modbus server address and unit id.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DeviceConfig {
    /// Unique in the site, and a valid level of a topic.
    pub(crate) name: String,
    /// Its address.
    pub(crate) address: Address,
    /// Its unit id: the configured one, else the profile's.
    pub(crate) unit: UnitId,
    /// Whether the unit id is configured.
    pub(crate) unit_is_configured: bool,
    /// What its registers mean.
    pub(crate) profile: Arc<Profile>,
    /// Time between the starts of two readings.
    pub(crate) period: Duration,
    /// How it is read, and which of its readings are reported.
    pub(crate) reading: ReadSettings,
}

/// The devices without mistakes, and whether these are all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Devices {
    pub(super) list: Vec<DeviceConfig>,
    pub(super) is_complete: bool,
}

impl Devices {
    /// Whether every channel is known. Those of a discovered device are known only once it was read.
    pub(super) fn know_channels(&self) -> bool {
        self.is_complete && !self.list.iter().any(|device| device.profile.is_discovered)
    }

    /// The devices that rights may name; none if the list is incomplete, so that a mistake in a device does not cause
    /// further ones.
    pub(super) fn known(&self) -> Option<Vec<KnownDevice<'_>>> {
        self.is_complete.then(|| self.list.iter().map(DeviceConfig::known).collect())
    }
}

impl DeviceConfig {
    /// The time between two readings of a channel; none if the device has no such channel.
    pub(crate) fn period_of(&self, channel: &str) -> Option<Duration> {
        let has = |source| self.profile.source(source).any(|point| point.channel == channel);
        if has(None) {
            return Some(self.period);
        }
        let mut slower = self.reading.sources.iter();
        slower.find(|(name, _)| has(Some(name))).map(|(_, period)| *period)
    }

    /// Whether both are reached through one connection.
    pub(crate) fn shares_connection(&self, other: &Self) -> bool {
        let tls = |device: &Self| {
            let bessai_tls::Settings { ca, identity, .. } = &device.reading.tls;
            (ca.clone(), identity.clone(), device.reading.server_name.clone())
        };
        self.address == other.address && tls(self) == tls(other)
    }

    fn known(&self) -> KnownDevice<'_> {
        let points = self.profile.points.iter();
        // The host sets a power by any registers, so that a device has these although no point has their names.
        let is_controlled = self.profile.set_point.is_some();
        let set = [SET_POINT, CHARGE_LIMIT, DISCHARGE_LIMIT].into_iter().filter(|_| is_controlled);
        let read = points.map(|point| (point.channel.as_str(), point.to_channel().writable));
        let channels = set.map(|channel| (channel, true)).chain(read).collect();
        KnownDevice { name: &self.name, channels: (!self.profile.is_discovered).then_some(channels) }
    }
}
