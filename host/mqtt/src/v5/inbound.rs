//! What a broker sends to a client that subscribes: answers to SUBSCRIBE, and messages.

use bessai_domain::command::{ArrivedMessage, Subscription};
use bessai_domain::message::{Properties, Qos};
use rumqttc::v5::mqttbytes::v5::{Filter, Publish, PublishProperties, Subscribe, SubscribeReasonCode};

use super::reasons;

/// SUBSCRIBE. What is retained under a filter is sent at once, marked as retained.
pub(super) fn subscribe(packet_id: u16, subscriptions: &[Subscription]) -> Subscribe {
    let filter = |subscription: &Subscription| Filter::new(subscription.filter.clone(), super::qos(subscription.qos));
    Subscribe { pkid: packet_id, ..Subscribe::new_many(subscriptions.iter().map(filter), None) }
}

/// What the broker granted for one filter, or its reason (5.0 §3.9.3).
pub(super) fn granted(code: &SubscribeReasonCode) -> Result<Qos, String> {
    match (code, reasons::of_suback(code)) {
        (SubscribeReasonCode::Success(qos), _) => Ok(domain_qos(*qos)),
        (_, reason) => Err(reason.unwrap_or_default()),
    }
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
    use bessai_domain::refusal::reason_codes::{Effect, SUBSCRIPTION};
    use bytes::BytesMut;
    use rumqttc::v5::mqttbytes::v5::Packet;

    #[test]
    fn every_code_of_a_subscription_is_granted_or_has_its_reason() {
        for entry in &SUBSCRIPTION {
            let mut suback = BytesMut::from(&[0x90, 4, 0xff, 0xff, 0, entry.code][..]);
            let Packet::SubAck(answer) = crate::v5::read(&mut suback).unwrap() else { panic!("no SUBACK") };
            let granted: Vec<_> = answer.return_codes.iter().map(granted).collect();
            let expected = match entry.code {
                0 => Ok(Qos::AtMostOnce),
                1 => Ok(Qos::AtLeastOnce),
                2 => Ok(Qos::ExactlyOnce),
                _ => Err(entry.reason()),
            };
            assert_eq!(granted, [expected]);
            assert_eq!(granted[0].is_ok(), entry.effect == Effect::Accepted, "{entry:?}");
        }
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
