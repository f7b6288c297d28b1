//! Every reading is within the bound of what is sent, whatever the readings are.

use std::collections::BTreeMap;

use super::*;

const SECOND: u64 = 1_000_000_000;
/// A silence that no test reaches.
const NEVER: u64 = u64::MAX;

fn sample(at_s: u64, values: &[f64]) -> Sample {
    Sample { at: at_s * SECOND, values: values.to_vec(), texts: BTreeMap::new() }
}

/// What is sent of readings that are one second apart, and the reading that is held at the end.
fn sent(bounds: &[Bound], readings: &[Vec<f64>]) -> Vec<Sample> {
    let mut compression = Compression::new(bounds.to_vec(), NEVER);
    let samples = (1..).zip(readings).map(|(at, values)| sample(at, values));
    let mut sent: Vec<_> = samples.flat_map(|sample| compression.push(sample)).collect();
    sent.extend(compression.held);
    sent
}

#[test]
fn a_deadband_sends_what_differs_by_more_than_the_bound() {
    let readings = [10.0, 10.5, 11.0, 11.1, 10.2, 10.0].map(|value| vec![value]);
    let sent = sent(&[Bound::Deadband(1.0)], &readings);
    let values: Vec<_> = sent.iter().map(|sample| sample.values[0]).collect();
    assert_eq!(values, [10.0, 11.1, 10.0]);
}

#[test]
fn a_straight_line_needs_two_points() {
    let readings: Vec<_> = (0..1000).map(|step| vec![f64::from(step) * 0.25]).collect();
    let sent = sent(&[Bound::SwingingDoor(0.1)], &readings);
    assert_eq!(sent.iter().map(|sample| sample.at / SECOND).collect::<Vec<_>>(), [1, 1000]);
}

#[test]
fn values_that_are_lost_and_come_back_are_sent() {
    let readings = [1.0, 1.0, f64::NAN, f64::NAN, 1.0].map(|value| vec![value]);
    for bound in [Bound::Deadband(1.0), Bound::SwingingDoor(1.0)] {
        let times: Vec<_> = sent(&[bound], &readings).iter().map(|sample| sample.at / SECOND).collect();
        assert!(times.contains(&3) && times.contains(&5), "{bound:?}: {times:?}");
    }
}

#[test]
fn silence_is_bounded() {
    let mut compression = Compression::new(vec![Bound::SwingingDoor(1.0)], 10 * SECOND);
    let times: Vec<_> =
        (1..30).flat_map(|at| compression.push(sample(at, &[5.0]))).map(|sample| sample.at / SECOND).collect();
    assert_eq!(times, [1, 11, 21]);
    assert_eq!(compression.tick(30 * SECOND), None);
    assert_eq!(compression.tick(31 * SECOND).map(|sample| sample.at / SECOND), Some(29));
}

#[test]
fn a_clock_that_is_set_back_begins_again() {
    let mut compression = Compression::new(vec![Bound::SwingingDoor(1.0)], NEVER);
    compression.push(sample(100, &[5.0]));
    compression.push(sample(101, &[5.0]));
    let times: Vec<_> = compression.push(sample(50, &[5.0])).iter().map(|sample| sample.at / SECOND).collect();
    assert_eq!(times, [101, 50]);
}

#[test]
fn a_restart_continues() {
    let mut first = Compression::new(vec![Bound::SwingingDoor(0.5), Bound::None], NEVER);
    (1..20_u32).for_each(|at| drop(first.push(sample(u64::from(at), &[f64::from(at), 0.0]))));
    let mut writer = StateWriter::default();
    first.save(&mut writer);
    let mut second = Compression::new(vec![Bound::SwingingDoor(0.5), Bound::None], NEVER);
    second.load(&mut StateReader(&writer.0)).unwrap();
    let next = sample(20, &[0.0, 0.0]);
    assert_eq!(first.push(next.clone()), second.push(next));
}

/// Pseudo-random numbers, the same in every run (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 40).unwrap() % limit
    }

    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * f64::from(self.below(1 << 20)) / f64::from(1 << 20)
    }

    /// Noise, steps, spikes and missing values.
    fn value(&mut self) -> f64 {
        match self.below(12) {
            0 => f64::NAN,
            1 => self.between(-1e6, 1e6),
            2 | 3 => self.between(-40.0, 40.0).round() / 4.0,
            _ => self.between(-3.0, 3.0),
        }
    }

    /// Readings of two columns; in half of the runs each differs little from the one before.
    fn readings(&mut self) -> Vec<Vec<f64>> {
        let (count, drifts) = (1 + self.below(120), self.below(2) == 0);
        let mut drift = [0.0, 0.0];
        let mut reading = || {
            let value = |drift: &mut f64| {
                let value = self.value();
                *drift += if value.is_nan() { 0.0 } else { value.clamp(-1.0, 1.0) / 2.0 };
                if drifts && !value.is_nan() { *drift } else { value }
            };
            drift.iter_mut().map(value).collect()
        };
        (0..count).map(|_| reading()).collect()
    }
}

/// The value at a time on the line between the points sent before and after it.
fn on_the_line(sent: &[Sample], at: u64, column: usize) -> Option<f64> {
    if let Some(exact) = sent.iter().find(|sample| sample.at == at) {
        return Some(exact.values[column]);
    }
    let after = sent.iter().position(|sample| sample.at > at)?;
    let (first, second) = (&sent[after.checked_sub(1)?], &sent[after]);
    let share = seconds_between(first.at, at) / seconds_between(first.at, second.at);
    Some(first.values[column] + (second.values[column] - first.values[column]) * share)
}

/// How many random recordings are tried.
const RUNS: u64 = 2000;

#[test]
fn every_reading_is_within_the_bound_of_the_line() {
    for seed in 1..=RUNS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (readings, bound) = (random.readings(), random.between(0.01, 5.0));
        let sent = sent(&[Bound::SwingingDoor(bound), Bound::SwingingDoor(2.0 * bound)], &readings);
        for (at, values) in (1..).zip(&readings) {
            for (column, most) in [(0, bound), (1, 2.0 * bound)] {
                let (line, value) = (on_the_line(&sent, at * SECOND, column).unwrap(), values[column]);
                let tolerance = most + 1e-9 * value.abs().max(1.0);
                let is_within = (line.is_nan() && value.is_nan()) || (line - value).abs() <= tolerance;
                assert!(is_within, "seed {seed}: {value} at {at} s is more than {most} from {line}");
            }
        }
    }
}

#[test]
fn every_reading_is_within_the_deadband_of_the_one_sent_last() {
    for seed in 1..=RUNS {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let (readings, bound) = (random.readings(), random.between(0.01, 5.0));
        let mut compression = Compression::new(vec![Bound::Deadband(bound), Bound::None], NEVER);
        let mut last = f64::NAN;
        for (at, values) in (1..).zip(&readings) {
            if let Some(sample) = compression.push(sample(at, values)).last() {
                last = sample.values[0];
            }
            let is_within = (last.is_nan() && values[0].is_nan()) || (last - values[0]).abs() <= bound;
            assert!(is_within, "seed {seed}: {} at {at} s is more than {bound} from {last}", values[0]);
        }
    }
}
