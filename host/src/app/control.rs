//! Connects the control room to the pipeline, the buses, the feeds and the journal.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bessai_control::{
    ControlRoom, ControlSettings, Holder, Input, NewProposal, Output, Permit, ProposalId, Purpose, WriteOrder,
};
use bessai_domain::event::{DeviceStatus, EventBody, Frame, Safety, SafetyState, Sequence};
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use bessai_domain::site::Site;
use bessai_journal::Journal;
use bessai_modbus::{DeviceSettings, PointWriter, WriteOptions, WriteQueue, WrittenPoint};
use bessai_supervision::OnFailure;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::clock::now;

/// The attribute of a channel with its point's name, if that is another one.
const POINT: &str = "point";
/// Pause between two looks at what is due: what is overdue and cannot be done yet must not keep the loop busy.
const MIN_PAUSE: Duration = Duration::from_millis(20);
/// A proposal whose first outcome takes longer is answered without it; the outcome follows in the journal.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Proposals that are kept, for the audit of their release; the oldest ones are forgotten.
const OPEN_PROPOSALS: usize = 4096;

/// The running control room. Clones are the same.
#[derive(Clone)]
pub(super) struct Control {
    shared: Rc<Shared>,
}

struct Shared {
    room: RefCell<ControlRoom>,
    settings: ControlSettings,
    writer: RefCell<PointWriter>,
    journal: Journal,
    proposals: RefCell<Proposals>,
    /// Why safety is not safe, from its last event.
    reason: RefCell<String>,
    /// The time until the next thing that is due may have changed.
    changed: Notify,
}

/// The proposals that may still have an outcome.
#[derive(Default)]
struct Proposals {
    last: u64,
    open: BTreeMap<ProposalId, OpenProposal>,
}

struct OpenProposal {
    event: Sequence,
    made: WriteStep,
    /// Takes the first outcome.
    answer: Option<oneshot::Sender<WriteOutcome>>,
}

impl Control {
    pub(super) fn new(settings: ControlSettings, journal: &Journal) -> Self {
        let shared = Shared {
            room: RefCell::new(ControlRoom::new(settings.clone(), now().monotonic)),
            settings,
            writer: RefCell::default(),
            journal: journal.clone(),
            proposals: RefCell::default(),
            reason: RefCell::new("no verdict yet".into()),
            changed: Notify::new(),
        };
        Self { shared: Rc::new(shared) }
    }

    /// Releases what is due, until it is stopped.
    pub(super) fn spawn(&self, stop: &watch::Receiver<bool>) -> JoinHandle<()> {
        let control = self.clone();
        bessai_supervision::spawn("control", OnFailure::Restart, stop.clone(), async move || control.run().await)
    }

    async fn run(&self) {
        loop {
            self.apply(Input::Time);
            let at = now().monotonic;
            let due = self.shared.room.borrow().next_due(at);
            match due {
                Some(due) => {
                    let _ = timeout(due.since(at), self.shared.changed.notified()).await;
                }
                None => self.shared.changed.notified().await,
            }
            sleep(MIN_PAUSE).await;
        }
    }

    /// Accepts writes for a bus; closed if none of its devices is controlled.
    pub(super) fn connect(&self, devices: &[DeviceSettings]) -> WriteQueue {
        let is_controlled = |device: &DeviceSettings| self.shared.settings.devices.contains_key(&device.name);
        match devices.iter().any(is_controlled) {
            true => self.shared.writer.borrow_mut().connect(devices),
            false => WriteQueue::closed(),
        }
    }

    /// Shows it a reading.
    pub(super) fn frame(&self, frame: &Frame, site: &Site) {
        let source = usize::try_from(frame.source).ok().and_then(|index| site.sources.get(index));
        let Some(source) = source.filter(|source| self.shared.settings.devices.contains_key(&source.device)) else {
            return;
        };
        let values = source.channels.iter().enumerate().map(|(position, channel)| {
            let point = channel.attributes.iter().find(|(key, _)| key == POINT).map_or(&channel.name, |(_, name)| name);
            (point.clone(), frame.good(position).unwrap_or(f64::NAN))
        });
        self.handle(Input::Read(source.device.clone(), values.collect()));
    }

    /// Shows it an event of the pipeline.
    pub(super) fn event(&self, body: &EventBody) {
        match body {
            EventBody::Device(DeviceStatus { device, online, .. }) => {
                self.handle(Input::Online(device.clone(), *online));
            }
            EventBody::Safety(safety) => *self.shared.reason.borrow_mut() = reason(safety),
            _ => {}
        }
    }

    /// Shows it a verdict.
    pub(super) fn judged(&self, state: SafetyState) {
        let devices: Vec<_> = self.shared.settings.devices.keys().cloned().collect();
        for device in devices {
            let reason = self.shared.reason.borrow().clone();
            let permit = Permit { state, reason, max_charge_kw: None, max_discharge_kw: None };
            self.handle(Input::Permit(device, permit));
        }
    }

    /// Makes a proposal; returns its first outcome. `right` is the line that the holder's rights lack, if they lack one.
    pub(super) async fn propose(
        &self,
        holder: Holder,
        proposal: Proposal,
        unit: String,
        right: Result<(), String>,
    ) -> WriteOutcome {
        let (answer, answered) = oneshot::channel();
        let lease = proposal.until.map(|until| until.since(now().wall));
        let made = WriteStep { proposed: None, proposer: holder.to_string(), proposal, unit, outcome: None };
        let event = self.record(made.clone());
        let id = {
            let mut proposals = self.shared.proposals.borrow_mut();
            proposals.last += 1;
            let id = ProposalId(proposals.last);
            proposals.open.insert(id, OpenProposal { event, made: made.clone(), answer: Some(answer) });
            id
        };
        if let Err(right) = right {
            let reason = format!("the feed has no right to write it; add \"{right}\" to [rights] write in its file");
            self.outcome(id, WriteOutcome::Refused(reason.clone()));
            return WriteOutcome::Refused(reason);
        }
        self.handle(Input::Proposed(NewProposal { id, holder, proposal: made.proposal, lease }));
        match timeout(ANSWER_LIMIT, answered).await {
            Ok(Ok(outcome)) => outcome,
            _ => WriteOutcome::Failed(format!("no outcome within {ANSWER_LIMIT:?}; it follows as an event")),
        }
    }

    fn handle(&self, input: Input) {
        let is_reading = matches!(input, Input::Read(..));
        if self.apply(input) || !is_reading {
            self.shared.changed.notify_one();
        }
    }

    /// Carries out what follows from an input; false if nothing does.
    fn apply(&self, input: Input) -> bool {
        let outputs = self.shared.room.borrow_mut().handle(now().monotonic, input);
        let has_effect = !outputs.is_empty();
        for output in outputs {
            match output {
                Output::Write(order) => self.write(order),
                Output::Outcome(id, outcome) => self.outcome(id, outcome),
            }
        }
        has_effect
    }

    fn write(&self, order: WriteOrder) {
        let control = self.clone();
        spawn_local(async move {
            let writer = control.shared.writer.borrow().clone();
            // A recipe writes dangerous points, too; those that the room refuses do not get here.
            let options = WriteOptions { settle: None, is_confirmed: true };
            let written = writer.write_with(&order.device, &order.point, order.value, options).await;
            control.audit(&order, &written);
            let result = written.map(|written| written.read_back);
            control.handle(Input::Written(order.id, result));
        });
    }

    /// Each register write is an event, apart from the watchdog's counts, one a second.
    fn audit(&self, order: &WriteOrder, written: &Result<WrittenPoint, String>) {
        if order.purpose == Purpose::Watchdog {
            return;
        }
        let outcome = match written {
            Ok(WrittenPoint { read_back: Some(value) }) => WriteOutcome::Verified(SetValue::Number(*value)),
            Ok(WrittenPoint { read_back: None }) => WriteOutcome::Acknowledged,
            Err(reason) => WriteOutcome::Failed(reason.clone()),
        };
        let (proposed, proposer) = {
            let proposals = self.shared.proposals.borrow();
            let cause = order.cause.and_then(|id| proposals.open.get(&id));
            (cause.map(|open| open.event), cause.map_or("gateway".into(), |open| open.made.proposer.clone()))
        };
        let point =
            self.shared.settings.devices.get(&order.device).and_then(|device| device.profile.point(&order.point));
        let proposal = Proposal {
            device: order.device.clone(),
            channel: order.point.clone(),
            value: Some(SetValue::Number(order.value)),
            until: None,
            reference: String::new(),
        };
        let unit = point.map(|point| point.unit.clone()).unwrap_or_default();
        self.record(WriteStep { proposed, proposer, proposal, unit, outcome: Some(outcome) });
    }

    fn outcome(&self, id: ProposalId, outcome: WriteOutcome) {
        let step = {
            let mut proposals = self.shared.proposals.borrow_mut();
            let Some(open) = proposals.open.get_mut(&id) else { return };
            if let Some(answer) = open.answer.take() {
                let _ = answer.send(outcome.clone());
            }
            let step = WriteStep { proposed: Some(open.event), outcome: Some(outcome.clone()), ..open.made.clone() };
            if matches!(outcome, WriteOutcome::Refused(_)) {
                proposals.open.remove(&id);
            }
            while proposals.open.len() > OPEN_PROPOSALS {
                proposals.open.pop_first();
            }
            step
        };
        let (device, channel) = (&step.proposal.device, &step.proposal.channel);
        tracing::info!(proposer = %step.proposer, %device, %channel, "set-point {device}/{channel}: {outcome:?}");
        self.record(step);
    }

    fn record(&self, step: WriteStep) -> Sequence {
        self.shared.journal.append(now(), EventBody::Write(Box::new(step)))
    }
}

/// Why the battery is not safe, for people.
fn reason(safety: &Safety) -> String {
    let violation = |v: &bessai_domain::event::Violation| {
        format!("{}/{} violates {} {} with {}", v.device, v.channel, v.rule, v.limit, v.value)
    };
    safety.violations.iter().map(violation).collect::<Vec<_>>().join(", ")
}
