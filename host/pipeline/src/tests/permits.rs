//! Set-points over any readings, gaps, steps of the wall clock, resets and restarts.

use super::*;
use bessai_domain::safety::{Block, Permit, SetPoint};

/// The power that the device itself allows, kW.
const RATED_KW: f64 = 100.0;
/// Set-points that are asked for after each step, kW.
const ASKED_KW: [f64; 5] = [100.0, 20.0, 0.0, -20.0, -100.0];

/// What happens to a pipeline.
#[derive(Clone, Debug)]
enum Step {
    /// A reading of a source, with whatever a device can send.
    Frame(u32, Vec<f64>),
    /// Nothing is read for this time.
    Silence(Duration),
    /// The wall clock is set.
    ClockSet(Timestamp),
    Tick,
    /// An operator resets the trips of a device, or all.
    Reset(Option<usize>),
    /// The process ends and starts again, with the last verdict in the journal.
    Restarted,
}

fn step() -> impl Strategy<Value = Step> {
    let value = || {
        prop_oneof![
            8 => 16.0..44.0_f64,
            2 => 44.0..46.0_f64,
            1 => -30.0..100.0_f64,
            1 => Just(f64::NAN),
            1 => Just(f64::INFINITY),
            1 => Just(f64::NEG_INFINITY),
            1 => any::<f64>(),
        ]
    };
    let values = proptest::collection::vec(value(), 0..3);
    let wall = prop_oneof![
        Just(IN_2026),
        Just(IN_2026.minus(Duration::from_hours(24))),
        Just(IN_2026.plus(Duration::from_mins(2))),
        Just(IN_2026.plus(Duration::from_hours(24 * 3650))),
    ];
    prop_oneof![
        10 => (0..2_u32, values).prop_map(|(source, values)| Step::Frame(source, values)),
        3 => (0..20_u64).prop_map(|seconds| Step::Silence(Duration::from_secs(seconds))),
        2 => wall.prop_map(Step::ClockSet),
        1 => Just(Step::Tick),
        1 => proptest::option::of(0..2_usize).prop_map(Step::Reset),
        1 => Just(Step::Restarted),
    ]
}

/// What is known of each device, kept apart from the monitor.
#[derive(Default)]
struct Known {
    newest: BTreeMap<(usize, usize), (MonotonicTime, f64)>,
    tripped: [bool; 2],
}

impl Known {
    fn read(&mut self, device: usize, values: &[f64], at: MonotonicTime) {
        for (position, value) in values.iter().enumerate().filter(|(_, value)| value.is_finite()) {
            self.tripped[device] |= position == 1 && !(-20.0..=60.0).contains(value);
            self.newest.insert((device, position), (at, *value));
        }
    }

    /// The state of charge and the temperature of each device, if all are good, young and within their limits and nothing
    /// has tripped.
    fn safe_values(&self, now: MonotonicTime) -> Option<[(f64, f64); 2]> {
        let young = |device, position| {
            let (at, value) = self.newest.get(&(device, position))?;
            (now.since(*at) <= age_limit(SECOND)).then_some(*value)
        };
        let of = |device| {
            let (soc, temperature) = (young(device, 0)?, young(device, 1)?);
            let is_safe = (10.0..=95.0).contains(&soc) && (-20.0..=60.0).contains(&temperature);
            (is_safe && !self.tripped[device]).then_some((soc, temperature))
        };
        Some([of(0)?, of(1)?])
    }
}

/// Each set-point that is asked for and its answer.
fn permits(pipeline: &Pipeline) -> Vec<(usize, f64, Result<Permit, Block>)> {
    let (monitor, now) = (pipeline.monitor(), NOW.get().monotonic);
    let asked = (0..2).flat_map(|device| ASKED_KW.map(|power_kw| (device, power_kw)));
    let answered = asked.map(|(device, power_kw)| {
        let (applied_kw, rated_kw) = (0.0, Some(RATED_KW));
        let set_point = SetPoint { device: DEVICES[device], power_kw, rated_kw, applied_kw, applied_at: now };
        (device, power_kw, monitor.borrow().permits(&set_point, now))
    });
    answered.collect()
}

fn check_permits(fixture: &Fixture, known: &Known) -> Result<(), TestCaseError> {
    let safe = known.safe_values(NOW.get().monotonic);
    for (device, asked_kw, answer) in permits(&fixture.pipeline) {
        let Ok(Permit { power_kw, .. }) = answer else { continue };
        let Some(values) = safe else {
            return Err(TestCaseError::fail(format!("{asked_kw} kW is permitted while the site is not safe")));
        };
        let (soc, temperature) = values[device];
        let discharge_kw = if temperature > 45.0 || soc < 15.0 { RATED_KW / 2.0 } else { RATED_KW };
        let charge_kw = if temperature < -10.0 {
            0.0
        } else if temperature > 45.0 {
            RATED_KW / 2.0
        } else {
            RATED_KW
        };
        prop_assert!((-charge_kw..=discharge_kw).contains(&power_kw), "{asked_kw} at {values:?}: {power_kw}");
        prop_assert!(power_kw * asked_kw >= 0.0 && power_kw.abs() <= asked_kw.abs(), "{asked_kw}: {power_kw}");
    }
    Ok(())
}

fn last_verdict(fixture: &Fixture) -> Option<Safety> {
    let verdict = |(_, body): &(Moment, EventBody)| match body {
        EventBody::Safety(safety) => Some(safety.clone()),
        _ => None,
    };
    fixture.events.borrow().iter().rev().find_map(verdict)
}

/// Runs the steps, with or without those of the wall clock; what others see after each of them.
fn run(steps: &[Step], sets_clock: bool) -> Result<Vec<String>, TestCaseError> {
    start_at(IN_2026);
    let two = || site(DEVICES.map(|device| source(device, &["soc_pct", "temp_c"])).into());
    let (mut fixture, mut known, mut recorded) = (Fixture::new(two()), Known::default(), None);
    let mut seen = Vec::new();
    for step in steps {
        pass(Duration::from_millis(1));
        let mut answer = None;
        match step {
            Step::Frame(source, values) => {
                known.read(*source as usize, values, NOW.get().monotonic);
                fixture.frame(*source, values);
            }
            Step::Silence(time) => pass(*time),
            Step::ClockSet(wall) if sets_clock => set_clock(*wall),
            Step::ClockSet(_) => {}
            Step::Tick => fixture.pipeline.tick(),
            Step::Reset(device) => {
                let reset = fixture.reset(device.map(|device| DEVICES[device]));
                if reset.is_ok() {
                    (0..2).filter(|index| device.is_none_or(|device| device == *index)).for_each(|index| {
                        known.tripped[index] = false;
                    });
                }
                answer = Some(reset);
            }
            Step::Restarted => {
                recorded = last_verdict(&fixture).or(recorded);
                fixture = Fixture::new(two());
                recorded.iter().for_each(|last| fixture.pipeline.restore_trips(last));
                known.newest.clear();
            }
        }
        check_permits(&fixture, &known)?;
        let tripped = |device: usize| {
            let monitor = fixture.pipeline.monitor();
            let monitor = monitor.borrow();
            monitor.trips().iter().any(|trip| trip.device == DEVICES[device])
        };
        prop_assert_eq!([tripped(0), tripped(1)], known.tripped);
        let verdict = fixture.pipeline.monitor().borrow().evaluate(NOW.get().monotonic);
        seen.push(format!(
            "{step:?}: {:?} {verdict:?} {answer:?} {:?}",
            fixture.shown.get(),
            permits(&fixture.pipeline)
        ));
    }
    Ok(seen)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// No set-point is permitted while the site is not safe or with more than the derated power, a trip ends by a reset only,
    /// and steps of the wall clock change nothing.
    #[test]
    fn nothing_is_permitted_that_is_not_safe_whatever_the_clock_does(steps in proptest::collection::vec(step(), 1..60)) {
        prop_assert_eq!(run(&steps, true)?, run(&steps, false)?);
    }
}
