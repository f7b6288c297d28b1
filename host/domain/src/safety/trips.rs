//! Trips: what stays broken until an operator resets it, also over restarts.

use super::rules::rule;
use super::{LimitedChannel, SafetyMonitor, rules};
use crate::event::{Safety, Violation};
use crate::time::MonotonicTime;

/// The trips in force, at most one per channel of a device.
#[derive(Clone, Debug, Default)]
pub(super) struct Trips(Vec<Violation>);

impl Trips {
    pub(super) fn list(&self) -> &[Violation] {
        &self.0
    }

    /// The first value beyond the limit stays, because it says when and why the device tripped.
    fn latch(&mut self, trip: Violation) {
        let is_known = |known: &Violation| (&known.device, &known.channel) == (&trip.device, &trip.channel);
        if !self.0.iter().any(is_known) {
            self.0.push(trip);
        }
    }
}

impl SafetyMonitor {
    /// Takes over the trips of the last verdict before a restart.
    pub fn restore_trips(&mut self, last: &Safety) {
        let trips = last.violations.iter().filter(|violation| violation.rule == rule::TRIP);
        trips.for_each(|trip| self.trips.latch(trip.clone()));
    }

    /// The trips in force.
    pub fn trips(&self) -> &[Violation] {
        self.trips.list()
    }

    /// Ends the trips of one device, or all, and returns them. Nothing is reset while a channel that tripped is beyond its
    /// limit or not known; the error is the violation that says so. Channels that no device has any more are reset.
    pub fn reset_trips(&mut self, device: Option<&str>, now: MonotonicTime) -> Result<Vec<Violation>, Violation> {
        let is_meant = |trip: &Violation| device.is_none_or(|device| trip.device == device);
        let of_trip = |trip: &Violation| {
            let (device, name) = (trip.device.clone(), trip.channel.clone());
            self.channels.iter().filter(move |channel| (&channel.device, &channel.channel) == (&device, &name))
        };
        let meant = self.trips.0.iter().filter(|trip| is_meant(trip));
        if let Some(cause) = meant.flat_map(of_trip).find_map(|channel| self.trip_cause(channel, now)) {
            return Err(cause);
        }
        let (reset, kept) = std::mem::take(&mut self.trips.0).into_iter().partition(is_meant);
        self.trips.0 = kept;
        Ok(reset)
    }

    /// Latches a trip if the channel's value is beyond its limit.
    pub(super) fn latch_if_tripped(trips: &mut Trips, channel: &LimitedChannel, value: f64) {
        if let Some(broken) = rules::tripped(&channel.bounds, value) {
            trips.latch(channel.violated(broken));
        }
    }

    /// Why a trip of the channel cannot be reset.
    fn trip_cause(&self, channel: &LimitedChannel, now: MonotonicTime) -> Option<Violation> {
        match self.known_value(channel, now) {
            Err(unknown) => Some(unknown),
            Ok(value) => rules::tripped(&channel.bounds, value).map(|broken| channel.violated(broken)),
        }
    }
}
