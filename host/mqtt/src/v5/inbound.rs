//! What a broker sends to a client that subscribes: answers to SUBSCRIBE, and messages.

use bessai_domain::command::{ArrivedMessage, Subscription};
use bessai_domain::message::{Properties, Qos};
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, PublishProperties, Subscribe, SubscribeReasonCode};

/// SUBSCRIBE. What is retained under a filter is sent at once, marked as retained.
pub(super) fn subscribe(packet_id: u16, subscriptions: &[Subscription]) -> Subscribe {
    let filter = |subscription: &Subscription| Filter::new(subscription.filter.clone(), super::qos(subscription.qos));
    Subscribe { pkid: packet_id, ..Subscribe::new_many(subscriptions.iter().map(filter), None) }
}

/// What the broker granted for one filter, or its reason (5.0 §3.9.3).
pub(super) fn granted(code: &SubscribeReasonCode) -> Result<Qos, String> {
    let reason = match code {
        SubscribeReasonCode::Success(qos) => return Ok(domain_qos(*qos)),
        SubscribeReasonCode::Failure | SubscribeReasonCode::Unspecified => "0x80 unspecified error",
        SubscribeReasonCode::ImplementationSpecific => "0x83 implementation specific error",
        SubscribeReasonCode::NotAuthorized => "0x87 not authorized",
        SubscribeReasonCode::TopicFilterInvalid => "0x8f topic filter invalid",
        SubscribeReasonCode::PkidInUse => "0x91 packet identifier in use",
        SubscribeReasonCode::QuotaExceeded => "0x97 quota exceeded",
        SubscribeReasonCode::SharedSubscriptionsNotSupported => "0x9e shared subscriptions not supported",
        SubscribeReasonCode::SubscriptionIdNotSupported => "0xa1 subscription identifiers not supported",
        SubscribeReasonCode::WildcardSubscriptionsNotSupported => "0xa2 wildcard subscriptions not supported",
    };
    Err(reason.into())
}

/// A message; a topic that is not UTF-8 matches no subscription.
pub(super) fn message(publish: &Publish) -> ArrivedMessage {
    ArrivedMessage {
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        payload: publish.payload.to_vec(),
        qos: domain_qos(publish.qos),
        retained: publish.retain,
        repeated: publish.dup,
        properties: Some(publish.properties.as_ref().map(properties).unwrap_or_default()),
    }
}

fn properties(properties: &PublishProperties) -> Properties {
    Properties {
        content_type: properties.content_type.clone(),
        expiry_s: properties.message_expiry_interval,
        response_topic: properties.response_topic.clone(),
        correlation_data: properties.correlation_data.as_ref().map(|data| data.to_vec()),
        payload_utf8: properties.payload_format_indicator == Some(1),
        user: properties.user_properties.clone(),
    }
}

fn domain_qos(qos: rumqttc::v5::mqttbytes::QoS) -> Qos {
    match qos {
        rumqttc::v5::mqttbytes::QoS::AtMostOnce => Qos::AtMostOnce,
        rumqttc::v5::mqttbytes::QoS::AtLeastOnce => Qos::AtLeastOnce,
        rumqttc::v5::mqttbytes::QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use rumqttc::v5::mqttbytes::v5::Packet;

    #[test]
    fn what_a_broker_grants_or_refuses_has_its_code() {
        let mut suback = BytesMut::from(&[0x90, 6, 0xff, 0xff, 0, 1, 0x87, 0x8f][..]);
        let Packet::SubAck(answer) = crate::v5::read(&mut suback).unwrap() else { panic!("no SUBACK") };
        let granted: Vec<_> = answer.return_codes.iter().map(granted).collect();
        let refused = |reason: &str| Err(reason.to_owned());
        assert_eq!(
            granted,
            [Ok(Qos::AtLeastOnce), refused("0x87 not authorized"), refused("0x8f topic filter invalid")]
        );
    }

    #[test]
    fn a_message_keeps_its_flags_and_properties() {
        // DUP, QoS 1 and RETAIN; packet id 9; a response topic.
        let mut publish = BytesMut::from(&[0x3b, 11, 0, 1, b'a', 0, 9, 4, 8, 0, 1, b'r', b'p'][..]);
        let Packet::Publish(publish) = crate::v5::read(&mut publish).unwrap() else { panic!("no PUBLISH") };
        let arrived = message(&publish);
        assert_eq!((arrived.topic.as_str(), &arrived.payload[..], arrived.qos), ("a", &b"p"[..], Qos::AtLeastOnce));
        assert!(arrived.retained && arrived.repeated);
        assert_eq!(arrived.properties.unwrap().response_topic.as_deref(), Some("r"));
    }
}
