//! The events of register writes.

use bessai_control::{Purpose, WriteOrder};
use bessai_domain::event::{EventBody, Sequence};
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use bessai_modbus::WrittenPoint;

use super::Control;
use crate::clock::now;

/// Who writes what no proposal asks for.
const GATEWAY: &str = "gateway";

impl Control {
    /// Each register write is an event, apart from the watchdog's counts, one a second.
    pub(super) fn audit(&self, order: &WriteOrder, written: &Result<WrittenPoint, String>) {
        if order.purpose == Purpose::Watchdog {
            return;
        }
        let outcome = match written {
            Ok(WrittenPoint { read_back: Some(value) }) => WriteOutcome::Verified(SetValue::Number(*value)),
            Ok(WrittenPoint { read_back: None }) => WriteOutcome::Acknowledged,
            Err(reason) => WriteOutcome::Failed(reason.clone()),
        };
        let cause = order.cause.and_then(|id| self.shared.proposals.borrow().made_by(id));
        let (proposed, proposer) = cause.map_or((None, GATEWAY.to_owned()), |(event, holder)| (Some(event), holder));
        let unit = self.shared.room.borrow().unit(&order.device, &order.point);
        let proposal = Proposal {
            device: order.device.clone(),
            channel: order.point.clone(),
            value: Some(SetValue::Number(order.value)),
            until: None,
            reference: String::new(),
        };
        self.record(WriteStep { proposed, proposer, proposal, unit, outcome: Some(outcome) });
    }

    pub(super) fn record(&self, step: WriteStep) -> Sequence {
        self.shared.journal.append(now(), EventBody::Write(Box::new(step)))
    }
}
