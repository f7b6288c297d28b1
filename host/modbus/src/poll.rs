//! The task of a bus: reads the sources that are due, and performs pending writes before each request.

use std::sync::Arc;

use bessai_domain::event::{FaultKind, Frame};
use bessai_domain::plan::{Cycle, PartialReading};
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
use crate::reply::{ExceptionKind, Reply};
use crate::request::{BusError, BusRequest};
use crate::schedule::Schedule;
use crate::source::{RefusalKind, SourceState};
use crate::transport::Dial;
use crate::write::{PendingWrite, PendingWrites, WriteQueue};
use crate::{DeviceReport, DeviceSettings, ReadFailure};

pub(crate) struct Poller {
    requester: Requester,
    devices: Vec<PolledDevice>,
    schedule: Schedule,
}

/// How many requests of a cycle got no reply, although others did. A second one ends the cycle.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Timeouts {
    None,
    One,
}

/// Sends the requests of the bus's devices.
struct Requester {
    connection: BusConnection,
    writes: PendingWrites,
    clock: Clock,
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
        Self { requester: Requester { connection, writes, clock }, devices, schedule }
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
        let Some((settings, state)) = device.source(source) else { return Vec::new() };
        let (mut at, mut frame, mut error) = self.requester.read(settings, state, error).await;
        if error.is_none() && self.requester.finds_other_models(device, source, &frame).await {
            // What was read there is not what it seems: the device is discovered and read again.
            let (profile, failure) = self.requester.prepare(device, None).await;
            discovered = profile.or(discovered);
            let Some((settings, state)) = device.source(source) else { return Vec::new() };
            (at, frame, error) = self.requester.read(settings, state, failure).await;
        }
        let status = device.record_cycle(source, &frame, error.as_ref(), &self.requester.connection, shares_bus);
        // If nothing was sent, nothing was learnt about the device.
        let is_postponed = matches!(error, Some(BusError::Postponed(_)));
        let failure = device.failure(error.as_ref()).filter(|_| !is_postponed).map(|(device, error)| {
            let connection = self.requester.connection.next_attempt();
            let next_try = next_due.into_iter().chain(connection).max().unwrap_or_else(Instant::now);
            DeviceReport::Failure(ReadFailure { device, error, next_try: next_try.into_std() })
        });
        let name = &device.settings.name;
        let discovered = discovered.map(|profile| DeviceReport::Discovered(at, name.clone(), profile));
        let status = status.map(|status| DeviceReport::Status(at, status));
        // A source has no channels until its device has been discovered; then it has no frames either.
        let frame = (!frame.values.is_empty()).then_some(DeviceReport::Frame(at, frame));
        discovered.into_iter().chain(status).chain(failure).chain(frame).collect()
    }
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
        let writes = &mut self.writes;
        let write = async |connection: &mut BusConnection| writes.perform_all(connection).await;
        let checked = check_chain(&mut self.connection, device.holding_reads(), check, write).await;
        if let (Ok(state), Some(chain)) = (checked, &mut device.chain) {
            chain.record(state);
        }
    }

    /// Discovers the device's points. Returns its profile, if that has changed, or why the discovery failed.
    async fn discover(&mut self, device: &mut PolledDevice) -> (Option<Arc<Profile>>, Option<BusError>) {
        let base = device.settings.profile.sunspec_base;
        let writes = &mut self.writes;
        let write = async |connection: &mut BusConnection| writes.perform_all(connection).await;
        match discover(&mut self.connection, device.holding_reads(), base, write).await {
            Ok(found) => {
                let profile = device.apply_discovery(&found, &self.connection);
                if profile.is_some() {
                    self.writes.update_target(&device.settings);
                }
                (profile, None)
            }
            Err(DiscoveryFailure::Bus(error)) => (None, Some(error)),
            Err(DiscoveryFailure::NotSunSpec(reason)) => (None, Some(device.suspend_until_rediscovery(reason))),
        }
    }

    /// Reads a source, unless there is an error already. Returns the time of the reading, its frame and its error.
    async fn read(
        &mut self,
        settings: &DeviceSettings,
        state: &mut SourceState,
        error: Option<BusError>,
    ) -> (Moment, Frame, Option<BusError>) {
        let mut reading = state.plan.reading();
        let mut at = None;
        let error = match error {
            Some(error) => Some(error),
            None => self.run_cycle(settings, state, &mut reading, &mut at).await.err(),
        };
        state.has_moved = reading.has_changed_headers();
        let mut frame = state.plan.finish(reading, state.settings.index);
        state.hold_back_counters(settings, &mut frame);
        (at.unwrap_or_else(self.clock), frame, error)
    }

    /// Sends the plan's requests. The values read before an error are kept, and so is what was learnt about the device.
    async fn run_cycle(
        &mut self,
        settings: &DeviceSettings,
        state: &mut SourceState,
        reading: &mut PartialReading,
        at: &mut Option<Moment>,
    ) -> Result<(), BusError> {
        state.retry_refused(&self.connection);
        let mut cycle = state.plan.cycle();
        cycle.rotate(state.empty_cycles);
        let sent = self.send_requests(settings, state, &mut cycle, reading, at).await;
        cycle.finish(&mut state.plan);
        if sent? == Timeouts::None {
            self.retry_silent(settings, state, reading).await?;
        }
        Ok(())
    }

    /// Asks for the blocks that got no reply before, until one gets none again: that costs one timeout.
    async fn retry_silent(
        &mut self,
        settings: &DeviceSettings,
        state: &mut SourceState,
        reading: &mut PartialReading,
    ) -> Result<(), BusError> {
        while let Some(request) = state.silent_request() {
            match self.connection.request(BusRequest::Read(&request), settings.timeout).await {
                Ok(reply) => {
                    if let Reply::Values(values) = reply {
                        state.plan.decode(&request, &values, reading);
                    }
                    state.end_silence();
                }
                Err(BusError::NoReply(reason)) => {
                    state.record_silence(settings, &reason);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The points of a device may belong to several units: if a gateway cannot reach one of them, its points are skipped and
    /// the others are read.
    async fn send_requests(
        &mut self,
        settings: &DeviceSettings,
        state: &mut SourceState,
        cycle: &mut Cycle,
        reading: &mut PartialReading,
        at: &mut Option<Moment>,
    ) -> Result<Timeouts, BusError> {
        let mut silence = None;
        let mut unreachable: Option<(UnitId, String)> = None;
        while let Some(request) = cycle.request(&state.plan) {
            // The plan is ordered by unit, so remembering one is enough.
            if unreachable.as_ref().is_some_and(|(unit, _)| *unit == request.unit) {
                cycle.skip();
                continue;
            }
            self.writes.perform_all(&mut self.connection).await;
            let reply = match self.connection.request(BusRequest::Read(&request), settings.timeout).await {
                // One block gets no reply, but the device answers others.
                Err(BusError::NoReply(reason)) if silence.is_none() && (at.is_some() || !state.is_empty) => {
                    cycle.unanswered();
                    silence = Some(reason);
                    continue;
                }
                reply => reply?,
            };
            match reply {
                Reply::Values(values) => {
                    at.get_or_insert_with(self.clock);
                    cycle.answered(&mut state.plan, &request, &values, reading);
                }
                Reply::Exception(ExceptionKind::Block, reason) => {
                    let channels = cycle.refused(&mut state.plan);
                    state.record_refusal(settings, channels, &reason, RefusalKind::Missing);
                }
                Reply::Exception(ExceptionKind::Function, reason) => {
                    let channels = cycle.function_refused(&mut state.plan);
                    state.record_refusal(settings, channels, &reason, RefusalKind::Missing);
                }
                Reply::Exception(ExceptionKind::Unreachable, reason) => {
                    unreachable = Some((request.unit, reason));
                    cycle.skip();
                }
                Reply::Exception(ExceptionKind::Failure, reason) => {
                    let channels = cycle.failed(&mut state.plan);
                    state.record_refusal(settings, channels, &reason, RefusalKind::Failing);
                }
                Reply::Exception(ExceptionKind::Busy | ExceptionKind::Accepted, _) | Reply::WriteConfirmed => {
                    cycle.skip()
                }
            }
        }
        match (unreachable, silence) {
            (Some((unit, reason)), _) => Err(BusError::NoReply(format!("unit {}: {reason}", unit.0))),
            (None, Some(reason)) if at.is_none() => Err(BusError::NoReply(reason)),
            (None, Some(_)) => Ok(Timeouts::One),
            (None, None) => Ok(Timeouts::None),
        }
    }
}
