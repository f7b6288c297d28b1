//! MQTT messages as plugins return them.

/// MQTT's quality of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// 0: sent once, never acknowledged.
    AtMostOnce,
    /// 1: acknowledged by PUBACK; may arrive more than once.
    AtLeastOnce,
    /// 2: acknowledged by PUBCOMP.
    ExactlyOnce,
}

impl Qos {
    /// 0, 1 or 2.
    pub const fn level(self) -> u8 {
        match self {
            Self::AtMostOnce => 0,
            Self::AtLeastOnce => 1,
            Self::ExactlyOnce => 2,
        }
    }
}

/// MQTT 5 properties; dropped on a 3.1.1 connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// MIME type of the payload.
    pub content_type: Option<String>,
    /// Seconds after which the broker discards the message.
    pub expiry_s: Option<u32>,
    /// The topic for a response.
    pub response_topic: Option<String>,
    /// Data that the response repeats.
    pub correlation_data: Option<Vec<u8>>,
    /// The payload is UTF-8 text.
    pub payload_utf8: bool,
    /// User properties: names and values chosen by the customer.
    pub user: Vec<(String, String)>,
}

/// One MQTT message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The topic, already checked with [`crate::topic::check`].
    pub topic: String,
    /// Any bytes.
    pub payload: Vec<u8>,
    /// Quality of service.
    pub qos: Qos,
    /// The broker keeps it for later subscribers.
    pub retain: bool,
    /// MQTT 5 only.
    pub properties: Option<Properties>,
}

/// The most bytes of a text or of binary data in a packet (MQTT 5.0 §1.5.4, §1.5.6).
pub(crate) const MAX_FIELD_BYTES: usize = 65_535;

impl Message {
    /// Bytes of topic, payload and properties.
    pub fn size(&self) -> usize {
        let properties = self.properties.as_ref().map_or(0, Properties::size);
        self.topic.len() + self.payload.len() + properties
    }

    /// Checks that the properties can be sent; the error has no subject.
    pub fn check_properties(&self) -> Result<(), String> {
        let Some(properties) = &self.properties else { return Ok(()) };
        let pairs = properties.user.iter().flat_map(|(name, value)| [name, value]);
        let texts = properties.content_type.iter().chain(&properties.response_topic).chain(pairs);
        for text in texts {
            if text.len() > MAX_FIELD_BYTES {
                return Err(format!("has a property of {} bytes; at most {MAX_FIELD_BYTES} are possible", text.len()));
            }
            if let Some(character) = text.chars().find(|character| !crate::topic::is_sendable(*character)) {
                return Err(format!("has a property that contains {character:?}, which a broker may refuse"));
            }
        }
        if let Some(data) = properties.correlation_data.as_ref().filter(|data| data.len() > MAX_FIELD_BYTES) {
            return Err(format!(
                "has correlation data of {} bytes; at most {MAX_FIELD_BYTES} are possible",
                data.len()
            ));
        }
        match properties.response_topic.as_deref().map(crate::topic::check) {
            Some(Err(error)) => Err(format!("has an invalid response topic: {error}")),
            _ => Ok(()),
        }
    }
}

impl Properties {
    fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let user: usize = self.user.iter().map(|(name, value)| name.len() + value.len()).sum();
        let data = self.correlation_data.as_ref().map_or(0, Vec::len);
        length(&self.content_type) + length(&self.response_topic) + data + user
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(properties: Properties) -> Message {
        let (topic, payload) = ("a/b".to_owned(), vec![0; 10]);
        Message { topic, payload, qos: Qos::AtLeastOnce, retain: false, properties: Some(properties) }
    }

    #[test]
    fn properties_count_for_the_size_and_are_checked() {
        let user = vec![("unit".to_owned(), "kW".to_owned())];
        let valid = message(Properties { content_type: Some("text/plain".into()), user, ..Properties::default() });
        assert_eq!((valid.size(), valid.check_properties()), (3 + 10 + 10 + 6, Ok(())));
        let text = |text: String| Properties { content_type: Some(text), ..Properties::default() };
        let data = Properties { correlation_data: Some(vec![0; MAX_FIELD_BYTES + 1]), ..Properties::default() };
        let answer = Properties { response_topic: Some("a/#".into()), ..Properties::default() };
        for (properties, expected) in [
            (text("x".repeat(MAX_FIELD_BYTES + 1)), "a property of 65536 bytes"),
            (text("a\n".into()), "a property that contains '\\n'"),
            (data, "correlation data of 65536 bytes"),
            (answer, "an invalid response topic"),
        ] {
            let error = message(properties).check_properties().unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
