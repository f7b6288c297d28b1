//! Counters that fall: a reset is one that stays.
//!
//! Many inverters read 0, or next to nothing, for a moment when they fall asleep or restart, and their old total afterwards.
//! A program that subtracts totals would count the whole total again. A counter that loses more than half of its value
//! therefore has no value until it has stayed down for [`CONFIRMATION`]; smaller falls are reported at once. Near the end of
//! its format such a fall may be an overflow, which is recognised by the counter rising again from a small value.

use std::cmp::Ordering;
use std::time::Duration;

use crate::event::{Fault, FaultKind, Frame};
use crate::profile::Point;
use crate::site::ChannelKind;

/// How long a counter must stay down before that counts as a reset.
const CONFIRMATION: Duration = Duration::from_mins(1);
/// Readings in which it must be down: at a long period a single one would be enough otherwise.
const CONFIRMING_READINGS: u32 = 3;
/// The part of its last value that a counter must lose to be suspect.
const SUSPECT_LOSS: f64 = 0.5;
/// A counter that falls from within this part of its format's end to within it of 0 may have overflowed.
const OVERFLOW_PART: f64 = 0.1;
/// Consecutive rises after such a fall that make it an overflow: a device that falls asleep shows one value and keeps it.
const OVERFLOW_RISES: u32 = 2;

/// The counters of one source and their last values.
#[derive(Clone, Debug, Default)]
pub struct CounterFilter {
    counters: Vec<Counter>,
}

#[derive(Clone, Debug)]
struct Counter {
    /// Its position in a frame.
    channel: usize,
    /// The largest value that its registers can hold; none if that depends on a scale factor.
    end: Option<f64>,
    /// Its last value that was not suspect.
    last: Option<f64>,
    fall: Option<Fall>,
}

/// A fall that is not confirmed yet.
#[derive(Clone, Copy, Debug)]
struct Fall {
    since: Duration,
    readings: u32,
    /// The last value read since.
    value: f64,
    /// How often in a row the counter has risen since.
    rises: u32,
}

impl CounterFilter {
    /// The counters among these points, which are in the order of a frame's values.
    pub fn new<'a>(points: impl Iterator<Item = &'a Point>) -> Self {
        let counters = points.enumerate().filter(|(_, point)| point.kind == ChannelKind::Counter);
        let counters = counters.map(|(channel, point)| Counter { channel, end: end(point), last: None, fall: None });
        Self { counters: counters.collect() }
    }

    /// Takes the values of counters that fell out of a frame, until they have stayed down; `now` is the time since any fixed
    /// moment. Returns the positions of counters whose fall is new.
    pub fn hold_back(&mut self, frame: &mut Frame, now: Duration) -> Vec<usize> {
        let mut fallen = Vec::new();
        for counter in &mut self.counters {
            let Some(value) = frame.good(counter.channel) else { continue };
            if !counter.is_suspect(value, now) {
                continue;
            }
            if counter.fall.is_some_and(|fall| fall.readings == 1) {
                fallen.push(counter.channel);
            }
            withhold(frame, counter.channel);
        }
        fallen
    }
}

impl Counter {
    fn is_suspect(&mut self, value: f64, now: Duration) -> bool {
        let Some(last) = self.last.filter(|last| has_fallen(*last, value)) else {
            (self.last, self.fall) = (Some(value), None);
            return false;
        };
        let fall = self.fall.get_or_insert(Fall { since: now, readings: 0, value, rises: 0 });
        fall.read(value);
        let is_reset = fall.readings >= CONFIRMING_READINGS && now.saturating_sub(fall.since) >= CONFIRMATION;
        let is_overflow = fall.rises >= OVERFLOW_RISES && self.may_overflow(last, value);
        if is_reset || is_overflow {
            (self.last, self.fall) = (Some(value), None);
        }
        !(is_reset || is_overflow)
    }

    fn may_overflow(&self, last: f64, value: f64) -> bool {
        self.end.is_some_and(|end| last >= end * (1.0 - OVERFLOW_PART) && value <= end * OVERFLOW_PART)
    }
}

impl Fall {
    fn read(&mut self, value: f64) {
        self.readings = self.readings.saturating_add(1);
        self.rises = match value.total_cmp(&self.value) {
            Ordering::Greater => self.rises.saturating_add(1),
            Ordering::Equal => self.rises,
            Ordering::Less => 0,
        };
        self.value = value;
    }
}

fn has_fallen(last: f64, value: f64) -> bool {
    last > 0.0 && value < last * SUSPECT_LOSS
}

/// The value of the largest number that its registers can hold.
fn end(point: &Point) -> Option<f64> {
    let largest = *point.layout.format.range().end();
    (point.scale_register.is_none() && point.layout.bits.is_none()).then(|| point.scaling.to_value(largest))
}

/// Marks a channel as having no value now.
pub(crate) fn withhold(frame: &mut Frame, channel: usize) {
    let (Some(value), Ok(channel)) = (frame.values.get_mut(channel), u32::try_from(channel)) else { return };
    *value = f64::NAN;
    frame.faults.retain(|fault| fault.channel != channel);
    let index = frame.faults.partition_point(|fault| fault.channel < channel);
    frame.faults.insert(index, Fault { channel, kind: FaultKind::Unavailable });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Format, Layout, Table};

    /// A filter for a gauge and a counter of that format.
    fn filter(format: Format) -> CounterFilter {
        let point = |kind| Point { kind, ..Point::new("p", Table::Holding, 0, Layout::plain(format)) };
        CounterFilter::new([point(ChannelKind::Gauge), point(ChannelKind::Counter)].iter())
    }

    /// What is published of a counter that is read once a second.
    fn published(format: Format, readings: impl IntoIterator<Item = f64>) -> Vec<f64> {
        let mut filter = filter(format);
        let read = |(second, value): (u64, f64)| {
            let mut frame = Frame { source: 0, values: vec![value, value], faults: Vec::new(), texts: Vec::new() };
            filter.hold_back(&mut frame, Duration::from_secs(second));
            assert_eq!(frame.values[0], value, "a gauge may fall");
            assert_eq!(frame.values[1].is_nan(), frame.faults == [Fault { channel: 1, kind: FaultKind::Unavailable }]);
            frame.values[1]
        };
        (0..).zip(readings).map(read).filter(|value| !value.is_nan()).collect()
    }

    #[test]
    fn a_fall_that_does_not_last_is_not_published() {
        let readings = [5000.0, 5001.0].into_iter().chain([0.0; 50]).chain([3.0, 5001.0, 5002.0]);
        assert_eq!(published(Format::UInt32, readings), [5000.0, 5001.0, 5001.0, 5002.0]);
    }

    #[test]
    fn a_fall_that_stays_is_a_reset() {
        let readings = [5000.0].into_iter().chain([0.0; 61]).chain([1.0, 2.0]);
        assert_eq!(published(Format::UInt32, readings), [5000.0, 0.0, 1.0, 2.0]);
    }

    #[test]
    fn a_reset_takes_several_readings() {
        let mut filter = filter(Format::UInt32);
        let mut read = |second: u64, value: f64| {
            let mut frame = Frame { source: 0, values: vec![0.0, value], faults: Vec::new(), texts: Vec::new() };
            let fallen = filter.hold_back(&mut frame, Duration::from_secs(second));
            (frame.values[1], fallen)
        };
        assert_eq!(read(0, 900.0), (900.0, vec![]));
        let (value, fallen) = read(600, 0.0);
        assert!(value.is_nan() && fallen == [1], "the first reading of a fall is named");
        let (value, fallen) = read(1200, 0.0);
        assert!(value.is_nan() && fallen.is_empty());
        assert_eq!(read(1800, 1.0), (1.0, vec![]));
    }

    #[test]
    fn small_falls_are_published() {
        assert_eq!(published(Format::UInt32, [8.0, 7.99, 5.0, 4.0]), [8.0, 7.99, 5.0, 4.0]);
        assert_eq!(published(Format::UInt16, [0.0, 1.0]), [0.0, 1.0]);
    }

    #[test]
    fn an_overflow_is_published_once_the_counter_rises_again() {
        assert_eq!(published(Format::UInt16, [65_535.0, 0.0, 1.0, 2.0, 3.0]), [65_535.0, 2.0, 3.0]);
        let repeated = [65_530.0, 4.0, 4.0, 6.0, 6.0, 8.0, 9.0];
        assert_eq!(published(Format::UInt16, repeated), [65_530.0, 8.0, 9.0], "read more often than it changes");
        let slow = [65_535.0].into_iter().chain([0.0; 61]).chain([1.0]);
        assert_eq!(published(Format::UInt16, slow), [65_535.0, 0.0, 1.0]);
    }

    #[test]
    fn a_momentary_zero_near_the_end_of_the_format_is_not_an_overflow() {
        let largest = 4_294_967_295.0;
        for high in [4_200_000_000.0, 4_294_960_000.0, largest] {
            for low in [&[0.0; 5][..], &[7.0, 7.0], &[0.0, 3.0, 3.0], &[3.0, 0.0, 3.0]] {
                let readings = [high].into_iter().chain(low.iter().copied()).chain([high, high]);
                assert_eq!(published(Format::UInt32, readings), [high, high, high], "{low:?}");
            }
        }
    }
}
