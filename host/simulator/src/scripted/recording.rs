//! What a scripted broker has received.

use crate::packet::{Connect, Properties};

/// What has happened since the broker's start.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Connections that were accepted.
    pub connections: usize,
    /// The CONNECT packets in order, whatever they were answered.
    pub connects: Vec<RecordedConnect>,
    /// The messages in order.
    pub messages: Vec<RecordedMessage>,
    /// Acknowledgements sent that complete the delivery of a message: PUBACK and PUBCOMP.
    pub acknowledged: usize,
    /// Packet ids of PUBCOMP packets for messages that the broker released.
    pub completed: Vec<u16>,
    /// Messages that the broker did not accept.
    pub refused: u64,
    /// PINGREQ packets.
    pub pings: usize,
    /// Clients that sent DISCONNECT.
    pub disconnects: usize,
    /// Where clients broke the standard, or exceeded what was granted to them, as sentences.
    pub violations: Vec<String>,
}

/// A CONNECT, without its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedConnect {
    /// The protocol level: 4 is 3.1.1, 5 is 5.
    pub level: u8,
    /// The connect flags (§3.1.2.3).
    pub flags: u8,
    /// Seconds that the session outlives its connection, if announced.
    pub session_expiry_s: Option<u32>,
    /// Names and values of the user properties.
    pub user_properties: Vec<(String, String)>,
    /// The client id.
    pub client_id: String,
    /// The user name, if any.
    pub username: Option<String>,
    /// Topic and payload of the last will.
    pub will: Option<(String, Vec<u8>)>,
}

/// A message that a client published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordedMessage {
    /// Its connection, counted from 1.
    pub connection: usize,
    /// Its topic, resolved where an alias stood for it.
    pub topic: String,
    /// The message.
    pub payload: Vec<u8>,
    /// 0, 1 or 2.
    pub qos: u8,
    /// To be retained.
    pub retain: bool,
    /// Sent before in this session.
    pub dup: bool,
    /// 0 for QoS 0.
    pub packet_id: u16,
    /// The alias that stood for the topic, or was assigned to it.
    pub alias: Option<u32>,
    /// Whether the packet had no topic, only the alias.
    pub is_topic_omitted: bool,
    /// Whether the client need not send it again: its acknowledgement was sent, or it has QoS 0 and needs none.
    pub is_acknowledged: bool,
}

impl Recording {
    pub(super) fn add_violation(&mut self, connection: usize, violation: &str) {
        self.violations.push(format!("connection {connection}: {violation}"));
    }

    pub(super) fn add_connect(&mut self, connection: usize, connect: &Connect) {
        if let Some(violation) = connect.violation() {
            self.add_violation(connection, violation);
        }
        self.connects.push(RecordedConnect {
            level: connect.level,
            flags: connect.flags,
            session_expiry_s: connect.properties.number(Properties::SESSION_EXPIRY_INTERVAL),
            user_properties: connect.properties.user_properties(),
            client_id: connect.client_id.clone(),
            username: connect.username.clone(),
            will: connect.will.clone().map(|will| (will.topic, will.payload)),
        });
    }

    /// Marks the last message of this packet id over this connection.
    pub(super) fn acknowledge(&mut self, connection: usize, packet_id: u16) {
        self.acknowledged += 1;
        let is_meant =
            |message: &&mut RecordedMessage| message.connection == connection && message.packet_id == packet_id;
        if let Some(message) = self.messages.iter_mut().rev().find(is_meant) {
            message.is_acknowledged = true;
        }
    }
}
