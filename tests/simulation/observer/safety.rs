//! What is known about the limited channels, what their devices really held, and which verdicts that allows.

use std::time::Duration;

use bessai_domain::event::{FaultKind, Frame, SafetyState};
use bessai_domain::time::MonotonicTime;

use super::trips::{Trip, TripRecord};
use super::{Invariant, Violation};

/// A verdict that is only shown may be late by the resolution of timers.
const TIMERS: Duration = Duration::from_millis(5);
/// A value was read at most this long before the reading's time: the time limit of a request, and some for the network.
const READING: Duration = Duration::from_secs(2);
/// Two readings of one value are equal if they differ by less.
const ROUNDING: f64 = 1e-6;

/// A channel with limits.
pub(crate) struct LimitedChannel {
    /// The device's index.
    pub(crate) device: usize,
    /// The source's index in the site's description.
    pub(crate) source: u32,
    /// Its position in the source.
    pub(crate) position: usize,
    /// The smallest and the largest safe value.
    pub(crate) range: (f64, f64),
    /// The age above which its value is unknown.
    pub(crate) age_limit: Duration,
    /// The value above which the device trips.
    trip_above: Option<f64>,
    newest: Option<(MonotonicTime, f64)>,
    /// The values that the device held, each with the virtual time from which on.
    held: Vec<(Duration, f64)>,
}

/// The limited channels of all devices.
#[derive(Default)]
pub(crate) struct SafetyRecord {
    channels: Vec<LimitedChannel>,
    /// When each device's last byte arrived at the gateway, in virtual time.
    heard: Vec<Option<Duration>>,
    pub(crate) trips: TripRecord,
}

impl LimitedChannel {
    pub(crate) fn new(device: usize, source: u32, position: usize, range: (f64, f64), age_limit: Duration) -> Self {
        Self { device, source, position, range, age_limit, trip_above: None, newest: None, held: Vec::new() }
    }

    pub(crate) fn tripping_above(self, limit: f64) -> Self {
        Self { trip_above: Some(limit), ..self }
    }

    /// Whether the value is known at a time, with an age limit that is longer by this much.
    fn known(&self, now: MonotonicTime, tolerance: Duration) -> Option<f64> {
        let (at, value) = self.newest?;
        (now.since(at) <= self.age_limit + tolerance).then_some(value)
    }

    fn is_within(&self, value: f64) -> bool {
        value >= self.range.0 && value <= self.range.1
    }

    /// Whether the device held the value at some time since `from`.
    fn held_since(&self, from: Duration, value: f64) -> bool {
        let ends = self.held.iter().skip(1).map(|(until, _)| Some(*until)).chain([None]);
        let mut periods = self.held.iter().zip(ends);
        periods.any(|((_, held), until)| (held - value).abs() < ROUNDING && until.is_none_or(|until| until >= from))
    }
}

impl SafetyRecord {
    pub(crate) fn new(channels: Vec<LimitedChannel>, devices: usize) -> Self {
        Self { channels, heard: vec![None; devices], trips: TripRecord::default() }
    }

    /// A device's channel takes a value.
    pub(crate) fn device_holds(&mut self, device: usize, position: usize, value: f64, since: Duration) {
        let of_device = |channel: &&mut LimitedChannel| channel.device == device && channel.position == position;
        if let Some(channel) = self.channels.iter_mut().find(of_device) {
            channel.held.push((since, value));
        }
    }

    /// The gateway heard a device.
    pub(crate) fn heard(&mut self, device: usize, at: Duration) {
        self.heard[device] = Some(at);
    }

    /// A start knows nothing but the trips of the last verdict on disk; all events up to `durable` are there.
    pub(crate) fn restarted(&mut self, durable: u64) {
        self.channels.iter_mut().for_each(|channel| channel.newest = None);
        self.trips.restarted(durable);
    }

    /// The pipeline gets a frame that was read at `at`; it is `now`, and `elapsed` in virtual time.
    pub(crate) fn frame(
        &mut self,
        at: MonotonicTime,
        frame: &Frame,
        now: MonotonicTime,
        elapsed: Duration,
    ) -> Option<Violation> {
        let mut violation = None;
        for channel in self.channels.iter_mut().filter(|channel| channel.source == frame.source) {
            let is_faulty = |fault: &bessai_domain::event::Fault| {
                fault.channel as usize == channel.position && fault.kind != FaultKind::OutOfRange
            };
            let value = frame.values.get(channel.position).copied().filter(|value| value.is_finite());
            let Some(value) = value.filter(|_| !frame.faults.iter().any(is_faulty)) else { continue };
            let from = elapsed.saturating_sub(now.since(at)).saturating_sub(READING);
            if !channel.held_since(from, value) {
                let (device, position) = (channel.device, channel.position);
                let detail = format!("{value} of device {device}, channel {position}, was not its value then");
                violation = Some(Violation::new(Invariant::ValuesAreCurrent, detail));
            }
            if channel.trip_above.is_some_and(|limit| value > limit) {
                self.trips.tripped();
            }
            if channel.newest.is_none_or(|(newest, _)| newest <= at) {
                channel.newest = Some((at, value));
            }
        }
        violation
    }

    /// The verdict that the readings alone allow.
    fn expected(&self, now: MonotonicTime, tolerance: Duration) -> SafetyState {
        let known =
            self.channels.iter().map(|channel| channel.known(now, tolerance).map(|value| channel.is_within(value)));
        known.fold(SafetyState::Safe, |state, known| match (state, known) {
            (SafetyState::Unsafe, _) | (_, Some(false)) => SafetyState::Unsafe,
            (_, None) => SafetyState::Unknown,
            (state, Some(true)) => state,
        })
    }

    /// A verdict became an event.
    pub(crate) fn judged(&mut self, state: SafetyState, now: MonotonicTime, elapsed: Duration) -> Option<Violation> {
        let expected = self.expected(now, Duration::ZERO);
        self.trips.judged(state, expected);
        if let Some(violation) = self.untripped(state) {
            return Some(violation);
        }
        if state == SafetyState::Safe
            && let Some(violation) = self.unfounded("a verdict is", now, elapsed, Duration::ZERO)
        {
            return Some(violation);
        }
        let detail = || format!("the verdict is {state:?}, and the readings say {expected:?}");
        let may_be_tripped = self.trips.now() != Trip::None && state == SafetyState::Unsafe;
        (state != expected && !may_be_tripped).then(|| Violation::new(Invariant::VerdictIsRight, detail()))
    }

    /// The status shows a verdict.
    pub(crate) fn shown(&self, state: SafetyState, now: MonotonicTime, elapsed: Duration) -> Option<Violation> {
        if state != SafetyState::Safe {
            return None;
        }
        self.untripped(state).or_else(|| self.unfounded("the status is", now, elapsed, TIMERS))
    }

    /// That a state is not unsafe although a trip is in force.
    fn untripped(&self, state: SafetyState) -> Option<Violation> {
        let is_wrong = self.trips.now() == Trip::InForce && state != SafetyState::Unsafe;
        let detail = || format!("a device has tripped and was not reset, and safety is {state:?}");
        is_wrong.then(|| Violation::new(Invariant::TripsLast, detail()))
    }

    /// Why safe is wrong, if it is.
    fn unfounded(&self, what: &str, now: MonotonicTime, elapsed: Duration, tolerance: Duration) -> Option<Violation> {
        let violation = |detail: String| Some(Violation::new(Invariant::SafeOnlyIfKnown, detail));
        let expected = self.expected(now, tolerance);
        if expected != SafetyState::Safe {
            return violation(format!("{what} safe, and the readings say {expected:?}"));
        }
        for channel in &self.channels {
            let silence = self.heard[channel.device].map(|heard| elapsed.saturating_sub(heard));
            if silence.is_none_or(|silence| silence > channel.age_limit + READING) {
                let device = channel.device;
                return violation(format!("{what} safe, and device {device} was not heard for {silence:?}"));
            }
        }
        None
    }
}
