//! What is kept and what goes: in memory, in files, and the places of feeds; and who is told that it went.

use std::path::{Path, PathBuf};

use bessai_domain::event::Sequence;

use super::super::segment::Segment;
use super::{Kept, size};

/// Memory for events that are on the disk as well: what feeds that keep up read from.
const RECENT_BYTES: usize = 4 << 20;
/// Memory for events that are on no disk: a day of one device at 5 s with 30 channels.
const UNWRITTEN_BYTES: usize = 16 << 20;

/// The age that is kept is spread over so many files at least.
const FILES_PER_AGE: u32 = 8;

/// Why events are nowhere any more.
const FULL: &str = "the journal was full";
const AGED: &str = "the journal keeps nothing that is older than its max_age";
const DAMAGED: &str = "a file of the journal is damaged";

impl Kept {
    /// Drops from memory what is on the disk as well, and beyond another bound also what is not.
    pub(in crate::journal) fn bound_recent(&mut self) {
        while let Some(event) = self.recent.front() {
            let is_written = event.sequence < self.written;
            let is_in_files = is_written && self.segments.front().is_some_and(|oldest| oldest.first <= event.sequence);
            let bound = if is_written { RECENT_BYTES } else { UNWRITTEN_BYTES };
            if self.recent_bytes <= bound || self.recent.len() == 1 {
                return;
            }
            let (sequence, size) = (event.sequence, size(event));
            self.recent_bytes -= size;
            self.recent.pop_front();
            self.written = self.written.max(sequence.next());
            if !is_in_files {
                self.forget(sequence, sequence.next(), FULL);
            }
        }
    }

    /// These events are nowhere any more: feeds that had not passed them have lost them.
    pub(super) fn forget(&mut self, first: Sequence, end: Sequence, why: &'static str) {
        let mut most = 0;
        for (feed, place) in &mut self.places {
            let Some(reading) = self.readers.get_mut(feed) else { continue };
            let missed = end.0.saturating_sub(first.0.max(reading.read.0.saturating_add(1)));
            if missed > 0 {
                if place.lost == place.told {
                    tracing::error!(%feed, "{why}: events that feed {feed} has not delivered are lost; it is told how many");
                }
                reading.why = why;
                place.lost += missed;
                self.changed_places.insert(feed.clone());
                most = most.max(missed);
            }
        }
        self.lost += most;
    }

    /// Takes a file's new state in.
    pub(in crate::journal) fn note_written(&mut self, segment: Segment) {
        self.written = segment.end;
        // At a low rate a file would hold more than the age allows.
        self.wants_new_file |= segment.latest.since(segment.earliest) > self.max_age / FILES_PER_AGE;
        match self.segments.back_mut() {
            Some(last) if last.path == segment.path => *last = segment,
            _ => self.segments.push_back(segment),
        }
        self.bound_recent();
    }

    /// Goes back to what is known to be on the disk, as far as memory reaches: what comes after is written again. The
    /// files of which nothing counts any more.
    pub(in crate::journal) fn go_back(&mut self) -> Vec<PathBuf> {
        let first_here = self.recent.front().map_or(self.next, |event| event.sequence);
        let from = self.synced.max(first_here).min(self.written);
        (self.must_rewrite, self.wants_new_file) = (false, true);
        (self.written, self.unsynced_end) = (from, from);
        self.unsynced.clear();
        let mut gone = Vec::new();
        while let Some(segment) = self.segments.pop_back_if(|segment| segment.first >= from) {
            gone.push(segment.path);
        }
        if let Some(last) = self.segments.back_mut() {
            last.cut_before(from);
        }
        gone
    }

    /// Files beyond the bounds: they are no longer part of the journal, and to be deleted.
    pub(in crate::journal) fn trim(&mut self) -> Vec<PathBuf> {
        let mut bytes: u64 = self.segments.iter().map(Segment::size).sum();
        let now = self.clock.map(|(at, since)| at.plus(since.elapsed()));
        let mut gone = Vec::new();
        // The last one is being written.
        while self.segments.len() > 1 {
            let Some(oldest) = self.segments.front() else { break };
            let is_old = now.is_some_and(|now| now.since(oldest.latest) > self.max_age);
            if bytes <= self.max_bytes && !is_old {
                break;
            }
            let size = oldest.size();
            bytes -= size;
            let why = if bytes + size > self.max_bytes { FULL } else { AGED };
            gone.extend(self.drop_oldest(why));
        }
        gone
    }

    /// Room on a full disk: the oldest file that every feed has passed, or, if it must be, the oldest.
    pub(in crate::journal) fn make_room(&mut self) -> Option<PathBuf> {
        let passed = self.places.iter().filter(|(feed, _)| self.readers.contains_key(*feed));
        let slowest = passed.map(|(_, place)| place.passed).min().unwrap_or(self.next);
        let oldest = self.segments.front()?;
        let is_passed = oldest.end <= slowest.next();
        (self.segments.len() > 1 && (is_passed || self.recent_bytes > UNWRITTEN_BYTES / 2))
            .then(|| self.drop_oldest(FULL))
            .flatten()
    }

    fn drop_oldest(&mut self, why: &'static str) -> Option<PathBuf> {
        let oldest = self.segments.pop_front()?;
        // What is still in memory can be read there.
        let in_memory = self.recent.front().map_or(oldest.end, |event| event.sequence);
        self.forget(oldest.first, oldest.end.min(in_memory), why);
        self.forget_places();
        Some(oldest.path)
    }

    /// A feed that is gone, and whose next event is gone, begins anew when it comes back.
    fn forget_places(&mut self) {
        let oldest = self.oldest();
        let readers = &self.readers;
        self.places.retain(|feed, place| readers.contains_key(feed) || place.passed.next() >= oldest);
    }

    /// A file turned out to be damaged before its end.
    pub(in crate::journal) fn note_damage(&mut self, path: &Path, sound: Sequence) {
        if let Some(segment) = self.segments.iter_mut().find(|segment| segment.path == path && segment.end > sound) {
            let (lost, end) = (segment.end.0 - sound.0, segment.end);
            segment.end = sound;
            self.damaged += lost;
            tracing::error!(
                lost,
                "{} is damaged after event {}: {lost} events up to {} cannot be read",
                path.display(),
                sound.0.saturating_sub(1),
                end.0.saturating_sub(1)
            );
            self.wants_new_file = true;
            self.forget(sound, end, DAMAGED);
        }
    }
}
