//! The site as Sparkplug devices and metrics, with the last value of each.

use bessai_plugin::{Channel, ChannelKind, Failure, FaultKind, Frame, Site, log, state};

use crate::encode::{DataType, Value};

/// The alias of the first metric of a device; lower ones belong to the node.
pub(crate) const FIRST_ALIAS: u64 = 100;

/// One channel.
pub(crate) struct ChannelMetric {
    pub(crate) name: String,
    pub(crate) alias: u64,
    pub(crate) data_type: DataType,
    /// As people write it; none if the channel has no unit.
    pub(crate) unit: Option<String>,
}

/// The channels that are read together.
pub(crate) struct SourceMetrics {
    /// Its index among the site's devices.
    pub(crate) device: usize,
    pub(crate) channels: Vec<ChannelMetric>,
    /// The state's key of the last values.
    key: String,
}

/// A device, with what is known of its make.
pub(crate) struct DeviceMetrics {
    pub(crate) name: String,
    /// Metrics such as `Properties/serial`, with their aliases.
    pub(crate) properties: Vec<(u64, String, String)>,
}

/// The metrics of all devices, as of one revision of the site.
pub(crate) struct Model {
    pub(crate) revision: u64,
    pub(crate) devices: Vec<DeviceMetrics>,
    pub(crate) sources: Vec<SourceMetrics>,
}

/// The values of one source, by position. NaN is no value, and texts have their own list.
#[derive(Clone, Debug, Default)]
pub(crate) struct Values {
    /// Nanoseconds since 1970; 0 before the first reading.
    pub(crate) at: u64,
    pub(crate) numbers: Vec<f64>,
    pub(crate) texts: Vec<(u32, String)>,
}

impl Model {
    pub(crate) fn new(site: &Site) -> Self {
        let mut alias = FIRST_ALIAS;
        let mut devices = Vec::with_capacity(site.devices.len());
        for device in &site.devices {
            let properties = (alias..).zip(&device.attributes);
            let properties =
                properties.map(|(alias, (key, value))| (alias, format!("Properties/{key}"), value.clone()));
            devices.push(DeviceMetrics { name: device.name.clone(), properties: properties.collect() });
            alias += device.attributes.len() as u64;
        }
        let mut sources = Vec::with_capacity(site.sources.len());
        for (index, source) in site.sources.iter().enumerate() {
            let channels = (alias..).zip(&source.channels).map(|(alias, channel)| metric(alias, channel)).collect();
            alias += source.channels.len() as u64;
            // A source of a device that is not described is never published.
            let device = devices.iter().position(|device| device.name == source.device).unwrap_or(usize::MAX);
            sources.push(SourceMetrics { device, channels, key: format!("v/{index}") });
        }
        warn_of_similar(site.devices.iter().map(|device| device.name.as_str()));
        for device in &site.devices {
            let of_device = site.sources.iter().filter(|source| source.device == device.name);
            warn_of_similar(of_device.flat_map(|source| &source.channels).map(|channel| channel.name.as_str()));
        }
        Self { revision: site.revision, devices, sources }
    }

    pub(crate) fn device(&self, name: &str) -> Option<usize> {
        self.devices.iter().position(|device| device.name == name)
    }

    /// The channel of a device that a command names.
    pub(crate) fn channel(&self, device: usize, name: Option<&str>, alias: Option<u64>) -> Option<&ChannelMetric> {
        let of_device = self.sources.iter().filter(|source| source.device == device);
        of_device.flat_map(|source| &source.channels).find(|channel| match name {
            Some(name) => channel.name == name,
            None => Some(channel.alias) == alias,
        })
    }
}

/// Some hosts do not tell names apart that differ in case alone.
fn warn_of_similar<'a>(names: impl Iterator<Item = &'a str>) {
    let mut seen: Vec<&str> = Vec::new();
    for name in names {
        if let Some(other) = seen.iter().find(|other| **other != name && other.eq_ignore_ascii_case(name)) {
            log::warn(&format!(
                "{other} and {name} differ in upper and lower case alone: a host may take them for one"
            ));
        }
        seen.push(name);
    }
}

fn metric(alias: u64, channel: &Channel) -> ChannelMetric {
    let data_type = match channel.kind {
        ChannelKind::Gauge | ChannelKind::Counter => DataType::Double,
        ChannelKind::State => DataType::Int64,
        ChannelKind::Flag => DataType::Boolean,
        ChannelKind::Text => DataType::String,
    };
    let unit = match channel.unit.as_str() {
        "" | "1" => None,
        "Cel" => Some("°C".to_owned()),
        unit => Some(unit.to_owned()),
    };
    ChannelMetric { name: channel.name.clone(), alias, data_type, unit }
}

impl ChannelMetric {
    /// The value at this position as it is sent.
    #[allow(clippy::cast_possible_truncation, reason = "a state is a small whole number")]
    pub(crate) fn value<'a>(&self, index: usize, values: &'a Values) -> Value<'a> {
        if self.data_type == DataType::String {
            let text = values.texts.iter().find(|(channel, _)| usize::try_from(*channel) == Ok(index));
            return text.map_or(Value::Null, |(_, text)| Value::String(text));
        }
        match (values.numbers.get(index).copied().filter(|value| value.is_finite()), self.data_type) {
            (None, _) => Value::Null,
            (Some(value), DataType::Boolean) => Value::Boolean(value != 0.0),
            (Some(value), DataType::Int64) => Value::Int64(value as i64),
            (Some(value), _) => Value::Double(value),
        }
    }
}

impl SourceMetrics {
    /// The last values that were sent, or none of each channel.
    pub(crate) fn last(&self, revision: u64) -> Values {
        state::get(&self.key).and_then(|bytes| self.decode(&bytes, revision)).unwrap_or_else(|| self.unknown())
    }

    fn unknown(&self) -> Values {
        Values { at: 0, numbers: vec![f64::NAN; self.channels.len()], texts: Vec::new() }
    }

    fn decode(&self, bytes: &[u8], revision: u64) -> Option<Values> {
        let (stored, rest) = bytes.split_first_chunk::<8>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (numbers, mut rest) = rest.split_at_checked(self.channels.len() * 8)?;
        if u64::from_le_bytes(*stored) != revision {
            return None;
        }
        let numbers =
            numbers.chunks_exact(8).filter_map(|bytes| bytes.first_chunk()).map(|bytes| f64::from_le_bytes(*bytes));
        let numbers = numbers.collect();
        let mut texts = Vec::new();
        while let Some((channel, after)) = rest.split_first_chunk::<4>() {
            let (length, after) = after.split_first_chunk::<4>()?;
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            let (text, after) = after.split_at_checked(length)?;
            texts.push((u32::from_le_bytes(*channel), String::from_utf8(text.to_vec()).ok()?));
            rest = after;
        }
        Some(Values { at: u64::from_le_bytes(*at), numbers, texts })
    }

    pub(crate) fn store(&self, values: &Values, revision: u64) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(16 + values.numbers.len() * 8);
        bytes.extend_from_slice(&revision.to_le_bytes());
        bytes.extend_from_slice(&values.at.to_le_bytes());
        for number in &values.numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for (channel, text) in &values.texts {
            bytes.extend_from_slice(&channel.to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(text.len()).unwrap_or(0).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Ok(state::set(&self.key, &bytes)?)
    }

    /// The frame's values; a channel that was not read in this cycle keeps its last one.
    pub(crate) fn read(&self, at: u64, frame: &Frame, last: &Values) -> Values {
        let mut numbers = frame.values.clone();
        numbers.resize(self.channels.len(), f64::NAN);
        let mut texts = last.texts.clone();
        for text in &frame.texts {
            texts.retain(|(channel, _)| *channel != text.channel);
            texts.push((text.channel, text.value.clone()));
        }
        for fault in &frame.faults {
            let Ok(index) = usize::try_from(fault.channel) else { continue };
            let Some(number) = numbers.get_mut(index) else { continue };
            match fault.kind {
                FaultKind::Stale => *number = last.numbers.get(index).copied().unwrap_or(f64::NAN),
                FaultKind::OutOfRange => {}
                FaultKind::Missing | FaultKind::Unavailable | FaultKind::Other => {
                    *number = f64::NAN;
                    texts.retain(|(channel, _)| *channel != fault.channel);
                }
            }
        }
        Values { at, numbers, texts }
    }
}
