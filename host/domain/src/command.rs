//! Messages from a feed's broker: what its plugin subscribes to, what arrives, and what the plugin wants to happen.

use crate::message::{Message, Properties, Qos};
use crate::proposal::Proposal;
use crate::time::Timestamp;

/// The most subscriptions of one feed: AWS IoT Core allows 50 per connection, Azure IoT Hub 5.
pub const MAX_SUBSCRIPTIONS: usize = 16;
/// The most bytes of a payload that a plugin receives: AWS IoT Core's largest message, the largest of the cloud services.
pub const MAX_INBOUND_BYTES: usize = 128 << 10;

/// A topic filter that a plugin subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// With `+` for one level and a final `#` for the rest.
    pub filter: String,
    /// The highest quality of service of delivery.
    pub qos: Qos,
}

/// A message as it arrives from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivedMessage {
    /// Its topic.
    pub topic: String,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// The quality of service of this delivery.
    pub qos: Qos,
    /// The topic's last value, sent because of a subscription.
    pub retained: bool,
    /// The broker sends it again, because an earlier delivery was not acknowledged.
    pub repeated: bool,
    /// MQTT 5 only.
    pub properties: Option<Properties>,
}

/// A message as a plugin receives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundMessage {
    /// When it arrived at the gateway.
    pub at: Timestamp,
    /// Its topic.
    pub topic: String,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// The quality of service of this delivery.
    pub qos: Qos,
    /// The topic's last value, sent because of a subscription.
    pub retained: bool,
    /// It may be older than it looks, or a repetition.
    pub historical: bool,
    /// MQTT 5 only.
    pub properties: Option<Properties>,
}

/// What a plugin wants to happen after it received a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Publish this message.
    Publish(Message),
    /// Ask for a set-point.
    Write(Proposal),
    /// End the session and sign in with a fresh login.
    SignInAgain,
}
