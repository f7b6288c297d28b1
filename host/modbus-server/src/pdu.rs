//! Requests and replies of the functions that are served (Modbus Application Protocol V1.1b3 §6).

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId, WriteFunction};
use bessai_domain::relay::{Exception, MAX_WRITE, MAX_WRITE_BITS};
use bessai_domain::write::WriteRequest;

/// The bit of a function code that marks an exception.
const EXCEPTION_BIT: u8 = 0x80;
/// A coil that is switched on, in function 5.
const COIL_ON: u16 = 0xff00;

/// A request that is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ModbusRequest {
    Read(ReadRequest),
    Write(WriteRequest),
}

/// Decodes a request; the exception with which it is refused if it is not a valid one.
pub(crate) fn decode(unit: u8, pdu: &[u8]) -> Result<ModbusRequest, Exception> {
    let Some((function, data)) = pdu.split_first() else { return Err(Exception::ILLEGAL_FUNCTION) };
    let unit = UnitId(unit);
    match function {
        1 => read(unit, Table::Coil, data),
        2 => read(unit, Table::Discrete, data),
        3 => read(unit, Table::Holding, data),
        4 => read(unit, Table::Input, data),
        5 => write_one(unit, WriteFunction::Coil, data),
        6 => write_one(unit, WriteFunction::Register, data),
        15 => write_several(unit, WriteFunction::Coils, data),
        16 => write_several(unit, WriteFunction::Registers, data),
        _ => Err(Exception::ILLEGAL_FUNCTION),
    }
}

fn read(unit: UnitId, table: Table, data: &[u8]) -> Result<ModbusRequest, Exception> {
    let (start, count, []) = address_and_word(data)? else { return Err(Exception::ILLEGAL_VALUE) };
    if count == 0 || count > table.max_read() {
        return Err(Exception::ILLEGAL_VALUE);
    }
    check_end(start, count)?;
    Ok(ModbusRequest::Read(ReadRequest::new(unit, table, start, count)))
}

fn write_one(unit: UnitId, function: WriteFunction, data: &[u8]) -> Result<ModbusRequest, Exception> {
    let (address, word, []) = address_and_word(data)? else { return Err(Exception::ILLEGAL_VALUE) };
    let word = match (function, word) {
        (WriteFunction::Coil, COIL_ON) => 1,
        (WriteFunction::Coil, 0) => 0,
        (WriteFunction::Coil, _) => return Err(Exception::ILLEGAL_VALUE),
        (_, word) => word,
    };
    Ok(ModbusRequest::Write(WriteRequest { unit, function, address, words: vec![word] }))
}

fn write_several(unit: UnitId, function: WriteFunction, data: &[u8]) -> Result<ModbusRequest, Exception> {
    let (address, count, [byte_count, values @ ..]) = address_and_word(data)? else {
        return Err(Exception::ILLEGAL_VALUE);
    };
    let is_bits = function == WriteFunction::Coils;
    let bytes = if is_bits { usize::from(count).div_ceil(8) } else { usize::from(count) * 2 };
    let most = if is_bits { MAX_WRITE_BITS } else { MAX_WRITE };
    if count == 0 || count > most || usize::from(*byte_count) != bytes || values.len() != bytes {
        return Err(Exception::ILLEGAL_VALUE);
    }
    check_end(address, count)?;
    let words = if is_bits { bits(values, count) } else { registers(values) };
    Ok(ModbusRequest::Write(WriteRequest { unit, function, address, words }))
}

fn address_and_word(data: &[u8]) -> Result<(u16, u16, &[u8]), Exception> {
    let [high, low, word_high, word_low, rest @ ..] = data else { return Err(Exception::ILLEGAL_VALUE) };
    Ok((u16::from_be_bytes([*high, *low]), u16::from_be_bytes([*word_high, *word_low]), rest))
}

/// A table ends at address 65535.
fn check_end(start: u16, count: u16) -> Result<(), Exception> {
    if u32::from(start) + u32::from(count) > 0x1_0000 { Err(Exception::ILLEGAL_ADDRESS) } else { Ok(()) }
}

fn bits(bytes: &[u8], count: u16) -> Vec<u16> {
    let bit = |index: u16| bytes.get(usize::from(index / 8)).map_or(0, |byte| u16::from(byte >> (index % 8) & 1));
    (0..count).map(bit).collect()
}

fn registers(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|pair| pair.iter().fold(0, |word, byte| word << 8 | u16::from(*byte))).collect()
}

/// Appends the reply to a read.
pub(crate) fn push_values(reply: &mut Vec<u8>, table: Table, words: &[u16]) {
    let bytes = if table.is_bits() { words.len().div_ceil(8) } else { words.len() * 2 };
    reply.extend([table.read_function_code(), u8::try_from(bytes).unwrap_or(u8::MAX)]);
    if table.is_bits() {
        let byte = |bits: &[u16]| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit != 0));
        reply.extend(words.chunks(8).map(byte));
    } else {
        words.iter().for_each(|word| reply.extend(word.to_be_bytes()));
    }
}

/// Appends the confirmation of a write, which repeats the beginning of the request.
pub(crate) fn push_confirmation(reply: &mut Vec<u8>, request: &[u8]) {
    /// Function code, address, and value or count.
    const ECHOED_BYTES: usize = 5;
    reply.extend(request.iter().take(ECHOED_BYTES));
}

/// Appends an exception.
pub(crate) fn push_exception(reply: &mut Vec<u8>, function: u8, exception: Exception) {
    reply.extend([function | EXCEPTION_BIT, exception.0]);
}
