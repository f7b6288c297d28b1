//! Where each feed is: it enters, takes events, is told of jumps, and passes what it has delivered.

use std::collections::VecDeque;
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Gap, Sequence};
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;

use super::super::places::Place;
use super::super::{Lag, Start};
use super::Kept;

/// Why numbers jump where nothing is known to be missing.
const ENDED: &str = "the gateway ended without notice: what was not on the disk is lost";

/// A feed that is read now.
#[derive(Default)]
pub(in crate::journal) struct Reading {
    pub(super) readers: usize,
    /// The last event that it took.
    pub(super) read: Sequence,
    /// Nothing older is wanted, until the feed has passed something.
    not_before: Option<Timestamp>,
    /// The gaps under way that tell of losses, and how many each and those before it tell of.
    telling: VecDeque<(Sequence, u64)>,
    /// Why events were lost last.
    pub(super) why: &'static str,
}

impl Kept {
    /// Where a feed begins that was never seen, and from which time on it wants events.
    fn begin(&self, start: Start) -> (Sequence, Option<Timestamp>) {
        let before = |sequence: Sequence| Sequence(sequence.0.saturating_sub(1));
        match start {
            Start::Now => (before(self.next), None),
            Start::Oldest => (before(self.oldest()), None),
            Start::At(at) => {
                let in_files = self.segments.iter().find(|segment| segment.latest >= at).map(|segment| segment.first);
                let in_memory = || self.recent.iter().find(|event| event.at >= at).map(|event| event.sequence);
                let first = in_files.or_else(in_memory).unwrap_or(self.next);
                (before(first), Some(at))
            }
        }
    }

    /// A feed reads from now on.
    pub(in crate::journal) fn enter(&mut self, feed: &str, start: Start) -> (Sequence, Option<Timestamp>, State) {
        // Which feeds were there nobody knows then: better twice than never.
        let start = if self.places_are_damaged { Start::Oldest } else { start };
        let (begin, not_before) = self.begin(start);
        let is_new = !self.places.contains_key(feed);
        let new = || Place { passed: begin, ..Place::default() };
        let place = self.places.entry(feed.to_owned()).or_insert_with(new);
        let reading = self.readers.entry(feed.to_owned()).or_default();
        reading.readers += 1;
        reading.read = place.passed;
        // Whoever begins at the place again hears of what was not delivered again.
        reading.telling.clear();
        if is_new {
            reading.not_before = not_before;
            // On the disk at once: after a kill a feed that is not known would begin with what is new then.
            self.saves_wished += 1;
        }
        self.changed_places.insert(feed.to_owned());
        (place.passed, reading.not_before, place.state.clone())
    }

    pub(in crate::journal) fn leave(&mut self, feed: &str) {
        if let Some(reading) = self.readers.get_mut(feed) {
            reading.readers -= 1;
            if reading.readers == 0 {
                self.readers.remove(feed);
            }
        }
    }

    /// How far the feed of that name is behind.
    pub(in crate::journal) fn lag(&self, feed: &str) -> Lag {
        let Some(place) = self.places.get(feed) else { return Lag::default() };
        let first_here = self.recent.front().map_or(self.next, |event| event.sequence);
        let in_files = self.segments.iter().map(|segment| segment.between(place.passed, first_here)).sum::<u64>();
        let skipped = self.recent.partition_point(|event| event.sequence <= place.passed);
        let events = in_files + (self.recent.len() - skipped) as u64;
        let newest = self.recent.back().map(|event| event.at);
        let behind = newest.filter(|_| events > 0 && place.at != Timestamp::default());
        let seconds = behind.map_or(0.0, |newest| newest.since(place.at).as_secs_f64());
        Lag { events, seconds, lost: place.lost }
    }

    /// A feed takes events up to here.
    pub(in crate::journal) fn note_read(&mut self, feed: &str, last: Sequence) {
        if let Some(reading) = self.readers.get_mut(feed) {
            reading.read = last;
        }
    }

    /// What tells a feed of a jump to this event, with the number just before it.
    pub(in crate::journal) fn gap(&mut self, feed: &str, read: Sequence, event: &Event) -> Option<Arc<Event>> {
        if event.sequence <= read.next() {
            return None;
        }
        let sequence = Sequence(event.sequence.0.saturating_sub(1));
        let (place, reading) = (self.places.get(feed)?, self.readers.get_mut(feed)?);
        let told = reading.telling.back().map_or(place.told, |(_, told)| *told);
        let gap = match place.lost.saturating_sub(told) {
            0 => Gap { lost: None, reason: ENDED.into() },
            lost => {
                reading.telling.push_back((sequence, place.lost));
                Gap { lost: Some(lost), reason: reading.why.into() }
            }
        };
        Some(Arc::new(Event { sequence, at: event.at, body: EventBody::Gap(gap) }))
    }

    /// A feed has delivered everything up to here, and this is what its plugin kept then.
    pub(in crate::journal) fn pass(&mut self, feed: &str, sequence: Sequence, at: Timestamp, state: &State) {
        let Some(place) = self.places.get_mut(feed) else { return };
        (place.passed, place.at, place.state) = (sequence, at, state.clone());
        if let Some(reading) = self.readers.get_mut(feed) {
            reading.not_before = None;
            while let Some((_, told)) = reading.telling.pop_front_if(|(gap, _)| *gap <= sequence) {
                place.told = told;
            }
        }
        self.changed_places.insert(feed.to_owned());
    }
}
