//! PUBLISH (§3.3).

use super::fields::Fields;
use super::{Packet, Properties, Version};

/// The flag of a message that was sent before.
const DUP: u8 = 0x08;
/// The bits of the QoS.
const QOS: u8 = 0x06;
/// The flag of a message that the broker is to retain.
const RETAIN: u8 = 0x01;

/// A PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Empty where a topic alias stands for it.
    pub topic: String,
    /// The message.
    pub payload: Vec<u8>,
    /// 0, 1 or 2; 3 is a violation.
    pub qos: u8,
    /// Sent before.
    pub dup: bool,
    /// To be retained, or retained before.
    pub retain: bool,
    /// 0 for QoS 0, which has none.
    pub packet_id: u16,
    /// MQTT 5's properties.
    pub properties: Properties,
}

impl Packet {
    /// Decodes a PUBLISH; none where it is malformed.
    #[must_use]
    pub fn publish(&self, version: Version) -> Option<Publish> {
        let mut fields = Fields::new(&self.body);
        let qos = (self.flags & QOS) >> QOS.trailing_zeros();
        let topic = fields.text()?;
        let packet_id = if qos > 0 { fields.word()? } else { 0 };
        let properties = if version == Version::V5 { fields.properties()? } else { Properties::default() };
        let (dup, retain) = (self.flags & DUP != 0, self.flags & RETAIN != 0);
        Some(Publish { topic, payload: fields.rest().to_vec(), qos, dup, retain, packet_id, properties })
    }
}

impl Publish {
    /// The flags of its first byte.
    pub(super) fn flags(&self) -> u8 {
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        flag(self.dup, DUP) | self.qos << QOS.trailing_zeros() | flag(self.retain, RETAIN)
    }
}
