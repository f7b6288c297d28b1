//! Devices whose recipes need more than a register: modes only, shares of a power, points in flash and timers that a device
//! may lack.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::profile::Profile;
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome};
use bessai_domain::safety::{Permit, SetPoint};
use bessai_domain::time::MonotonicTime;

use crate::{
    CHARGE_LIMIT, ControlRoom, ControlSettings, ControlledDevice, Holder, Input, NewProposal, Output, ProposalId,
    SET_POINT, SafetyCheck,
};

/// The device's name.
const DEVICE: &str = "battery";
/// Longer than a foreign change is left alone.
const LATER: Duration = Duration::from_secs(20);

const MODES: &str = "[set_point]
    charge = [{ point = \"mode\", value = 1 }]
    charge_kw = 5
    hold = [{ point = \"mode\", value = 2 }]
    release = [{ point = \"mode\", value = 0 }]
    [points]
    mode = { address = 1, type = \"uint16\", scale = 1, min = 0, max = 2, access = \"RW\" }";

const SHARES: &str = "[set_point]
    charge = [{ point = \"rate\", scale = -100000, divided_by = \"greatest\" }, { point = \"mode\", value = 1 }]
    discharge = [{ point = \"rate\", scale = 100000, divided_by = \"greatest\" }, { point = \"mode\", value = 1 }]
    release = [{ point = \"mode\", value = 0 }]
    revert = { point = \"timer\" }
    [points]
    greatest = { address = 1, type = \"uint16\", scale = 1, unit = \"W\" }
    rate = { address = 2, type = \"int16\", scale_register = 5, unit = \"%\", min = -100, max = 100, access = \"RW\" }
    mode = { address = 3, type = \"uint16\", scale = 1, access = \"RW\", persistent = true }
    timer = { address = 4, type = \"uint16\", scale = 1, unit = \"s\", access = \"RW\" }";

/// A room with one device, which takes whatever is written and rounds it to whole numbers.
struct Site {
    room: ControlRoom,
    now: MonotonicTime,
    registers: BTreeMap<String, f64>,
    outcomes: Vec<(u64, WriteOutcome)>,
    written: Vec<(String, f64)>,
    proposals: u64,
}

impl Site {
    fn new(profile: Profile, registers: &[(&str, f64)]) -> Self {
        let devices = BTreeMap::from([(DEVICE.to_owned(), ControlledDevice::new(Arc::new(profile)))]);
        let settings = ControlSettings { devices, ..ControlSettings::default() };
        let permit =
            |set_point: &SetPoint<'_>, _: MonotonicTime| Ok(Permit { power_kw: set_point.power_kw, reduced_by: None });
        let mut site = Self {
            room: ControlRoom::new(settings, SafetyCheck::new(permit)),
            now: MonotonicTime::from_nanos(0),
            registers: registers.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect(),
            outcomes: Vec::new(),
            written: Vec::new(),
            proposals: 0,
        };
        site.input(Input::Online(DEVICE.into(), true));
        site.pass(Duration::ZERO);
        site
    }

    fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for output in self.room.handle(self.now, input) {
                match output {
                    Output::Write(order) => {
                        let value = order.value.round();
                        self.registers.insert(order.point.clone(), value);
                        self.written.push((order.point, order.value));
                        inputs.insert(0, Input::Written(order.id, Ok(Some(value))));
                    }
                    Output::Cancel(id) => inputs.insert(0, Input::Written(id, Err("cancelled".into()))),
                    Output::Outcome(id, outcome) => self.outcomes.push((id.0, outcome)),
                }
            }
        }
    }

    /// Time passes, safety judges, and the device is read.
    fn pass(&mut self, time: Duration) {
        self.now = self.now.plus(time);
        let values = self.registers.iter().map(|(name, value)| (name.clone(), *value)).collect();
        self.input(Input::Judged);
        self.input(Input::Read(DEVICE.into(), values));
        self.input(Input::Time);
    }

    /// Proposes a value for ten minutes, or ends it; returns its outcomes so far.
    fn propose(&mut self, channel: &str, value: Option<f64>) -> Vec<WriteOutcome> {
        self.proposals += 1;
        let (id, device, channel) = (ProposalId(self.proposals), DEVICE.to_owned(), channel.to_owned());
        let value = value.map(SetValue::Number);
        let proposal = Proposal { device, channel, value, until: None, reference: String::new() };
        let lease = Some(Duration::from_secs(600));
        self.input(Input::Proposed(NewProposal { id, holder: Holder::Operator, proposal, lease }));
        self.outcomes(self.proposals)
    }

    fn outcomes(&self, id: u64) -> Vec<WriteOutcome> {
        self.outcomes.iter().filter(|(of, _)| *of == id).map(|(_, outcome)| outcome.clone()).collect()
    }

    fn take_written(&mut self) -> Vec<(String, f64)> {
        std::mem::take(&mut self.written)
    }
}

fn profile(text: &str) -> Profile {
    bessai_domain::profile::read("test", "test.toml", text).unwrap()
}

fn verified(value: f64) -> WriteOutcome {
    WriteOutcome::Verified(SetValue::Number(value))
}

fn writes(expected: &[(&str, f64)]) -> Vec<(String, f64)> {
    expected.iter().map(|(point, value)| ((*point).to_owned(), *value)).collect()
}

fn shares() -> Site {
    Site::new(profile(SHARES), &[("greatest", 8000.0), ("rate", 0.0), ("mode", 0.0), ("timer", 0.0)])
}

#[test]
fn a_device_that_only_takes_modes_is_set_to_its_own_power() {
    let mut site = Site::new(profile(MODES), &[("mode", 0.0)]);
    assert_eq!(site.propose(SET_POINT, Some(-2.0)), [verified(-5.0)]);
    assert_eq!(site.take_written(), writes(&[("mode", 1.0)]));
    assert_eq!(site.propose(SET_POINT, Some(0.0)), [verified(0.0)]);
    assert_eq!(site.take_written(), writes(&[("mode", 2.0)]));
    let refused = WriteOutcome::Refused("the profile has no recipe for discharging".into());
    assert_eq!(site.propose(SET_POINT, Some(1.0)), [refused]);
}

#[test]
fn a_device_that_only_takes_modes_is_released_while_a_limit_is_below_its_power() {
    let mut site = Site::new(profile(MODES), &[("mode", 0.0)]);
    assert_eq!(site.propose(SET_POINT, Some(-2.0)), [verified(-5.0)]);
    assert_eq!(site.propose(CHARGE_LIMIT, Some(3.0)), [WriteOutcome::Acknowledged]);
    assert_eq!(site.registers["mode"], 0.0, "3 kW are allowed, and the device would take 5");
    let reason = "the device only takes a mode, with which its power is -5 kW, and -3 kW is allowed now";
    assert_eq!(site.propose(SET_POINT, Some(-2.0)), [WriteOutcome::Refused(reason.into())]);
    site.propose(CHARGE_LIMIT, None);
    site.pass(LATER);
    assert_eq!(site.registers["mode"], 1.0, "the set-point still holds");
}

#[test]
fn the_own_power_of_a_device_that_only_takes_modes_is_limited_too() {
    let mut site = Site::new(profile(MODES), &[("mode", 0.0)]);
    site.propose(CHARGE_LIMIT, Some(3.0));
    let reason = "the device only takes a mode, with which its power is -5 kW, and -3 kW is allowed now";
    assert_eq!(site.propose(SET_POINT, Some(-5.0)), [WriteOutcome::Refused(reason.into())]);
    assert_eq!(site.registers["mode"], 0.0);
}

#[test]
fn a_timer_that_the_device_does_not_have_is_not_written() {
    let mut optional = profile(SHARES);
    let recipe = optional.set_point.as_mut().unwrap().recipe.as_mut().unwrap();
    let timer = bessai_domain::profile::RecipeWrite {
        optional: true,
        ..bessai_domain::profile::RecipeWrite::new("timer", bessai_domain::profile::RecipeValue::Constant(30.0))
    };
    recipe.discharge.insert(0, timer);
    let registers = [("greatest", 8000.0), ("rate", 0.0), ("mode", 0.0)];
    let mut site = Site::new(optional.clone(), &registers);
    assert_eq!(site.propose(SET_POINT, Some(2.0)), [verified(2.0)]);
    assert_eq!(site.take_written(), writes(&[("rate", 25.0), ("mode", 1.0)]));
    let mut site = Site::new(optional, &[&registers[..], &[("timer", 0.0)]].concat());
    assert_eq!(site.propose(SET_POINT, Some(2.0)), [verified(2.0)]);
    assert_eq!(site.take_written(), writes(&[("timer", 30.0), ("rate", 25.0), ("mode", 1.0)]));
}

#[test]
fn a_set_point_outlasts_a_greatest_power_that_cannot_be_read_for_a_while() {
    let mut site = shares();
    assert_eq!(site.propose(SET_POINT, Some(2.0)), [verified(2.0)]);
    site.input(Input::Online(DEVICE.into(), false));
    site.registers.insert("greatest".into(), f64::NAN);
    site.input(Input::Read(DEVICE.into(), vec![("greatest".into(), f64::NAN)]));
    site.input(Input::Online(DEVICE.into(), true));
    site.pass(LATER);
    let reason =
        "no longer applied, repeated while it holds: greatest has no value yet, which the power has to be divided by";
    assert_eq!(site.outcomes(1), [verified(2.0), WriteOutcome::Failed(reason.into())]);
    site.registers.insert("greatest".into(), 4000.0);
    site.take_written();
    for _ in 0..10 {
        site.pass(LATER);
    }
    assert_eq!(site.outcomes(1).last(), Some(&verified(2.0)));
    assert!(site.take_written().contains(&("rate".to_owned(), 50.0)));
}

#[test]
fn a_point_in_flash_is_written_again_by_a_device_that_comes_back_without_it() {
    let mut site = shares();
    assert_eq!(site.propose(SET_POINT, Some(2.0)), [verified(2.0)]);
    site.take_written();
    site.input(Input::Online(DEVICE.into(), false));
    site.registers.insert("mode".into(), 0.0);
    site.input(Input::Online(DEVICE.into(), true));
    assert_eq!(site.take_written(), [], "what it has is not known yet");
    site.pass(Duration::from_secs(1));
    assert!(site.take_written().contains(&("mode".to_owned(), 1.0)));
    // One that has kept it is not written.
    site.input(Input::Online(DEVICE.into(), false));
    site.input(Input::Online(DEVICE.into(), true));
    site.pass(Duration::from_secs(1));
    let written = site.take_written();
    assert!(
        written.iter().any(|(name, _)| name == "rate") && written.iter().all(|(name, _)| name != "mode"),
        "{written:?}"
    );
}

#[test]
fn a_share_that_another_master_changes_is_reported_and_written_again() {
    let mut site = shares();
    // 2.04 kW are 25.5 %, which the device rounds: that is no change.
    assert_eq!(site.propose(SET_POINT, Some(2.04)), [verified(2.04)]);
    site.take_written();
    site.pass(LATER);
    site.pass(LATER);
    assert_eq!(site.outcomes(1), [verified(2.04)]);
    site.registers.insert("rate".into(), -100.0);
    site.pass(LATER);
    let changed = WriteOutcome::Failed("rate was changed to -100 %, not by the gateway; written again".into());
    assert_eq!(site.outcomes(1), [verified(2.04), changed, verified(2.04)]);
    assert_eq!(site.registers["rate"], 26.0);
}

#[test]
fn what_others_write_to_flash_counts_for_its_budget() {
    let mut site = Site::new(profile(SHARES), &[("greatest", 5000.0), ("rate", 0.0), ("mode", 0.0), ("timer", 0.0)]);
    for _ in 0..DEFAULT_WRITES {
        site.room.count_write(DEVICE, "mode", site.now);
        // Not kept in flash.
        site.room.count_write(DEVICE, "rate", site.now);
    }
    let outcomes = site.propose(SET_POINT, Some(1.0));
    let expected = "mode is kept in flash, and its 24 writes within 24 h are used up; writes_per_day changes that";
    assert_eq!(outcomes, [WriteOutcome::Refused(expected.into())]);
}

#[test]
fn registers_of_the_set_point_are_reserved_and_others_while_they_are_held() {
    let mut site = Site::new(profile(SHARES), &[("greatest", 5000.0), ("rate", 0.0), ("mode", 0.0), ("timer", 0.0)]);
    for point in ["rate", "mode", "timer"] {
        let reason = site.room.reserved(DEVICE, point).unwrap();
        assert!(reason.starts_with(&format!("battery/{point} belongs to the set-point of battery")), "{reason}");
    }
    assert_eq!((site.room.reserved(DEVICE, "greatest"), site.room.reserved("other", "mode")), (None, None));
    let rights = vec![(DEVICE.to_owned(), "rate".to_owned())];
    assert_eq!(site.propose(SET_POINT, Some(1.0)).len(), 1);
    // A right to another channel is none to this one.
    site.input(Input::Rights(Holder::Operator, rights));
    let ended = WriteOutcome::Released("operator no longer has the right to it".into());
    assert_eq!(site.outcomes(1).last(), Some(&ended));
    assert_eq!(site.registers["mode"], 0.0);
}

/// Writes of a point in flash in 24 h, unless the settings say otherwise.
const DEFAULT_WRITES: usize = 24;
