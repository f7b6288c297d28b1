//! The bus's side of its relay: takes requests one by one and shows the relay what the bus reads.

use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::UnitId;
use bessai_domain::relay::{Exception, RelayError, RelayFailure};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_modbus::ExceptionCode;

use super::{BusRelay, Operation, RelayedDevice, RelayedRequest};
use crate::DeviceSettings;
use crate::connection::BusConnection;
use crate::reply::{ExceptionKind, Reply};
use crate::request::BusError;

/// The requests that wait for a bus; none on a bus without a relay.
#[derive(Default)]
pub(crate) struct RelayQueue {
    relay: Option<(mpsc::Receiver<RelayedRequest>, BusRelay)>,
}

/// A request whose turn has come.
pub(crate) struct Turn(RelayedRequest);

impl RelayQueue {
    pub(super) fn new(requests: mpsc::Receiver<RelayedRequest>, relay: BusRelay) -> Self {
        Self { relay: Some((requests, relay)) }
    }

    /// Waits for a request; none if there will be no more.
    pub(crate) async fn next(&mut self) -> Option<Turn> {
        let (requests, _) = self.relay.as_mut()?;
        requests.recv().await.map(Turn)
    }

    /// Performs one request, if one waits.
    pub(crate) async fn perform_one(&mut self, connection: &mut BusConnection) {
        while let Some(request) = self.relay.as_mut().and_then(|(requests, _)| requests.try_recv().ok()) {
            if !request.outcome.is_closed() {
                return self.perform(Turn(request), connection).await;
            }
        }
    }

    /// Performs a request and sends its outcome. One whose client has gone is skipped.
    pub(crate) async fn perform(&self, Turn(request): Turn, connection: &mut BusConnection) {
        let RelayedRequest { operation, timeout, turn, outcome } = request;
        let Some((_, relay)) = self.relay.as_ref().filter(|_| !outcome.is_closed()) else { return };
        let _ = turn.send(());
        let request = operation.request();
        let replied = connection.request_of_others(request, timeout).await;
        relay.note_reply(&operation, &replied);
        let _ = outcome.send(relay.outcome_of(request.unit(), replied));
    }

    /// Keeps what a request of the bus's own returned; its source is read again after `period`.
    pub(crate) fn record(&self, request: &ReadRequest, words: &[u16], period: Duration) {
        let Some((_, relay)) = &self.relay else { return };
        if let Some(latest) = relay.shared.latest.borrow_mut().as_mut() {
            latest.record(request, words, period, Instant::now());
        }
    }

    /// Notes whether a unit replied at all in a cycle, and why not.
    pub(crate) fn note_cycle(&self, unit: UnitId, has_replied: bool, error: Option<&BusError>) {
        let Some((_, relay)) = &self.relay else { return };
        let mut failing = relay.shared.failing.borrow_mut();
        match error {
            Some(error) if !has_replied => {
                // A cycle that was postponed says nothing new.
                if !matches!(error, BusError::Postponed(_)) || !failing.contains_key(&unit) {
                    failing.insert(unit, relay_error(error));
                }
            }
            _ => drop(failing.remove(&unit)),
        }
    }

    /// The device has other points.
    pub(crate) fn update_device(&self, settings: &DeviceSettings) {
        let Some((_, relay)) = &self.relay else { return };
        let mut devices = relay.shared.devices.borrow_mut();
        if let Some(known) = devices.iter_mut().find(|device| device.name == settings.name) {
            *known = RelayedDevice::new(settings);
        }
    }

    /// Forgets what was read before: something was written.
    pub(crate) fn forget_latest(&self) {
        let Some((_, relay)) = &self.relay else { return };
        if let Some(latest) = relay.shared.latest.borrow_mut().as_mut() {
            latest.clear();
        }
    }
}

impl BusRelay {
    fn outcome_of(&self, unit: UnitId, replied: Result<Reply, BusError>) -> Result<Vec<u16>, RelayError> {
        match replied {
            Ok(Reply::Values(words)) => Ok(words),
            Ok(Reply::WriteConfirmed) => Ok(Vec::new()),
            Ok(Reply::Exception(kind, name)) => Err(RelayError::of_device(exception(kind, &name), name)),
            Err(BusError::Postponed(reason)) => Err(self.last_connect_error(unit).unwrap_or_else(|| not_sent(&reason))),
            Err(error) => Err(relay_error(&error)),
        }
    }

    /// Why the last attempt to connect failed, if a device cannot be connected to.
    fn last_connect_error(&self, unit: UnitId) -> Option<RelayError> {
        let failing = self.shared.failing.borrow();
        let known = failing.get(&unit).into_iter().chain(failing.values());
        known.into_iter().find(|error| error.failure == RelayFailure::NotConnected).cloned()
    }

    fn note_reply(&self, operation: &Operation, replied: &Result<Reply, BusError>) {
        let unit = operation.request().unit();
        match replied {
            Ok(_) => self.shared.silent.borrow_mut().remove(unit),
            Err(BusError::NoReply(_)) if !self.is_polled(unit) => {
                self.shared.silent.borrow_mut().add(unit, Instant::now());
            }
            Err(_) => {}
        }
        // Whether a write without a reply was carried out is not known.
        if let (Operation::Write(write), Some(latest)) = (operation, self.shared.latest.borrow_mut().as_mut()) {
            latest.forget(unit, write.function.table(), write.address, write.words.len());
        }
    }
}

fn relay_error(error: &BusError) -> RelayError {
    match error {
        BusError::NotConnected(reason) | BusError::Postponed(reason) => not_sent(reason),
        BusError::NoReply(reason) => RelayError::new(Exception::NO_REPLY, reason),
        BusError::Broken(reason) | BusError::Uncertain(reason) => {
            RelayError { failure: RelayFailure::Broken, ..RelayError::new(Exception::NO_REPLY, reason) }
        }
    }
}

fn not_sent(reason: &str) -> RelayError {
    RelayError::new(Exception::PATH_UNAVAILABLE, reason)
}

/// The code of an exception, of which a reply has the name, with or without its number.
fn exception(kind: ExceptionKind, name: &str) -> Exception {
    let number = name.split_once("exception ").map(|(_, rest)| rest.trim_end_matches(')'));
    if let Some(code) = number.and_then(|number| number.parse().ok()) {
        return Exception(code);
    }
    let codes = match kind {
        ExceptionKind::Function => 1..=1,
        ExceptionKind::Block => 2..=3,
        ExceptionKind::Unreachable => 10..=11,
        _ => 4..=8,
    };
    let code = codes.clone().find(|code| name.contains(&ExceptionCode::new(*code).to_string()));
    Exception(code.unwrap_or(*codes.start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_the_exception_of_the_device() {
        for code in [1, 2, 3, 4, 5, 6, 8, 10, 11] {
            let Reply::Exception(kind, name) = crate::reply::exception(ExceptionCode::new(code)) else { panic!() };
            assert_eq!(exception(kind, &name), Exception(code));
            assert_eq!(exception(kind, &format!("{name} (exception {code})")), Exception(code));
        }
        assert_eq!(exception(ExceptionKind::Failure, "exception 9"), Exception(9));
    }
}
