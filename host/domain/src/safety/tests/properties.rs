//! What holds over any readings, times, descriptions, restarts and set-points.

use super::*;
use proptest::prelude::*;

const DEVICE: &str = "battery";
const MAX_KW: f64 = 100.0;
const SECOND_NS: i64 = 1_000_000_000;
/// Channels of other descriptions of the device.
const DESCRIPTIONS: [&[&str]; 4] = [&["soc_pct", "temp_c"], &["temp_c"], &[], &["power_kw", "soc_pct", "temp_c"]];

#[derive(Clone, Debug)]
enum Step {
    Frame(Vec<f64>),
    /// A frame that was read this much earlier.
    LateFrame(i64, Vec<f64>),
    Silence(u64),
    Described(usize),
    Reset,
    Restarted,
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 20.0..44.0_f64,
        2 => 0.0..100.0_f64,
        1 => Just(NAN),
        1 => Just(f64::INFINITY),
        1 => Just(f64::NEG_INFINITY),
        1 => any::<f64>(),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let values = || proptest::collection::vec(value(), 0..4);
    prop_oneof![
        8 => values().prop_map(Step::Frame),
        1 => (0..60_i64, values()).prop_map(|(age, values)| Step::LateFrame(age, values)),
        3 => (0..40_u64).prop_map(Step::Silence),
        1 => (0..DESCRIPTIONS.len()).prop_map(Step::Described),
        1 => Just(Step::Reset),
        1 => Just(Step::Restarted),
    ]
}

/// What is known of the device, kept apart from the monitor.
struct Known {
    channels: &'static [&'static str],
    newest: BTreeMap<&'static str, (MonotonicTime, f64)>,
    has_tripped: bool,
}

impl Known {
    fn read(&mut self, values: &[f64], at: MonotonicTime) {
        for (name, value) in self.channels.iter().zip(values).filter(|(_, value)| value.is_finite()) {
            self.has_tripped |= *name == "temp_c" && !(-20.0..=60.0).contains(value);
            if self.newest.get(name).is_none_or(|(newest, _)| *newest <= at) {
                self.newest.insert(name, (at, *value));
            }
        }
    }

    /// The state of charge and the temperature, if both are good, young and within their limits, and nothing tripped.
    fn safe_values(&self, now: MonotonicTime) -> Option<(f64, f64)> {
        let young = |name| {
            let (at, value) = self.newest.get(name)?;
            (now.since(*at) <= Duration::from_secs(30)).then_some(*value)
        };
        let (soc, temperature) = (young("soc_pct")?, young("temp_c")?);
        let is_within = (10.0..=95.0).contains(&soc) && (-20.0..=60.0).contains(&temperature);
        (is_within && !self.has_tripped).then_some((soc, temperature))
    }
}

fn described(channels: &[&str]) -> Site {
    site(vec![source(DEVICE, 5, channels)])
}

fn limits() -> SafetyLimits {
    let max = Some(MAX_KW);
    let set_points = SetPointLimits { max_charge_kw: max, max_discharge_kw: max, ramp_kw_per_s: Some(10.0) };
    SafetyLimits { set_points, ..SafetyLimits::default() }
}

/// Applies a step to the monitor and to what is known.
fn apply(step: Step, monitor: &mut SafetyMonitor, known: &mut Known, now: &mut MonotonicTime) {
    match step {
        Step::Frame(values) => {
            known.read(&values, *now);
            monitor.record(*now, &frame_of(&values));
        }
        Step::LateFrame(age, values) => {
            let at = MonotonicTime::from_nanos(now.nanos() - age * SECOND_NS);
            known.read(&values, at);
            monitor.record(at, &frame_of(&values));
        }
        Step::Silence(seconds) => *now = now.plus(Duration::from_secs(seconds)),
        Step::Described(index) => {
            known.channels = DESCRIPTIONS[index];
            let channels = known.channels;
            known.newest.retain(|name, _| channels.contains(name));
            monitor.update_site(&described(channels));
        }
        Step::Reset => {
            if monitor.reset_trips(None, *now).is_ok() {
                known.has_tripped = false;
            }
        }
        Step::Restarted => {
            let last = monitor.evaluate(*now);
            known.channels = DESCRIPTIONS[0];
            *monitor = SafetyMonitor::new(&described(known.channels), &limits(), *now);
            monitor.restore_trips(&last);
            known.newest.clear();
        }
    }
}

/// A value that is no number without a fault is one that the device sent.
fn frame_of(values: &[f64]) -> Frame {
    Frame { source: 0, values: values.to_vec(), faults: Vec::new(), texts: Vec::new() }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Nothing is permitted while a limited value is not known or not safe or a trip is not reset, and nothing outside the power
    /// that the temperature and the state of charge allow.
    #[test]
    fn nothing_is_permitted_that_is_not_safe(
        steps in proptest::collection::vec(step(), 1..60),
        power_kw in prop_oneof![4 => -120.0..120.0_f64, 1 => any::<f64>()],
        applied_kw in -100.0..100.0_f64,
        applied_before in 0..20_i32,
    ) {
        let mut now = second(1000);
        let mut known = Known { channels: DESCRIPTIONS[0], newest: BTreeMap::new(), has_tripped: false };
        let mut monitor = SafetyMonitor::new(&described(known.channels), &limits(), now);
        for step in steps {
            apply(step, &mut monitor, &mut known, &mut now);
            let values = known.safe_values(now);
            let safety = monitor.evaluate(now);
            // A description without a channel is safe about it only before the device ever had it.
            prop_assert!(!safety.is_safe || values.is_some(), "{safety:?}");
            prop_assert!(safety.is_safe || safety.power_limit_kw == Some(0.0), "{safety:?}");
            let applied_at = MonotonicTime::from_nanos(now.nanos() - i64::from(applied_before) * SECOND_NS);
            let set_point = SetPoint { device: DEVICE, power_kw, rated_kw: None, applied_kw, applied_at };
            let Ok(permit) = monitor.permits(&set_point, now) else { continue };
            let Some((soc, temperature)) = values else {
                return Err(TestCaseError::fail(format!("{permit:?} and {safety:?}")));
            };
            let is_hot = temperature > 45.0;
            let charge_kw = if temperature < -10.0 { 0.0 } else if is_hot { 50.0 } else { MAX_KW };
            let discharge_kw = if is_hot || soc < 15.0 { 50.0 } else { MAX_KW };
            prop_assert!((-charge_kw..=discharge_kw).contains(&permit.power_kw), "{permit:?} at {values:?}");
            let step_kw = 10.0 * f64::from(applied_before) + 1e-9;
            let is_within_ramp = (permit.power_kw - applied_kw).abs() <= step_kw;
            prop_assert!(is_within_ramp || permit.reduced_by.is_some(), "{permit:?} from {applied_kw}");
            let is_no_more = permit.power_kw.abs() <= power_kw.abs().max(applied_kw.abs());
            prop_assert!(is_no_more, "{permit:?} for {power_kw} from {applied_kw}");
        }
    }
}
