//! A device's reply to a request, checked against what was requested.

use bessai_domain::plan::{BlockFault, ReadRequest};
use bessai_domain::register::{Table, WriteFunction};
use bessai_domain::write::WriteRequest;
use tokio_modbus::ExceptionCode;
use tokio_modbus::prelude::Response;

/// A valid reply.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// As many registers as requested, or bits as 0 and 1.
    Values(Vec<u16>),
    /// The write is confirmed.
    WriteConfirmed,
    /// An exception: its name and its number.
    Exception(ExceptionKind, String),
}

/// What an exception means for the requests after it (Modbus Application Protocol V1.1b3 §7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExceptionKind {
    /// 1: the device does not support the function, so it lacks the table.
    Function,
    /// 2, 3: the address does not exist, or the block is too long.
    Block,
    /// 5: the device has accepted the request and still works on it.
    Accepted,
    /// 6: the device is busy; try again later.
    Busy,
    /// 0x0A, 0x0B: a gateway cannot reach the unit.
    Unreachable,
    /// 4, 8 and any other code.
    Failure,
}

impl ExceptionKind {
    /// What it means for the points that were asked for.
    pub(crate) fn fault(self) -> BlockFault {
        match self {
            Self::Function => BlockFault::Function,
            Self::Block => BlockFault::Refused,
            Self::Busy | Self::Accepted => BlockFault::Busy,
            Self::Unreachable => BlockFault::Unreachable,
            Self::Failure => BlockFault::Failing,
        }
    }
}

/// The reply that an exception code stands for.
pub(crate) fn exception(code: ExceptionCode) -> Reply {
    let kind = match code {
        ExceptionCode::IllegalFunction => ExceptionKind::Function,
        ExceptionCode::IllegalDataAddress | ExceptionCode::IllegalDataValue => ExceptionKind::Block,
        ExceptionCode::Acknowledge => ExceptionKind::Accepted,
        ExceptionCode::ServerDeviceBusy => ExceptionKind::Busy,
        ExceptionCode::GatewayPathUnavailable | ExceptionCode::GatewayTargetDevice => ExceptionKind::Unreachable,
        _ => ExceptionKind::Failure,
    };
    let number = u8::from(code);
    let text = match code {
        ExceptionCode::Custom(_) => format!("exception {number}"),
        named => format!("{named} (exception {number})"),
    };
    Reply::Exception(kind, text)
}

/// The values of a read. tokio-modbus trusts the reply's own byte count, which may differ from the requested count. Bits
/// come in whole bytes.
pub(crate) fn values(request: &ReadRequest, response: Response) -> Result<Reply, String> {
    let (unit, start, count) = (request.unit.0, request.start, request.count);
    let (mut values, has_requested_count): (Vec<u16>, bool) = match (request.table, response) {
        (Table::Holding, Response::ReadHoldingRegisters(registers))
        | (Table::Input, Response::ReadInputRegisters(registers)) => {
            let has_requested_count = registers.len() == usize::from(count);
            (registers, has_requested_count)
        }
        (Table::Coil, Response::ReadCoils(bits)) | (Table::Discrete, Response::ReadDiscreteInputs(bits)) => {
            let has_requested_count = bits.len().div_ceil(8) == usize::from(count).div_ceil(8);
            (bits.into_iter().map(u16::from).collect(), has_requested_count)
        }
        _ => return Err(format!("unit {unit} replied with another function to the read of {start}+{count}")),
    };
    if !has_requested_count {
        return Err(format!("unit {unit} returned {} values to the read of {start}+{count}", values.len()));
    }
    values.truncate(usize::from(count));
    Ok(Reply::Values(values))
}

/// Whether the response echoes the write.
pub(crate) fn confirms(write: &WriteRequest, response: &Response) -> bool {
    let first = write.words.first().copied().unwrap_or_default();
    match (write.function, response) {
        (WriteFunction::Coil, Response::WriteSingleCoil(address, on)) => {
            (*address, u16::from(*on)) == (write.address, u16::from(first != 0))
        }
        (WriteFunction::Register, Response::WriteSingleRegister(address, word)) => {
            (*address, *word) == (write.address, first)
        }
        (WriteFunction::Coils, Response::WriteMultipleCoils(address, count))
        | (WriteFunction::Registers, Response::WriteMultipleRegisters(address, count)) => {
            *address == write.address && usize::from(*count) == write.words.len()
        }
        _ => false,
    }
}
