//! What the journal's handles and threads share: the newest events in memory, the list of segments with the older ones,
//! and each feed's cursor.
//!
//! One lock protects it. It is held for moments and never during file I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, RecordedEvent, Sequence};
use bessai_domain::journal::SyncPolicy;
use bessai_domain::ports::BatchLimit;
use bessai_domain::site::Site;
use bessai_domain::time::{Moment, MonotonicTime};
use tokio::sync::Notify;

use crate::cursors::{CursorFileCondition, FeedCursors};
use crate::disk::Disk;
use crate::reservation::RESERVED_NUMBERS;
use crate::reserve::ReserveFile;
use crate::segment::Segment;
use crate::{JournalHealth, JournalSettings};

mod backlogs;
mod faults;
mod feeds;
mod progress;
mod retention;

pub(crate) use backlogs::open_backlogs;
pub(crate) use faults::{DiskOperation, Faults, is_full, panicked};
pub(crate) use progress::{JournalPhase, NextWrite, SaveRequests, ThreadActivity, Unsynced};

use feeds::ActiveFeed;

/// Fixed part of [`memory_bytes`].
const EVENT_BYTES: usize = 240;

/// The state with its lock and everything that waits for a change of it.
pub(crate) struct SharedState {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) reserve: ReserveFile,
    /// Pause before what the disk refused is tried again.
    pub(crate) retry_pause: Duration,
    state: Mutex<JournalState>,
    /// Wakes the writer: there are events to write, or the journal closes.
    pub(crate) to_write: Condvar,
    /// Wakes the syncer: there is something to sync or to save, or the journal closes.
    pub(crate) to_sync: Condvar,
    /// Wakes readers: there are new events.
    pub(crate) events_added: Notify,
    /// Wakes those who wait for a saved cursor or the end of the syncer: apart from [`Self::events_added`], so that a
    /// sync wakes no reader.
    pub(crate) sync_done: Notify,
    /// Wakes those who wait until an event is written.
    pub(crate) write_done: Notify,
    /// There are no threads: segments are read where they are needed.
    runs_in_steps: AtomicBool,
}

/// Everything that changes while the journal is open.
pub(crate) struct JournalState {
    pub(crate) sync: SyncPolicy,
    max_bytes: u64,
    max_age: Duration,
    pub(crate) phase: JournalPhase,

    /// The newest events, among them all that are not written yet.
    pub(crate) recent: VecDeque<RecordedEvent>,
    recent_bytes: usize,
    /// The number of the next event.
    pub(crate) next: Sequence,
    /// The first number that is not reserved.
    pub(crate) reserved_end: Sequence,
    /// Segments, oldest first.
    pub(crate) segments: VecDeque<Segment>,
    /// Site descriptions since the start with their numbers, preceded by the one in force before.
    pub(crate) sites: Vec<(Sequence, Arc<Site>)>,
    /// When the newest event occurred: ages are measured from there.
    newest_occurred: MonotonicTime,

    pub(crate) writer: ThreadActivity,
    pub(crate) next_write: NextWrite,
    /// All events before this one are written: the operating system has them.
    pub(crate) written: Sequence,
    /// Somebody waits until all events before this one are written.
    pub(crate) urgent_end: Sequence,

    pub(crate) syncer: ThreadActivity,
    pub(crate) unsynced: Unsynced,
    /// All events before this one are on disk.
    pub(crate) synced: Sequence,

    pub(crate) cursors: FeedCursors,
    /// Whether the last run's cursors are complete.
    pub(crate) cursor_file: CursorFileCondition,
    /// Feeds whose cursors are to be saved.
    pub(crate) changed_cursors: BTreeSet<String>,
    pub(crate) saves: SaveRequests,
    /// Feeds that have a reader.
    active_feeds: BTreeMap<String, ActiveFeed>,

    /// The reserve of disk space can be given up.
    pub(crate) has_reserve: bool,
    pub(crate) faults: Faults,
    pub(crate) losses: Losses,
}

/// What was lost or damaged.
#[derive(Default)]
pub(crate) struct Losses {
    /// Events lost before every feed had delivered them.
    pub(crate) events: u64,
    /// Events in damaged parts of segments.
    pub(crate) damaged_events: u64,
    /// Bytes truncated from damaged ends at the start.
    pub(crate) truncated_bytes: u64,
    /// Files quarantined at the start.
    pub(crate) quarantined_files: u64,
}

/// Where the events after a number are.
pub(crate) enum EventLocation {
    /// In memory: a batch, possibly after a gap, and the site description in force before it.
    Memory(Vec<RecordedEvent>, Option<Arc<Site>>),
    /// In segments, up to the first event in memory.
    Segments { until: Sequence },
    /// Not there yet.
    Future,
}

impl SharedState {
    pub(crate) fn new(disk: Arc<dyn Disk>, reserve: ReserveFile, retry_pause: Duration, state: JournalState) -> Self {
        Self {
            disk,
            reserve,
            retry_pause,
            state: Mutex::new(state),
            to_write: Condvar::new(),
            to_sync: Condvar::new(),
            events_added: Notify::new(),
            sync_done: Notify::new(),
            write_done: Notify::new(),
            runs_in_steps: AtomicBool::new(false),
        }
    }

    /// The work of the threads is done in steps.
    pub(crate) fn run_in_steps(&self) {
        self.runs_in_steps.store(true, Ordering::Relaxed);
    }

    pub(crate) fn runs_in_steps(&self) -> bool {
        self.runs_in_steps.load(Ordering::Relaxed)
    }

    /// A panic while the lock was held leaves the state usable: no change of it can stop halfway in a harmful way.
    pub(crate) fn lock(&self) -> MutexGuard<'_, JournalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frees the reserve because of an error; true if that made room, so that what failed is worth another try at once.
    pub(crate) fn gives_up_reserve(&self, error: &io::Error) -> bool {
        if !is_full(error) {
            return false;
        }
        let mut state = self.lock();
        if !std::mem::take(&mut state.has_reserve) {
            return false;
        }
        state.faults.record(DiskOperation::KeepReserve, Err(error));
        drop(state);
        self.reserve.remove(&*self.disk).is_ok()
    }

    /// Begins to close the journal.
    pub(crate) fn close(&self) {
        self.lock().close();
        self.to_write.notify_all();
        self.to_sync.notify_all();
    }
}

/// The approximate size of an event in memory.
fn memory_bytes(event: &Event) -> usize {
    EVENT_BYTES + event.body.value_count() * size_of::<f64>()
}

impl JournalState {
    /// An empty journal in which `next` is the number of the next event.
    pub(crate) fn new(settings: &JournalSettings, next: Sequence, now: MonotonicTime) -> Self {
        Self {
            sync: settings.sync,
            max_bytes: settings.max_bytes,
            max_age: settings.max_age,
            phase: JournalPhase::Open,
            recent: VecDeque::new(),
            recent_bytes: 0,
            next,
            reserved_end: Sequence(u64::MAX),
            segments: VecDeque::new(),
            sites: Vec::new(),
            newest_occurred: now,
            writer: ThreadActivity::Working,
            next_write: NextWrite::Append,
            written: next,
            urgent_end: next,
            syncer: ThreadActivity::Working,
            unsynced: Unsynced::new(next),
            synced: next,
            cursors: FeedCursors::new(),
            cursor_file: CursorFileCondition::Intact,
            changed_cursors: BTreeSet::new(),
            saves: SaveRequests::default(),
            active_feeds: BTreeMap::new(),
            has_reserve: false,
            faults: Faults::default(),
            losses: Losses::default(),
        }
    }

    /// Numbers an event and keeps it in memory.
    pub(crate) fn append(&mut self, at: Moment, body: EventBody) -> Sequence {
        let sequence = self.next;
        self.next = sequence.next();
        self.newest_occurred = self.newest_occurred.max(at.monotonic);
        if let EventBody::Site(site) = &body {
            self.sites.push((sequence, Arc::clone(site)));
        }
        let event = Arc::new(Event { sequence, at: at.wall, body });
        self.recent_bytes += memory_bytes(&event);
        self.recent.push_back(RecordedEvent { event, occurred: at.monotonic });
        self.trim_memory();
        sequence
    }

    /// The number of the oldest event, or of the next one if there are none.
    pub(crate) fn oldest(&self) -> Sequence {
        let in_segments = self.segments.front().map(|segment| segment.first);
        let in_memory = self.recent.front().map(|recorded| recorded.event.sequence);
        in_segments.into_iter().chain(in_memory).min().unwrap_or(self.next)
    }

    fn first_in_memory(&self) -> Sequence {
        self.recent.front().map_or(self.next, |recorded| recorded.event.sequence)
    }

    /// Feeds may read the events before this one. A failing disk must not stop deliveries, so that feeds do not wait for
    /// a sync while there is a fault.
    fn visible_end(&self) -> Sequence {
        if self.sync == SyncPolicy::EveryEvent && !self.faults.stop_syncs() { self.synced } else { self.next }
    }

    /// Finds the events after a number and before `end`, if there is one; a batch at most.
    pub(crate) fn locate(&self, read: Sequence, end: Option<Sequence>, limit: BatchLimit) -> EventLocation {
        if let Some(until) = self.in_segments(read, end) {
            return EventLocation::Segments { until };
        }
        let end = end.map_or(self.visible_end(), |end| end.min(self.visible_end()));
        let skipped = self.recent.partition_point(|recorded| recorded.event.sequence <= read);
        let visible = self.recent.iter().skip(skipped).take_while(|recorded| recorded.event.sequence < end);
        let events = limit_batch(visible.cloned(), limit);
        match events.first() {
            None => EventLocation::Future,
            Some(first) => {
                let site = self.site_before(first.event.sequence);
                EventLocation::Memory(events, site)
            }
        }
    }

    /// The first number in memory or `end`, if there are events after `read` in segments before it.
    fn in_segments(&self, read: Sequence, end: Option<Sequence>) -> Option<Sequence> {
        let until = self.first_in_memory().min(end.unwrap_or(Sequence(u64::MAX)));
        let has_next = |segment: &Segment| segment.end > read.next() && segment.first < until;
        (read.next() < until && self.segments.iter().rev().any(has_next)).then_some(until)
    }

    /// The site description in force before the events after `read`; none if that is known only from the segments.
    pub(crate) fn site_after(&self, read: Sequence) -> Option<Arc<Site>> {
        if self.in_segments(read, None).is_some() { None } else { self.known_site(read) }
    }

    /// The site description in force before an event of this run.
    pub(crate) fn site_before(&self, sequence: Sequence) -> Option<Arc<Site>> {
        self.known_site(Sequence(sequence.0.saturating_sub(1)))
    }

    /// The newest site description up to `last`, an event of this run.
    fn known_site(&self, last: Sequence) -> Option<Arc<Site>> {
        let known = self.sites.iter().rev().find(|(sequence, _)| *sequence <= last);
        known.map(|(_, site)| Arc::clone(site))
    }

    /// Half of the reserved numbers are used: the syncer reserves more before the rest is used.
    pub(crate) fn needs_reservation(&self) -> bool {
        self.next.0.saturating_add(RESERVED_NUMBERS / 2) > self.reserved_end.0
    }

    pub(crate) fn health(&self) -> JournalHealth {
        JournalHealth {
            oldest: self.oldest().0,
            newest: self.next.0.saturating_sub(1),
            bytes: self.segments.iter().map(Segment::bytes).sum(),
            lost: self.losses.events,
            damaged: self.losses.damaged_events,
            truncated_bytes: self.losses.truncated_bytes,
            quarantined_files: self.losses.quarantined_files,
            fault: self.faults.describe(),
        }
    }
}

/// The first events, as many as the limit allows and at least one.
pub(crate) fn limit_batch(events: impl Iterator<Item = RecordedEvent>, limit: BatchLimit) -> Vec<RecordedEvent> {
    let mut values = 0;
    let fits = |recorded: &RecordedEvent| {
        let is_first = values == 0;
        values += recorded.event.body.value_count();
        is_first || values <= limit.values
    };
    events.take(limit.events).take_while(fits).collect()
}
