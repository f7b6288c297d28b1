//! Checks what a client sends against the standard and against what was granted to it. Clauses are MQTT 5.0's.

use std::collections::{BTreeMap, BTreeSet};

use bessai_domain::topic;
use tokio::time::Instant;

use super::script::Script;
use crate::packet::{Packet, PacketKind, Properties, Publish, Version, reason};

/// The state of one client that the rules depend on.
pub(super) struct ClientRules {
    version: Version,
    granted: Script,
    /// Messages whose delivery is not complete, by packet id.
    in_flight: BTreeMap<u16, Stage>,
    aliases: BTreeMap<u32, String>,
    /// Packet ids of messages from the stored session whose PUBREL is due.
    unreleased: BTreeSet<u16>,
    /// Packet ids of messages to the client whose PUBCOMP is due.
    uncompleted: BTreeSet<u16>,
    has_disconnected: bool,
    /// Before CONNACK was sent.
    began: Instant,
    messages: u64,
}

/// The stage of a message's delivery.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBLISH was received: PUBACK or PUBREC is due.
    Published,
    /// PUBREC was sent: PUBREL is due.
    Received,
    /// PUBREL was received: PUBCOMP is due.
    Released,
}

impl ClientRules {
    /// `began`: before CONNACK was sent.
    pub(super) fn new(version: Version, granted: Script, began: Instant) -> Self {
        let stored = granted.stored_session.clone().unwrap_or_default();
        let (unreleased, uncompleted) = (stored.unreleased, stored.releases.into_iter().collect());
        let (in_flight, aliases) = (BTreeMap::new(), BTreeMap::new());
        let (has_disconnected, messages) = (false, 0);
        Self { version, granted, in_flight, aliases, unreleased, uncompleted, has_disconnected, began, messages }
    }

    /// Checks a packet after CONNECT by its type, flags and size; the error is the violation.
    pub(super) fn check_packet(&mut self, packet: &Packet) -> Result<(), String> {
        let kind = packet.kind;
        if self.has_disconnected {
            return Err(format!("{kind:?} after DISCONNECT [3.14.4]"));
        }
        self.has_disconnected = kind == PacketKind::Disconnect;
        // The first byte and the length, at most five bytes, are not counted.
        let size = u32::try_from(packet.body.len()).unwrap_or(u32::MAX);
        if let Some(maximum) = self.limit(self.granted.maximum_packet).filter(|maximum| size > *maximum) {
            return Err(format!("packet of more than {size} bytes, the limit is {maximum} [3.2.2.3.6]"));
        }
        if !packet.has_valid_flags() {
            return Err(format!("{kind:?} with the flags {:#x} [2.1.3]", packet.flags));
        }
        match kind {
            PacketKind::Publish
            | PacketKind::Pubrel
            | PacketKind::Subscribe
            | PacketKind::Unsubscribe
            | PacketKind::Pingreq
            | PacketKind::Disconnect => Ok(()),
            PacketKind::Pubcomp if self.uncompleted.remove(&packet.packet_id().unwrap_or(0)) => Ok(()),
            _ => Err(format!("{kind:?} without a request for it")),
        }
    }

    /// Checks a PUBLISH; its topic, or the violation.
    pub(super) fn check_publish(&mut self, message: &Publish) -> Result<String, String> {
        let (packet_id, qos) = (message.packet_id, message.qos);
        self.count_message()?;
        if qos > 2 {
            return Err("message of QoS 3 [3.3.1.2]".to_owned());
        }
        if let Some(maximum) = self.limit(self.granted.maximum_qos).filter(|maximum| qos > *maximum) {
            return Err(format!("message of QoS {qos}, the maximum is {maximum} [3.2.2.3.4]"));
        }
        if self.version == Version::V5 && message.retain && self.granted.refuses_retain {
            return Err("message to be retained, which the broker refuses [3.2.2.3.5]".to_owned());
        }
        if message.dup {
            // Sessions are never resumed here: each message is sent for the first time in its session.
            return Err(format!("DUP on the first PUBLISH {packet_id} of a session [3.3.1.1]"));
        }
        if qos > 0 {
            self.begin(packet_id)?;
        }
        let topic = self.topic(message)?;
        topic::check(&topic).map_err(|error| format!("{error} [3.3.2.1]"))?;
        Ok(topic)
    }

    fn count_message(&mut self) -> Result<(), String> {
        self.messages += 1;
        let seconds = self.began.elapsed().as_secs() + 1;
        match self.granted.messages_per_s {
            Some(limit) if self.messages > seconds * u64::from(limit) => {
                Err(format!("{} messages in the first {seconds} s, the limit is {limit} in each", self.messages))
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, packet_id: u16) -> Result<(), String> {
        if packet_id == 0 {
            return Err("message without a packet id [2.2.1]".to_owned());
        }
        if self.in_flight.insert(packet_id, Stage::Published).is_some() {
            return Err(format!("packet id {packet_id} used again before its acknowledgement [2.2.1]"));
        }
        let maximum = self.limit(self.granted.receive_maximum).map(usize::from);
        match maximum.filter(|maximum| self.in_flight.len() > *maximum) {
            Some(maximum) => {
                Err(format!("{} messages unacknowledged, the maximum is {maximum} [3.3.4]", self.in_flight.len()))
            }
            None => Ok(()),
        }
    }

    fn topic(&mut self, message: &Publish) -> Result<String, String> {
        let Some(alias) = message.properties.number(Properties::TOPIC_ALIAS) else { return Ok(message.topic.clone()) };
        let maximum = self.limit(self.granted.topic_alias_maximum).unwrap_or(0);
        if alias == 0 || alias > maximum.into() {
            return Err(format!("topic alias {alias}, the maximum is {maximum} [3.3.2.3.4]"));
        }
        if message.topic.is_empty() {
            let known = self.aliases.get(&alias).cloned();
            return known.ok_or_else(|| format!("topic alias {alias}, which was never assigned [3.3.2.3.4]"));
        }
        self.aliases.insert(alias, message.topic.clone());
        Ok(message.topic.clone())
    }

    /// Whether a message counts as the repetition of one that the stored session has not released.
    pub(super) fn is_repetition(&self, message: &Publish) -> bool {
        message.qos == 2 && self.unreleased.contains(&message.packet_id)
    }

    /// Checks a PUBREL; the reason code of its PUBCOMP, or the violation.
    pub(super) fn release(&mut self, packet_id: u16) -> Result<u8, String> {
        if self.unreleased.remove(&packet_id) {
            return Ok(reason::SUCCESS);
        }
        match self.in_flight.get_mut(&packet_id) {
            Some(stage @ Stage::Received) => {
                *stage = Stage::Released;
                Ok(reason::SUCCESS)
            }
            // A client that resumes a session may release ids that only it knows of.
            None if self.granted.stored_session.is_some() => Ok(reason::PACKET_IDENTIFIER_NOT_FOUND),
            _ => Err(format!("PUBREL {packet_id} without a PUBREC before it [4.3.3]")),
        }
    }

    /// Records an acknowledgement that was sent; whether it completes the delivery.
    pub(super) fn answer(&mut self, kind: PacketKind, packet_id: u16) -> bool {
        if kind == PacketKind::Pubrec {
            if let Some(stage) = self.in_flight.get_mut(&packet_id) {
                *stage = Stage::Received;
            }
            return false;
        }
        self.in_flight.remove(&packet_id).is_some()
    }

    /// A limit holds only for clients to which CONNACK announced it.
    fn limit<T>(&self, limit: Option<T>) -> Option<T> {
        limit.filter(|_| self.version == Version::V5)
    }
}
