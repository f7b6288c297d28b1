//! A control room with one simulated device, in simulated time; notes each write that must not have been sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::SafetyState;
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome};
use bessai_domain::time::MonotonicTime;

use crate::{
    CHARGE_LIMIT, ControlRoom, ControlSettings, ControlledDevice, Holder, Input, NewProposal, Output, Permit,
    ProposalId, Purpose, WriteOrder,
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
}

pub(super) struct Bench {
    room: ControlRoom,
    pub(super) now: MonotonicTime,
    pub(super) device: BTreeMap<String, f64>,
    pub(super) behaviour: Behaviour,
    pub(super) outputs: Vec<Output>,
    pub(super) orders: Vec<WriteOrder>,
    pub(super) proposals: Vec<ProposalId>,
    pub(super) violations: Vec<String>,
    state: SafetyState,
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
        let registers = [("mode", 0.0), ("power", 0.0), ("reserve", 20.0), ("alive", 0.0)];
        let mut bench = Self {
            room: ControlRoom::new(settings, now),
            now,
            device: registers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            behaviour: Behaviour::Obeys,
            outputs: Vec::new(),
            orders: Vec::new(),
            proposals: Vec::new(),
            violations: Vec::new(),
            state: SafetyState::Unknown,
            is_online: false,
            is_pipeline_running: true,
            charge_limit: None,
            most_kw,
            written_at: now,
        };
        bench.read();
        bench
    }

    pub(super) fn propose(&mut self, holder: Holder, channel: &str, value: Option<f64>, seconds: u64) {
        let id = ProposalId(self.proposals.len() as u64);
        self.proposals.push(id);
        let lease = Duration::from_secs(seconds);
        if channel == CHARGE_LIMIT {
            self.charge_limit = value.map(|value| (self.now.plus(lease), value));
        }
        let (device, channel) = (DEVICE.to_owned(), channel.to_owned());
        let value = value.map(SetValue::Number);
        let proposal = Proposal { device, channel, value, until: None, reference: String::new() };
        self.input(Input::Proposed(NewProposal { id, holder, proposal, lease: Some(lease) }));
    }

    pub(super) fn judge(&mut self, state: SafetyState) {
        self.state = state;
        let permit = Permit { state, reason: "test".into(), max_charge_kw: None, max_discharge_kw: None };
        self.input(Input::Permit(DEVICE.into(), permit));
    }

    pub(super) fn set_online(&mut self, is_online: bool) {
        self.is_online = is_online;
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
            if self.now.since(self.written_at) >= REVERT {
                self.device.insert("mode".into(), 0.0);
            }
            if self.is_pipeline_running {
                self.judge(self.state);
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
                if let Output::Write(order) = &output {
                    self.check(order);
                    let result = self.write(order);
                    self.orders.push(order.clone());
                    inputs.insert(0, Input::Written(order.id, result));
                }
                self.outputs.push(output);
            }
        }
    }

    fn write(&mut self, order: &WriteOrder) -> Result<Option<f64>, String> {
        if !self.is_online {
            return Err("no reply".into());
        }
        match self.behaviour {
            Behaviour::Obeys => {
                let value = order.value.round();
                self.device.insert(order.point.clone(), value);
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
        let mut violate = |what: &str| self.violations.push(format!("{what}: {order:?}"));
        let is_set = matches!(order.purpose, Purpose::SetPoint | Purpose::Renewal);
        if is_set && self.state != SafetyState::Safe {
            violate("written while not safe");
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
