//! Builds messages, with defaults that suit most brokers.

use crate::{Message, Properties, Qos};

impl Message {
    /// A message with QoS 1, not retained, without MQTT 5 properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: Qos::AtLeastOnce, retain: false, properties: None }
    }

    /// Sets the retain flag: the broker keeps the message for later subscribers.
    #[must_use]
    pub fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    /// Sets the quality of service.
    #[must_use]
    pub fn with_qos(self, qos: Qos) -> Self {
        Self { qos, ..self }
    }

    /// Sets MQTT 5 properties, which are omitted on a 3.1.1 connection.
    #[must_use]
    pub fn with_properties(self, properties: Properties) -> Self {
        Self { properties: Some(properties), ..self }
    }
}
