//! Checks what a broker sends before rumqttc reads it: which packets a client may get, how large they
//! may be, and whether what they say about their own lengths is true.
//!
//! rumqttc decodes a packet whole, logs each of its reason codes, keeps every topic alias and waits for more bytes where a
//! packet's property length is cut off. A packet that would make it do so ends the session here, before it is complete where
//! its header already shows that it is too large.

use bessai_domain::session::Protocol;

use crate::limits::MAX_PACKET;

/// Bytes of a packet that is no message: CONNACK, DISCONNECT and acknowledgements have a few properties at most.
const MAX_CONTROL_PACKET: usize = 16 << 10;
/// Properties of one packet. The standard has fewer than 30; user properties may repeat.
const MAX_PROPERTIES: usize = 64;
/// Bytes of a variable byte integer (5.0 §1.5.5).
const MAX_VARINT_BYTES: usize = 4;
/// Identifier of the property Topic Alias (5.0 §3.3.2.3.4).
const TOPIC_ALIAS: u8 = 35;

/// What has been received of the connection's packets so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// CONNECT is sent; only CONNACK may come.
    SigningIn,
    /// CONNACK has come.
    SignedIn,
    /// The same, and the client subscribes.
    Receiving,
}

/// What a broker must not send, to be used as an object: `sent {…}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation(pub(crate) String);

/// The length of the first packet of `received`, or none while it is not complete.
pub(crate) fn next_packet(received: &[u8], protocol: Protocol, phase: Phase) -> Result<Option<usize>, Violation> {
    let Some((&header, rest)) = received.split_first() else { return Ok(None) };
    let kind = PacketKind::of(header, protocol, phase)?;
    let mut fields = Fields(rest);
    let length = match fields.varint() {
        Ok(length) => length,
        Err(CutOff) if rest.len() < MAX_VARINT_BYTES => return Ok(None),
        Err(CutOff) => return Err(kind.violation("whose length has more than four bytes")),
    };
    if length > kind.longest() {
        return Err(kind.violation(&format!("of {length} bytes; at most {} are accepted", kind.longest())));
    }
    let Some(body) = fields.0.get(..length) else { return Ok(None) };
    kind.check(header, Fields(body), protocol)?;
    Ok(Some(received.len() - fields.0.len() + length))
}

/// The packets that a client may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PacketKind {
    Connack,
    /// Also for a client that never subscribes: a stored session may still have subscriptions of an earlier one.
    Publish,
    /// PUBACK, PUBREC, PUBREL or PUBCOMP, by name.
    Acknowledgement(&'static str),
    Suback,
    Pingresp,
    Disconnect,
}

fn unexpected(header: u8) -> String {
    format!("a packet of type {}, which a client does not expect", header >> 4)
}

impl PacketKind {
    fn of(header: u8, protocol: Protocol, phase: Phase) -> Result<Self, Violation> {
        let kind = match (header >> 4, phase) {
            (2, Phase::SigningIn) => Self::Connack,
            (_, Phase::SigningIn) => return Err(Violation(unexpected(header))),
            (3, _) => Self::Publish,
            (4, _) => Self::Acknowledgement("PUBACK"),
            (5, _) => Self::Acknowledgement("PUBREC"),
            (6, _) => Self::Acknowledgement("PUBREL"),
            (7, _) => Self::Acknowledgement("PUBCOMP"),
            (13, _) => Self::Pingresp,
            (14, _) if protocol == Protocol::V5 => Self::Disconnect,
            (9, Phase::Receiving) => Self::Suback,
            (9, Phase::SignedIn) => return Err(Violation("a SUBACK, and this client never subscribes".into())),
            (11, _) => return Err(Violation("an UNSUBACK, and this client never unsubscribes".into())),
            _ => return Err(Violation(unexpected(header))),
        };
        Ok(kind)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Acknowledgement(name) => name,
            Self::Suback => "SUBACK",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
        }
    }

    fn longest(self) -> usize {
        match self {
            Self::Publish => usize::try_from(MAX_PACKET).unwrap_or(usize::MAX),
            _ => MAX_CONTROL_PACKET,
        }
    }

    fn violation(self, what: &str) -> Violation {
        Violation(format!("a {} {what}", self.name()))
    }

    fn check(self, header: u8, mut fields: Fields<'_>, protocol: Protocol) -> Result<(), Violation> {
        let is_v5 = protocol == Protocol::V5;
        let checked = match self {
            Self::Connack => {
                fields.skip(2).and_then(|()| if is_v5 { fields.properties(Aliases::Ignored) } else { Ok(()) })
            }
            Self::Publish => check_publish(header, fields, is_v5),
            // The reason code and the properties may be left out (5.0 §3.4.2.1, §3.4.2.2.1).
            Self::Acknowledgement(_) => {
                fields.skip(2).and_then(|()| if is_v5 { fields.reason_and_properties() } else { Ok(()) })
            }
            Self::Suback => {
                fields.skip(2).and_then(|()| if is_v5 { fields.properties(Aliases::Ignored) } else { Ok(()) })
            }
            Self::Pingresp => Ok(()),
            Self::Disconnect => fields.reason_and_properties(),
        };
        checked.map_err(|fault| match fault {
            Fault::CutOff => self.violation("that is cut off"),
            Fault::Unknown(property) => self.violation(&format!("with the unknown property {property}")),
            Fault::TooMany => self.violation(&format!("with more than {MAX_PROPERTIES} properties")),
            Fault::Alias => {
                self.violation("with a topic alias, and this client accepts none (0x94 topic alias invalid)")
            }
        })
    }
}

fn check_publish(header: u8, mut fields: Fields<'_>, is_v5: bool) -> Result<(), Fault> {
    fields.text()?;
    let has_packet_id = header & 0b0110 != 0;
    if has_packet_id {
        fields.skip(2)?;
    }
    if is_v5 { fields.properties(Aliases::Refused) } else { Ok(()) }
}

/// A packet ends before what it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CutOff;

/// What is wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    CutOff,
    Unknown(u8),
    TooMany,
    Alias,
}

/// Whether a topic alias is refused: a packet other than PUBLISH has none, which rumqttc finds out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aliases {
    Refused,
    Ignored,
}

impl From<CutOff> for Fault {
    fn from(CutOff: CutOff) -> Self {
        Self::CutOff
    }
}

/// The rest of a packet.
#[derive(Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], CutOff> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(CutOff)?;
        self.0 = rest;
        Ok(taken)
    }

    fn skip(&mut self, count: usize) -> Result<(), Fault> {
        Ok(self.take(count).map(drop)?)
    }

    fn byte(&mut self) -> Result<u8, CutOff> {
        self.take(1)?.first().copied().ok_or(CutOff)
    }

    fn varint(&mut self) -> Result<usize, CutOff> {
        let mut value = 0;
        for position in 0..MAX_VARINT_BYTES {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7f) << (7 * position);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CutOff)
    }

    /// A text or binary data, after its length.
    fn text(&mut self) -> Result<(), Fault> {
        let (high, low) = (self.byte()?, self.byte()?);
        self.skip(usize::from(u16::from_be_bytes([high, low])))
    }

    fn reason_and_properties(&mut self) -> Result<(), Fault> {
        if self.0.len() <= 1 {
            return Ok(());
        }
        self.skip(1)?;
        self.properties(Aliases::Ignored)
    }

    /// Properties after their length.
    fn properties(&mut self, aliases: Aliases) -> Result<(), Fault> {
        let length = self.varint()?;
        let mut properties = Fields(self.take(length)?);
        let mut count = 0;
        while !properties.0.is_empty() {
            count += 1;
            if count > MAX_PROPERTIES {
                return Err(Fault::TooMany);
            }
            let identifier = properties.byte()?;
            if identifier == TOPIC_ALIAS && aliases == Aliases::Refused {
                return Err(Fault::Alias);
            }
            properties.value(identifier)?;
        }
        Ok(())
    }

    /// The value of a property (5.0 §2.2.2.2).
    fn value(&mut self, identifier: u8) -> Result<(), Fault> {
        match identifier {
            1 | 23 | 25 | 36 | 37 | 40 | 41 | 42 => self.skip(1),
            19 | 33 | 34 | TOPIC_ALIAS => self.skip(2),
            2 | 17 | 24 | 39 => self.skip(4),
            11 => Ok(self.varint().map(drop)?),
            3 | 8 | 9 | 18 | 21 | 22 | 26 | 28 | 31 => self.text(),
            38 => self.text().and_then(|()| self.text()),
            unknown => Err(Fault::Unknown(unknown)),
        }
    }
}

#[cfg(test)]
mod tests;
