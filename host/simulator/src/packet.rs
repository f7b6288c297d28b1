//! MQTT control packets, 3.1.1 and 5, as the brokers here and the subscribers of the tests need them.
//!
//! Written here because a library neither breaks the protocol on purpose nor reports that its peer does. Clauses in
//! brackets are MQTT 5.0's.

mod connect;
mod encode;
mod fields;
mod properties;
mod publish;
pub(crate) mod reason;
mod subscribe;
#[cfg(test)]
mod tests;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

pub(crate) use self::connect::{Connect, Will};
pub use self::encode::{acknowledgement, connect, subscribe};
pub(crate) use self::encode::{
    connack, connack_with_session, disconnect, disconnect_with_properties, pingresp, publish, suback, unsuback,
};
use self::fields::Fields;
pub use self::properties::Properties;
pub use self::publish::Publish;
pub(crate) use self::subscribe::{RetainHandling, Subscription};

/// Largest packet that [`Packet::decode`] accepts, in bytes: more than any test sends.
pub(crate) const PACKET_BYTES_MAX: usize = 8 << 20;
/// Bytes that a length may take (§1.5.5).
const LENGTH_BYTES_MAX: usize = 4;
/// The flags that PUBREL, SUBSCRIBE and UNSUBSCRIBE must have (§2.1.3).
const FLAGS_OF_REQUESTS: u8 = 2;

/// A version of MQTT, by the protocol level of its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 3.1.1, level 4.
    V311,
    /// 5, level 5.
    V5,
}

/// The type of a control packet: the upper half of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the standard's own names")]
pub enum PacketKind {
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

/// A packet as received: its type, its flags, and the bytes after its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its type.
    pub kind: PacketKind,
    /// The lower half of its first byte.
    pub flags: u8,
    /// The bytes after its length.
    pub body: Vec<u8>,
}

/// Why received bytes cannot be the beginning of a packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Packet type 0, with the first byte.
    #[error("packet of the reserved type 0, first byte {0:#04x} [2.1.2]")]
    ReservedType(u8),
    /// The length has a fifth byte.
    #[error("packet length of more than four bytes [1.5.5]")]
    LengthTooLong,
    /// The packet is larger than allowed, with its size and the limit in bytes.
    #[error("packet of {0} bytes, the limit is {1} [3.2.2.3.6]")]
    TooLarge(usize, usize),
}

impl PacketKind {
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

impl Packet {
    /// Removes the first complete packet from the front of what was received; none while it is incomplete.
    ///
    /// # Errors
    /// When the bytes cannot be the beginning of a packet, or of one of more than 8 MiB.
    pub fn decode(received: &mut Vec<u8>) -> Result<Option<Self>, DecodeError> {
        Self::decode_up_to(PACKET_BYTES_MAX, received)
    }

    /// The same for packets of at most so many bytes: a larger one is an error as soon as its length is known.
    pub(crate) fn decode_up_to(bytes_max: usize, received: &mut Vec<u8>) -> Result<Option<Self>, DecodeError> {
        let mut fields = Fields::new(received);
        let Some(first) = fields.byte() else { return Ok(None) };
        let kind = PacketKind::ALL.into_iter().find(|kind| *kind as u8 == first >> 4);
        let kind = kind.ok_or(DecodeError::ReservedType(first))?;
        let Some(length) = fields.length()? else { return Ok(None) };
        let size = received.len() - fields.remaining() + length;
        if size > bytes_max {
            return Err(DecodeError::TooLarge(size, bytes_max));
        }
        let Some(body) = fields.bytes(length) else { return Ok(None) };
        let packet = Self { kind, flags: first & 0x0f, body: body.to_vec() };
        received.drain(..size);
        Ok(Some(packet))
    }

    /// Reads the next packet of a stream; none at its end. A call that is cancelled loses nothing: what it read stays in
    /// `received`.
    pub(crate) async fn read(
        stream: &mut (impl AsyncRead + Unpin),
        received: &mut Vec<u8>,
        bytes_max: usize,
    ) -> io::Result<Option<Self>> {
        loop {
            if let Some(packet) = Self::decode_up_to(bytes_max, received).map_err(io::Error::other)? {
                return Ok(Some(packet));
            }
            if stream.read_buf(received).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Whether the flags are those that the standard requires of its type (§2.1.3); PUBLISH is free in its own.
    pub(crate) fn has_valid_flags(&self) -> bool {
        match self.kind {
            PacketKind::Publish => true,
            PacketKind::Pubrel | PacketKind::Subscribe | PacketKind::Unsubscribe => self.flags == FLAGS_OF_REQUESTS,
            _ => self.flags == 0,
        }
    }

    /// The packet id at its beginning: of acknowledgements, SUBSCRIBE and UNSUBSCRIBE.
    #[must_use]
    pub fn packet_id(&self) -> Option<u16> {
        Fields::new(&self.body).word()
    }

    /// The reason code of a DISCONNECT or an acknowledgement of MQTT 5 (§3.14.2.1); success where it is left out.
    pub(crate) fn reason(&self) -> u8 {
        let position = if self.kind == PacketKind::Disconnect { 0 } else { 2 };
        self.body.get(position).copied().unwrap_or(reason::SUCCESS)
    }
}
