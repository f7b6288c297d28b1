//! Messages are built by name, with the defaults that most brokers want.

use crate::{Message, Properties, Qos};

impl Message {
    /// QoS 1, not retained, no MQTT 5 properties.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.into(), payload: payload.into(), qos: Qos::AtLeastOnce, retain: false, properties: None }
    }

    /// The broker keeps the message for subscribers that come later.
    #[must_use]
    pub fn retained(self) -> Self {
        Self { retain: true, ..self }
    }

    /// Another quality of service than 1.
    #[must_use]
    pub fn with_qos(self, qos: Qos) -> Self {
        Self { qos, ..self }
    }

    /// MQTT 5 properties; a 3.1.1 connection drops them.
    #[must_use]
    pub fn with_properties(self, properties: Properties) -> Self {
        Self { properties: Some(properties), ..self }
    }
}
