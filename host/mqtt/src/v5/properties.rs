//! The domain's message properties as rumqttc's.

use bessai_domain::message::Properties;
use rumqttc::v5::mqttbytes::v5::{LastWillProperties, PublishProperties};

/// Those of a message, with the alias that stands for its topic.
pub(super) fn of_message(properties: Properties, topic_alias: Option<u16>) -> PublishProperties {
    PublishProperties {
        payload_format_indicator: properties.payload_utf8.then_some(1),
        message_expiry_interval: properties.expiry_s,
        topic_alias,
        response_topic: properties.response_topic,
        correlation_data: properties.correlation_data.map(Into::into),
        user_properties: properties.user,
        subscription_identifiers: Vec::new(),
        content_type: properties.content_type,
    }
}

/// Those of a last will.
pub(super) fn of_will(properties: &Properties) -> LastWillProperties {
    LastWillProperties {
        delay_interval: None,
        payload_format_indicator: properties.payload_utf8.then_some(1),
        message_expiry_interval: properties.expiry_s,
        content_type: properties.content_type.clone(),
        response_topic: properties.response_topic.clone(),
        correlation_data: properties.correlation_data.clone().map(Into::into),
        user_properties: properties.user.clone(),
    }
}
