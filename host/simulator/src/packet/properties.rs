//! MQTT 5's properties (§2.2.2.2).

use super::Fields;

/// The properties of a packet, by their identifiers, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(u8, Property)>);

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Property {
    /// Of one, two or four bytes, or of a variable length.
    Number(u32),
    /// A text, or bytes.
    Bytes(Vec<u8>),
    /// A user property's name and value.
    Pair(String, String),
}

impl Properties {
    /// Most publishes that a peer takes un-acknowledged.
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    /// Highest topic alias that a peer takes.
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    /// The number that stands for a topic.
    pub const TOPIC_ALIAS: u8 = 0x23;
    /// Highest QoS that a broker takes.
    pub const MAXIMUM_QOS: u8 = 0x24;
    /// Whether a broker keeps retained messages.
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    /// Largest packet that a peer takes.
    pub const MAXIMUM_PACKET: u8 = 0x27;

    /// With one more, of a number.
    #[must_use]
    pub fn with(mut self, identifier: u8, value: u32) -> Self {
        self.0.push((identifier, Property::Number(value)));
        self
    }

    /// The value of a property that is a number.
    #[must_use]
    pub fn number(&self, identifier: u8) -> Option<u32> {
        self.0.iter().find_map(|(known, value)| match value {
            Property::Number(value) if *known == identifier => Some(*value),
            _ => None,
        })
    }

    /// Each with its identifier.
    pub fn iter(&self) -> impl Iterator<Item = &(u8, Property)> {
        self.0.iter()
    }

    /// None where one is malformed, or unknown: its length is then unknown, too.
    pub(super) fn read(mut fields: Fields<'_>) -> Option<Self> {
        let mut properties = Vec::new();
        while let Some(identifier) = fields.byte() {
            let value = match identifier {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => Property::Number(fields.byte()?.into()),
                0x13 | 0x21..=0x23 => Property::Number(fields.word()?.into()),
                0x02 | 0x11 | 0x18 | 0x27 => Property::Number(u32::from_be_bytes(fields.bytes(4)?.try_into().ok()?)),
                0x0b => Property::Number(u32::try_from(fields.length().ok()??).ok()?),
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => {
                    Property::Bytes(fields.binary()?.to_vec())
                }
                0x26 => Property::Pair(fields.text()?, fields.text()?),
                _ => return None,
            };
            properties.push((identifier, value));
        }
        Some(Self(properties))
    }

    /// As they stand in a packet, with their length. Only numbers are written.
    pub(super) fn write(&self) -> Vec<u8> {
        let mut written = Vec::new();
        for (identifier, value) in &self.0 {
            let Property::Number(value) = value else { continue };
            written.push(*identifier);
            let [_, _, high, low] = value.to_be_bytes();
            match identifier {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => written.push(low),
                0x13 | 0x21..=0x23 => written.extend([high, low]),
                _ => written.extend(value.to_be_bytes()),
            }
        }
        let mut with_length = super::write::length(written.len());
        with_length.extend(written);
        with_length
    }
}
