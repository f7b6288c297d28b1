//! Whatever happens in whatever order: nothing is written outside ranges or limits, beyond the budget or while not safe, and
//! after the last lease the device has its safe value.

use std::time::Duration;

use bessai_domain::event::SafetyState;
use bessai_domain::proposal::WriteOutcome;
use proptest::prelude::*;

use super::bench::{Behaviour, Bench};
use crate::{CHARGE_LIMIT, Holder, Output, SET_POINT};

/// The most that the settings allow in either direction.
const MOST_KW: f64 = 5.0;
/// The writes of a persistent point in 24 h.
const PER_DAY: u32 = 6;

#[derive(Clone, Debug)]
enum Step {
    Propose { holder: usize, kilowatts: f64, seconds: u64 },
    Limit { kilowatts: f64, seconds: u64 },
    Release(usize),
    SetReserve { percent: f64, seconds: u64 },
    Judge(SafetyState),
    Online(bool),
    Allow { most_kw: f64, ramp_kw_per_s: Option<f64> },
    Restart,
    Foreign(f64),
    Behave(Behaviour),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let state = prop_oneof![Just(SafetyState::Safe), Just(SafetyState::Unsafe), Just(SafetyState::Unknown)];
    let behaviour = prop_oneof![
        Just(Behaviour::Obeys),
        Just(Behaviour::Refuses),
        Just(Behaviour::Ignores),
        Just(Behaviour::Delays),
    ];
    prop_oneof![
        4 => (0..3usize, -7.0..7.0f64, 1..90u64)
            .prop_map(|(holder, kilowatts, seconds)| Step::Propose { holder, kilowatts, seconds }),
        1 => (0.0..4.0f64, 1..90u64).prop_map(|(kilowatts, seconds)| Step::Limit { kilowatts, seconds }),
        1 => (0..3usize).prop_map(Step::Release),
        2 => (-20.0..120.0f64, 1..90u64).prop_map(|(percent, seconds)| Step::SetReserve { percent, seconds }),
        2 => state.prop_map(Step::Judge),
        1 => any::<bool>().prop_map(Step::Online),
        1 => (0.0..6.0f64, prop::option::of(0.1..3.0f64))
            .prop_map(|(most_kw, ramp_kw_per_s)| Step::Allow { most_kw, ramp_kw_per_s }),
        1 => Just(Step::Restart),
        1 => (-3.0..3.0f64).prop_map(Step::Foreign),
        1 => behaviour.prop_map(Step::Behave),
        6 => (1..40u64).prop_map(Step::Wait),
    ]
}

fn holder(index: usize) -> Holder {
    match index {
        0 => Holder::Operator,
        1 => Holder::Feed("trader".into()),
        _ => Holder::Model("dispatch".into()),
    }
}

fn carry_out(bench: &mut Bench, step: Step) {
    match step {
        Step::Propose { holder: index, kilowatts, seconds } => {
            bench.propose(holder(index), SET_POINT, Some(kilowatts), seconds);
        }
        Step::Limit { kilowatts, seconds } => {
            bench.propose(Holder::Feed("grid".into()), CHARGE_LIMIT, Some(kilowatts), seconds);
        }
        Step::Release(index) => bench.propose(holder(index), SET_POINT, None, 1),
        Step::SetReserve { percent, seconds } => bench.propose(Holder::Operator, "reserve", Some(percent), seconds),
        Step::Judge(state) => bench.judge(state),
        Step::Online(is_online) => bench.set_online(is_online),
        Step::Allow { most_kw, ramp_kw_per_s } => bench.allow(most_kw, ramp_kw_per_s),
        Step::Restart => bench.restart(),
        Step::Foreign(kilowatts) => bench.foreign("power", kilowatts * 1000.0),
        Step::Behave(behaviour) => bench.behaviour = behaviour,
        Step::Wait(seconds) => bench.wait(Duration::from_secs(seconds)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn writes_stay_within_ranges_limits_safety_and_budget(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = Bench::new(MOST_KW, PER_DAY);
        bench.set_online(true);
        bench.judge(SafetyState::Safe);
        for step in steps {
            carry_out(&mut bench, step);
        }
        // Everything ends: the longest lease is over, and the device can be reached and obeys.
        bench.behaviour = Behaviour::Obeys;
        bench.set_online(true);
        bench.wait(Duration::from_secs(300));
        prop_assert_eq!(&bench.violations, &Vec::<String>::new());
        prop_assert_eq!(bench.device["mode"], 0.0, "the device is not released");
        prop_assert_eq!(bench.device["reserve"], 20.0, "the reserve has not got its value back");
        prop_assert!(bench.flash_writes <= 6, "{} writes of a persistent point", bench.flash_writes);
        let unanswered: Vec<_> = bench.proposals[bench.forgotten..].iter().filter(|id| !bench.is_answered(**id)).collect();
        prop_assert!(unanswered.is_empty(), "no outcome for {:?}", unanswered);
    }

    #[test]
    fn a_chattering_model_stays_within_the_budget(values in prop::collection::vec(0.0..100.0f64, 50)) {
        let mut bench = Bench::new(MOST_KW, PER_DAY);
        bench.set_online(true);
        for value in values {
            bench.judge(SafetyState::Safe);
            bench.propose(Holder::Model("dispatch".into()), "reserve", Some(value.round()), 30);
            bench.wait(Duration::from_secs(45));
        }
        let writes = bench.orders.iter().filter(|order| order.point == "reserve").count();
        prop_assert!(writes <= 6, "{} writes", writes);
        prop_assert_eq!(bench.device["reserve"], 20.0);
        let is_refusal = |output: &Output| matches!(output, Output::Outcome(_, WriteOutcome::Refused(reason))
            if reason.starts_with("reserve is kept in flash, and its 6 writes within 24 h are used up"));
        prop_assert!(bench.outputs.iter().any(is_refusal));
    }
}
