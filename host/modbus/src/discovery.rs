//! Discovers the models of a SunSpec device, and checks that it still has them.

use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId};
use bessai_domain::sunspec::{ChainCheck, ChainState, DeviceDescription, Discovery, ReadError, RegisterRange};

use crate::connection::BusConnection;
use crate::reply::{ExceptionKind, Reply};
use crate::request::{BusError, BusRequest, Requests};

/// The most consecutive reads without a reply: one for each place where the chain may begin, or two for a header, behind
/// which a device that has no such register may be silent.
const MAX_TIMEOUTS: u32 = 3;

/// Why a discovery failed.
pub(crate) enum DiscoveryFailure {
    /// A request has no reply.
    Bus(BusError),
    /// The replies do not describe a SunSpec device.
    NotSunSpec(String),
}

/// How the registers of a device are read.
#[derive(Clone, Copy)]
pub(crate) struct HoldingReads {
    pub(crate) unit: UnitId,
    pub(crate) max_registers: u16,
    pub(crate) timeout: Duration,
}

/// Walks the device's chain of models, which begins at `base` if that is known; calls `before_each` before each request, for
/// work that takes precedence.
pub(crate) async fn discover<C: Requests>(
    connection: &mut C,
    reads: HoldingReads,
    base: Option<u16>,
    mut before_each: impl AsyncFnMut(&mut C),
) -> Result<DeviceDescription, DiscoveryFailure> {
    let mut discovery = Discovery::at(base, reads.max_registers);
    let mut timeouts = 0;
    while let Some(range) = discovery.next() {
        before_each(connection).await;
        match read(connection, reads, range).await {
            Err(BusError::NoReply(reason)) => {
                timeouts += 1;
                if timeouts >= MAX_TIMEOUTS {
                    return Err(DiscoveryFailure::Bus(BusError::NoReply(reason)));
                }
                discovery.answer(Err(ReadError::Timeout));
            }
            Err(error) => return Err(DiscoveryFailure::Bus(error)),
            Ok(answer) => {
                timeouts = 0;
                discovery.answer(answer.as_deref().map_err(|error| *error));
            }
        }
    }
    discovery.finish().map_err(|error| DiscoveryFailure::NotSunSpec(error.to_string()))
}

/// Carries out a check of the chain of models; the result is unknown if the device does not reply.
pub(crate) async fn check_chain(
    connection: &mut BusConnection,
    reads: HoldingReads,
    mut check: ChainCheck,
    mut before_each: impl AsyncFnMut(&mut BusConnection),
) -> Result<ChainState, BusError> {
    while let Some(range) = check.next() {
        before_each(connection).await;
        match read(connection, reads, range).await {
            Ok(answer) => check.answer(answer.as_deref().map_err(|error| *error)),
            Err(BusError::NoReply(_)) => check.answer(Err(ReadError::Timeout)),
            Err(error) => return Err(error),
        }
    }
    Ok(check.state())
}

async fn read(
    connection: &mut impl Requests,
    reads: HoldingReads,
    range: RegisterRange,
) -> Result<Result<Vec<u16>, ReadError>, BusError> {
    let request = ReadRequest::new(reads.unit, Table::Holding, range.start, range.count);
    Ok(match connection.request(BusRequest::Read(&request), reads.timeout).await? {
        Reply::Values(registers) => Ok(registers),
        Reply::Exception(kind, _) => Err(ReadError::Exception(exception_code(kind))),
        Reply::WriteConfirmed => Err(ReadError::WrongLength),
    })
}

/// A code of that kind; discoveries treat all codes of a kind alike.
const fn exception_code(kind: ExceptionKind) -> u8 {
    match kind {
        ExceptionKind::Function => 1,
        ExceptionKind::Block => 2,
        ExceptionKind::Failure => 4,
        ExceptionKind::Accepted => 5,
        ExceptionKind::Busy => 6,
        ExceptionKind::Unreachable => 11,
    }
}
