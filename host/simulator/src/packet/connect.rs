//! CONNECT (§3.1).

use std::time::Duration;

use super::fields::Fields;
use super::{Packet, Properties, Version};

/// The protocol level of MQTT 3.1.1.
const LEVEL_V311: u8 = 4;
/// The protocol level of MQTT 5.
const LEVEL_V5: u8 = 5;

/// The flag that must be 0.
const RESERVED: u8 = 0x01;
/// The flag of a clean session, or in MQTT 5 of a clean start.
const CLEAN: u8 = 0x02;
/// The flag of a last will.
const WILL: u8 = 0x04;
/// The bits of the will's QoS.
const WILL_QOS: u8 = 0x18;
/// The flag of a will that is to be retained.
const WILL_RETAIN: u8 = 0x20;
/// The flag of a password.
const PASSWORD: u8 = 0x40;
/// The flag of a user name.
const USERNAME: u8 = 0x80;

/// A CONNECT. No `Debug`: it holds a password.
#[derive(Clone)]
pub(crate) struct Connect {
    /// The protocol's name; `MQTT` in the versions known here.
    pub(crate) protocol: String,
    /// The protocol level: 4 is 3.1.1, 5 is 5.
    pub(crate) level: u8,
    /// Which fields follow, and how the session and the will are to be handled (§3.1.2.3).
    pub(crate) flags: u8,
    /// The longest time between two packets, in seconds; 0 for no limit.
    pub(crate) keep_alive_s: u16,
    /// MQTT 5's properties.
    pub(crate) properties: Properties,
    /// The client id; empty where the broker is to assign one.
    pub(crate) client_id: String,
    /// The last will.
    pub(crate) will: Option<Will>,
    /// User name, if any.
    pub(crate) username: Option<String>,
    /// Password, if any.
    pub(crate) password: Option<Vec<u8>>,
}

/// The message that a broker publishes when a connection ends without DISCONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Will {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    /// 0, 1 or 2; 3 is a violation.
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// MQTT 5's properties of the will.
    pub(crate) properties: Properties,
}

impl Packet {
    /// The protocol's name and level at the beginning of a CONNECT, whose other fields differ between the levels; none
    /// where it is malformed.
    pub(crate) fn protocol(&self) -> Option<(String, u8)> {
        let mut fields = Fields::new(&self.body);
        Some((fields.text()?, fields.byte()?))
    }

    /// Decodes a CONNECT; none where it is malformed.
    pub(crate) fn connect(&self) -> Option<Connect> {
        let mut fields = Fields::new(&self.body);
        let protocol = fields.text()?;
        let (level, flags, keep_alive_s) = (fields.byte()?, fields.byte()?, fields.word()?);
        let is_v5 = level == LEVEL_V5;
        let properties = if is_v5 { fields.properties()? } else { Properties::default() };
        let client_id = fields.text()?;
        let will = if flags & WILL != 0 { Some(will(&mut fields, flags, is_v5)?) } else { None };
        let username = if flags & USERNAME != 0 { Some(fields.text()?) } else { None };
        let password = if flags & PASSWORD != 0 { Some(fields.binary()?.to_vec()) } else { None };
        fields.is_empty().then_some(())?;
        Some(Connect { protocol, level, flags, keep_alive_s, properties, client_id, will, username, password })
    }
}

fn will(fields: &mut Fields<'_>, flags: u8, is_v5: bool) -> Option<Will> {
    let properties = if is_v5 { fields.properties()? } else { Properties::default() };
    let (topic, payload) = (fields.text()?, fields.binary()?.to_vec());
    let qos = (flags & WILL_QOS) >> WILL_QOS.trailing_zeros();
    Some(Will { topic, payload, qos, retain: flags & WILL_RETAIN != 0, properties })
}

impl Connect {
    /// The version of its level; other levels count as 3.1.1, in which a broker refuses them.
    pub(crate) fn version(&self) -> Version {
        if self.level == LEVEL_V5 { Version::V5 } else { Version::V311 }
    }

    /// Whether the client requests a new session.
    pub(crate) fn is_clean(&self) -> bool {
        self.flags & CLEAN != 0
    }

    /// The longest silence that a broker tolerates: one and a half times the keep alive (§3.1.2.10).
    pub(crate) fn silence_max(&self) -> Option<Duration> {
        (self.keep_alive_s > 0).then(|| Duration::from_millis(u64::from(self.keep_alive_s) * 1500))
    }

    /// What breaks the standard in it, if anything.
    pub(crate) fn violation(&self) -> Option<&'static str> {
        let has_will = self.flags & WILL != 0;
        let rules = [
            (self.protocol != "MQTT", "the protocol's name is not MQTT [3.1.2.1]"),
            (!matches!(self.level, LEVEL_V311 | LEVEL_V5), "unknown protocol level [3.1.2.2]"),
            (self.flags & RESERVED != 0, "the reserved flag of CONNECT is set [3.1.2.3]"),
            (!has_will && self.flags & (WILL_QOS | WILL_RETAIN) != 0, "flags of a will without a will [3.1.2.6]"),
            (has_will && self.flags & WILL_QOS == WILL_QOS, "will of QoS 3 [3.1.2.6]"),
            (
                self.level == LEVEL_V311 && self.password.is_some() && self.username.is_none(),
                "password without a user name in 3.1.1",
            ),
        ];
        rules.into_iter().find_map(|(is_broken, violation)| is_broken.then_some(violation))
    }
}
