//! What a plugin returns: topic, payload, quality of service, retain.

/// MQTT's quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// 0: written once, never acknowledged.
    AtMostOnce,
    /// 1: acknowledged by PUBACK; may repeat.
    AtLeastOnce,
    /// 2: acknowledged by PUBCOMP.
    ExactlyOnce,
}

/// MQTT 5 properties; dropped on a 3.1.1 connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// Seconds after which the broker drops the message.
    pub expiry_s: Option<u32>,
    /// Where an answer is expected.
    pub response_topic: Option<String>,
    /// What an answer repeats.
    pub correlation_data: Option<Vec<u8>>,
    /// The payload is UTF-8 text.
    pub payload_utf8: bool,
    /// Names and values of the customer's own.
    pub user: Vec<(String, String)>,
}

/// One MQTT message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// A checked topic, see [`crate::topic::check`].
    pub topic: String,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// How surely it is to arrive.
    pub qos: Qos,
    /// The broker keeps it for later subscribers.
    pub retain: bool,
    /// MQTT 5 only.
    pub properties: Option<Properties>,
}
