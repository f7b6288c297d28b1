//! Values that are not what they seem: counters that fall for a moment, and SunSpec models that change while connected.

use bessai_domain::profile::{self, Profile};
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::{Fault, FaultRule};
use bessai_simulator::sunspec::{SunSpecModel, lay_out};

use super::fixture::{BOTH, TestBus, device, in_virtual_time};
use crate::{DeviceReport, DeviceSettings};

#[test]
fn a_counter_that_falls_and_returns_is_not_reset() {
    in_virtual_time(async {
        let memory = Registers::new();
        let set = |total: u32| {
            let [high, low] = [total >> 16, total & 0xffff].map(|word| u16::try_from(word).unwrap());
            memory.set(1, Table::Holding, 0, &[high, low]);
        };
        set(1_234_567);
        let total = "[points]\ntotal = { address = 0, type = \"uint32\", scale = 1, unit = \"Wh\" }\n";
        let mut bus = TestBus::with(BOTH[0], &memory, total);
        let mut published = Vec::new();
        for (readings, raw) in [(2, 1_234_567), (5, u32::MAX), (30, 0), (2, 3), (3, 1_234_570), (70, 0), (3, 1)] {
            set(raw);
            for _ in 0..readings {
                published.push(bus.frame().await.value.good(0));
            }
        }
        published.retain(Option::is_some);
        published.dedup();
        let expected = [1_234_567.0, 1_234_570.0, 0.0, 1.0].map(Some);
        assert_eq!(published, expected);
    });
}

/// A SunSpec device whose chain is `models`, after the common model.
fn lay_out_chain(memory: &Registers, models: &[SunSpecModel]) {
    let common = SunSpecModel::common("Acme", "Hybrid", "SN-7");
    let models: Vec<_> = [common].into_iter().chain(models.iter().cloned()).collect();
    lay_out(memory, 1, 40_000, &models);
}

/// DC measurements with so many ports; all their values are 6000.
fn dc_measurements(ports: u16) -> SunSpecModel {
    let mut words = vec![6000; 18 + 25 * usize::from(ports)];
    words[2] = ports;
    SunSpecModel { id: 714, words }
}

/// A battery at 72.3 %.
fn storage() -> SunSpecModel {
    SunSpecModel { id: 713, words: vec![1000, 723, 723, 990, 1, 2, 0xffff] }
}

fn sunspec_device(base: Option<u16>) -> DeviceSettings {
    let mut sunspec: Profile = profile::built_in("sunspec").unwrap();
    sunspec.sunspec_base = base;
    DeviceSettings { profile: sunspec.into(), ..device("box", 1, "[points]\na = { address = 1, bit = 1 }") }
}

/// A polled SunSpec device, and where its frames have the state of charge.
struct StorageBus {
    bus: TestBus,
    position: Option<usize>,
}

impl StorageBus {
    fn start(memory: &Registers, base: Option<u16>) -> Self {
        Self { bus: TestBus::start(BOTH[0], memory, vec![sunspec_device(base)]), position: None }
    }

    /// The good state of charge of each frame, until a condition is met.
    async fn states(&mut self, until: impl Fn(&[Option<f64>]) -> bool) -> Vec<Option<f64>> {
        let mut states = Vec::new();
        while !until(&states) {
            match self.bus.report().await.value {
                DeviceReport::Discovered(_, _, profile) => {
                    self.position = profile.source(None).position(|point| point.channel == "soc_pct");
                }
                DeviceReport::Frame(_, frame, _) if frame.source == 0 => {
                    states.push(self.position.and_then(|position| frame.good(position)));
                }
                _ => {}
            }
            assert!(states.len() < 200, "{states:?}");
        }
        states
    }
}

#[test]
fn a_model_that_grows_gives_no_wrong_value() {
    in_virtual_time(async {
        let memory = Registers::new();
        lay_out_chain(&memory, &[dc_measurements(1), storage()]);
        let mut device = StorageBus::start(&memory, None);
        device.states(|states| states.last() == Some(&Some(72.3))).await;
        // 6000 is now where the state of charge was.
        lay_out_chain(&memory, &[dc_measurements(2), storage()]);
        let states = device.states(|states| states.len() == 10).await;
        assert!(states.iter().flatten().all(|state| *state == 72.3), "{states:?}");
        assert!(states.iter().flatten().count() >= 5, "{states:?}");
    });
}

#[test]
fn models_that_appear_and_disappear_are_found_within_a_minute() {
    in_virtual_time(async {
        let memory = Registers::new();
        lay_out_chain(&memory, &[dc_measurements(1)]);
        let mut device = StorageBus::start(&memory, Some(40_000));
        assert_eq!(device.states(|states| states.len() == 3).await, [None; 3]);
        lay_out_chain(&memory, &[dc_measurements(1), storage()]);
        let states = device.states(|states| states.last() == Some(&Some(72.3))).await;
        assert!(states.len() <= 60, "{states:?}");
        // It disappears again: its state of charge is not known from then on.
        lay_out_chain(&memory, &[dc_measurements(1)]);
        assert_eq!(device.states(|states| states.len() == 70).await, [None; 70]);
    });
}

#[test]
fn a_chain_behind_silent_registers_is_found() {
    in_virtual_time(async {
        let memory = Registers::new();
        lay_out(&memory, 1, 0, &[SunSpecModel::common("Acme", "Hybrid", "SN-7"), storage()]);
        let mut device = StorageBus::start(&memory, None);
        // The first request, for register 40000, gets no reply.
        device.bus.server.set_fault_rules([FaultRule::new(Fault::Silence).times(1)]);
        let states = device.states(|states| states.last() == Some(&Some(72.3))).await;
        assert!(states.len() < 5, "{states:?}");
    });
}
