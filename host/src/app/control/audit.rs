//! The events of register writes: one that announces the write before it is sent, and one with its outcome.

use std::time::Duration;

use bessai_control::{Purpose, WriteOrder};
use bessai_domain::event::{EventBody, Sequence};
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use bessai_journal::Journal;
use bessai_modbus::WrittenPoint;
use tokio::time::timeout;

use super::Control;
use crate::clock::now;

/// How long a register write waits until its announcement is written: a device must be released although the disk does not
/// answer.
const JOURNAL_LIMIT: Duration = Duration::from_secs(1);
/// The outcome of a write that was announced by a run of the gateway that did not record it.
const UNKNOWN: &str = "the gateway ended before the outcome was known; the device may have taken the value";

/// An announced register write.
#[derive(Clone)]
pub(super) struct Announced {
    pub(super) event: Sequence,
    pub(super) step: WriteStep,
}

impl Control {
    /// Records that a register is about to be written. The watchdog's counts, one a second, have no events.
    pub(super) fn announce(&self, order: &WriteOrder) -> Option<Announced> {
        if order.purpose == Purpose::Watchdog {
            return None;
        }
        let cause = order.cause.and_then(|id| self.shared.proposals.borrow().made_by(id));
        let (proposed, proposer) = cause.unzip();
        let proposal = Proposal {
            device: order.device.clone(),
            channel: order.point.clone(),
            value: Some(SetValue::Number(order.value)),
            until: None,
            reference: WriteStep::register_write(order.id.0),
        };
        let unit = self.shared.room.borrow().unit(&order.device, &order.point);
        let proposer = proposer.unwrap_or_else(|| WriteStep::GATEWAY.to_owned());
        let step = WriteStep { proposed, proposer, proposal, unit, outcome: None };
        Some(Announced { event: self.record(step.clone()), step })
    }

    /// Waits until the announcement outlasts a kill, so that no register is written without event, or the disk refuses it.
    pub(super) async fn announced(&self, announced: Option<&Announced>) {
        if let Some(Announced { event, .. }) = announced {
            let _ = timeout(JOURNAL_LIMIT, self.shared.journal.written(*event)).await;
        }
    }

    /// Records the outcome of an announced write.
    pub(super) fn audit(&self, announced: Option<Announced>, written: &Result<WrittenPoint, String>) {
        let Some(announced) = announced else { return };
        let outcome = match written {
            Ok(WrittenPoint { read_back: Some(value) }) => WriteOutcome::Verified(SetValue::Number(*value)),
            Ok(WrittenPoint { read_back: None }) => WriteOutcome::Acknowledged,
            Err(reason) => WriteOutcome::Failed(reason.clone()),
        };
        self.record_outcome(announced, outcome);
    }

    pub(super) fn record_outcome(&self, announced: Announced, outcome: WriteOutcome) {
        self.record(WriteStep { outcome: Some(outcome), ..announced.step });
    }

    pub(super) fn record(&self, step: WriteStep) -> Sequence {
        self.shared.journal.append(now(), EventBody::Write(Box::new(step)))
    }
}

/// Records the outcome of the writes that a killed gateway has announced.
pub(super) fn finish_writes(journal: &Journal, unfinished: Vec<(Sequence, WriteStep)>) {
    for (announced, step) in unfinished {
        let Proposal { device, channel, .. } = &step.proposal;
        tracing::warn!(
            %device, %channel,
            "{device}/{channel}: the register write that event {} announces has no outcome: {UNKNOWN}", announced.0
        );
        let outcome = Some(WriteOutcome::Failed(UNKNOWN.to_owned()));
        journal.append(now(), EventBody::Write(Box::new(WriteStep { outcome, ..step })));
    }
}
