//! MQTT packets, 3.1.1 and 5, as brokers and subscribers of the tests need them. Written anew here, since a library would
//! neither break the rules nor show that another breaks them.

mod properties;
#[cfg(test)]
mod tests;
mod write;

pub use properties::{Properties, Property};
pub use write::{acknowledgement, connack, connect, disconnect, pingresp, publish, suback, subscribe};

/// Largest packet that is read, in bytes: more than any test sends.
const PACKET_MAX: usize = 8 << 20;
/// Bytes that a length may take (MQTT 5.0 §1.5.5).
const LENGTH_BYTES_MAX: usize = 4;

/// A version of MQTT, by the protocol level of its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1, level 4.
    V311,
    /// 5, level 5.
    V5,
}

/// What a packet is, by the upper half of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the standard's own names")]
pub enum Kind {
    Connect = 1,
    Connack,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Suback,
    Unsubscribe,
    Unsuback,
    Pingreq,
    Pingresp,
    Disconnect,
    Auth,
}

impl Kind {
    const ALL: [Self; 15] = [
        Self::Connect,
        Self::Connack,
        Self::Publish,
        Self::Puback,
        Self::Pubrec,
        Self::Pubrel,
        Self::Pubcomp,
        Self::Subscribe,
        Self::Suback,
        Self::Unsubscribe,
        Self::Unsuback,
        Self::Pingreq,
        Self::Pingresp,
        Self::Disconnect,
        Self::Auth,
    ];
}

/// A packet as it came: kind, flags, and what follows the length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// The lower half of its first byte.
    pub flags: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// A sign-in. No `Debug`: it holds a password.
#[derive(Clone)]
pub struct Connect {
    /// The protocol's name; `MQTT` in the versions known here.
    pub protocol: String,
    /// The protocol's level: 4 is 3.1.1, 5 is 5.
    pub level: u8,
    /// The flags' byte.
    pub flags: u8,
    /// Longest silence, in seconds.
    pub keep_alive_s: u16,
    /// MQTT 5's properties.
    pub properties: Properties,
    /// Who it is.
    pub client_id: String,
    /// Topic and payload of the last will.
    pub will: Option<(String, Vec<u8>)>,
    /// User name, if any.
    pub username: Option<String>,
    /// Password, if any.
    pub password: Option<Vec<u8>>,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// Empty where an alias stands for it.
    pub topic: String,
    /// The message.
    pub payload: Vec<u8>,
    /// 0, 1 or 2; 3 is against the rules.
    pub qos: u8,
    /// Sent before.
    pub dup: bool,
    /// To be kept by the broker.
    pub retain: bool,
    /// 0 for QoS 0, which has none.
    pub packet_id: u16,
    /// MQTT 5's properties.
    pub properties: Properties,
}

impl Packet {
    /// Takes the first whole packet off the front of what was received; none while it is incomplete.
    ///
    /// # Errors
    /// When the bytes cannot be the beginning of a packet.
    pub fn take(received: &mut Vec<u8>) -> Result<Option<Self>, String> {
        let mut fields = Fields(received);
        let Some(first) = fields.byte() else { return Ok(None) };
        let Some(length) = fields.length()? else { return Ok(None) };
        if length > PACKET_MAX {
            return Err(format!("a packet of {length} bytes"));
        }
        let Some(body) = fields.bytes(length) else { return Ok(None) };
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u8 == first >> 4);
        let Some(kind) = kind else { return Err(format!("a packet of the reserved type 0, {first:#04x}")) };
        let packet = Self { kind, flags: first & 0x0f, body: body.to_vec() };
        let rest = fields.0.len();
        received.drain(..received.len() - rest);
        Ok(Some(packet))
    }

    /// Reads a CONNECT; none where it is malformed.
    #[must_use]
    pub fn connect(&self) -> Option<Connect> {
        let mut fields = Fields(&self.body);
        let protocol = fields.text()?;
        let (level, flags, keep_alive_s) = (fields.byte()?, fields.byte()?, fields.word()?);
        let is_v5 = level == 5;
        let properties = if is_v5 { fields.properties()? } else { Properties::default() };
        let client_id = fields.text()?;
        let mut will = None;
        if flags & 0x04 != 0 {
            if is_v5 {
                fields.properties()?;
            }
            will = Some((fields.text()?, fields.binary()?.to_vec()));
        }
        let username = if flags & 0x80 != 0 { Some(fields.text()?) } else { None };
        let password = if flags & 0x40 != 0 { Some(fields.binary()?.to_vec()) } else { None };
        fields.0.is_empty().then_some(())?;
        Some(Connect { protocol, level, flags, keep_alive_s, properties, client_id, will, username, password })
    }

    /// Reads a PUBLISH; none where it is malformed.
    #[must_use]
    pub fn publish(&self, version: Version) -> Option<Publish> {
        let mut fields = Fields(&self.body);
        let qos = self.flags >> 1 & 3;
        let topic = fields.text()?;
        let packet_id = if qos > 0 { fields.word()? } else { 0 };
        let properties = if version == Version::V5 { fields.properties()? } else { Properties::default() };
        let (dup, retain) = (self.flags & 8 != 0, self.flags & 1 != 0);
        Some(Publish { topic, payload: fields.0.to_vec(), qos, dup, retain, packet_id, properties })
    }

    /// The packet id that it begins with: of acknowledgements, SUBSCRIBE and UNSUBSCRIBE.
    #[must_use]
    pub fn packet_id(&self) -> Option<u16> {
        Fields(&self.body).word()
    }

    /// The topic filters of a SUBSCRIBE, each with the QoS that it asks for; none where it is malformed.
    #[must_use]
    pub fn filters(&self, version: Version) -> Option<Vec<(String, u8)>> {
        let mut fields = Fields(&self.body);
        fields.word()?;
        if version == Version::V5 {
            fields.properties()?;
        }
        let mut filters = Vec::new();
        while !fields.0.is_empty() {
            filters.push((fields.text()?, fields.byte()? & 3));
        }
        (!filters.is_empty()).then_some(filters)
    }
}

/// What is left to read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes(1)?.first().copied()
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.bytes(2)?.try_into().ok()?))
    }

    fn binary(&mut self) -> Option<&'a [u8]> {
        let length = self.word()?;
        self.bytes(length.into())
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.binary()?.to_vec()).ok()
    }

    /// A length in groups of seven bits, lowest first; none while it is incomplete.
    fn length(&mut self) -> Result<Option<usize>, String> {
        let mut length = 0;
        for index in 0..LENGTH_BYTES_MAX {
            let Some(byte) = self.byte() else { return Ok(None) };
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(Some(length));
            }
        }
        Err("a length of more than four bytes".to_owned())
    }

    fn properties(&mut self) -> Option<Properties> {
        let length = self.length().ok()??;
        Properties::read(Fields(self.bytes(length)?))
    }
}
