//! A journal without threads, for simulations: the caller does the threads' work in steps, whenever it chooses.

use std::sync::Arc;

use bessai_domain::journal::SyncPolicy;
use bessai_domain::time::Moment;

use crate::disk::SystemDisk;
use crate::error::OpenError;
use crate::journal::{Journal, JournalSettings, Machine, RETRY_PAUSE};
use crate::recovery;
use crate::state::{JournalPhase, SharedState};
use crate::syncer::{Syncer, is_urgent};
use crate::timeline::Boot;
use crate::writer::EventWriter;

/// The work of the journal's threads. Without steps nothing is written, and dropping it is the end of the process.
pub struct JournalSteps {
    shared: Arc<SharedState>,
    /// None when the writer has ended, or a journal in memory has none.
    writer: Option<EventWriter>,
    /// None when the last round is done.
    syncer: Option<Syncer>,
}

impl Journal {
    /// Opens the folder like [`Journal::open`], without threads. `boot` identifies what the monotonic clock counts from.
    pub fn open_in_steps(
        settings: &JournalSettings,
        now: Moment,
        boot: &str,
    ) -> Result<(Self, JournalSteps), OpenError> {
        let machine = Machine { disk: Arc::new(SystemDisk), boot: Boot(boot.into()), retry_pause: RETRY_PAUSE };
        let opened = recovery::open(&*machine.disk, &settings.folder, &machine.boot, now)?;
        let (journal, writer, syncer) = Self::with_workers(machine, settings, opened, now.monotonic);
        let shared = Arc::clone(journal.shared());
        shared.run_in_steps();
        let writer = (settings.sync != SyncPolicy::Memory).then_some(writer);
        Ok((journal, JournalSteps { shared, writer, syncer: Some(syncer) }))
    }
}

impl JournalSteps {
    /// The writer's next step: one write, or its end when the journal closes. False if there is nothing to write, or the disk
    /// refuses it.
    pub fn write(&mut self) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        let has_written = writer.step();
        if self.shared.lock().phase == JournalPhase::Flushing && !has_written {
            self.writer.take().into_iter().for_each(EventWriter::end);
        }
        has_written
    }

    /// The syncer's next round.
    pub fn sync(&mut self) {
        let is_last = self.syncer.as_mut().is_some_and(Syncer::step);
        if is_last {
            self.syncer.take().into_iter().for_each(Syncer::end);
        }
    }

    /// Whether somebody waits for the syncer.
    pub fn is_urgent(&self) -> bool {
        self.syncer.is_some() && is_urgent(&self.shared.lock())
    }

    /// Whether there is something to sync or to save.
    pub fn has_unsynced(&self) -> bool {
        let state = self.shared.lock();
        !state.unsynced.files.is_empty() || !state.changed_cursors.is_empty()
    }

    /// Whether the journal is closed.
    pub fn has_ended(&self) -> bool {
        self.syncer.is_none()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bessai_domain::event::{EventBody, Sequence};
    use bessai_domain::journal::StartAt;
    use bessai_domain::ports::Events;
    use bessai_domain::time::Timestamp;

    use super::*;

    const AT: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);

    fn open(folder: &std::path::Path) -> (Journal, JournalSteps) {
        let sync = SyncPolicy::Interval(Duration::from_secs(1));
        let max_age = Duration::from_hours(1);
        let settings = JournalSettings { folder: folder.to_owned(), sync, max_bytes: 1 << 20, max_age };
        Journal::open_in_steps(&settings, Moment::by_wall_clock(AT), "boot").unwrap()
    }

    #[tokio::test]
    async fn only_steps_write_and_only_what_was_written_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, mut steps) = open(folder.path());
        let append = |journal: &Journal| journal.append(Moment::by_wall_clock(AT), EventBody::Heartbeat);
        assert_eq!(append(&journal), Sequence(1));
        assert!(steps.write() && !steps.write());
        assert!(steps.has_unsynced());
        append(&journal);
        drop((journal, steps));
        let (journal, _steps) = open(folder.path());
        let (mut reader, _) = journal.reader("feed", StartAt::Oldest);
        // The segment is read without a thread.
        assert_eq!(reader.next().await.len(), 1);
        assert!(append(&journal) > Sequence(2));
    }

    #[tokio::test]
    async fn closing_ends_with_the_last_steps() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, mut steps) = open(folder.path());
        journal.append(Moment::by_wall_clock(AT), EventBody::Heartbeat);
        let close = async {
            tokio::task::yield_now().await;
            while steps.write() {}
            assert!(steps.is_urgent() && !steps.has_ended());
            steps.sync();
            assert!(steps.has_ended());
        };
        tokio::join!(biased; journal.close(), close);
    }
}
