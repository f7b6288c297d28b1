//! The domain's message properties as rumqttc's, and what a CONNACK states as text.

use bessai_domain::message::Properties;
use rumqttc::v5::mqttbytes::v5::{ConnAck, LastWillProperties, PublishProperties};

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

/// What a CONNACK states, by name; where it states nothing, what MQTT 5 then allows (§3.2.2.3).
pub(super) fn stated(connack: &ConnAck) -> Vec<(&'static str, String)> {
    let none = |value: Option<String>, default: &str| value.unwrap_or_else(|| default.to_owned());
    let mut stated = vec![("session present", connack.session_present.to_string())];
    let Some(properties) = &connack.properties else { return stated };
    let flag = |value: Option<u8>| if value == Some(0) { "no" } else { "yes" }.to_owned();
    let number = |value: Option<u16>| value.map(|value| value.to_string());
    stated.extend([
        ("receive maximum", none(number(properties.receive_max), "65535")),
        ("maximum packet size", none(properties.max_packet_size.map(|size| format!("{size} bytes")), "unlimited")),
        ("maximum QoS", properties.max_qos.unwrap_or(2).to_string()),
        ("retain available", flag(properties.retain_available)),
        ("topic alias maximum", none(number(properties.topic_alias_max), "0")),
        ("wildcard subscriptions", flag(properties.wildcard_subscription_available)),
    ]);
    let texts = [
        ("assigned client id", properties.assigned_client_identifier.as_ref().map(|id| format!("{id:?}"))),
        ("server keep alive", properties.server_keep_alive.map(|seconds| format!("{seconds} s"))),
        ("session expiry", properties.session_expiry_interval.map(|seconds| format!("{seconds} s"))),
        ("reason", properties.reason_string.as_ref().map(|reason| format!("{reason:?}"))),
        ("server reference", properties.server_reference.as_ref().map(|reference| format!("{reference:?}"))),
    ];
    stated.extend(texts.into_iter().filter_map(|(name, text)| Some((name, text?))));
    stated
}
