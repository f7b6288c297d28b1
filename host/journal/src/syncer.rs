//! The thread that syncs: it brings written events to disk, saves the feeds' cursors and reserves event numbers.

#![allow(clippy::disallowed_methods, reason = "it runs in a thread of its own")]

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bessai_domain::event::Sequence;
use bessai_domain::journal::SyncPolicy;
use bessai_supervision::fault;

use crate::cursors::{CursorFile, FeedCursors};
use crate::disk::{FolderLock, OpenFile};
use crate::reservation::{Reservation, ReservationFile};
use crate::state::{DiskOperation, JournalPhase, JournalState, NextWrite, SharedState, ThreadActivity, panicked};

/// Time between two tries to create the reserve of disk space.
const RESERVE_INTERVAL: Duration = Duration::from_secs(1);
/// How long cursor changes are collected where the settings give no interval.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// Syncs events and saves cursors in rounds.
pub(crate) struct Syncer {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) sync: SyncPolicy,
    pub(crate) folder: PathBuf,
    /// When the reserve of disk space was last tried to be created.
    pub(crate) reserve_tried: Option<Instant>,
    pub(crate) cursor_file: CursorFile,
    pub(crate) reservation_file: ReservationFile,
    /// Locks the folder until the last round is done.
    pub(crate) lock: FolderLock,
}

/// What one round brings to disk.
struct SyncRound {
    files: Vec<OpenFile>,
    /// Number after the last event in the files.
    end: Sequence,
    syncs_folder: bool,
    changed_cursors: FeedCursors,
    /// All cursors, if some have changed.
    all_cursors: FeedCursors,
    /// The newest request to save the cursors.
    save_request: u64,
    reservation: Option<Reservation>,
    is_last: bool,
}

impl Syncer {
    /// Does rounds until the last one after the end of the writer. After a panic it starts over with what is not known to be
    /// on disk.
    pub(crate) fn run(mut self) {
        while catch_unwind(AssertUnwindSafe(|| self.do_rounds())).is_err() {
            let mut state = self.shared.lock();
            if self.sync != SyncPolicy::EveryEvent {
                state.next_write = NextWrite::Rewrite;
            }
            state.unsynced.has_new_file = true;
            state.changed_cursors = state.cursors.keys().cloned().collect();
            let operation = match self.sync {
                SyncPolicy::Memory => DiskOperation::SaveCursors,
                SyncPolicy::Interval(_) | SyncPolicy::EveryEvent => DiskOperation::Sync,
            };
            state.faults.record(operation, Err(&panicked()));
            drop(state);
            self.shared.to_write.notify_one();
            thread::park_timeout(self.shared.retry_pause);
        }
        self.end();
    }

    /// Does one round: what the thread does between two pauses. True if it was the last one.
    pub(crate) fn step(&mut self) -> bool {
        let round = take_round(&mut self.shared.lock());
        let is_last = round.is_last;
        self.execute(round);
        is_last
    }

    /// Releases the folder.
    pub(crate) fn end(self) {
        drop(self.lock);
        self.shared.lock().phase = JournalPhase::Ended;
        self.shared.sync_done.notify_waiters();
    }

    fn do_rounds(&mut self) {
        let mut succeeded = true;
        loop {
            let round = self.next_round(succeeded);
            fault::point("journal-sync");
            let is_last = round.is_last;
            succeeded = self.execute(round);
            if is_last {
                return;
            }
            if succeeded {
                self.keep_reserve();
            }
        }
    }

    /// Waits for something to do and then, unless it is urgent, for more of it.
    fn next_round(&self, succeeded: bool) -> SyncRound {
        let collected = match self.sync {
            SyncPolicy::Interval(interval) => interval,
            SyncPolicy::EveryEvent | SyncPolicy::Memory => CURSOR_INTERVAL,
        };
        let mut state = self.shared.lock();
        if !succeeded {
            state = self.wait_until(state, self.shared.retry_pause, |state| state.phase == JournalPhase::LastSync);
        }
        while !self.has_work(&state) {
            state.syncer = ThreadActivity::Waiting;
            if self.lacks_reserve(&state) {
                // Nobody tells when the disk has room for it: an empty round, then the next try.
                state = self.wait_until(state, RESERVE_INTERVAL, |state| self.has_work(state));
                break;
            }
            state = self.shared.to_sync.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // What is added from here on is part of this round: it need not wake the syncer.
        state.syncer = ThreadActivity::Working;
        state = self.wait_until(state, collected, is_urgent);
        take_round(&mut state)
    }

    fn has_work(&self, state: &JournalState) -> bool {
        let has_changes = !(state.unsynced.files.is_empty() && state.changed_cursors.is_empty());
        (has_changes && self.sync != SyncPolicy::Memory) || is_urgent(state)
    }

    fn lacks_reserve(&self, state: &JournalState) -> bool {
        self.sync != SyncPolicy::Memory && !state.has_reserve
    }

    /// Waits until the condition holds, at most for `time`.
    fn wait_until<'a>(
        &self,
        state: MutexGuard<'a, JournalState>,
        time: Duration,
        condition: impl Fn(&JournalState) -> bool,
    ) -> MutexGuard<'a, JournalState> {
        let waited = self.shared.to_sync.wait_timeout_while(state, time, |state| !condition(state));
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Does a round; true if all of it is on disk.
    fn execute(&mut self, round: SyncRound) -> bool {
        let synced = self.sync_files(&round);
        let saved = if round.changed_cursors.is_empty() { Ok(()) } else { self.save_cursors(&round) };
        let reserved = round.reservation.map_or(Ok(()), |reservation| self.reservation_file.write(reservation));
        let mut state = self.shared.lock();
        self.record_sync(&mut state, &round, synced.as_ref().copied());
        if saved.is_err() || !round.changed_cursors.is_empty() {
            state.faults.record(DiskOperation::SaveCursors, saved.as_ref().copied());
        }
        if saved.is_err() {
            state.changed_cursors.extend(round.changed_cursors.into_keys());
        }
        if let Some(reservation) = round.reservation {
            state.faults.record(DiskOperation::ReserveNumbers, reserved.as_ref().copied());
            if reserved.is_ok() {
                state.reserved_end = reservation.end;
            }
        }
        // Finished even if the disk failed: those who wait must not wait for its repair.
        state.saves.finish(round.save_request);
        drop(state);
        self.shared.to_write.notify_one();
        self.shared.sync_done.notify_waiters();
        synced.is_ok() && saved.is_ok() && reserved.is_ok()
    }

    fn sync_files(&self, round: &SyncRound) -> io::Result<()> {
        if round.syncs_folder {
            self.shared.disk.sync_folder(&self.folder)?;
        }
        round.files.iter().try_for_each(|file| file.sync())
    }

    fn save_cursors(&mut self, round: &SyncRound) -> io::Result<()> {
        let disk = &*self.shared.disk;
        match self.cursor_file.write(disk, &round.changed_cursors, &round.all_cursors) {
            Err(error) if self.shared.gives_up_reserve(&error) => {
                self.cursor_file.write(disk, &round.changed_cursors, &round.all_cursors)
            }
            outcome => outcome,
        }
    }

    /// Creates the reserve of disk space if there is none and the disk has room for it.
    fn keep_reserve(&mut self) {
        let is_needed = self.lacks_reserve(&self.shared.lock());
        let is_due = self.reserve_tried.is_none_or(|tried| tried.elapsed() >= RESERVE_INTERVAL);
        if !is_needed || !is_due {
            return;
        }
        self.reserve_tried = Some(Instant::now());
        let created = self.shared.reserve.create(&*self.shared.disk);
        let mut state = self.shared.lock();
        state.has_reserve = created.is_ok();
        state.faults.record(DiskOperation::KeepReserve, created.as_ref().copied());
    }

    fn record_sync(&self, state: &mut JournalState, round: &SyncRound, synced: Result<(), &io::Error>) {
        if synced.is_err() {
            state.unsynced.has_new_file |= round.syncs_folder;
            state.unsynced.end = state.synced;
        }
        if self.sync != SyncPolicy::EveryEvent {
            match synced {
                Ok(()) => state.synced = state.synced.max(round.end),
                // Syncing the same files again would succeed although their data is lost.
                Err(_) => state.next_write = NextWrite::Rewrite,
            }
        }
        if synced.is_err() || !round.files.is_empty() {
            state.faults.record(DiskOperation::Sync, synced);
        }
    }
}

fn take_round(state: &mut JournalState) -> SyncRound {
    let changed = std::mem::take(&mut state.changed_cursors);
    let with_cursor = |feed: String| state.cursors.get(&feed).map(|cursor| (feed.clone(), cursor.clone()));
    let changed_cursors: BTreeMap<_, _> = changed.into_iter().filter_map(with_cursor).collect();
    let is_last = state.phase == JournalPhase::LastSync;
    let reservation = if is_last {
        Some(Reservation { end: state.next, is_exact: true })
    } else {
        state.needs_reservation().then(|| Reservation::ahead_of(state.next))
    };
    SyncRound {
        files: std::mem::take(&mut state.unsynced.files),
        end: state.unsynced.end,
        syncs_folder: std::mem::take(&mut state.unsynced.has_new_file),
        all_cursors: if changed_cursors.is_empty() { FeedCursors::new() } else { state.cursors.clone() },
        changed_cursors,
        save_request: state.saves.newest(),
        reservation,
        is_last,
    }
}

/// Somebody waits for the disk.
pub(crate) fn is_urgent(state: &JournalState) -> bool {
    state.saves.is_pending() || state.needs_reservation() || state.phase == JournalPhase::LastSync
}
