//! What a site is made of: devices, sources and channels.

use std::sync::Arc;
use std::time::Duration;

/// What kind of quantity a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// A measured value that goes up and down.
    Gauge,
    /// A total that only grows, but for a reset.
    Counter,
    /// One of a few named states.
    State,
    /// Bits, each with a meaning of its own.
    Flag,
    /// A text, such as a serial number.
    Text,
}

/// A named quantity with a unit, as plugins see it.
#[derive(Clone, Debug, PartialEq)]
pub struct Channel {
    /// For example `soc_pct`.
    pub name: String,
    /// UCUM code: `%`, `kW`, `Cel`, `V`; `1` where there is none.
    pub unit: String,
    /// What the values mean.
    pub kind: ChannelKind,
    /// The profile lets it be written.
    pub writable: bool,
    /// More about it, for people and dashboards.
    pub attributes: Vec<(String, String)>,
}

/// One Modbus server address and unit id.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Unique in the site.
    pub name: String,
    /// `profile`, `manufacturer`, `model` where known.
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
    /// More about it.
    pub attributes: Vec<(String, String)>,
}

/// Lists of channels so far: devices of one model have the same one, and a hundred of a thousand channels take much memory
/// unless they share it.
#[derive(Debug, Default)]
pub struct ChannelLists(Vec<Arc<[Channel]>>);

impl ChannelLists {
    /// The list of these channels.
    pub fn shared(&mut self, channels: Vec<Channel>) -> Arc<[Channel]> {
        if let Some(known) = self.0.iter().find(|known| ***known == *channels) {
            return Arc::clone(known);
        }
        let list = Arc::from(channels);
        self.0.push(Arc::clone(&list));
        list
    }
}

/// The attribute of a source that bears its name, where a device has several.
pub const SOURCE_NAME: &str = "name";

/// The description that frames refer to.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The prefix of the default topics.
    pub id: String,
    /// Rises with every change of the lists.
    pub revision: u64,
    /// In the order of the settings; the first has the plain topics.
    pub devices: Vec<Device>,
    /// A frame names its source by its place here.
    pub sources: Vec<Source>,
    /// More about it.
    pub attributes: Vec<(String, String)>,
}

/// The channels that the default payloads, safety and models know by name.
pub mod channel {
    /// State of charge, %.
    pub const SOC: &str = "soc_pct";
    /// Power at the AC side, kW, + = export or discharge.
    pub const POWER: &str = "power_kw";
    /// Temperature of the battery, °C.
    pub const TEMPERATURE: &str = "temp_c";
    /// Full charge cycles so far.
    pub const CYCLES: &str = "cycle_count";
    /// In the order of the telemetry payload.
    pub const TELEMETRY: [&str; 4] = [SOC, POWER, TEMPERATURE, CYCLES];
}
