//! The task of a bus: reads the sources that are due, and performs pending writes before each request.

use std::sync::Arc;

use bessai_domain::event::{FaultKind, Frame};
use bessai_domain::exchange::Exchange;
use bessai_domain::plan::{BlockFault, Cycle, PartialReading, ReadRequest};
use bessai_domain::profile::Profile;
use bessai_domain::register::UnitId;
use bessai_domain::sunspec::{ChainCheck, ChainState};
use bessai_domain::time::{Clock, Moment};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::chain_watch::ChainWatch;
use crate::connection::BusConnection;
use crate::device::PolledDevice;
use crate::discovery::{DiscoveryFailure, check_chain, discover};
use crate::missing::FailedReads;
use crate::relay::{BusRelay, RelayQueue};
use crate::reply::Reply;
use crate::request::{BusError, BusRequest};
use crate::schedule::Schedule;
use crate::source::SourceState;
use crate::transport::Dial;
use crate::wait_budget::WaitBudget;
use crate::write::{PendingWrite, PendingWrites, WriteQueue};
use crate::{DeviceReport, DeviceSettings, ReadFailure};

/// Milliseconds of a second.
const MS_PER_S: f64 = 1000.0;

pub(crate) struct Poller {
    requester: Requester,
    devices: Vec<PolledDevice>,
    schedule: Schedule,
}

/// One reading of a source that is under way.
struct Reading {
    values: PartialReading,
    /// When the first reply arrived.
    at: Option<Moment>,
    failed: FailedReads,
    exchange: Exchange,
    wait_budget: WaitBudget,
    /// A request to a unit brought nothing, and the unit has not answered since.
    unconfirmed: Option<UnitId>,
    /// The device answers another source.
    others_answer: bool,
}

/// Why a request brought no values.
type NoValues = (Option<BlockFault>, String);

/// Sends the requests of the bus's devices.
struct Requester {
    connection: BusConnection,
    writes: PendingWrites,
    /// Requests of other programs.
    relayed: RelayQueue,
    clock: Clock,
    traffic: Traffic,
}

/// What was on the bus besides a reading's own requests, since the reading before.
#[derive(Default)]
struct Traffic {
    writes: u32,
    /// The connection's count at the reading before.
    unexpected: u64,
}

impl Poller {
    pub(crate) fn new(
        dialer: Box<dyn Dial>,
        devices: Vec<DeviceSettings>,
        start: Instant,
        clock: Clock,
        writes: WriteQueue,
    ) -> Self {
        let connection = BusConnection::new(dialer, devices.iter().map(|device| device.pacing));
        let writes = PendingWrites::new(writes, &devices);
        let devices: Vec<_> = devices.into_iter().map(PolledDevice::new).collect();
        let mut schedule = Schedule::new(start);
        for (index, device) in devices.iter().enumerate() {
            for (source, state) in device.sources().iter().enumerate() {
                schedule.add(index, source, state.settings.period);
            }
        }
        let (relayed, traffic) = (RelayQueue::default(), Traffic::default());
        Self { requester: Requester { connection, writes, relayed, clock, traffic }, devices, schedule }
    }

    /// Also performs the requests of a relay.
    pub(crate) fn with_relay(mut self, relay: &BusRelay) -> Self {
        self.requester.relayed = relay.accept();
        self
    }

    pub(crate) async fn run<R: From<DeviceReport>>(mut self, reports: mpsc::Sender<R>) {
        loop {
            let due = self.schedule.next_due();
            tokio::select! {
                Some(write) = self.requester.writes.next() => self.requester.write(write).await,
                () = until(due) => {
                    // Each source is reported as soon as it is read: its readers need not wait for the others.
                    while let Some((device, source)) = self.schedule.take_due(Instant::now()) {
                        for report in self.read_source(device, source).await {
                            let Some(permit) = self.requester.reserve(&reports).await else { return };
                            permit.send(report.into());
                        }
                    }
                }
                // A reading that is due goes first.
                Some(turn) = self.requester.relayed.next(), if due.is_none_or(|due| Instant::now() < due) => {
                    self.requester.relayed.perform(turn, &mut self.requester.connection).await;
                }
            }
        }
    }

    /// Reads a source once and returns what to report.
    async fn read_source(&mut self, device: usize, source: usize) -> Vec<DeviceReport> {
        let shares_bus = self.devices.len() > 1;
        let next_due = self.schedule.next_due_of(device);
        let Some(device) = self.devices.get_mut(device) else { return Vec::new() };
        let suspended = device.suspension_error(Instant::now());
        let (mut discovered, error) = self.requester.prepare(device, suspended).await;
        let others_answer = device.answers_others(source);
        let Some((settings, state)) = device.source(source) else { return Vec::new() };
        let (mut at, mut frame, mut exchange, mut error) =
            self.requester.read(settings, state, error, others_answer).await;
        if error.is_none() && self.requester.finds_other_models(device, source, &frame).await {
            // What was read there is not what it seems: the device is discovered and read again.
            let (profile, failure) = self.requester.prepare(device, None).await;
            discovered = profile.or(discovered);
            let Some((settings, state)) = device.source(source) else { return Vec::new() };
            (at, frame, exchange, error) = self.requester.read(settings, state, failure, others_answer).await;
        }
        let status = device.record_cycle(source, &frame, error.as_ref(), &self.requester.connection, shares_bus);
        // If nothing was sent, nothing was learnt about the device.
        let is_postponed = matches!(error, Some(BusError::Postponed(_)));
        let failure = device.failure().filter(|_| !is_postponed).map(|(device, error)| {
            let connection = self.requester.connection.next_attempt();
            let next_try = next_due.into_iter().chain(connection).max().unwrap_or_else(Instant::now);
            DeviceReport::Failure(ReadFailure { device, error, next_try: next_try.into_std() })
        });
        let name = &device.settings.name;
        let discovered = discovered.map(|profile| DeviceReport::Discovered(at, name.clone(), profile));
        let status = status.map(|status| DeviceReport::Status(at, status));
        let missing = device.take_missing(source).map(DeviceReport::Missing);
        // A source has no channels until its device has been discovered; then it has no frames either.
        let frame = (!frame.values.is_empty()).then_some(DeviceReport::Frame(at, frame, exchange));
        discovered.into_iter().chain(status).chain(failure).chain(missing).chain(frame).collect()
    }
}

impl Traffic {
    fn note_write(&mut self) {
        self.writes = self.writes.saturating_add(1);
    }

    /// Adds what was on the bus since the reading before, of whichever device.
    fn complete(&mut self, exchange: Exchange, unexpected: u64) -> Exchange {
        let irregular = unexpected.saturating_sub(std::mem::replace(&mut self.unexpected, unexpected));
        let writes = std::mem::take(&mut self.writes);
        Exchange { writes, irregular: u32::try_from(irregular).unwrap_or(u32::MAX), ..exchange }
    }
}

/// What goes before the next request of the bus's own: all writes that are pending, and one request of other programs.
async fn perform_pending(
    writes: &mut PendingWrites,
    relayed: &mut RelayQueue,
    traffic: &mut Traffic,
    connection: &mut BusConnection,
) {
    if writes.perform_all(connection).await {
        traffic.note_write();
        relayed.forget_latest();
    }
    relayed.perform_one(connection).await;
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Requester {
    async fn write(&mut self, write: PendingWrite) {
        self.writes.perform(write, &mut self.connection).await;
        self.traffic.note_write();
        self.relayed.forget_latest();
    }

    /// Waits until a report can be sent, and performs writes meanwhile: the receiver may wait for one of them. None when the
    /// receiver is dropped.
    async fn reserve<'a, R>(&mut self, reports: &'a mpsc::Sender<R>) -> Option<mpsc::Permit<'a, R>> {
        loop {
            tokio::select! {
                biased;
                permit = reports.reserve() => return permit.ok(),
                Some(write) = self.writes.next() => self.write(write).await,
            }
        }
    }

    /// Discovers the points of a device that describes itself, if they are not known or may have changed.
    async fn prepare(
        &mut self,
        device: &mut PolledDevice,
        error: Option<BusError>,
    ) -> (Option<Arc<Profile>>, Option<BusError>) {
        if error.is_some() {
            return (None, error);
        }
        if let Some(check) = device.chain.as_mut().and_then(ChainWatch::due) {
            self.check_chain(device, check).await;
        }
        if device.needs_discovery(&self.connection) { self.discover(device).await } else { (None, None) }
    }

    /// Whether a reading shows that the device no longer has the models that were discovered: a header is another one, or a
    /// value is absurd and a check finds that the chain has changed.
    async fn finds_other_models(&mut self, device: &mut PolledDevice, source: usize, frame: &Frame) -> bool {
        let has_moved = device.sources().get(source).is_some_and(|state| state.has_moved);
        let Some(chain) = device.chain.as_mut() else { return false };
        if has_moved {
            chain.record(ChainState::Changed);
        } else if frame.faults.iter().any(|fault| fault.kind == FaultKind::OutOfRange)
            && let Some(check) = chain.due_after_absurdity()
        {
            self.check_chain(device, check).await;
        }
        device.chain.as_ref().is_some_and(ChainWatch::has_changed)
    }

    async fn check_chain(&mut self, device: &mut PolledDevice, check: ChainCheck) {
        let (writes, relayed, traffic) = (&mut self.writes, &mut self.relayed, &mut self.traffic);
        let before_each = async |connection: &mut BusConnection| {
            perform_pending(writes, relayed, traffic, connection).await;
        };
        let checked = check_chain(&mut self.connection, device.holding_reads(), check, before_each).await;
        if let (Ok(state), Some(chain)) = (checked, &mut device.chain) {
            chain.record(state);
        }
    }

    /// Discovers the device's points. Returns its profile, if that has changed, or why the discovery failed.
    async fn discover(&mut self, device: &mut PolledDevice) -> (Option<Arc<Profile>>, Option<BusError>) {
        let base = device.settings.profile.sunspec_base;
        let (writes, relayed, traffic) = (&mut self.writes, &mut self.relayed, &mut self.traffic);
        let before_each = async |connection: &mut BusConnection| {
            perform_pending(writes, relayed, traffic, connection).await;
        };
        match discover(&mut self.connection, device.holding_reads(), base, before_each).await {
            Ok(found) => {
                let profile = device.apply_discovery(&found, &self.connection);
                if profile.is_some() {
                    self.writes.update_target(&device.settings);
                    self.relayed.update_device(&device.settings);
                }
                (profile, None)
            }
            Err(DiscoveryFailure::Bus(error)) => (None, Some(error)),
            Err(DiscoveryFailure::NotSunSpec(reason)) => (None, Some(device.suspend_until_rediscovery(reason))),
        }
    }

    /// Reads a source, unless there is an error already. Returns the time of the reading, its frame, what its requests met,
    /// and its error.
    async fn read(
        &mut self,
        settings: &DeviceSettings,
        state: &mut SourceState,
        error: Option<BusError>,
        others_answer: bool,
    ) -> (Moment, Frame, Exchange, Option<BusError>) {
        let mut reading = Reading {
            values: state.plan.reading(),
            at: None,
            failed: FailedReads::default(),
            exchange: Exchange::default(),
            wait_budget: state.wait_budget(settings.timeout),
            unconfirmed: None,
            others_answer,
        };
        let error = match error {
            Some(error) => Some(error),
            None => self.run_cycle(settings, state, &mut reading).await.err(),
        };
        self.connection.end_cycle();
        self.relayed.note_cycle(settings.unit, reading.at.is_some(), error.as_ref());
        state.has_moved = reading.values.has_changed_headers();
        state.has_replied = reading.at.is_some();
        let mut frame = state.plan.finish(reading.values, state.settings.index);
        if reading.at.is_some() {
            state.note_reliability(settings, &reading.failed, &frame);
        }
        state.withhold_values(settings, &mut frame);
        let exchange = self.traffic.complete(reading.exchange, self.connection.unexpected());
        (reading.at.unwrap_or_else(self.clock), frame, exchange, error)
    }

    /// Sends the plan's requests. The values read before an error are kept, and so is what was learnt about the device.
    async fn run_cycle(
        &mut self,
        settings: &DeviceSettings,
        state: &mut SourceState,
        reading: &mut Reading,
    ) -> Result<(), BusError> {
        self.connection.begin_cycle(settings.timeout);
        let mut cycle = state.begin_cycle(&self.connection, reading.others_answer);
        let sent = self.send_requests(state, &mut cycle, reading).await;
        state.end_cycle(settings, cycle, &reading.failed);
        sent
    }

    /// A block that brings no values does not keep the others from being read. An error if none has any, or if no further
    /// request can be sent.
    async fn send_requests(
        &mut self,
        state: &mut SourceState,
        cycle: &mut Cycle,
        reading: &mut Reading,
    ) -> Result<(), BusError> {
        let mut nothing_read = None;
        while let Some(request) = cycle.request(&state.plan) {
            perform_pending(&mut self.writes, &mut self.relayed, &mut self.traffic, &mut self.connection).await;
            if cycle.asks_suspect()
                && reading.unconfirmed.is_some()
                && !self.unit_answers(state, cycle, reading).await?
            {
                cycle.leave_suspects(&mut state.plan);
                continue;
            }
            let was_open = self.connection.is_open();
            let block = request.first_item();
            let limit = reading.wait_budget.limit(cycle, block, &state.reply_time, was_open);
            reading.exchange.requests += 1;
            self.connection.expect_failure(cycle.asks_suspect(), reading.wait_budget.has_waited());
            let replied = self.connection.request(BusRequest::Read(&request), limit).await;
            self.connection.expect_failure(false, false);
            let (fault, reason) = match self.outcome(replied)? {
                Err((None, reason)) => {
                    reading.exchange.failed += 1;
                    nothing_read.get_or_insert(reason);
                    cycle.skip(&mut state.plan);
                    continue;
                }
                Ok(values) => {
                    let took = self.connection.time_since_asked();
                    state.reply_time.record(block.unwrap_or_default(), took);
                    reading.wait_budget.record_reply();
                    if was_open {
                        reading.exchange.replied(took.as_secs_f64() * MS_PER_S);
                    }
                    reading.at.get_or_insert_with(self.clock);
                    self.relayed.record(&request, &values, state.settings.period);
                    reading.unconfirmed = None;
                    cycle.answered(&mut state.plan, &request, &values, &mut reading.values);
                    continue;
                }
                Err((Some(fault), reason)) => (fault, reason),
            };
            reading.exchange.failed += 1;
            let is_short = reading.wait_budget.is_short(limit);
            reading.failed.add(state.channels(&request), fault, &reason, is_short);
            let is_hasty = !cycle.asks_suspect() && is_short;
            cycle.fail(&mut state.plan, fault);
            // A device all of whose replies are invalid is as good as silent.
            let has_no_valid_reply = fault == BlockFault::Invalid && reading.at.is_none() && state.is_empty;
            if fault.is_costly() || has_no_valid_reply {
                if is_hasty {
                    cycle.was_hasty();
                }
                reading.wait_budget.record(self.connection.time_since_asked(), self.connection.is_open());
                self.after_costly(state, cycle, reading, &request, fault);
                // The first request waited for longest.
                nothing_read.get_or_insert(reason);
            }
        }
        match nothing_read {
            Some(reason) if reading.at.is_none() && !reading.others_answer => Err(BusError::NoReply(reason)),
            _ => Ok(()),
        }
    }

    /// The values of a reply, or why there are none; without a fault if that says nothing about the block. An error if no
    /// further request can be sent in this cycle.
    fn outcome(&self, replied: Result<Reply, BusError>) -> Result<Result<Vec<u16>, NoValues>, BusError> {
        Ok(match replied {
            Ok(Reply::Values(values)) => Ok(values),
            Ok(Reply::Exception(kind, reason)) => Err((Some(kind.fault()), reason)),
            Ok(Reply::WriteConfirmed) => {
                Err((Some(BlockFault::Invalid), "confirmed a write in reply to a read".to_owned()))
            }
            Err(BusError::NoReply(reason)) => Err((Some(BlockFault::Silent), reason)),
            Err(BusError::Uncertain(reason)) => Err((None, reason)),
            Err(BusError::Broken(reason)) if self.connection.is_usable_after_error() => {
                Err((Some(BlockFault::Invalid), reason))
            }
            Err(BusError::Broken(reason)) => Err((Some(BlockFault::Disconnected), reason)),
            Err(error @ (BusError::NotConnected(_) | BusError::Postponed(_))) => return Err(error),
        })
    }

    /// Decides what is still asked for after an attempt that took long.
    fn after_costly(
        &self,
        state: &mut SourceState,
        cycle: &mut Cycle,
        reading: &mut Reading,
        request: &ReadRequest,
        fault: BlockFault,
    ) {
        if fault != BlockFault::Unreachable {
            reading.unconfirmed = Some(request.unit);
        }
        // A new connection to a device that has not answered has to wait.
        let is_disconnected = state.is_empty && !self.connection.is_open();
        let is_away = reading.at.is_none() && (state.seems_away() || is_disconnected);
        let is_away = is_away && fault != BlockFault::Unreachable;
        if is_away || !reading.wait_budget.allows_blocks(&state.reply_time) {
            cycle.stop(&mut state.plan);
        } else if !reading.wait_budget.allows_suspects(&state.reply_time) {
            cycle.leave_suspects(&mut state.plan);
        }
    }

    /// Whether a unit still answers what it has answered in this cycle, after a request that it has not answered.
    async fn unit_answers(
        &mut self,
        state: &mut SourceState,
        cycle: &Cycle,
        reading: &mut Reading,
    ) -> Result<bool, BusError> {
        let Some(unit) = reading.unconfirmed.take() else { return Ok(true) };
        let Some(witness) = cycle.witness(&state.plan, unit) else { return Ok(false) };
        let limit = reading.wait_budget.witness_limit(witness.first_item(), &state.reply_time);
        match self.connection.request(BusRequest::Read(&witness), limit).await {
            Ok(_) => Ok(true),
            Err(BusError::NoReply(_) | BusError::Broken(_) | BusError::Uncertain(_)) => {
                state.reply_time.hold_up();
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}
