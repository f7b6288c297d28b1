//! What the journal's ends share: the newest events in memory, which files hold the others, and where each feed is.
//!
//! One lock, held for moments and never while a file is read or written.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;
use tokio::sync::Notify;

use super::numbers::RESERVED;
use super::places::Places;
use super::segment::Segment;
use super::{Health, Limit};

mod bounds;
mod feeds;

use feeds::Reading;

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

/// Where the events after a number are.
pub(super) enum Found {
    /// Here, perhaps with a jump before the first, and the description in force before them.
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

    /// The description in force before an event of this run.
    pub(super) fn site_before(&self, sequence: Sequence) -> Option<Arc<Site>> {
        self.site(Sequence(sequence.0.saturating_sub(1)))
    }

    /// The description in force before the event after `read`, for one of this run.
    fn site(&self, read: Sequence) -> Option<Arc<Site>> {
        let known = self.sites.iter().rev().find(|(sequence, _)| *sequence <= read);
        known.map(|(_, site)| Arc::clone(site))
    }

    /// Numbers are running out: more are to be reserved before they are used.
    pub(super) fn needs_numbers(&self) -> bool {
        self.next.0.saturating_add(RESERVED / 2) > self.reserved.0
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
