//! TRACE lines about packets: type, packet id, topic and size. What a packet carries is not logged: it may be a secret.

use std::fmt::Debug;

use bessai_domain::message::Message;
use bessai_domain::session::Protocol;
use rumqttc::Outgoing;

/// The version of MQTT as its standard names it.
pub(crate) fn version(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::V311 => "3.1.1",
        Protocol::V5 => "5.0",
    }
}

/// Whether packets are logged.
pub(crate) fn is_on() -> bool {
    tracing::enabled!(tracing::Level::TRACE)
}

/// A message was queued to be sent.
pub(crate) fn queued(message: &Message) {
    let Message { topic, payload, qos, retain, .. } = message;
    let (bytes, qos) = (payload.len(), qos.level());
    tracing::trace!(%topic, bytes, qos, retain, "queued PUBLISH");
}

/// A packet was sent.
pub(crate) fn sent(packet: &Outgoing) {
    let (name, id) = match packet {
        Outgoing::Publish(id) => ("PUBLISH", Some(*id)),
        Outgoing::PubAck(id) => ("PUBACK", Some(*id)),
        Outgoing::PubRec(id) => ("PUBREC", Some(*id)),
        Outgoing::PubRel(id) => ("PUBREL", Some(*id)),
        Outgoing::PubComp(id) => ("PUBCOMP", Some(*id)),
        Outgoing::Subscribe(id) => ("SUBSCRIBE", Some(*id)),
        Outgoing::Unsubscribe(id) => ("UNSUBSCRIBE", Some(*id)),
        Outgoing::PingReq => ("PINGREQ", None),
        Outgoing::PingResp => ("PINGRESP", None),
        Outgoing::Disconnect => ("DISCONNECT", None),
        // Not a packet: more are waiting for one.
        Outgoing::AwaitAck(_) => return,
    };
    tracing::trace!(id, "sent {name}");
}

/// A packet was received. `reason`: its reason code.
pub(crate) fn received(name: &str, id: Option<u16>, reason: Option<&dyn Debug>) {
    tracing::trace!(id, reason = reason.map(tracing::field::debug), "received {name}");
}
