//! What an honest device answers to functions 3, 4, 6 and 16 (Modbus Application Protocol V1.1b3, 6.3, 6.4, 6.6, 6.12).

use std::ops::RangeInclusive;

use super::Request;
use super::frame::Frame;
use crate::registers::{Memory, Registers, Table};

pub(super) const READ_HOLDING: u8 = 3;
pub(super) const READ_INPUT: u8 = 4;
const WRITE_ONE: u8 = 6;
const WRITE_MANY: u8 = 16;

const READ_COUNTS: RangeInclusive<u16> = 1..=125;
const WRITE_COUNTS: RangeInclusive<u16> = 1..=123;

/// Set in the function code of a refusal.
const REFUSED: u8 = 0x80;

const ILLEGAL_FUNCTION: Exception = Exception(1);
pub(super) const ILLEGAL_ADDRESS: Exception = Exception(2);
const ILLEGAL_VALUE: Exception = Exception(3);
const UNIT_FAILED_TO_RESPOND: Exception = Exception(0x0B);

/// The code with which a device refuses.
#[derive(Clone, Copy)]
pub(super) struct Exception(pub(super) u8);

/// The parts of a request that the journal keeps.
pub(super) fn describe(frame: &Frame) -> Request {
    let (function, address, count) = match *frame.pdu {
        [function @ (READ_HOLDING | READ_INPUT | WRITE_MANY), a1, a0, c1, c0, ..] => {
            let address = u16::from_be_bytes([a1, a0]);
            (function, address, u16::from_be_bytes([c1, c0]))
        }
        [WRITE_ONE, a1, a0, ..] => (WRITE_ONE, u16::from_be_bytes([a1, a0]), 1),
        [function, ..] => (function, 0, 0),
        [] => (0, 0, 0),
    };
    Request { unit: frame.unit, function, address, count }
}

/// Carries out a request and returns the PDU of its reply.
pub(super) fn answer(registers: &Registers, request: Request, pdu: &[u8]) -> Vec<u8> {
    registers
        .revise(|memory| execute(memory, request, pdu))
        .unwrap_or_else(|exception| refusal(request.function, exception))
}

/// The PDU of a refusal.
pub(super) fn refusal(function: u8, exception: Exception) -> Vec<u8> {
    vec![function | REFUSED, exception.0]
}

fn execute(memory: &mut Memory, request: Request, pdu: &[u8]) -> Result<Vec<u8>, Exception> {
    let unit = memory.serving_unit(request.unit).ok_or(UNIT_FAILED_TO_RESPOND)?;
    match (request.function, pdu) {
        (READ_HOLDING, [_, _, _, _, _]) => read(memory, unit, Table::Holding, request),
        (READ_INPUT, [_, _, _, _, _]) => read(memory, unit, Table::Input, request),
        (WRITE_ONE, [_, _, _, data @ ..]) => {
            write(memory, unit, request, data)?;
            Ok(pdu.to_vec())
        }
        (WRITE_MANY, [function, a1, a0, c1, c0, bytes, data @ ..]) if usize::from(*bytes) == data.len() => {
            write(memory, unit, request, data)?;
            Ok(vec![*function, *a1, *a0, *c1, *c0])
        }
        (READ_HOLDING | READ_INPUT | WRITE_ONE | WRITE_MANY, _) => Err(ILLEGAL_VALUE),
        _ => Err(ILLEGAL_FUNCTION),
    }
}

fn read(memory: &mut Memory, unit: u8, table: Table, request: Request) -> Result<Vec<u8>, Exception> {
    let Request { address, count, .. } = request;
    if !READ_COUNTS.contains(&count) {
        return Err(ILLEGAL_VALUE);
    }
    let words = memory.get(unit, table, address, count).ok_or(ILLEGAL_ADDRESS)?;
    memory.note_read(unit, table, address, count);
    let data_bytes = u8::try_from(2 * count).map_err(|_| ILLEGAL_VALUE)?;
    let mut pdu = vec![request.function, data_bytes];
    pdu.extend(words.into_iter().flat_map(u16::to_be_bytes));
    Ok(pdu)
}

/// Overwrites holding registers that exist with big-endian words.
fn write(memory: &mut Memory, unit: u8, request: Request, data: &[u8]) -> Result<(), Exception> {
    let Request { address, count, .. } = request;
    if !WRITE_COUNTS.contains(&count) || data.len() != 2 * usize::from(count) {
        return Err(ILLEGAL_VALUE);
    }
    let (pairs, _) = data.as_chunks::<2>();
    let words: Vec<u16> = pairs.iter().copied().map(u16::from_be_bytes).collect();
    memory.get(unit, Table::Holding, address, count).ok_or(ILLEGAL_ADDRESS)?;
    memory.set(unit, Table::Holding, address, &words);
    Ok(())
}
