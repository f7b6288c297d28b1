//! MQTT 5's properties (§2.2.2.2).

use super::encode::{bytes, length, text};
use super::fields::Fields;

/// The properties of a packet, by their identifiers, in the order in which they were received.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(Vec<(u8, Property)>);

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Property {
    /// Of one, two or four bytes, or of a variable length.
    Number(u32),
    /// A UTF-8 string, or binary data.
    Bytes(Vec<u8>),
    /// The name and value of a user property.
    Pair(String, String),
}

/// How a property's value is encoded.
#[derive(Clone, Copy)]
enum Encoding {
    Byte,
    Word,
    DoubleWord,
    Length,
    Text,
    Binary,
    Pair,
}

impl Properties {
    /// Whether the payload is text.
    pub(crate) const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    /// Seconds after which a message is no longer delivered.
    pub(crate) const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    /// What the payload is.
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    /// The topic on which an answer is expected.
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    /// What an answer is to be matched by.
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    /// The number that a client gave to a subscription.
    pub(crate) const SUBSCRIPTION_IDENTIFIER: u8 = 0x0b;
    /// Seconds that a session outlives its connection.
    pub(crate) const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    /// The client id that a broker has chosen.
    pub(crate) const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    /// The keep alive in seconds that a broker requires instead of the client's.
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    /// The method of an extended authentication.
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    /// The most PUBLISH packets that a peer accepts unacknowledged.
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    /// The highest topic alias that a peer accepts.
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    /// The number that stands for a topic.
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    /// The highest QoS that a broker accepts.
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    /// Whether a broker retains messages.
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    /// A name and value of the client's own.
    pub(crate) const USER_PROPERTY: u8 = 0x26;
    /// The largest packet that a peer accepts.
    pub(crate) const MAXIMUM_PACKET: u8 = 0x27;
    /// Whether a broker has subscription identifiers.
    pub(crate) const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    /// Whether a broker has shared subscriptions.
    pub(crate) const SHARED_SUBSCRIPTIONS_AVAILABLE: u8 = 0x2a;

    /// With one more, which is a number.
    pub(crate) fn with(mut self, identifier: u8, value: u32) -> Self {
        self.0.push((identifier, Property::Number(value)));
        self
    }

    /// With one more, which is a text.
    pub(crate) fn with_text(mut self, identifier: u8, text: &str) -> Self {
        self.0.push((identifier, Property::Bytes(text.into())));
        self
    }

    /// Only those of these identifiers.
    pub(crate) fn only(mut self, identifiers: &[u8]) -> Self {
        self.0.retain(|(identifier, _)| identifiers.contains(identifier));
        self
    }

    /// The value of a property that is a number.
    pub(crate) fn number(&self, identifier: u8) -> Option<u32> {
        self.0.iter().find_map(|(known, value)| match value {
            Property::Number(value) if *known == identifier => Some(*value),
            _ => None,
        })
    }

    /// The names and values of the user properties.
    pub(crate) fn user_properties(&self) -> Vec<(String, String)> {
        let pairs = self.0.iter().filter_map(|(_, value)| match value {
            Property::Pair(name, value) => Some((name.clone(), value.clone())),
            _ => None,
        });
        pairs.collect()
    }

    /// Whether a property is there.
    pub(crate) fn contains(&self, identifier: u8) -> bool {
        self.0.iter().any(|(known, _)| *known == identifier)
    }

    /// As they stand in a packet, with their length.
    pub(super) fn encode(&self, body: &mut Vec<u8>) {
        let mut encoded = Vec::new();
        for (identifier, value) in &self.0 {
            let Some(encoding) = Encoding::of(*identifier) else { continue };
            encoded.push(*identifier);
            value.encode(encoding, &mut encoded);
        }
        body.extend(length(encoded.len()));
        body.extend(encoded);
    }
}

impl Property {
    fn encode(&self, encoding: Encoding, encoded: &mut Vec<u8>) {
        match self {
            Self::Number(value) => {
                let [_, _, high, low] = value.to_be_bytes();
                match encoding {
                    Encoding::Byte => encoded.push(low),
                    Encoding::Word => encoded.extend([high, low]),
                    Encoding::Length => encoded.extend(length(usize::try_from(*value).unwrap_or(0))),
                    _ => encoded.extend(value.to_be_bytes()),
                }
            }
            Self::Bytes(value) => bytes(encoded, value),
            Self::Pair(name, value) => {
                text(encoded, name);
                text(encoded, value);
            }
        }
    }
}

impl Encoding {
    fn of(identifier: u8) -> Option<Self> {
        Some(match identifier {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => Self::Byte,
            0x13 | 0x21..=0x23 => Self::Word,
            0x02 | 0x11 | 0x18 | 0x27 => Self::DoubleWord,
            0x0b => Self::Length,
            0x03 | 0x08 | 0x12 | 0x15 | 0x1a | 0x1c | 0x1f => Self::Text,
            0x09 | 0x16 => Self::Binary,
            Properties::USER_PROPERTY => Self::Pair,
            _ => return None,
        })
    }
}

impl Fields<'_> {
    /// Properties with their length before them; none where one is malformed, unknown or repeated. User properties and
    /// subscription identifiers may be repeated.
    pub(super) fn properties(&mut self) -> Option<Properties> {
        let length = self.length().ok()??;
        let mut fields = Fields::new(self.bytes(length)?);
        let mut properties = Properties::default();
        while let Some(identifier) = fields.byte() {
            let may_repeat = matches!(identifier, Properties::USER_PROPERTY | Properties::SUBSCRIPTION_IDENTIFIER);
            if properties.contains(identifier) && !may_repeat {
                return None;
            }
            properties.0.push((identifier, fields.property(Encoding::of(identifier)?)?));
        }
        Some(properties)
    }

    fn property(&mut self, encoding: Encoding) -> Option<Property> {
        Some(match encoding {
            Encoding::Byte => Property::Number(self.byte()?.into()),
            Encoding::Word => Property::Number(self.word()?.into()),
            Encoding::DoubleWord => Property::Number(self.double_word()?),
            Encoding::Length => Property::Number(u32::try_from(self.length().ok()??).ok()?),
            Encoding::Text => Property::Bytes(self.text()?.into_bytes()),
            Encoding::Binary => Property::Bytes(self.binary()?.to_vec()),
            Encoding::Pair => Property::Pair(self.text()?, self.text()?),
        })
    }
}
