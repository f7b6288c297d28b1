//! Asks a SunSpec device what it has.

use std::time::Duration;

use bessai_domain::plan::Request;
use bessai_domain::register::{Table, UnitId};
use bessai_domain::sunspec::{Discovery, Found, Refused};

use super::connection::{Call, Connection, Trouble};
use super::link::{Answer, Refusal};

/// Why nothing was found.
pub(super) enum NotFound {
    /// There was no answer.
    Trouble(Trouble),
    /// The answers describe no SunSpec device.
    Undescribed(String),
}

/// Walks the device's chain of models. Before each request whatever is more urgent is done.
pub(super) async fn discover(
    connection: &mut Connection,
    unit: UnitId,
    block: u16,
    timeout: Duration,
    mut before_each: impl AsyncFnMut(&mut Connection),
) -> Result<Found, NotFound> {
    let mut discovery = Discovery::new(block);
    while let Some(read) = discovery.next() {
        before_each(connection).await;
        let request = Request::of(unit, Table::Holding, read.start, read.count);
        match connection.ask(Call::Read(&request), timeout).await {
            Ok(Answer::Registers(registers)) => discovery.answer(Ok(&registers)),
            Ok(Answer::Refused(refusal, _)) => discovery.answer(Err(Refused::Exception(code(refusal)))),
            Ok(Answer::Written) => discovery.answer(Err(Refused::Wrong)),
            Err(trouble) => return Err(NotFound::Trouble(trouble)),
        }
    }
    discovery.found().map_err(|error| NotFound::Undescribed(error.to_string()))
}

/// An exception that means the same to the discovery.
const fn code(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::Function => 1,
        Refusal::Block => 2,
        Refusal::Busy => 6,
        Refusal::Unreachable => 11,
        Refusal::Failure => 4,
    }
}
