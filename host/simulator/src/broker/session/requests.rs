//! The requests of a connected client, and the replies.

use bessai_domain::topic;

use super::super::message::RoutedMessage;
use super::ClientSession;
use crate::broker::limits::RECEIVE_MAXIMUM;
use crate::broker::session_end::SessionEnd;
use crate::packet::{
    self, Packet, PacketKind, Properties, Publish, Version, acknowledgement, pingresp, reason, suback, unsuback,
};

/// The result of a request; an error ends the session.
type Handled = Result<(), SessionEnd>;

impl ClientSession {
    /// Handles one packet and adds the reply to the packets to be sent.
    pub(super) fn handle(&mut self, packet: &Packet) -> Handled {
        if !packet.has_valid_flags() {
            return violation(reason::MALFORMED_PACKET, format!("{:?} with flags {:#x}", packet.kind, packet.flags));
        }
        match packet.kind {
            PacketKind::Publish => self.receive(packet),
            PacketKind::Puback => self.complete(packet),
            PacketKind::Pubrel => self.release(packet),
            PacketKind::Subscribe => self.subscribe(packet),
            PacketKind::Unsubscribe => self.unsubscribe(packet),
            PacketKind::Pingreq => {
                self.unsent.extend(pingresp());
                Ok(())
            }
            PacketKind::Disconnect => match (self.version, packet.reason()) {
                (Version::V5, reason::DISCONNECT_WITH_WILL) => Err(SessionEnd::DisconnectedWithWill),
                _ => Err(SessionEnd::Disconnected),
            },
            // Only a broker sends these, or only before a session, or only for messages of QoS 2 to a client.
            kind => violation(reason::PROTOCOL_ERROR, format!("unexpected {kind:?}")),
        }
    }

    fn receive(&mut self, packet: &Packet) -> Handled {
        let publish = packet.publish(self.version).ok_or_else(|| malformed(packet.kind))?;
        check(&publish)?;
        let (qos, packet_id) = (publish.qos, publish.packet_id);
        if qos < 2 {
            self.router.publish(&self.key.client_id, RoutedMessage::from(publish));
            if qos == 1 {
                self.unsent.extend(acknowledgement(PacketKind::Puback, packet_id, reason::SUCCESS));
            }
            return Ok(());
        }
        // Until PUBREL, the same packet id means the same message [4.3.3].
        if !self.unreleased.contains(&packet_id) {
            if self.version == Version::V5 && self.unreleased.len() >= usize::from(RECEIVE_MAXIMUM) {
                let cause = format!("more than {RECEIVE_MAXIMUM} messages of QoS 2 unreleased");
                return violation(reason::RECEIVE_MAXIMUM_EXCEEDED, cause);
            }
            self.unreleased.insert(packet_id);
            self.router.publish(&self.key.client_id, RoutedMessage::from(publish));
        }
        self.unsent.extend(acknowledgement(PacketKind::Pubrec, packet_id, reason::SUCCESS));
        Ok(())
    }

    fn complete(&mut self, packet: &Packet) -> Handled {
        let packet_id = packet.packet_id().ok_or_else(|| malformed(packet.kind))?;
        self.in_flight.remove(&packet_id);
        Ok(())
    }

    fn release(&mut self, packet: &Packet) -> Handled {
        let packet_id = packet.packet_id().ok_or_else(|| malformed(packet.kind))?;
        let is_unknown = !self.unreleased.remove(&packet_id) && self.version == Version::V5;
        let reason = if is_unknown { reason::PACKET_IDENTIFIER_NOT_FOUND } else { reason::SUCCESS };
        self.unsent.extend(acknowledgement(PacketKind::Pubcomp, packet_id, reason));
        Ok(())
    }

    fn subscribe(&mut self, packet: &Packet) -> Handled {
        let request = packet.subscribe(self.version).ok_or_else(|| malformed(packet.kind))?;
        check_packet_id(packet.kind, request.packet_id)?;
        if request.properties.contains(Properties::SUBSCRIPTION_IDENTIFIER) {
            let cause = "SUBSCRIBE with a subscription identifier";
            return violation(reason::SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED, cause);
        }
        let codes = request.subscriptions.into_iter().map(|subscription| {
            let code = self.router.subscribe(&self.key, subscription);
            let is_refusal_in_v311 = code >= reason::FAILURES && self.version == Version::V311;
            if is_refusal_in_v311 { reason::SUBSCRIPTION_FAILED_V311 } else { code }
        });
        let codes: Vec<u8> = codes.collect();
        self.unsent.extend(suback(self.version, request.packet_id, &codes));
        Ok(())
    }

    fn unsubscribe(&mut self, packet: &Packet) -> Handled {
        let request = packet.unsubscribe(self.version).ok_or_else(|| malformed(packet.kind))?;
        check_packet_id(packet.kind, request.packet_id)?;
        let reasons = request.filters.iter().map(|filter| {
            let was_subscribed = self.router.unsubscribe(&self.key, filter);
            if was_subscribed { reason::SUCCESS } else { reason::NO_SUBSCRIPTION }
        });
        let reasons: Vec<u8> = reasons.collect();
        self.unsent.extend(unsuback(self.version, request.packet_id, &reasons));
        Ok(())
    }
}

/// Checks a PUBLISH against the standard and what the broker offers.
fn check(publish: &Publish) -> Handled {
    if publish.qos > 2 || publish.dup && publish.qos == 0 {
        return violation(reason::MALFORMED_PACKET, format!("Publish of QoS {}, DUP {}", publish.qos, publish.dup));
    }
    if publish.properties.contains(Properties::TOPIC_ALIAS) {
        return violation(reason::TOPIC_ALIAS_INVALID, "Publish with a topic alias");
    }
    if publish.properties.contains(Properties::SUBSCRIPTION_IDENTIFIER) {
        return violation(reason::PROTOCOL_ERROR, "Publish with a subscription identifier");
    }
    if let Err(error) = topic::check(&publish.topic) {
        return violation(reason::TOPIC_NAME_INVALID, error.to_string());
    }
    if publish.qos > 0 { check_packet_id(PacketKind::Publish, publish.packet_id) } else { Ok(()) }
}

fn check_packet_id(kind: PacketKind, packet_id: u16) -> Handled {
    if packet_id == 0 { violation(reason::PROTOCOL_ERROR, format!("{kind:?} with packet id 0")) } else { Ok(()) }
}

fn malformed(kind: packet::PacketKind) -> SessionEnd {
    SessionEnd::Violation(reason::MALFORMED_PACKET, format!("malformed {kind:?}"))
}

fn violation(reason: u8, cause: impl Into<String>) -> Handled {
    Err(SessionEnd::Violation(reason, cause.into()))
}
