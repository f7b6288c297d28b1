//! The faults of a server.

use std::time::Duration;

use super::ReceivedRequest;
use super::answer::{EXCEPTION_BIT, Exception, ILLEGAL_ADDRESS, is_read};
use super::frame::ModbusFrame;
use super::framing::Framing;
use super::function::{READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT};

/// What [`Fault::Garbage`] sends: its protocol id is not 0, and no part of it ends in a valid CRC, so no client can take
/// it for a frame.
pub(super) const GARBAGE: [u8; 24] = [
    0x9e, 0x37, 0x79, 0xb9, 0x7f, 0x4a, 0x7c, 0x15, 0xf3, 0x9c, 0xc0, 0x60, 0x5c, 0xed, 0xc8, 0x34, 0x10, 0x82, 0x27,
    0x6b, 0xf3, 0xa2, 0x72, 0x51,
];
/// What [`Fault::Noise`] sends.
pub(super) const NOISE: [u8; 3] = [0xff, 0x00, 0xfe];

/// A fault, for every request on every connection unless a [`FaultRule`](super::FaultRule) selects some. Unless noted, a
/// write is still carried out. A serial port has no connection to close: it is silent instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Each request is refused with this exception code; nothing is written.
    Exception(u8),
    /// Requests are ignored: no reply, nothing is written.
    Silence,
    /// The reply is sent this much later; further requests wait.
    Slow(Duration),
    /// The reply is held back until the connection's next request was received, and sent just before that one's own: after
    /// the client's timeout, in the middle of its next exchange.
    Late,
    /// A well-formed reply to a read that holds one register, or eight bits, too few.
    ShortReply,
    /// A well-formed reply to a read that holds one register, or eight bits, too many, for 125 registers beyond the longest
    /// PDU.
    LongReply,
    /// Half the bytes of the reply, then the connection is closed, as if the device lost power.
    Truncate,
    /// Half the bytes of the reply, then the connection is reset (RST).
    ResetMidFrame,
    /// The reply is sent byte by byte, with this pause after each.
    Dribble(Duration),
    /// The reply is sent twice.
    Duplicate,
    /// The reply has the next unit id.
    WrongUnit,
    /// The reply has the next transaction id; RTU has none.
    WrongTransaction,
    /// Every reply has this transaction id; RTU has none.
    ConstantTransaction(u16),
    /// The header of an exception states this length instead of 3; RTU has no header.
    ExceptionLength(u16),
    /// Two zero bytes follow the reply, which nothing announces.
    Padding,
    /// The request comes back before its reply, as from an RS485 adapter that hears itself; only on RTU. It comes back too
    /// where there is no reply.
    Echo,
    /// Frames of another master and the replies to it are sent around the reply: of other units, and of the same one with
    /// as many values as requested.
    OtherMaster,
    /// The reply has another function code: 3 and 4 are swapped, and so are 1 and 2.
    WrongFunction,
    /// The CRC of the reply is wrong; only RTU has one.
    WrongCrc,
    /// The reply is 24 bytes that are no frame; nothing is written, and the connection stays open.
    Garbage,
    /// Three bytes that belong to no frame are sent before the reply.
    Noise,
    /// The server closes its side without a reply and ignores what the client still sends; nothing is written.
    HalfClose,
    /// The connection is reset (RST) without a reply; nothing is written.
    Reset,
    /// Reads of more registers or bits than this are refused with exception 2.
    BlockLimit(u16),
    /// Reads that include this register or bit, in any table, are refused with exception 2.
    RefuseAddress(u16),
}

/// What is done instead of a reply.
#[derive(Clone, Copy)]
pub(super) enum Replacement {
    Nothing,
    Garbage,
    HalfClose,
    Reset,
}

/// How a reply is sent.
#[derive(Clone, Copy)]
pub(super) enum Sending {
    Whole,
    HalfThenClose,
    HalfThenReset,
    WithNextRequest,
    ByteByByte(Duration),
    Twice,
}

impl Fault {
    /// How long the reply is delayed.
    pub(super) fn delay(self) -> Duration {
        if let Self::Slow(delay) = self { delay } else { Duration::ZERO }
    }

    /// What is done instead of a reply, if anything.
    pub(super) fn replacement(self) -> Option<Replacement> {
        match self {
            Self::Silence => Some(Replacement::Nothing),
            Self::Garbage => Some(Replacement::Garbage),
            Self::HalfClose => Some(Replacement::HalfClose),
            Self::Reset => Some(Replacement::Reset),
            _ => None,
        }
    }

    /// The exception with which this fault refuses the request, if it does.
    pub(super) fn exception(self, request: ReceivedRequest) -> Option<Exception> {
        let reads = is_read(request.function);
        let ReceivedRequest { address, count, .. } = request;
        let refused = match self {
            Self::Exception(code) => return Some(Exception(code)),
            Self::BlockLimit(limit) => reads && count > limit,
            Self::RefuseAddress(bad) => reads && bad.checked_sub(address).is_some_and(|offset| offset < count),
            _ => false,
        };
        refused.then_some(ILLEGAL_ADDRESS)
    }

    /// The reply that this fault makes of a correct one.
    pub(super) fn distort(self, mut reply: ModbusFrame) -> ModbusFrame {
        match self {
            Self::ShortReply => shorten(&mut reply.pdu),
            Self::LongReply => lengthen(&mut reply.pdu),
            Self::WrongUnit => reply.unit = reply.unit.wrapping_add(1),
            Self::WrongTransaction => reply.transaction = reply.transaction.wrapping_add(1),
            Self::ConstantTransaction(id) => reply.transaction = id,
            Self::WrongFunction => change_function(&mut reply.pdu),
            _ => {}
        }
        reply
    }

    /// The length that the header of this reply states instead of the right one.
    pub(super) fn stated_length(self, framing: Framing, reply: &ModbusFrame) -> Option<u16> {
        let is_exception = reply.pdu.first().is_some_and(|function| function & EXCEPTION_BIT != 0);
        match self {
            Self::ExceptionLength(length) if framing == Framing::Tcp && is_exception => Some(length),
            _ => None,
        }
    }

    /// How the reply is sent, if not as a whole and once.
    pub(super) fn sending(self) -> Option<Sending> {
        match self {
            Self::Truncate => Some(Sending::HalfThenClose),
            Self::ResetMidFrame => Some(Sending::HalfThenReset),
            Self::Late => Some(Sending::WithNextRequest),
            Self::Dribble(pause) => Some(Sending::ByteByByte(pause)),
            Self::Duplicate => Some(Sending::Twice),
            _ => None,
        }
    }
}

/// The bytes of the smallest change to a read's data: a register, or a byte of bits.
fn step(function: u8) -> u8 {
    match function {
        READ_HOLDING | READ_INPUT => 2,
        READ_COILS | READ_DISCRETE => 1,
        _ => 0,
    }
}

fn shorten(pdu: &mut Vec<u8>) {
    if let [function, data_bytes, ..] = pdu.as_mut_slice() {
        let step = step(*function);
        *data_bytes = data_bytes.saturating_sub(step);
        pdu.truncate(pdu.len().saturating_sub(usize::from(step)));
    }
}

fn lengthen(pdu: &mut Vec<u8>) {
    if let [function, data_bytes, ..] = pdu.as_mut_slice() {
        let step = step(*function);
        *data_bytes = data_bytes.saturating_add(step);
        pdu.extend(std::iter::repeat_n(0, usize::from(step)));
    }
}

/// Exceptions keep their bit.
fn change_function(pdu: &mut [u8]) {
    if let [function, ..] = pdu {
        let is_of_bits = matches!(*function & 0x7f, READ_COILS | READ_DISCRETE);
        *function ^= if is_of_bits { READ_COILS ^ READ_DISCRETE } else { READ_HOLDING ^ READ_INPUT };
    }
}
