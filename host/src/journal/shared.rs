//! What the journal's ends share: the newest events in memory, which files hold the others, and where each feed is.
//!
//! One lock, held for moments and never while a file is read or written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bessai_domain::event::{Event, EventBody, Gap, Sequence};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use tokio::sync::Notify;

use super::numbers::RESERVED;
use super::places::{Place, Places};
use super::segment::Segment;
use super::{Health, Lag, Limit, Start};

/// Memory for events that are on the disk as well: what feeds that keep up read from.
const RECENT_BYTES: usize = 4 << 20;
/// Memory for events that are on no disk: a day of one device at 5 s with 30 channels.
pub(super) const UNWRITTEN_BYTES: usize = 16 << 20;

/// The age that is kept is spread over so many files at least.
const FILES_PER_AGE: u32 = 8;

pub(super) struct Shared {
    state: Mutex<Kept>,
    /// There is something to write, or the end.
    pub(super) to_write: Condvar,
    /// There is something to bring to the disk, or the end.
    pub(super) to_sync: Condvar,
    /// There are events to read.
    pub(super) progress: Notify,
    /// Places are saved, or the threads beside have ended: nothing that a feed without wishes is woken for.
    pub(super) saved: Notify,
    /// A disk that takes everything and keeps nothing.
    #[cfg(test)]
    pub(super) breaks_syncs: std::sync::atomic::AtomicBool,
}

/// Everything that changes.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) recent: VecDeque<Arc<Event>>,
    pub(super) recent_bytes: usize,
    pub(super) next: Sequence,
    pub(super) segments: VecDeque<Segment>,
    pub(super) places: Places,
    pub(super) readers: BTreeMap<String, Reading>,
    /// Descriptions of the site since the start, with their numbers, after the one in force before it.
    pub(super) sites: Vec<(Sequence, Arc<Site>)>,
    /// All events before this one are with the operating system.
    pub(super) written: Sequence,
    /// All events before this one are on the disk.
    pub(super) synced: Sequence,
    /// Feeds see events when they are on the disk, not before.
    pub(super) waits_for_sync: bool,
    /// The next event goes into a new file.
    pub(super) wants_new_file: bool,
    /// Files with something that is not on the disk, and the number after their last event.
    pub(super) unsynced: Vec<Arc<File>>,
    pub(super) unsynced_end: Sequence,
    pub(super) folder_is_unsynced: bool,
    /// The writer waits to be told of events.
    pub(super) writer_waits: bool,
    /// So does the thread that brings things to the disk, and not for more of what it has.
    pub(super) syncer_waits: bool,
    /// The first number that is not reserved.
    pub(super) reserved: Sequence,
    pub(super) changed_places: BTreeSet<String>,
    /// Rises with each wish to have the places on the disk now; and the wish that is fulfilled.
    pub(super) saves_wished: u64,
    pub(super) saves_done: u64,
    pub(super) is_closing: bool,
    pub(super) writer_ended: bool,
    pub(super) syncer_ended: bool,
    /// What is wrong with the disk now, by what cannot be done.
    pub(super) troubles: BTreeMap<&'static str, String>,
    /// What is not known to be on the disk is to be written again, from memory into a new file.
    pub(super) must_rewrite: bool,
    pub(super) lost: u64,
    pub(super) damaged: u64,
    pub(super) damaged_bytes: u64,
    pub(super) files_set_aside: u64,
    pub(super) places_are_damaged: bool,
    pub(super) max_bytes: u64,
    pub(super) max_age: Duration,
    // The clock at the start; what passed since comes from one that nobody sets.
    pub(super) clock: Option<(Timestamp, Instant)>,
}

/// A feed that is read now.
#[derive(Default)]
pub(super) struct Reading {
    readers: usize,
    /// The last event that it took.
    read: Sequence,
    /// Nothing older is wanted, until the feed has passed something.
    not_before: Option<Timestamp>,
    /// The gaps under way that tell of losses, and how many each and those before it tell of.
    telling: VecDeque<(Sequence, u64)>,
    why: &'static str,
}

/// Why events are nowhere any more.
const FULL: &str = "the journal was full";
const AGED: &str = "the journal keeps nothing that is older than its max_age";
const DAMAGED: &str = "a file of the journal is damaged";
/// Why numbers jump where nothing is known to be missing.
const ENDED: &str = "the gateway ended without notice: what was not on the disk is lost";

/// Where the events after a number are.
pub(super) enum Found {
    /// Here, perhaps with a jump before the first.
    /// With the description in force before them.
    Memory(Vec<Arc<Event>>, Option<Arc<Site>>),
    /// In a file; up to the first in memory.
    Disk { until: Sequence },
    /// Not yet there.
    Nothing,
}

impl Shared {
    pub(super) fn new(kept: Kept) -> Self {
        Self {
            state: Mutex::new(kept),
            to_write: Condvar::new(),
            to_sync: Condvar::new(),
            progress: Notify::new(),
            saved: Notify::new(),
            #[cfg(test)]
            breaks_syncs: std::sync::atomic::AtomicBool::default(),
        }
    }

    /// Whether a test wants files not to reach the disk.
    #[cfg(test)]
    pub(super) fn syncs_fail(&self) -> bool {
        self.breaks_syncs.load(std::sync::atomic::Ordering::Relaxed)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "a test has its say here")]
    pub(super) fn syncs_fail(&self) -> bool {
        false
    }

    /// Whoever panicked with the lock left nothing half done that the others could not go on with.
    pub(super) fn lock(&self) -> MutexGuard<'_, Kept> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes of an event in memory, roughly.
pub(super) fn size(event: &Event) -> usize {
    const FIXED: usize = 240;
    FIXED + event.body.values() * size_of::<f64>()
}

impl Kept {
    /// Numbers an event and keeps it.
    pub(super) fn append(&mut self, at: Timestamp, body: EventBody) -> Sequence {
        if self.clock.is_none() && at.is_plausible() {
            self.clock = Some((at, Instant::now()));
        }
        let sequence = self.next;
        self.next = sequence.next();
        if let EventBody::Site(site) = &body {
            self.sites.push((sequence, Arc::clone(site)));
        }
        let event = Arc::new(Event { sequence, at, body });
        self.recent_bytes += size(&event);
        self.recent.push_back(event);
        self.bound_recent();
        sequence
    }

    /// Drops from memory what is on the disk as well, and beyond another bound also what is not.
    pub(super) fn bound_recent(&mut self) {
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
    fn forget(&mut self, first: Sequence, end: Sequence, why: &'static str) {
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

    /// The number that the oldest event has, or the next one would have.
    pub(super) fn oldest(&self) -> Sequence {
        let in_files = self.segments.front().map(|segment| segment.first);
        let in_memory = self.recent.front().map(|event| event.sequence);
        in_files.into_iter().chain(in_memory).min().unwrap_or(self.next)
    }

    /// Feeds may read the events before this one. A disk that takes nothing must not silence them.
    fn visible(&self) -> Sequence {
        if self.waits_for_sync && self.troubles.is_empty() { self.synced } else { self.next }
    }

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
    pub(super) fn enter(&mut self, feed: &str, start: Start) -> (Sequence, Option<Timestamp>, State) {
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

    pub(super) fn leave(&mut self, feed: &str) {
        if let Some(reading) = self.readers.get_mut(feed) {
            reading.readers -= 1;
            if reading.readers == 0 {
                self.readers.remove(feed);
            }
        }
    }

    /// Events after a number, as many as a call gets.
    pub(super) fn after(&self, read: Sequence, limit: Limit) -> Found {
        if let Some(until) = self.in_files(read) {
            return Found::Disk { until };
        }
        let visible = self.visible();
        let skipped = self.recent.partition_point(|event| event.sequence <= read);
        let here = self.recent.iter().skip(skipped).take_while(|event| event.sequence < visible);
        let events = cut(here.cloned(), limit);
        match events.first() {
            None => Found::Nothing,
            Some(first) => {
                let site = self.site_before(first.sequence);
                Found::Memory(events, site)
            }
        }
    }

    /// Where the events after a number are to be read from files: up to the first in memory.
    fn in_files(&self, read: Sequence) -> Option<Sequence> {
        let first_here = self.recent.front().map_or(self.next, |event| event.sequence);
        let has_next = |segment: &Segment| segment.end > read.next() && segment.first < first_here;
        (read.next() < first_here && self.segments.iter().rev().any(has_next)).then_some(first_here)
    }

    /// The description in force before the events after a number, unless only the files know.
    pub(super) fn site_after(&self, read: Sequence) -> Option<Arc<Site>> {
        if self.in_files(read).is_some() { None } else { self.site(read) }
    }

    /// How far the feed of that name is behind.
    pub(super) fn lag(&self, feed: &str) -> Lag {
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

    pub(super) fn health(&self) -> Health {
        Health {
            oldest: self.oldest().0,
            newest: self.next.0.saturating_sub(1),
            bytes: self.segments.iter().map(Segment::size).sum(),
            lost: self.lost,
            damaged: self.damaged,
            cut_bytes: self.damaged_bytes,
            set_aside: self.files_set_aside,
            trouble: (!self.troubles.is_empty()).then(|| Vec::from_iter(self.troubles.values().cloned()).join("; ")),
        }
    }

    /// A feed takes events up to here.
    pub(super) fn note_read(&mut self, feed: &str, last: Sequence) {
        if let Some(reading) = self.readers.get_mut(feed) {
            reading.read = last;
        }
    }

    /// What tells a feed of a jump to this event, with the number just before it.
    pub(super) fn gap(&mut self, feed: &str, read: Sequence, event: &Event) -> Option<Arc<Event>> {
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
    pub(super) fn pass(&mut self, feed: &str, sequence: Sequence, at: Timestamp, state: &State) {
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

    /// The description in force before an event of this run.
    pub(super) fn site_before(&self, sequence: Sequence) -> Option<Arc<Site>> {
        self.site(Sequence(sequence.0.saturating_sub(1)))
    }

    /// The description in force before the event after `read`, for one of this run.
    fn site(&self, read: Sequence) -> Option<Arc<Site>> {
        let known = self.sites.iter().rev().find(|(sequence, _)| *sequence <= read);
        known.map(|(_, site)| Arc::clone(site))
    }

    /// Takes a file's new state in.
    pub(super) fn note_written(&mut self, segment: Segment) {
        self.written = segment.end;
        // At a low rate a file would hold more than the age allows.
        self.wants_new_file |= segment.latest.since(segment.earliest) > self.max_age / FILES_PER_AGE;
        match self.segments.back_mut() {
            Some(last) if last.path == segment.path => *last = segment,
            _ => self.segments.push_back(segment),
        }
        self.bound_recent();
    }

    /// Numbers are running out: more are to be reserved before they are used.
    pub(super) fn needs_numbers(&self) -> bool {
        self.next.0.saturating_add(RESERVED / 2) > self.reserved.0
    }

    /// Goes back to what is known to be on the disk, as far as memory reaches: what comes after is written again. The
    /// files of which nothing counts any more.
    pub(super) fn go_back(&mut self) -> Vec<PathBuf> {
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
    pub(super) fn trim(&mut self) -> Vec<PathBuf> {
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
    pub(super) fn make_room(&mut self) -> Option<PathBuf> {
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
    pub(super) fn note_damage(&mut self, path: &std::path::Path, sound: Sequence) {
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

/// As many events as a call gets.
pub(super) fn cut(events: impl Iterator<Item = Arc<Event>>, limit: Limit) -> Vec<Arc<Event>> {
    let mut values = 0;
    let fits = |event: &Arc<Event>| {
        let is_first = values == 0;
        values += event.body.values();
        is_first || values <= limit.values
    };
    events.take(limit.events).take_while(fits).collect()
}
