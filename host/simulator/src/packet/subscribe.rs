//! SUBSCRIBE (§3.8) and UNSUBSCRIBE (§3.10).

use super::fields::Fields;
use super::{Packet, Properties, Version};

/// The bits of a subscription's QoS.
const QOS: u8 = 0x03;
/// The flag of a subscription that leaves out the client's own messages; MQTT 5 only, as the two below.
const NO_LOCAL: u8 = 0x04;
/// The flag of a subscription whose messages keep their retain flag.
const RETAIN_AS_PUBLISHED: u8 = 0x08;
/// The bits of a subscription's [`RetainHandling`].
const RETAIN_HANDLING: u8 = 0x30;

/// A SUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscribe {
    pub(crate) packet_id: u16,
    pub(crate) properties: Properties,
    /// At least one.
    pub(crate) subscriptions: Vec<Subscription>,
}

/// A topic filter and how its messages are to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) filter: String,
    /// 0, 1 or 2.
    pub(crate) qos: u8,
    /// The client's own messages are left out.
    pub(crate) no_local: bool,
    /// Messages keep the retain flag with which they were published.
    pub(crate) retain_as_published: bool,
    pub(crate) retain_handling: RetainHandling,
}

/// When a subscription is sent the retained messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetainHandling {
    Always,
    OnlyIfNew,
    Never,
}

/// An UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unsubscribe {
    pub(crate) packet_id: u16,
    /// At least one.
    pub(crate) filters: Vec<String>,
}

impl Packet {
    /// Decodes a SUBSCRIBE; none where it is malformed.
    pub(crate) fn subscribe(&self, version: Version) -> Option<Subscribe> {
        let mut fields = Fields::new(&self.body);
        let packet_id = fields.word()?;
        let properties = if version == Version::V5 { fields.properties()? } else { Properties::default() };
        let mut subscriptions = Vec::new();
        while !fields.is_empty() {
            let (filter, options) = (fields.text()?, fields.byte()?);
            subscriptions.push(subscription(filter, options, version)?);
        }
        (!subscriptions.is_empty()).then_some(Subscribe { packet_id, properties, subscriptions })
    }

    /// Decodes an UNSUBSCRIBE; none where it is malformed.
    pub(crate) fn unsubscribe(&self, version: Version) -> Option<Unsubscribe> {
        let mut fields = Fields::new(&self.body);
        let packet_id = fields.word()?;
        if version == Version::V5 {
            fields.properties()?;
        }
        let mut filters = Vec::new();
        while !fields.is_empty() {
            filters.push(fields.text()?);
        }
        (!filters.is_empty()).then_some(Unsubscribe { packet_id, filters })
    }
}

/// None where reserved bits are set, or bits have a reserved value.
fn subscription(filter: String, options: u8, version: Version) -> Option<Subscription> {
    let known = if version == Version::V5 { QOS | NO_LOCAL | RETAIN_AS_PUBLISHED | RETAIN_HANDLING } else { QOS };
    let retain_handling = match (options & RETAIN_HANDLING) >> RETAIN_HANDLING.trailing_zeros() {
        0 => RetainHandling::Always,
        1 => RetainHandling::OnlyIfNew,
        2 => RetainHandling::Never,
        _ => return None,
    };
    (options & !known == 0 && options & QOS != QOS).then_some(Subscription {
        filter,
        qos: options & QOS,
        no_local: options & NO_LOCAL != 0,
        retain_as_published: options & RETAIN_AS_PUBLISHED != 0,
        retain_handling,
    })
}
