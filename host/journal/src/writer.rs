//! The thread that writes events: it hands them to the operating system shortly after they are appended, so that neither
//! a slow nor a full disk delays a reading.

#![allow(clippy::disallowed_methods, reason = "it runs in a thread of its own")]

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bessai_domain::event::{EventBody, RecordedEvent};
use bessai_domain::journal::SyncPolicy;
use bessai_domain::site::Site;
use bessai_supervision::fault;

use crate::disk::OpenFile;
use crate::state::{
    DiskOperation, JournalPhase, JournalState, NextWrite, SharedState, ThreadActivity, is_full, panicked,
};
use crate::store::{AppendedSegment, Store};

/// Time between two writes while events arrive quickly: each write costs a system call and a wake-up, some 20 µs. A kill
/// costs the events of this time.
const WRITE_INTERVAL: Duration = Duration::from_millis(5);
/// Events in one write.
const BATCH_EVENTS: usize = 1024;

/// Writes events to the store.
pub(crate) struct EventWriter {
    shared: Arc<SharedState>,
    store: Store,
    /// Each write is synced before feeds see its events.
    syncs_each_write: bool,
    last_write: Instant,
    /// Events arrive quickly: the writer sleeps until the next write instead of being woken by each event.
    is_grouping: bool,
    /// Files whose events are written again. They are deleted first: after a power failure one that is still there would
    /// hide the events in the file that replaces it.
    obsolete: Vec<PathBuf>,
}

/// The next write.
struct WriteBatch {
    events: Vec<RecordedEvent>,
    /// The site description in force before the events.
    site: Option<Arc<Site>>,
    begins_segment: bool,
    /// Files whose events are written again.
    obsolete: Vec<PathBuf>,
}

impl EventWriter {
    pub(crate) fn new(shared: Arc<SharedState>, store: Store, sync: SyncPolicy) -> Self {
        let syncs_each_write = sync == SyncPolicy::EveryEvent;
        let (last_write, is_grouping, obsolete) = (Instant::now(), false, Vec::new());
        Self { shared, store, syncs_each_write, last_write, is_grouping, obsolete }
    }

    /// Writes until the journal closes and nothing is left to write. After a panic it starts over with what is not known to be
    /// on disk.
    pub(crate) fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.write_until_closed())).is_err() {
            self.store.abandon();
            let mut state = self.shared.lock();
            state.next_write = NextWrite::Rewrite;
            state.faults.record(DiskOperation::Write, Err(&panicked()));
            drop(state);
            self.shared.write_done.notify_waiters();
            thread::park_timeout(self.shared.retry_pause);
        }
        self.end();
    }

    /// Does one write, if there is something to write: what the thread does between two pauses. False if there is nothing, or
    /// the disk refuses it.
    pub(crate) fn step(&mut self) -> bool {
        let mut state = self.shared.lock();
        if !state.has_unwritten() {
            return false;
        }
        let batch = take_batch(&mut state);
        drop(state);
        let written = self.write_batch(batch);
        written.inspect_err(|error| self.shared.lock().faults.record(DiskOperation::Write, Err(error))).is_ok()
    }

    /// Ends the current segment and leaves the rest to the syncer.
    pub(crate) fn end(mut self) {
        let sealed = self.store.seal();
        let mut state = self.shared.lock();
        state.unsynced.add(sealed);
        state.phase = JournalPhase::LastSync;
        drop(state);
        self.shared.to_sync.notify_all();
        self.shared.write_done.notify_waiters();
    }

    fn write_until_closed(&mut self) {
        while let Some(batch) = self.next_batch() {
            fault::point("journal-write");
            if let Err(error) = self.write_batch(batch)
                && self.gives_up_after(&error)
            {
                return;
            }
        }
    }

    fn write_batch(&mut self, batch: WriteBatch) -> io::Result<()> {
        if batch.begins_segment {
            let sealed = self.store.seal();
            self.shared.lock().unsynced.add(sealed);
        }
        self.obsolete.extend(batch.obsolete);
        self.last_write = Instant::now();
        self.write(&batch.events, batch.site.as_ref())
    }

    fn write(&mut self, events: &[RecordedEvent], site: Option<&Arc<Site>>) -> io::Result<()> {
        while let Some(path) = self.obsolete.last() {
            self.store.delete(path)?;
            self.obsolete.pop();
        }
        let appended = self.store.append(events, site)?;
        appended.map_or(Ok(()), |appended| self.record(appended))
    }

    /// Waits for events; none when the journal closes and nothing is left to write.
    fn next_batch(&mut self) -> Option<WriteBatch> {
        if self.is_grouping {
            self.pause();
        }
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        self.is_grouping &= state.has_unwritten();
        while !state.has_unwritten() && state.phase == JournalPhase::Open {
            state.writer = ThreadActivity::Waiting;
            state = shared.to_write.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writer = ThreadActivity::Working;
        if !state.has_unwritten() {
            return None;
        }
        let may_wait = state.phase == JournalPhase::Open && !self.syncs_each_write && !state.is_write_urgent();
        if may_wait && self.last_write.elapsed() < WRITE_INTERVAL {
            drop(state);
            self.pause();
            self.is_grouping = true;
            state = shared.lock();
        }
        Some(take_batch(&mut state))
    }

    /// Sleeps until the next write is due, or somebody waits for it.
    fn pause(&self) {
        let left = WRITE_INTERVAL.saturating_sub(self.last_write.elapsed());
        let may_wait = |state: &mut JournalState| !state.is_write_urgent();
        drop(self.shared.to_write.wait_timeout_while(self.shared.lock(), left, may_wait));
    }

    /// Records what was appended. After an error it is not on disk and has to be written again.
    fn record(&mut self, appended: AppendedSegment) -> io::Result<()> {
        let AppendedSegment { segment, files, is_new } = appended;
        if self.syncs_each_write
            && let Err(error) = self.sync(&files, is_new)
        {
            // Syncing the same file again would succeed although its data is lost: the retry needs a new file.
            drop(self.store.seal());
            return Err(error);
        }
        let mut state = self.shared.lock();
        if state.next_write == NextWrite::Rewrite {
            if is_new {
                self.obsolete.push(segment.path);
            }
            return Ok(());
        }
        if self.syncs_each_write {
            state.synced = segment.end;
        } else {
            state.unsynced.end = segment.end;
        }
        state.unsynced.add(files);
        state.unsynced.has_new_file |= is_new && !self.syncs_each_write;
        state.faults.record(DiskOperation::Write, Ok(()));
        state.record_written(segment);
        let removed = state.trim_segments();
        let wakes_syncer = state.syncer.needs_wakeup();
        drop(state);
        self.shared.write_done.notify_waiters();
        removed.iter().for_each(|path| self.delete(path));
        if wakes_syncer {
            self.shared.to_sync.notify_one();
        }
        if self.syncs_each_write {
            self.shared.events_added.notify_waiters();
        }
        Ok(())
    }

    /// Brings what was written to disk, and with a new file its entry in the folder.
    fn sync(&self, files: &[OpenFile], is_new: bool) -> io::Result<()> {
        files.iter().try_for_each(|file| file.sync())?;
        if is_new { self.store.sync_folder() } else { Ok(()) }
    }

    /// Frees space if the disk is full, or pauses before the retry. True if the journal closes: there is no retry.
    fn gives_up_after(&self, error: &io::Error) -> bool {
        if self.shared.gives_up_reserve(error) {
            return false;
        }
        let mut state = self.shared.lock();
        state.faults.record(DiskOperation::Write, Err(error));
        self.shared.events_added.notify_waiters();
        let removed = if is_full(error) { state.free_space() } else { None };
        if let Some(path) = removed {
            drop(state);
            self.delete(&path);
            return false;
        }
        self.shared.write_done.notify_waiters();
        let is_open = |state: &mut JournalState| state.phase == JournalPhase::Open;
        let waited = self.shared.to_write.wait_timeout_while(state, self.shared.retry_pause, is_open);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.phase == JournalPhase::Open {
            return false;
        }
        let events = state.next.0.saturating_sub(state.written.0);
        tracing::error!(events, "{events} events could not be written before the shutdown and are lost");
        true
    }

    /// Deletes a file that the journal does not need any more.
    fn delete(&self, path: &Path) {
        if let Err(error) = self.store.delete(path) {
            tracing::warn!("failed to delete {}: {error}; it continues to use disk space", path.display());
        }
    }
}

/// Takes what is to be written next: a site description begins a segment, so that only the first event is one.
fn take_batch(state: &mut JournalState) -> WriteBatch {
    let obsolete = match state.next_write {
        NextWrite::Rewrite => state.rewind_to_synced(),
        NextWrite::Append | NextWrite::NewSegment => Vec::new(),
    };
    let begins_segment = std::mem::replace(&mut state.next_write, NextWrite::Append) != NextWrite::Append;
    // Numbers rise by one, so that the unwritten events are the last ones.
    let count = usize::try_from(state.next.0.saturating_sub(state.written.0)).unwrap_or(usize::MAX);
    let unwritten = state.recent.iter().skip(state.recent.len().saturating_sub(count)).take(BATCH_EVENTS).enumerate();
    let begins_next = |recorded: &RecordedEvent| matches!(recorded.event.body, EventBody::Site(_));
    let events = unwritten.take_while(|(index, recorded)| *index == 0 || !begins_next(recorded));
    let events: Vec<_> = events.map(|(_, recorded)| recorded.clone()).collect();
    let site = events.first().and_then(|first| state.site_before(first.event.sequence));
    WriteBatch { events, site, begins_segment, obsolete }
}
