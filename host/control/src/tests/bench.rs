//! A control room with one simulated device, in simulated time; notes each write that must not have been sent.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{SafetyState, Violation};
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome};
use bessai_domain::safety::{Block, Permit, SetPoint};
use bessai_domain::time::MonotonicTime;

use crate::{
    CHARGE_LIMIT, ControlRoom, ControlSettings, ControlledDevice, Holder, Input, NewProposal, Output, ProposalId,
    Purpose, SafetyCheck, WriteOrder,
};

/// The device's name.
pub(super) const DEVICE: &str = "battery";
/// The device releases itself after this time without a write.
const REVERT: Duration = Duration::from_secs(60);
/// Time between two verdicts and readings.
const PERIOD: Duration = Duration::from_secs(1);

const PROFILE: &str = "watchdog = \"alive\"
    [set_point]
    charge = [{ point = \"power\", scale = -1000 }, { point = \"mode\", value = 1 }]
    discharge = [{ point = \"power\", scale = 1000 }, { point = \"mode\", value = 2 }]
    release = [{ point = \"mode\", value = 0 }]
    revert = { after = \"60s\" }
    [points]
    mode = { address = 1, type = \"uint16\", scale = 1, min = 0, max = 2, access = \"RW\", dangerous = true }
    power = { address = 2, type = \"int16\", scale = 1, unit = \"W\", access = \"RW\" }
    reserve = { address = 3, type = \"uint16\", scale = 1, unit = \"%\", min = 0, max = 100, access = \"RW\", persistent = true }
    alive = { address = 4, type = \"uint16\", scale = 1, access = \"W\" }
    soc = { address = 5, type = \"uint16\", scale = 1, unit = \"%\" }";

/// What the device does with writes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Behaviour {
    Obeys,
    Refuses,
    /// Acknowledges, and keeps what it had.
    Ignores,
    /// Takes each write only at the next second.
    Delays,
}

/// What safety says.
#[derive(Debug)]
pub(super) struct TestSafety {
    pub(super) state: SafetyState,
    /// The most that any set-point may have, in kW.
    pub(super) most_kw: f64,
    /// How fast a set-point is approached.
    pub(super) ramp_kw_per_s: Option<f64>,
}

impl TestSafety {
    fn check(&self, set_point: &SetPoint<'_>, now: MonotonicTime) -> Result<Permit, Block> {
        if self.state != SafetyState::Safe {
            let (device, channel) = (set_point.device.to_owned(), "temp_c".to_owned());
            return Err(Block(Violation { rule: "max".into(), device, channel, value: 61.0, limit: 60.0 }));
        }
        let step = self.ramp_kw_per_s.map(|ramp| ramp * now.since(set_point.applied_at).as_secs_f64());
        let (wanted, applied) = (set_point.power_kw, set_point.applied_kw);
        let ramped = step.map_or(wanted, |step| wanted.max(applied - step).min(applied + step));
        Ok(Permit { power_kw: ramped.max(-self.most_kw).min(self.most_kw), reduced_by: None })
    }
}

pub(super) struct Bench {
    pub(super) room: ControlRoom,
    pub(super) now: MonotonicTime,
    pub(super) device: BTreeMap<String, f64>,
    pub(super) behaviour: Behaviour,
    pub(super) outputs: Vec<Output>,
    /// How often the device has written its flash.
    pub(super) flash_writes: usize,
    /// Writes that the device has not taken yet.
    delayed: Vec<WriteOrder>,
    /// Proposals before this one were made before the last restart: nobody waits for their outcomes any more.
    pub(super) forgotten: usize,
    pub(super) orders: Vec<WriteOrder>,
    pub(super) proposals: Vec<ProposalId>,
    pub(super) violations: Vec<String>,
    safety: Rc<RefCell<TestSafety>>,
    settings: ControlSettings,
    is_online: bool,
    is_pipeline_running: bool,
    charge_limit: Option<(MonotonicTime, f64)>,
    most_kw: f64,
    written_at: MonotonicTime,
}

impl Bench {
    pub(super) fn new(most_kw: f64, writes_per_day: u32) -> Self {
        let profile = Arc::new(bessai_domain::profile::read("test", "test.toml", PROFILE).unwrap());
        let device = ControlledDevice {
            max_charge_kw: Some(most_kw),
            max_discharge_kw: Some(most_kw),
            writes_per_day,
            ..ControlledDevice::new(profile)
        };
        let devices = BTreeMap::from([(DEVICE.to_owned(), device)]);
        let settings = ControlSettings { devices, priority: vec!["trader".into()], ..ControlSettings::default() };
        let now = MonotonicTime::from_nanos(0);
        let safety = TestSafety { state: SafetyState::Unknown, most_kw: f64::INFINITY, ramp_kw_per_s: None };
        let safety = Rc::new(RefCell::new(safety));
        let registers = [("mode", 0.0), ("power", 0.0), ("reserve", 20.0), ("alive", 0.0)];
        let mut bench = Self {
            room: ControlRoom::new(settings.clone(), check_of(&safety)),
            now,
            device: registers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            behaviour: Behaviour::Obeys,
            outputs: Vec::new(),
            flash_writes: 0,
            delayed: Vec::new(),
            forgotten: 0,
            orders: Vec::new(),
            proposals: Vec::new(),
            violations: Vec::new(),
            safety,
            settings,
            is_online: false,
            is_pipeline_running: true,
            charge_limit: None,
            most_kw,
            written_at: now,
        };
        bench.read();
        bench
    }

    /// A proposal that names no end.
    pub(super) fn propose_without_end(&mut self, holder: Holder, channel: &str, value: f64) {
        self.submit(holder, channel, Some(value), None);
    }

    pub(super) fn propose(&mut self, holder: Holder, channel: &str, value: Option<f64>, seconds: u64) {
        let lease = Duration::from_secs(seconds);
        if channel == CHARGE_LIMIT {
            self.charge_limit = value.map(|value| (self.now.plus(lease), value));
        }
        self.submit(holder, channel, value, Some(lease));
    }

    fn submit(&mut self, holder: Holder, channel: &str, value: Option<f64>, lease: Option<Duration>) {
        let id = ProposalId(self.proposals.len() as u64);
        self.proposals.push(id);
        let (device, channel) = (DEVICE.to_owned(), channel.to_owned());
        let value = value.map(SetValue::Number);
        let proposal = Proposal { device, channel, value, until: None, reference: String::new() };
        self.input(Input::Proposed(NewProposal { id, holder, proposal, lease }));
    }

    pub(super) fn judge(&mut self, state: SafetyState) {
        self.safety.borrow_mut().state = state;
        self.input(Input::Judged);
    }

    /// Safety allows no more than this, and approaches set-points that fast.
    pub(super) fn allow(&mut self, most_kw: f64, ramp_kw_per_s: Option<f64>) {
        let state = self.safety.borrow().state;
        *self.safety.borrow_mut() = TestSafety { state, most_kw, ramp_kw_per_s };
        self.input(Input::Judged);
    }

    /// The gateway is killed and starts again a little later. Nobody renews what was held.
    pub(super) fn restart(&mut self) {
        let memory = self.room.memory(self.now);
        self.room = ControlRoom::new(self.settings.clone(), check_of(&self.safety));
        self.room.restore(&memory, self.now);
        (self.charge_limit, self.forgotten) = (None, self.proposals.len());
        self.delayed.clear();
        let is_online = self.is_online;
        self.set_online(false);
        if is_online {
            self.set_online(true);
        }
    }

    pub(super) fn input_of(&mut self, input: Input) {
        self.input(input);
    }

    pub(super) fn settings(&self) -> ControlSettings {
        self.settings.clone()
    }

    pub(super) fn set_online(&mut self, is_online: bool) {
        self.is_online = is_online;
        if !is_online {
            self.delayed.clear();
        }
        self.input(Input::Online(DEVICE.into(), is_online));
        self.read();
    }

    /// Another program writes a register.
    pub(super) fn foreign(&mut self, point: &str, value: f64) {
        self.device.insert(point.into(), value.round());
    }

    pub(super) fn stop_pipeline(&mut self) {
        self.is_pipeline_running = false;
    }

    pub(super) fn wait(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.now < end {
            self.now = self.now.plus(PERIOD);
            for order in std::mem::take(&mut self.delayed) {
                self.take(order);
            }
            if self.now.since(self.written_at) >= REVERT {
                self.device.insert("mode".into(), 0.0);
            }
            if self.is_pipeline_running {
                self.input(Input::Judged);
                self.read();
            }
            self.input(Input::Time);
        }
    }

    pub(super) fn is_answered(&self, id: ProposalId) -> bool {
        self.outputs.iter().any(|output| matches!(output, Output::Outcome(answered, _) if *answered == id))
    }

    pub(super) fn outcomes(&self, proposal: usize) -> Vec<WriteOutcome> {
        let id = self.proposals[proposal];
        let outcome = |output: &Output| match output {
            Output::Outcome(answered, outcome) if *answered == id => Some(outcome.clone()),
            _ => None,
        };
        self.outputs.iter().filter_map(outcome).collect()
    }

    fn read(&mut self) {
        if self.is_online {
            let values = self.device.iter().map(|(name, value)| (name.clone(), *value)).collect();
            self.input(Input::Read(DEVICE.into(), values));
        }
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.room.handle(self.now, input) {
                match &output {
                    Output::Write(order) if self.behaviour == Behaviour::Delays => {
                        self.check(order);
                        self.delayed.push(order.clone());
                    }
                    Output::Write(order) => inputs.insert(0, self.written(order)),
                    Output::Cancel(id) => {
                        self.delayed.retain(|order| order.id != *id);
                        inputs.insert(0, Input::Written(*id, Err("cancelled".into())));
                    }
                    Output::Outcome(..) => {}
                }
                self.outputs.push(output);
            }
        }
    }

    /// The device takes a write that it has delayed.
    fn take(&mut self, order: WriteOrder) {
        let written = self.written(&order);
        self.input(written);
    }

    fn written(&mut self, order: &WriteOrder) -> Input {
        self.check(order);
        let result = self.write(order);
        self.orders.push(order.clone());
        Input::Written(order.id, result)
    }

    fn write(&mut self, order: &WriteOrder) -> Result<Option<f64>, String> {
        if !self.is_online {
            return Err("no reply".into());
        }
        match self.behaviour {
            Behaviour::Obeys | Behaviour::Delays => {
                let value = order.value.round();
                self.device.insert(order.point.clone(), value);
                self.flash_writes += usize::from(order.point == "reserve");
                if order.point != "alive" {
                    self.written_at = self.now;
                }
                Ok((order.point != "alive").then_some(value))
            }
            Behaviour::Refuses => Err("illegal value".into()),
            Behaviour::Ignores if order.point == "alive" => Ok(None),
            Behaviour::Ignores => Err(format!("acknowledged, still {}", self.device[&order.point])),
        }
    }

    fn check(&mut self, order: &WriteOrder) {
        let TestSafety { state, most_kw, .. } = *self.safety.borrow();
        let mut violate = |what: &str| self.violations.push(format!("{what}: {order:?}"));
        let is_set = matches!(order.purpose, Purpose::SetPoint | Purpose::Renewal);
        if is_set && state != SafetyState::Safe {
            violate("written while not safe");
        }
        if is_set && order.point == "power" && order.value.abs() > most_kw * 1000.0 + 1e-6 {
            violate("beyond what safety allows");
        }
        if !self.is_online {
            violate("written while offline");
        }
        let range = match order.point.as_str() {
            "power" => -self.most_kw * 1000.0..=self.most_kw * 1000.0,
            "reserve" => 0.0..=100.0,
            "mode" => 0.0..=2.0,
            _ => 0.0..=65_535.0,
        };
        if !range.contains(&order.value) {
            violate("outside the range");
        }
        let limit = self.charge_limit.filter(|(until, _)| self.now < *until).map(|(_, limit)| limit);
        if order.point == "power" && limit.is_some_and(|limit| order.value < -limit * 1000.0 - 1e-6) {
            violate("beyond the limit");
        }
    }
}

fn check_of(safety: &Rc<RefCell<TestSafety>>) -> SafetyCheck {
    let safety = Rc::clone(safety);
    SafetyCheck::new(move |set_point, now| safety.borrow().check(set_point, now))
}
