//! The thread that syncs: it brings written events to disk, saves the feeds' cursors and reserves event numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::marker;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bessai_domain::event::Sequence;
use bessai_domain::journal::SyncPolicy;
use bessai_supervision::fault;

use crate::cursors::{CursorFile, FeedCursors};
use crate::reservation::{Reservation, ReservationFile};
use crate::state::{DiskOperation, JournalPhase, JournalState, NextWrite, SharedState, ThreadActivity};

/// Syncs a file's data to disk. It is passed in, so that a test can make it fail.
pub(crate) type SyncFile = Arc<dyn Fn(&File) -> io::Result<()> + Send + marker::Sync>;

/// Pause after a round that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long cursor changes are collected where the settings give no interval.
const CURSOR_INTERVAL: Duration = Duration::from_secs(1);

/// Syncs events and saves cursors in rounds.
pub(crate) struct Syncer {
    pub(crate) shared: Arc<SharedState>,
    pub(crate) sync: SyncPolicy,
    pub(crate) sync_file: SyncFile,
    pub(crate) folder: File,
    pub(crate) cursor_file: CursorFile,
    pub(crate) reservation_file: ReservationFile,
    /// Locks the folder until the last round is done.
    pub(crate) lock: File,
}

/// What one round brings to disk.
struct SyncRound {
    files: Vec<Arc<File>>,
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
    /// Does rounds until the last one after the end of the writer.
    pub(crate) fn run(mut self) {
        let mut succeeded = true;
        loop {
            let round = self.next_round(succeeded);
            fault::point("journal-sync");
            let is_last = round.is_last;
            succeeded = self.execute(round);
            if is_last {
                break;
            }
        }
        drop(self.lock);
        self.shared.lock().phase = JournalPhase::Ended;
        self.shared.sync_done.notify_waiters();
    }

    /// Waits for something to do and then, unless it is urgent, for more of it.
    fn next_round(&self, succeeded: bool) -> SyncRound {
        let collected = match self.sync {
            SyncPolicy::Interval(interval) => interval,
            SyncPolicy::EveryEvent | SyncPolicy::Memory => CURSOR_INTERVAL,
        };
        let mut state = self.shared.lock();
        if !succeeded {
            state = self.wait_until(state, RETRY_PAUSE, |state| state.phase == JournalPhase::LastSync);
        }
        while !self.has_work(&state) {
            state.syncer = ThreadActivity::Waiting;
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
        let saved = if round.changed_cursors.is_empty() {
            Ok(())
        } else {
            self.cursor_file.write(&round.changed_cursors, &round.all_cursors)
        };
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
            state.faults.record(DiskOperation::Reserve, reserved.as_ref().copied());
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
            (self.sync_file)(&self.folder)?;
        }
        round.files.iter().try_for_each(|file| (self.sync_file)(file))
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
fn is_urgent(state: &JournalState) -> bool {
    state.saves.is_pending() || state.needs_reservation() || state.phase == JournalPhase::LastSync
}
