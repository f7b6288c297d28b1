//! Discovers the models of a SunSpec device.

use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId};
use bessai_domain::sunspec::{DeviceDescription, Discovery, ReadError};

use crate::connection::BusConnection;
use crate::reply::{ExceptionKind, Reply};
use crate::request::{BusError, BusRequest};

/// Why a discovery failed.
pub(crate) enum DiscoveryFailure {
    /// A request has no reply.
    Bus(BusError),
    /// The replies do not describe a SunSpec device.
    NotSunSpec(String),
}

/// Walks the device's chain of models; calls `before_each` before each request, for work that takes precedence.
pub(crate) async fn discover(
    connection: &mut BusConnection,
    unit: UnitId,
    max_registers: u16,
    timeout: Duration,
    mut before_each: impl AsyncFnMut(&mut BusConnection),
) -> Result<DeviceDescription, DiscoveryFailure> {
    let mut discovery = Discovery::new(max_registers);
    while let Some(read) = discovery.next() {
        before_each(connection).await;
        let request = ReadRequest::new(unit, Table::Holding, read.start, read.count);
        match connection.request(BusRequest::Read(&request), timeout).await {
            Ok(Reply::Values(registers)) => discovery.answer(Ok(&registers)),
            Ok(Reply::Exception(kind, _)) => discovery.answer(Err(ReadError::Exception(exception_code(kind)))),
            Ok(Reply::WriteConfirmed) => discovery.answer(Err(ReadError::WrongLength)),
            Err(error) => return Err(DiscoveryFailure::Bus(error)),
        }
    }
    discovery.finish().map_err(|error| DiscoveryFailure::NotSunSpec(error.to_string()))
}

/// A code of that kind; the discovery treats all codes of a kind alike.
const fn exception_code(kind: ExceptionKind) -> u8 {
    match kind {
        ExceptionKind::Function => 1,
        ExceptionKind::Block => 2,
        ExceptionKind::Failure => 4,
        ExceptionKind::Busy => 6,
        ExceptionKind::Unreachable => 11,
    }
}
