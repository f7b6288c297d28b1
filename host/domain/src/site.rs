//! The description of a site: devices, sources and channels.

use std::sync::Arc;
use std::time::Duration;

/// The kind of quantity of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A measured value that goes up and down.
    Gauge,
    /// A total that only increases, except for resets.
    Counter,
    /// One of several named states.
    State,
    /// Bits with separate meanings.
    Flag,
    /// A text, such as a serial number.
    Text,
}

impl ChannelKind {
    /// Every kind with its name in profiles and in `wit/types.wit`.
    pub(crate) const NAMES: [(&'static str, Self); 5] = [
        ("gauge", Self::Gauge),
        ("counter", Self::Counter),
        ("state", Self::State),
        ("flag", Self::Flag),
        ("text", Self::Text),
    ];
}

/// A named quantity with a unit, as plugins see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// Its name, such as `soc_pct`.
    pub name: String,
    /// UCUM code: `%`, `kW`, `Cel`, `V`; `1` for none.
    pub unit: String,
    /// Kind of quantity.
    pub kind: ChannelKind,
    /// The profile allows writing it.
    pub writable: bool,
    /// More information for people and dashboards.
    pub attributes: Vec<(String, String)>,
}

/// One Modbus server address and unit id.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Its name, unique in the site.
    pub name: String,
    /// `profile`, `manufacturer` and `model`, if known.
    pub attributes: Vec<(String, String)>,
}

/// The channels of one device that are read together at one period.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The device's name.
    pub device: String,
    /// Time between two readings.
    pub period: Duration,
    /// In the order of a frame's values.
    pub channels: Arc<[Channel]>,
    /// More information.
    pub attributes: Vec<(String, String)>,
}

/// Shares equal channel lists: a hundred devices of one model with a thousand channels each would otherwise take a lot
/// of memory.
#[derive(Debug, Default)]
pub struct ChannelLists(Vec<Arc<[Channel]>>);

impl ChannelLists {
    /// The shared list of these channels.
    pub fn share(&mut self, channels: Vec<Channel>) -> Arc<[Channel]> {
        if let Some(known) = self.0.iter().find(|known| ***known == *channels) {
            return Arc::clone(known);
        }
        let list = Arc::from(channels);
        self.0.push(Arc::clone(&list));
        list
    }
}

/// The attribute with the name of a source, on devices that have several.
pub const SOURCE_NAME: &str = "name";

/// The description that frames refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The site's id, which is the prefix of the default topics.
    pub id: String,
    /// Incremented with every change of the lists.
    pub revision: u64,
    /// In the order of the settings; the first one has the topics without a device name.
    pub devices: Vec<Device>,
    /// Frames refer to their source by its index.
    pub sources: Vec<Source>,
    /// More information.
    pub attributes: Vec<(String, String)>,
}

/// Names of the channels that the default payloads, safety and models use.
pub mod channel {
    /// State of charge, %.
    pub const SOC: &str = "soc_pct";
    /// Power at the AC side, kW, + = export or discharge.
    pub const POWER: &str = "power_kw";
    /// Power of the battery, kW, + = discharge.
    pub(crate) const BATTERY_POWER: &str = "battery_power_kw";
    /// Power that a battery is set to, kW, + = discharge.
    pub const SET_POINT: &str = "set_point_kw";
    /// Temperature of the battery, °C.
    pub const TEMPERATURE: &str = "temp_c";
    /// Number of full charge cycles.
    pub const CYCLES: &str = "cycle_count";
    /// The channels of the telemetry payload, in its order.
    pub const TELEMETRY: [&str; 4] = [SOC, POWER, TEMPERATURE, CYCLES];
}
