//! The task of a line: what is due is read, what is to be written goes first.

use std::sync::Arc;

use bessai_domain::event::Frame;
use bessai_domain::plan::{Cycle, Reading};
use bessai_domain::profile::Profile;
use bessai_domain::register::UnitId;
use bessai_domain::time::Timestamp;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::connection::{Call, Connection, Trouble};
use super::device::{Device, SourceState};
use super::discovery::{NotFound, discover};
use super::link::{Answer, Refusal};
use super::schedule::Schedule;
use super::write::{self, Order, Target, Targets};
use super::{Line, Reported, Settings};

pub(super) struct Worker {
    asker: Asker,
    devices: Vec<Device>,
    schedule: Schedule,
}

/// Sends requests, and what is to be written before each.
struct Asker {
    connection: Connection,
    orders: mpsc::Receiver<Order>,
    targets: Targets,
    clock: fn() -> Timestamp,
}

impl Worker {
    pub(super) fn new(line: Line, start: Instant, clock: fn() -> Timestamp, orders: mpsc::Receiver<Order>) -> Self {
        let connection = Connection::new(line.address, line.devices.iter().map(|device| device.pacing));
        let targets = line.devices.iter().map(|device| (device.name.clone(), Target::of(device))).collect();
        let devices: Vec<_> = line.devices.into_iter().map(Device::new).collect();
        let mut schedule = Schedule::new(start);
        for (index, device) in devices.iter().enumerate() {
            for (source, state) in device.sources().iter().enumerate() {
                schedule.add(index, source, state.settings.period);
            }
        }
        Self { asker: Asker { connection, orders, targets, clock }, devices, schedule }
    }

    pub(super) async fn run<R: From<Reported>>(mut self, reports: mpsc::Sender<R>) {
        loop {
            let due = self.schedule.next();
            tokio::select! {
                Some(order) = self.asker.orders.recv() => self.asker.write(order).await,
                () = until(due) => {
                    // One after the other, each as soon as it is read: whoever waits for the first need not wait for all.
                    while let Some((device, source)) = self.schedule.take(Instant::now()) {
                        for report in self.cycle(device, source).await {
                            let Some(place) = self.asker.place(&reports).await else { return };
                            place.send(report.into());
                        }
                    }
                }
            }
        }
    }

    /// One reading of a source: what there is to tell.
    async fn cycle(&mut self, device: usize, source: usize) -> Vec<Reported> {
        let shares_line = self.devices.len() > 1;
        let Some(device) = self.devices.get_mut(device) else { return Vec::new() };
        let mut trouble = device.left_alone(Instant::now());
        let mut found = None;
        if trouble.is_none() && device.is_to_be_discovered(&self.asker.connection) {
            (found, trouble) = self.asker.discover(device).await;
        }
        let Some((settings, state)) = device.source(source) else { return Vec::new() };
        let (at, frame, trouble) = self.asker.read(settings, state, trouble).await;
        let status = device.read(source, &frame, trouble.as_ref(), &self.asker.connection, shares_line);
        let found = found.map(|profile| Reported::Found(at, device.settings.name.clone(), profile));
        let status = status.map(|status| Reported::Status(at, status));
        // A source without channels, such as that of a device which has not yet told them, has no frames.
        let frame = (!frame.values.is_empty()).then_some(Reported::Frame(at, frame));
        found.into_iter().chain(status).chain(frame).collect()
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

impl Asker {
    async fn write(&mut self, order: Order) {
        write::carry_out(order, &self.targets, &mut self.connection).await;
    }

    /// Waits until a report can be sent; whoever is to take it may first want something written. None when nobody takes
    /// them any more.
    async fn place<'a, R>(&mut self, reports: &'a mpsc::Sender<R>) -> Option<mpsc::Permit<'a, R>> {
        loop {
            tokio::select! {
                biased;
                place = reports.reserve() => return place.ok(),
                Some(order) = self.orders.recv() => self.write(order).await,
            }
        }
    }

    /// What the device has, if that is new; or why it could not be asked.
    async fn discover(&mut self, device: &mut Device) -> (Option<Arc<Profile>>, Option<Trouble>) {
        let Settings { unit, blocks, timeout, .. } = device.settings;
        match discover(&mut self.connection, unit, blocks.registers, timeout).await {
            Ok(found) => {
                let profile = device.discovered(&found, &self.connection);
                if profile.is_some() {
                    self.targets.insert(device.settings.name.clone(), Target::of(&device.settings));
                }
                (profile, None)
            }
            Err(NotFound::Trouble(trouble)) => (None, Some(trouble)),
            Err(NotFound::Undescribed(reason)) => (None, Some(device.undescribed(reason))),
        }
    }

    /// When, what, and what went wrong.
    async fn read(
        &mut self,
        settings: &Settings,
        state: &mut SourceState,
        left_alone: Option<Trouble>,
    ) -> (Timestamp, Frame, Option<Trouble>) {
        let mut reading = state.plan.reading();
        let mut at = None;
        let trouble = match left_alone {
            Some(trouble) => Some(trouble),
            None => self.ask_all(settings, state, &mut reading, &mut at).await.err(),
        };
        let frame = state.plan.finish(reading, state.settings.place);
        (at.unwrap_or_else(self.clock), frame, trouble)
    }

    /// Sends the plan's requests. Values read before trouble stay good, and so does what was learnt.
    async fn ask_all(
        &mut self,
        settings: &Settings,
        state: &mut SourceState,
        reading: &mut Reading,
        at: &mut Option<Timestamp>,
    ) -> Result<(), Trouble> {
        state.renew(&self.connection);
        let mut cycle = state.plan.cycle();
        let asked = self.ask_each(settings, state, &mut cycle, reading, at).await;
        cycle.finish(&mut state.plan);
        asked
    }

    /// The points of a device may be kept by several units: one that its gateway does not reach is passed over, the others are
    /// asked all the same.
    async fn ask_each(
        &mut self,
        settings: &Settings,
        state: &mut SourceState,
        cycle: &mut Cycle,
        reading: &mut Reading,
        at: &mut Option<Timestamp>,
    ) -> Result<(), Trouble> {
        let mut unreached: Option<(UnitId, String)> = None;
        while let Some(request) = cycle.request(&state.plan) {
            // Requests come unit by unit.
            if unreached.as_ref().is_some_and(|(unit, _)| *unit == request.unit) {
                cycle.pass();
                continue;
            }
            write::serve(&mut self.orders, &self.targets, &mut self.connection).await;
            match self.connection.ask(Call::Read(&request), settings.timeout).await? {
                Answer::Registers(registers) => {
                    at.get_or_insert_with(self.clock);
                    cycle.given(&mut state.plan, &request, &registers, reading);
                }
                Answer::Refused(Refusal::Block, reason) => {
                    let channels = cycle.refused(&mut state.plan);
                    state.note_refusal(settings, channels, &reason);
                }
                Answer::Refused(Refusal::Function, reason) => {
                    let channels = cycle.refused_wholly(&mut state.plan);
                    state.note_refusal(settings, channels, &reason);
                }
                Answer::Refused(Refusal::Unreachable, reason) => {
                    unreached = Some((request.unit, reason));
                    cycle.pass();
                }
                Answer::Refused(Refusal::Busy | Refusal::Failure, _) | Answer::Written => cycle.pass(),
            }
        }
        unreached.map_or(Ok(()), |(unit, reason)| Err(Trouble::Silent(format!("unit {}: {reason}", unit.0))))
    }
}
