//! Register writes that are no set-points: those of a Modbus server's clients and of `bessai-edge device write`. Registers that
//! control writes are refused to them, and each write is an event.

use std::cell::Cell;

use bessai_control::Input;
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use bessai_domain::relay::{Exception, RelayError};
use bessai_domain::write::WriteRequest;
use bessai_modbus::{BusRelay, RelayedPoint};

use super::Control;
use super::audit::Announced;
use crate::clock::now;

/// The outcome of a write whose client has left before it was known.
const UNKNOWN: &str = "the client left before the outcome was known; the device may have taken the value";

/// Announced writes of one request. Each gets an outcome, also when the request is given up.
pub(in crate::app) struct DirectWrites {
    control: Control,
    announced: Vec<(Announced, WriteOutcome)>,
}

impl Control {
    /// Refuses a write of registers that control itself writes.
    pub(in crate::app) fn check_direct(&self, bus: &BusRelay, write: &WriteRequest) -> Result<(), RelayError> {
        let room = self.shared.room.borrow();
        let reserved = bus.points_at(write).into_iter().find_map(|(device, point)| room.reserved(&device, &point));
        reserved.map_or(Ok(()), |reason| Err(RelayError::new(Exception::ILLEGAL_ADDRESS, reason)))
    }

    /// Records that registers are about to be written, and waits until that outlasts a kill.
    pub(in crate::app) async fn announce_direct(&self, proposer: &str, points: &[RelayedPoint]) -> DirectWrites {
        let announced = points.iter().map(|point| self.announce_point(proposer, point)).collect();
        let at = now().monotonic;
        for RelayedPoint { device, point, .. } in points {
            self.shared.room.borrow_mut().count_write(device, point, at);
        }
        let writes = DirectWrites { control: self.clone(), announced };
        if let Some((last, _)) = writes.announced.last() {
            self.announced(Some(last)).await;
        }
        writes
    }

    fn announce_point(&self, proposer: &str, point: &RelayedPoint) -> (Announced, WriteOutcome) {
        let value = SetValue::Number(point.value);
        let proposal = Proposal {
            device: point.device.clone(),
            channel: point.point.clone(),
            value: Some(value.clone()),
            until: None,
            reference: WriteStep::register_write(self.shared.direct_writes.next()),
        };
        let (proposer, unit) = (proposer.to_owned(), point.unit.clone());
        let step = WriteStep { proposed: None, proposer, proposal, unit, outcome: None };
        let success = if point.can_be_read { WriteOutcome::Verified(value) } else { WriteOutcome::Acknowledged };
        (Announced { event: self.record(step.clone()), step }, success)
    }
}

impl DirectWrites {
    /// Records the outcome; `is_read_back`: those that can be read were read back.
    pub(in crate::app) fn finish(mut self, written: Result<(), &RelayError>, is_read_back: bool) {
        for (announced, success) in std::mem::take(&mut self.announced) {
            let Proposal { device, channel, value, .. } = &announced.step.proposal;
            if let (Ok(()), Some(SetValue::Number(value))) = (written, value) {
                // The last reading is older: a set-point that follows must not give that back at its end.
                self.control.handle(Input::Read(device.clone(), vec![(channel.clone(), *value)]));
            }
            let outcome = match written {
                Ok(()) if is_read_back => success,
                Ok(()) => WriteOutcome::Acknowledged,
                Err(error) => WriteOutcome::Failed(error.reason.clone()),
            };
            self.control.record_outcome(announced, outcome);
        }
    }
}

impl Drop for DirectWrites {
    fn drop(&mut self) {
        for (announced, _) in std::mem::take(&mut self.announced) {
            self.control.record_outcome(announced, WriteOutcome::Failed(UNKNOWN.to_owned()));
        }
    }
}

/// The numbers of these writes: each is another one in a run of the gateway.
#[derive(Default)]
pub(super) struct WriteNumbers(Cell<u64>);

impl WriteNumbers {
    fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(1));
        self.0.get()
    }
}
