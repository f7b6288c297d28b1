//! What a broker sends to a client that subscribes: answers to SUBSCRIBE, and messages.

use bessai_domain::command::{ArrivedMessage, Subscription};
use bessai_domain::message::Qos;
use rumqttc::{Publish, QoS, Subscribe, SubscribeFilter, SubscribeReasonCode};

/// SUBSCRIBE. What is retained under a filter is sent at once, marked as retained.
pub(super) fn subscribe(packet_id: u16, subscriptions: &[Subscription]) -> Subscribe {
    let filter =
        |subscription: &Subscription| SubscribeFilter::new(subscription.filter.clone(), super::qos(subscription.qos));
    Subscribe { pkid: packet_id, ..Subscribe::new_many(subscriptions.iter().map(filter)) }
}

/// What the broker granted for one filter; it gives no reason (3.1.1 §3.9.3).
pub(super) fn granted(code: &SubscribeReasonCode) -> Result<Qos, String> {
    match code {
        SubscribeReasonCode::Success(qos) => Ok(domain_qos(*qos)),
        SubscribeReasonCode::Failure => Err("0x80 failure; MQTT 3.1.1 has no reasons, mostly it is a right".into()),
    }
}

/// A message.
pub(super) fn message(publish: &Publish) -> ArrivedMessage {
    ArrivedMessage {
        topic: publish.topic.clone(),
        payload: publish.payload.to_vec(),
        qos: domain_qos(publish.qos),
        retained: publish.retain,
        repeated: publish.dup,
        properties: None,
    }
}

fn domain_qos(qos: QoS) -> Qos {
    match qos {
        QoS::AtMostOnce => Qos::AtMostOnce,
        QoS::AtLeastOnce => Qos::AtLeastOnce,
        QoS::ExactlyOnce => Qos::ExactlyOnce,
    }
}
