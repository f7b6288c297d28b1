//! The ways in which the server breaks the rules.

use std::time::Duration;

use super::Request;
use super::answer::{Exception, ILLEGAL_ADDRESS, READ_HOLDING, READ_INPUT};
use super::frame::Frame;

/// What [`Fault::Garbage`] sends: its place of the protocol id is not 0, so no client can take it for a frame.
pub(super) const GARBAGE: [u8; 24] = [
    0x9e, 0x37, 0x79, 0xb9, 0x7f, 0x4a, 0x7c, 0x15, 0xf3, 0x9c, 0xc0, 0x60, 0x5c, 0xed, 0xc8, 0x34, 0x10, 0x82, 0x27,
    0x6b, 0xf3, 0xa2, 0x72, 0x51,
];

/// A rule to break, for every request on every connection. Unless said otherwise a write is still carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Every request is refused with this exception code; nothing is written.
    Exception(u8),
    /// Requests are swallowed: no reply, nothing is written.
    Silence,
    /// The reply comes this much later; requests behind it wait.
    Slow(Duration),
    /// A well-formed reply to a read that holds one register too few.
    ShortReply,
    /// A well-formed reply to a read that holds one register too many, for 125 registers beyond the longest PDU.
    LongReply,
    /// Half the bytes of the reply, then the connection is closed: the device dies in mid-read.
    Truncate,
    /// The reply bears the next unit id.
    WrongUnit,
    /// The reply bears the next transaction id.
    WrongTransaction,
    /// The reply bears another function code: 3 and 4 change places.
    WrongFunction,
    /// The reply is 24 bytes that are no frame; nothing is written, and the connection stays open.
    Garbage,
    /// The server shuts down its side without a reply and ignores what the client still sends; nothing is written.
    HalfClose,
    /// The connection is reset (RST) without a reply; nothing is written.
    Reset,
    /// Reads of more registers than this are refused with exception 2.
    BlockLimit(u16),
    /// Reads that touch this register, in either table, are refused with exception 2.
    RefuseAddress(u16),
}

impl Fault {
    /// The exception with which this fault refuses the request, if it does.
    pub(super) fn refusal(self, request: Request) -> Option<Exception> {
        let reads = is_read(request.function);
        let Request { address, count, .. } = request;
        let refused = match self {
            Self::Exception(code) => return Some(Exception(code)),
            Self::BlockLimit(limit) => reads && count > limit,
            Self::RefuseAddress(bad) => reads && bad.checked_sub(address).is_some_and(|offset| offset < count),
            _ => false,
        };
        refused.then_some(ILLEGAL_ADDRESS)
    }

    /// The reply that this fault makes of an honest one.
    pub(super) fn distort(self, mut reply: Frame) -> Frame {
        match self {
            Self::ShortReply => drop_register(&mut reply.pdu),
            Self::LongReply => add_register(&mut reply.pdu),
            Self::WrongUnit => reply.unit = reply.unit.wrapping_add(1),
            Self::WrongTransaction => reply.transaction = reply.transaction.wrapping_add(1),
            Self::WrongFunction => change_function(&mut reply.pdu),
            _ => {}
        }
        reply
    }
}

fn is_read(function: u8) -> bool {
    matches!(function, READ_HOLDING | READ_INPUT)
}

fn drop_register(pdu: &mut Vec<u8>) {
    if let [READ_HOLDING | READ_INPUT, data_bytes, ..] = pdu.as_mut_slice() {
        *data_bytes = data_bytes.saturating_sub(2);
        pdu.truncate(pdu.len().saturating_sub(2));
    }
}

fn add_register(pdu: &mut Vec<u8>) {
    if let [READ_HOLDING | READ_INPUT, data_bytes, ..] = pdu.as_mut_slice() {
        *data_bytes = data_bytes.saturating_add(2);
        pdu.extend([0, 0]);
    }
}

/// Swaps 3 and 4; refusals keep their mark.
fn change_function(pdu: &mut [u8]) {
    if let [function, ..] = pdu {
        *function ^= READ_HOLDING ^ READ_INPUT;
    }
}
