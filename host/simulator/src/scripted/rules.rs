//! The standard, and what was granted, held against what a client sends. Clauses are MQTT 5.0's.

use std::collections::BTreeMap;

use crate::packet::{Connect, Kind, Packet, Properties, Publish, Version};
use crate::scripted::Script;

/// What is known of one client.
pub(super) struct Rules {
    version: Version,
    granted: Script,
    /// Messages that the client has to wait for, by packet id.
    under_way: BTreeMap<u16, Stage>,
    aliases: BTreeMap<u32, String>,
    said_goodbye: bool,
}

/// Where a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// PUBLISH came: PUBACK or PUBREC is due.
    Published(u8),
    /// PUBREC went out: PUBREL is due.
    Received,
    /// PUBREL came: PUBCOMP is due.
    Released,
}

/// What is wrong with a CONNECT, in words.
pub(super) fn connect(connect: &Connect) -> Option<String> {
    let will_qos = connect.flags >> 3 & 3;
    let is_unwilling = connect.flags & 4 == 0;
    let check = |is_wrong: bool, words: &str| is_wrong.then(|| words.to_owned());
    check(connect.protocol != "MQTT", "the protocol's name is not MQTT [3.1.2.1]")
        .or_else(|| check(!matches!(connect.level, 4 | 5), "an unknown protocol level [3.1.2.2]"))
        .or_else(|| check(connect.flags & 1 != 0, "the reserved flag of CONNECT is set [3.1.2.3]"))
        .or_else(|| check(is_unwilling && connect.flags & 0x38 != 0, "flags of a will that is not there [3.1.2.6]"))
        .or_else(|| check(will_qos > 2, "a will of QoS 3 [3.1.2.6]"))
        .or_else(|| {
            let is_alone = connect.level == 4 && connect.password.is_some() && connect.username.is_none();
            check(is_alone, "a password without a user name in 3.1.1")
        })
}

impl Rules {
    pub(super) fn new(version: Version, granted: Script) -> Self {
        let aliases = BTreeMap::new();
        Self { version, granted, under_way: BTreeMap::new(), aliases, said_goodbye: false }
    }

    /// Any packet after CONNECT; what is wrong with it as such.
    pub(super) fn packet(&mut self, packet: &Packet) -> Result<(), String> {
        if self.said_goodbye {
            return Err(format!("{:?} after DISCONNECT [3.14.4]", packet.kind));
        }
        self.said_goodbye = packet.kind == Kind::Disconnect;
        // Before the packet came its length and first byte, at most five bytes.
        let size = u32::try_from(packet.body.len()).unwrap_or(u32::MAX);
        if let Some(most) = self.limit(self.granted.maximum_packet).filter(|most| size > *most) {
            return Err(format!("a packet of more than {size} bytes, the limit is {most} [3.2.2.3.6]"));
        }
        let flags = match packet.kind {
            Kind::Publish => return Ok(()),
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe => 2,
            _ => 0,
        };
        if packet.flags != flags {
            return Err(format!("{:?} with the flags {:#x} [2.1.3]", packet.kind, packet.flags));
        }
        match packet.kind {
            Kind::Pubrel | Kind::Subscribe | Kind::Unsubscribe | Kind::Pingreq | Kind::Disconnect => Ok(()),
            kind => Err(format!("{kind:?}, which nothing asked for")),
        }
    }

    /// A PUBLISH; its topic, or what is wrong.
    pub(super) fn publish(&mut self, message: &Publish) -> Result<String, String> {
        let (id, qos) = (message.packet_id, message.qos);
        if qos > 2 {
            return Err("a message of QoS 3 [3.3.1.2]".to_owned());
        }
        if let Some(most) = self.limit(self.granted.maximum_qos).filter(|most| qos > *most) {
            return Err(format!("a message of QoS {qos}, granted was {most} [3.2.2.3.4]"));
        }
        if self.version == Version::V5 && message.retain && self.granted.refuses_retain {
            return Err("a message to be retained, which was not granted [3.2.2.3.5]".to_owned());
        }
        if message.dup {
            // Sessions here are never resumed: each message is sent for the first time in its session.
            return Err(format!("DUP on the first PUBLISH {id} of a session [3.3.1.1]"));
        }
        if qos > 0 {
            self.begin(id, qos)?;
        }
        let topic = self.topic(message)?;
        if topic.is_empty() || topic.contains(['+', '#', '\0']) {
            return Err(format!("a message on the topic {topic:?} [3.3.2.1]"));
        }
        Ok(topic)
    }

    fn begin(&mut self, id: u16, qos: u8) -> Result<(), String> {
        if id == 0 {
            return Err("a message without a packet id [2.2.1]".to_owned());
        }
        if self.under_way.insert(id, Stage::Published(qos)).is_some() {
            return Err(format!("the packet id {id} is used again before its acknowledgement [2.2.1]"));
        }
        let most = self.limit(self.granted.receive_maximum).map(usize::from);
        if let Some(most) = most.filter(|most| self.under_way.len() > *most) {
            return Err(format!("{} messages un-acknowledged, granted were {most} [3.3.4]", self.under_way.len()));
        }
        Ok(())
    }

    fn topic(&mut self, message: &Publish) -> Result<String, String> {
        let Some(alias) = message.properties.number(Properties::TOPIC_ALIAS) else { return Ok(message.topic.clone()) };
        let most = self.limit(self.granted.topic_alias_maximum).unwrap_or(0);
        if alias == 0 || alias > most.into() {
            return Err(format!("the topic alias {alias}, granted were {most} [3.3.2.3.4]"));
        }
        if message.topic.is_empty() {
            let known = self.aliases.get(&alias).cloned();
            return known.ok_or_else(|| format!("the topic alias {alias}, which stands for nothing [3.3.2.3.4]"));
        }
        self.aliases.insert(alias, message.topic.clone());
        Ok(message.topic.clone())
    }

    /// A PUBREL; what is wrong with it.
    pub(super) fn release(&mut self, id: u16) -> Result<(), String> {
        match self.under_way.get_mut(&id) {
            Some(stage @ Stage::Received) => {
                *stage = Stage::Released;
                Ok(())
            }
            _ => Err(format!("PUBREL {id} without a PUBREC before it [4.3.3]")),
        }
    }

    /// An acknowledgement went out; whether the message is done.
    pub(super) fn answered(&mut self, kind: Kind, id: u16) -> bool {
        if kind == Kind::Pubrec {
            if let Some(stage) = self.under_way.get_mut(&id) {
                *stage = Stage::Received;
            }
            return false;
        }
        self.under_way.remove(&id).is_some()
    }

    /// A limit counts only for clients that were told of it.
    fn limit<T>(&self, limit: Option<T>) -> Option<T> {
        limit.filter(|_| self.version == Version::V5)
    }
}
