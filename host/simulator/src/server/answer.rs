//! What a correct device answers to functions 1 to 6, 15 and 16 (Modbus Application Protocol V1.1b3, 6.1 to 6.6, 6.11,
//! 6.12).

use std::ops::RangeInclusive;

use super::ReceivedRequest;
use super::frame::ModbusFrame;
use super::function::{
    READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT, WRITE_COIL, WRITE_COILS, WRITE_REGISTER, WRITE_REGISTERS,
};
use crate::registers::{Memory, Registers, Table};

/// Registers that one request may read.
const READ_REGISTER_COUNTS: RangeInclusive<u16> = 1..=125;
/// Bits that one request may read.
const READ_BIT_COUNTS: RangeInclusive<u16> = 1..=2000;
/// Registers that one request may write.
const WRITE_REGISTER_COUNTS: RangeInclusive<u16> = 1..=123;
/// Bits that one request may write.
const WRITE_BIT_COUNTS: RangeInclusive<u16> = 1..=1968;

/// The value of function 5 that sets a coil.
const ON: [u8; 2] = [0xff, 0];
/// The value of function 5 that clears a coil.
const OFF: [u8; 2] = [0, 0];

/// The bit that marks the function code of an exception.
pub(super) const EXCEPTION_BIT: u8 = 0x80;

/// The device does not know the function.
const ILLEGAL_FUNCTION: Exception = Exception(1);
/// A register or bit does not exist.
pub(super) const ILLEGAL_ADDRESS: Exception = Exception(2);
/// The request is malformed, or its count is out of range.
const ILLEGAL_VALUE: Exception = Exception(3);
/// A gateway's exception: no device has this unit id.
const UNIT_FAILED_TO_RESPOND: Exception = Exception(0x0B);

/// An exception code.
#[derive(Clone, Copy)]
pub(super) struct Exception(pub(super) u8);

/// The parts of a request that are logged.
pub(super) fn describe(frame: &ModbusFrame) -> ReceivedRequest {
    let (function, address, count) = match *frame.pdu {
        [function @ (WRITE_COIL | WRITE_REGISTER), a1, a0, ..] => (function, u16::from_be_bytes([a1, a0]), 1),
        [function, a1, a0, c1, c0, ..] if is_read(function) || is_write(function) => {
            (function, u16::from_be_bytes([a1, a0]), u16::from_be_bytes([c1, c0]))
        }
        [function, ..] => (function, 0, 0),
        [] => (0, 0, 0),
    };
    ReceivedRequest { unit: frame.unit, function, address, count }
}

pub(super) fn is_read(function: u8) -> bool {
    matches!(function, READ_COILS | READ_DISCRETE | READ_HOLDING | READ_INPUT)
}

pub(super) fn is_write(function: u8) -> bool {
    matches!(function, WRITE_COIL | WRITE_REGISTER | WRITE_COILS | WRITE_REGISTERS)
}

/// Carries out a request and returns the PDU of its reply.
pub(super) fn answer(registers: &Registers, request: ReceivedRequest, pdu: &[u8]) -> Vec<u8> {
    let executed = registers.update(|memory| {
        memory.settle();
        let unit = memory.serving_unit(request.unit).ok_or(UNIT_FAILED_TO_RESPOND)?;
        execute(memory, unit, request, pdu)
    });
    executed.unwrap_or_else(|exception| exception_reply(request.function, exception))
}

/// Carries out a write at every unit, as the devices of a serial bus do with a broadcast (Modbus over Serial Line V1.02,
/// 2.1); none replies.
pub(super) fn broadcast(registers: &Registers, request: ReceivedRequest, pdu: &[u8]) {
    if !is_write(request.function) {
        return;
    }
    registers.update(|memory| {
        let mut units: Vec<u8> = memory.units().collect();
        units.dedup();
        for unit in units {
            // A device that cannot carry it out does not reply either.
            let _ = execute(memory, unit, request, pdu);
        }
    });
}

/// The PDU of a reply with an exception.
pub(super) fn exception_reply(function: u8, exception: Exception) -> Vec<u8> {
    vec![function | EXCEPTION_BIT, exception.0]
}

fn execute(memory: &mut Memory, unit: u8, request: ReceivedRequest, pdu: &[u8]) -> Result<Vec<u8>, Exception> {
    match (request.function, pdu) {
        (READ_COILS, [_, _, _, _, _]) => read_bits(memory, unit, Table::Coil, request),
        (READ_DISCRETE, [_, _, _, _, _]) => read_bits(memory, unit, Table::Discrete, request),
        (READ_HOLDING, [_, _, _, _, _]) => read_registers(memory, unit, Table::Holding, request),
        (READ_INPUT, [_, _, _, _, _]) => read_registers(memory, unit, Table::Input, request),
        (WRITE_COIL, [_, _, _, data @ ..]) => {
            let on = match <[u8; 2]>::try_from(data) {
                Ok(ON) => 1,
                Ok(OFF) => 0,
                _ => return Err(ILLEGAL_VALUE),
            };
            write(memory, unit, Table::Coil, request, &[on])?;
            Ok(pdu.to_vec())
        }
        (WRITE_REGISTER, [_, _, _, data @ ..]) => {
            write(memory, unit, Table::Holding, request, &words(request, data)?)?;
            Ok(pdu.to_vec())
        }
        (WRITE_COILS | WRITE_REGISTERS, [_, a1, a0, c1, c0, bytes, data @ ..]) if usize::from(*bytes) == data.len() => {
            match request.function {
                WRITE_COILS => write(memory, unit, Table::Coil, request, &bits(request, data)?)?,
                _ => write(memory, unit, Table::Holding, request, &words(request, data)?)?,
            }
            Ok(vec![request.function, *a1, *a0, *c1, *c0])
        }
        (function, _) if is_read(function) || is_write(function) => Err(ILLEGAL_VALUE),
        _ => Err(ILLEGAL_FUNCTION),
    }
}

fn read_registers(memory: &mut Memory, unit: u8, table: Table, request: ReceivedRequest) -> Result<Vec<u8>, Exception> {
    let words = read(memory, unit, table, request, READ_REGISTER_COUNTS)?;
    let data: Vec<u8> = words.into_iter().flat_map(u16::to_be_bytes).collect();
    reply(request.function, &data)
}

/// The first bit is the lowest of the first byte; the last byte is padded with zeros.
fn read_bits(memory: &mut Memory, unit: u8, table: Table, request: ReceivedRequest) -> Result<Vec<u8>, Exception> {
    let bits = read(memory, unit, table, request, READ_BIT_COUNTS)?;
    let byte = |bits: &[u16]| bits.iter().rev().fold(0, |byte, &bit| byte << 1 | u8::from(bit != 0));
    let data: Vec<u8> = bits.chunks(8).map(byte).collect();
    reply(request.function, &data)
}

fn reply(function: u8, data: &[u8]) -> Result<Vec<u8>, Exception> {
    let data_bytes = u8::try_from(data.len()).map_err(|_| ILLEGAL_VALUE)?;
    Ok([&[function, data_bytes], data].concat())
}

fn read(
    memory: &mut Memory,
    unit: u8,
    table: Table,
    request: ReceivedRequest,
    counts: RangeInclusive<u16>,
) -> Result<Vec<u16>, Exception> {
    let ReceivedRequest { address, count, .. } = request;
    if !counts.contains(&count) {
        return Err(ILLEGAL_VALUE);
    }
    let words = memory.get(unit, table, address, count).ok_or(ILLEGAL_ADDRESS)?;
    memory.count_read(unit, table, address, count);
    Ok(words)
}

/// The big-endian words of a write.
fn words(request: ReceivedRequest, data: &[u8]) -> Result<Vec<u16>, Exception> {
    let count = request.count;
    if !WRITE_REGISTER_COUNTS.contains(&count) || data.len() != 2 * usize::from(count) {
        return Err(ILLEGAL_VALUE);
    }
    let (pairs, _) = data.as_chunks::<2>();
    Ok(pairs.iter().copied().map(u16::from_be_bytes).collect())
}

/// The bits of a write, each as a word.
fn bits(request: ReceivedRequest, data: &[u8]) -> Result<Vec<u16>, Exception> {
    let count = request.count;
    if !WRITE_BIT_COUNTS.contains(&count) || data.len() != usize::from(count.div_ceil(8)) {
        return Err(ILLEGAL_VALUE);
    }
    let bits = data.iter().flat_map(|byte| (0..8).map(move |bit| u16::from(byte >> bit & 1)));
    Ok(bits.take(usize::from(count)).collect())
}

/// Overwrites words that exist.
fn write(
    memory: &mut Memory,
    unit: u8,
    table: Table,
    request: ReceivedRequest,
    words: &[u16],
) -> Result<(), Exception> {
    let ReceivedRequest { address, count, .. } = request;
    memory.get(unit, table, address, count).ok_or(ILLEGAL_ADDRESS)?;
    memory.write(unit, table, address, words).map_err(Exception)?;
    memory.count_write(unit, table, address, count);
    Ok(())
}
