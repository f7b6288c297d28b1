//! The handle that appends events, opens readers and closes the journal.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{EventBody, Safety, Sequence};
use bessai_domain::journal::{StartAt, SyncPolicy};
use bessai_domain::proposal::WriteStep;
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, MonotonicTime, Timestamp};
use bessai_supervision::{SupervisedThread, spawn_vital_thread};
use tokio::time::timeout;

use crate::disk::{Disk, SystemDisk};
use crate::error::OpenError;
use crate::last_verdict::last_verdict;
use crate::numbering::number_from_clock;
use crate::reader::JournalReader;
use crate::recovery::{self, OpenedFolder};
use crate::reserve::ReserveFile;
use crate::state::{JournalPhase, JournalState, SharedState};
use crate::store::Store;
use crate::syncer::Syncer;
use crate::timeline::Boot;
use crate::unfinished_writes::{for_each_write, unfinished_writes};
use crate::writer::EventWriter;

#[cfg(test)]
mod tests;

/// How long [`Journal::close`] waits for the disk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before what the disk refused is tried again.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSettings {
    /// The folder that they are kept in.
    pub folder: PathBuf,
    /// When they are synced to disk.
    pub sync: SyncPolicy,
    /// Size on disk above which the oldest events are deleted.
    pub max_bytes: u64,
    /// Age above which events are deleted.
    pub max_age: Duration,
}

/// How far a feed is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Events that it has not delivered.
    pub events: u64,
    /// The age of the oldest event that it has not delivered; 0 if it has delivered all.
    pub seconds: f64,
    /// Events that were lost before it had delivered them.
    pub lost: u64,
    /// Those of the events not delivered that it left to a backlog, to deliver newer ones first.
    pub backlog: u64,
}

impl Lag {
    /// Adds what a backlog of the feed lacks.
    pub(crate) fn add_backlog(&mut self, backlog: Self) {
        self.events += backlog.events;
        self.seconds = self.seconds.max(backlog.seconds);
        self.lost += backlog.lost;
        self.backlog += backlog.events;
    }
}

/// The journal's extent, losses and faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalHealth {
    /// Number of the oldest event.
    pub oldest: u64,
    /// Number of the newest event.
    pub newest: u64,
    /// Size on disk.
    pub bytes: u64,
    /// Events that were lost before every feed had delivered them.
    pub lost: u64,
    /// Events in damaged parts of files.
    pub damaged: u64,
    /// Bytes that were truncated from damaged files at the start.
    pub truncated_bytes: u64,
    /// Files that were quarantined at the start.
    pub quarantined_files: u64,
    /// What the disk refuses at present.
    pub fault: Option<String>,
}

/// A handle of the journal. When the last clone is dropped, the journal's threads write what is left and end.
#[derive(Clone)]
pub struct Journal(Rc<JournalHandle>);

/// What a journal runs on.
pub(crate) struct Machine {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) boot: Boot,
    pub(crate) retry_pause: Duration,
}

struct JournalHandle {
    shared: Arc<SharedState>,
    site: Option<Arc<Site>>,
    /// Joined when the journal is closed.
    threads: RefCell<Vec<SupervisedThread>>,
}

impl Journal {
    /// Opens the folder or creates it and continues after its last event. Ages are measured on the monotonic clock, which
    /// shows `now`; its wall-clock time numbers the next event if no number can be reserved on disk.
    pub fn open(settings: &JournalSettings, now: Moment) -> Result<Self, OpenError> {
        let machine = Machine { disk: Arc::new(SystemDisk), boot: Boot::current(now), retry_pause: RETRY_PAUSE };
        Self::open_on(machine, settings, now)
    }

    fn open_on(machine: Machine, settings: &JournalSettings, now: Moment) -> Result<Self, OpenError> {
        match recovery::open(&*machine.disk, &settings.folder, &machine.boot, now) {
            Ok(opened) => Self::start(machine, settings, opened, now.monotonic),
            Err(error @ OpenError::Io { .. }) if settings.sync == SyncPolicy::Memory => {
                tracing::warn!(
                    "{error}; continuing in memory: event numbers come from the clock, cursors and plugin states are \
                     lost with the process"
                );
                Ok(Self::without_folder(machine, settings, now))
            }
            Err(error) => Err(error),
        }
    }

    fn start(
        machine: Machine,
        settings: &JournalSettings,
        opened: OpenedFolder,
        now: MonotonicTime,
    ) -> Result<Self, OpenError> {
        let (journal, writer, syncer) = Self::with_workers(machine, settings, opened, now);
        let io = OpenError::io(&settings.folder);
        let mut threads = vec![spawn_vital_thread("journal-sync", move || syncer.run()).map_err(&io)?];
        if settings.sync != SyncPolicy::Memory {
            threads.push(spawn_vital_thread("journal-write", move || writer.run()).map_err(&io)?);
        }
        journal.0.threads.replace(threads);
        Ok(journal)
    }

    /// The journal, and what its threads run.
    pub(crate) fn with_workers(
        machine: Machine,
        settings: &JournalSettings,
        opened: OpenedFolder,
        now: MonotonicTime,
    ) -> (Self, EventWriter, Syncer) {
        let Machine { disk, boot, retry_pause } = machine;
        let reserve = ReserveFile::new(&settings.folder, settings.max_bytes);
        let site = opened.segments.site;
        let mut state = JournalState::new(settings, opened.next, now);
        state.segments = opened.segments.segments;
        state.sites.extend(site.iter().map(|site| (Sequence(0), Arc::clone(site))));
        state.reserved_end = opened.reserved_end;
        state.cursors = opened.cursors;
        state.cursor_file = opened.cursor_file_condition;
        state.losses.truncated_bytes = opened.segments.truncated_bytes;
        state.losses.quarantined_files = opened.segments.quarantined_files;
        state.has_reserve = reserve.exists(&*disk);
        let shared = Arc::new(SharedState::new(Arc::clone(&disk), reserve, retry_pause, state));
        let syncer = Syncer {
            shared: Arc::clone(&shared),
            sync: settings.sync,
            folder: settings.folder.clone(),
            reserve_tried: None,
            cursor_file: opened.cursor_file,
            reservation_file: opened.reservation_file,
            lock: opened.lock,
        };
        let store = Store::new(disk, &settings.folder, settings.max_bytes, boot);
        let writer = EventWriter::new(Arc::clone(&shared), store, settings.sync);
        (Self(Rc::new(JournalHandle { shared, site, threads: RefCell::default() })), writer, syncer)
    }

    /// What its threads share.
    pub(crate) fn shared(&self) -> &Arc<SharedState> {
        &self.0.shared
    }

    fn without_folder(machine: Machine, settings: &JournalSettings, now: Moment) -> Self {
        let next = number_from_clock(now.wall);
        let mut state = JournalState::new(settings, next, now.monotonic);
        state.phase = JournalPhase::Ended;
        let reserve = ReserveFile::new(&settings.folder, settings.max_bytes);
        let shared = Arc::new(SharedState::new(machine.disk, reserve, machine.retry_pause, state));
        Self(Rc::new(JournalHandle { shared, site: None, threads: RefCell::default() }))
    }

    /// The site description in force when the journal was opened.
    pub fn site(&self) -> Option<&Arc<Site>> {
        self.0.site.as_ref()
    }

    /// The last safety verdict on disk: the record of trips, which a restart does not reset. Reads the newest segments; to be
    /// called before events are appended.
    pub fn last_verdict(&self) -> Option<Safety> {
        let shared = &self.0.shared;
        let segments = shared.lock().segments.clone();
        last_verdict(&*shared.disk, segments.iter())
    }

    /// Appends an event and returns its number. Never waits for the disk.
    pub fn append(&self, at: Moment, body: EventBody) -> Sequence {
        let shared = &self.0.shared;
        let mut state = shared.lock();
        let sequence = state.append(at, body);
        let wakes_writer = state.writer.needs_wakeup();
        let wakes_syncer = state.needs_reservation();
        // With a sync for every event the writer wakes them, after the sync.
        let wakes_readers = state.sync != SyncPolicy::EveryEvent;
        drop(state);
        if wakes_writer {
            shared.to_write.notify_one();
        }
        if wakes_syncer {
            shared.to_sync.notify_one();
        }
        if wakes_readers {
            shared.events_added.notify_waiters();
        }
        sequence
    }

    /// Has an event written at once, and waits until the operating system has it: from then on it outlasts the process, though
    /// not a power failure. False if the journal is in memory or closed, or the disk refuses to write.
    pub async fn written(&self, sequence: Sequence) -> bool {
        let shared = &self.0.shared;
        loop {
            let write_done = shared.write_done.notified();
            {
                let mut state = shared.lock();
                if state.written > sequence {
                    return true;
                }
                if !state.urge(sequence) {
                    return false;
                }
            }
            shared.to_write.notify_one();
            write_done.await;
        }
    }

    /// The register writes that are announced and have no outcome: the process ended before. Reads the newest segments; to be
    /// called before events are appended.
    pub fn unfinished_writes(&self) -> Vec<(Sequence, WriteStep)> {
        let shared = &self.0.shared;
        let segments = shared.lock().segments.clone();
        unfinished_writes(&*shared.disk, &segments)
    }

    /// Shows the events of set-points and register writes in the newest segments, oldest first, with the times at which they
    /// were recorded. To be called before events are appended.
    pub fn for_each_write(&self, visit: impl FnMut(Timestamp, &WriteStep)) {
        let shared = &self.0.shared;
        let segments = shared.lock().segments.clone();
        for_each_write(&*shared.disk, &segments, visit);
    }

    /// Opens a reader for a feed, which continues at the feed's cursor or, without one, at `start`; also returns the state
    /// of its plugin. While a feed has a reader its cursor is kept, and events that are deleted before it has read them
    /// are counted.
    pub fn reader(&self, feed: &str, start: StartAt) -> (JournalReader, PluginState) {
        JournalReader::new(&self.0.shared, feed, start)
    }

    /// Whether a feed of that name has a cursor.
    pub fn has_cursor(&self, feed: &str) -> bool {
        self.0.shared.lock().cursors.contains_key(feed)
    }

    /// How far a feed is behind.
    pub fn lag(&self, feed: &str, now: MonotonicTime) -> Lag {
        self.0.shared.lock().lag(feed, now)
    }

    /// The journal's extent, losses and faults.
    pub fn health(&self) -> JournalHealth {
        self.0.shared.lock().health()
    }

    /// Brings everything to disk and ends the threads. Does not wait if one of them has failed.
    pub async fn close(&self) {
        let shared = &self.0.shared;
        let threads = self.0.threads.take();
        if threads.iter().any(SupervisedThread::has_failed) {
            tracing::error!("a thread of the journal has failed; the newest events may be lost");
            return;
        }
        shared.close();
        let ended = async {
            loop {
                let sync_done = shared.sync_done.notified();
                if shared.lock().phase == JournalPhase::Ended {
                    return;
                }
                sync_done.await;
            }
        };
        if timeout(CLOSE_TIMEOUT, ended).await.is_err() {
            tracing::error!(
                "the journal was not synced within {CLOSE_TIMEOUT:?}; shutting down, the newest events may be lost"
            );
            return;
        }
        // They have done their last work, so that this does not wait for the disk.
        threads.into_iter().for_each(SupervisedThread::join);
    }
}

impl Drop for JournalHandle {
    fn drop(&mut self) {
        self.shared.close();
    }
}
