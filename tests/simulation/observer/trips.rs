//! Trips as an observer knows them: from the readings, the operator's resets, and what of the journal is on disk.

use bessai_domain::event::SafetyState;

use super::{Invariant, Violation};

/// Whether a trip is in force.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trip {
    #[default]
    None,
    InForce,
    /// A device tripped while a reset was on its way: the next verdict shows which came first.
    AfterAnswer,
    /// Verdicts that differ were not promised to survive the end of the process: the next one shows which is on disk.
    AfterRestart,
}

/// The trips of all devices: one of them is enough.
#[derive(Default)]
pub(crate) struct TripRecord {
    trip: Trip,
    /// Each verdict's number, and whether it lists a trip.
    verdicts: Vec<(u64, bool)>,
    /// An operator waits for an answer; whether a device tripped meanwhile.
    asked: Option<bool>,
}

impl TripRecord {
    /// Whether a trip is in force, as far as it is certain now.
    pub(crate) fn now(&self) -> Trip {
        if self.trip == Trip::InForce && self.asked.is_some() { Trip::AfterAnswer } else { self.trip }
    }

    /// The pipeline got a value beyond its trip limit.
    pub(crate) fn tripped(&mut self) {
        self.trip = Trip::InForce;
        self.asked = self.asked.map(|_| true);
    }

    /// An operator asks for a reset of all trips.
    pub(crate) fn asked(&mut self) {
        self.asked = Some(false);
    }

    /// The answer to it: the number of trips that were reset, or that a cause persists.
    pub(crate) fn answered(&mut self, reset: Option<usize>) -> Option<Violation> {
        let tripped_meanwhile = self.asked.take().unwrap_or(false);
        let (was, violation) = (self.trip, |detail| Some(Violation::new(Invariant::TripsLast, detail)));
        self.trip = match reset {
            Some(_) if tripped_meanwhile => Trip::AfterAnswer,
            Some(_) => Trip::None,
            None => Trip::InForce,
        };
        match (reset, was) {
            (Some(0), Trip::InForce) if !tripped_meanwhile => violation("the gateway knows no trip to reset"),
            (None, Trip::None) => violation("a reset is refused, and nothing has tripped"),
            _ => None,
        }
    }

    /// A verdict became an event.
    pub(crate) fn recorded(&mut self, number: u64, lists_trip: bool) {
        self.verdicts.push((number, lists_trip));
    }

    /// The process starts: all events up to `durable` are on disk, and later ones may be.
    pub(crate) fn restarted(&mut self, durable: u64) {
        self.asked = None;
        if self.trip == Trip::AfterRestart {
            return;
        }
        let is_durable = |(number, _): &&(u64, bool)| *number <= durable;
        let last = self.verdicts.iter().rfind(is_durable).is_some_and(|(_, lists_trip)| *lists_trip);
        let mut later = self.verdicts.iter().filter(|verdict| !is_durable(verdict));
        if later.any(|(_, lists_trip)| *lists_trip != last) {
            self.trip = Trip::AfterRestart;
        } else {
            self.resolve(last);
        }
    }

    /// A verdict shows whether a trip is in force; `expected` is what the readings alone say.
    pub(crate) fn judged(&mut self, state: SafetyState, expected: SafetyState) {
        let is_in_force = state == SafetyState::Unsafe;
        if is_in_force && expected == SafetyState::Unsafe {
            return;
        }
        match self.trip {
            Trip::AfterRestart => self.resolve(is_in_force),
            Trip::AfterAnswer if is_in_force => self.trip = Trip::InForce,
            Trip::AfterAnswer => self.trip = Trip::None,
            Trip::None | Trip::InForce => {}
        }
    }

    /// The last verdict on disk is known.
    fn resolve(&mut self, lists_trip: bool) {
        self.trip = if lists_trip { Trip::InForce } else { Trip::None };
        self.verdicts = vec![(0, lists_trip)];
    }
}
