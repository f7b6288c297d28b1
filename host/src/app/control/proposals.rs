//! Proposals of feeds, models and the operator, and what becomes of them.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_control::{Holder, Input, NewProposal, ProposalId, SET_POINT};
use bessai_domain::event::Sequence;
use bessai_domain::proposal::{Proposal, SetValue, WRITES_REFUSED, WriteOutcome, WriteStep};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Control;
use crate::clock::now;

/// A proposal whose first outcome takes longer is answered without it; the outcome follows in the journal.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Proposals that are kept, for the audit of their release; the oldest ones are forgotten.
const OPEN_PROPOSALS: usize = 4096;

/// The proposals that may still have an outcome.
#[derive(Default)]
pub(super) struct Proposals {
    last: u64,
    open: BTreeMap<ProposalId, OpenProposal>,
    /// What each model holds of each device.
    of_models: BTreeMap<(String, String), (ProposalId, f64)>,
}

struct OpenProposal {
    event: Sequence,
    made: WriteStep,
    /// Takes the first outcome.
    answer: Option<oneshot::Sender<WriteOutcome>>,
}

impl Proposals {
    /// The number of the event with the proposal, and who made it.
    pub(super) fn made_by(&self, id: ProposalId) -> Option<(Sequence, String)> {
        self.open.get(&id).map(|open| (open.event, open.made.proposer.clone()))
    }

    fn add(&mut self, open: OpenProposal) -> ProposalId {
        self.last += 1;
        let id = ProposalId(self.last);
        self.open.insert(id, open);
        while self.open.len() > OPEN_PROPOSALS {
            self.open.pop_first();
        }
        id
    }
}

impl Control {
    /// Makes a proposal; returns its first outcome. `right` is the line that the holder's rights lack, if they lack one.
    pub(in crate::app) async fn propose(
        &self,
        holder: Holder,
        proposal: Proposal,
        unit: String,
        right: Result<(), String>,
    ) -> WriteOutcome {
        let lease = proposal.until.map(|until| until.since(now().wall));
        let right = right.and_then(|()| self.check_right(&holder, &proposal));
        let (answer, answered) = oneshot::channel();
        self.submit(holder, proposal, unit, lease, right, Some(answer));
        match timeout(ANSWER_LIMIT, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => WriteOutcome::Failed(format!("no outcome within {ANSWER_LIMIT:?}; it follows as an event")),
        }
    }

    /// A model proposes the power of a device, + = discharge, for so long; it repeats that to keep it. Devices that are not
    /// controlled are left out. Outcomes are events.
    pub(crate) fn propose_by_model(&self, model: &str, device: &str, value_kw: f64, valid_for: Duration) {
        if !self.shared.room.borrow().controls(device) {
            return;
        }
        let key = (model.to_owned(), device.to_owned());
        let held = self.shared.proposals.borrow().of_models.get(&key).copied();
        let is_same = held.filter(|(_, held)| held.to_bits() == value_kw.to_bits());
        if let Some((id, _)) = is_same
            && self.shared.room.borrow_mut().renew(now().monotonic, id, valid_for)
        {
            return;
        }
        let (device, channel, value) = (device.to_owned(), SET_POINT.to_owned(), Some(SetValue::Number(value_kw)));
        let proposal = Proposal { device, channel, value, until: None, reference: String::new() };
        let holder = Holder::Model(model.to_owned());
        let id = self.submit(holder, proposal, "kW".into(), Some(valid_for), Ok(()), None);
        self.shared.proposals.borrow_mut().of_models.insert(key, (id, value_kw));
    }

    pub(super) fn submit(
        &self,
        holder: Holder,
        proposal: Proposal,
        unit: String,
        lease: Option<Duration>,
        right: Result<(), String>,
        answer: Option<oneshot::Sender<WriteOutcome>>,
    ) -> ProposalId {
        let made = WriteStep { proposed: None, proposer: holder.to_string(), proposal, unit, outcome: None };
        let event = self.record(made.clone());
        let proposal = made.proposal.clone();
        let id = self.shared.proposals.borrow_mut().add(OpenProposal { event, made, answer });
        if self.shared.settings.borrow().is_none() {
            self.outcome(id, WriteOutcome::Refused(WRITES_REFUSED.into()));
        } else if let Err(right) = right {
            let reason = format!("the feed has no right to write it; add \"{right}\" to [rights] write in its file");
            self.outcome(id, WriteOutcome::Refused(reason));
        } else {
            self.handle(Input::Proposed(NewProposal { id, holder, proposal, lease }));
        }
        id
    }

    pub(super) fn outcome(&self, id: ProposalId, outcome: WriteOutcome) {
        let step = {
            let mut proposals = self.shared.proposals.borrow_mut();
            let Some(open) = proposals.open.get_mut(&id) else { return };
            if let Some(answer) = open.answer.take() {
                // The requester may be gone; the event has the outcome.
                let _ = answer.send(outcome.clone());
            }
            let step = WriteStep { proposed: Some(open.event), outcome: Some(outcome.clone()), ..open.made.clone() };
            if matches!(outcome, WriteOutcome::Refused(_)) {
                proposals.open.remove(&id);
            }
            step
        };
        let (device, channel) = (&step.proposal.device, &step.proposal.channel);
        tracing::info!(proposer = %step.proposer, %device, %channel, "set-point {device}/{channel}: {outcome:?}");
        self.record(step);
    }
}
