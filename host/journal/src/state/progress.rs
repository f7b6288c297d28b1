//! How far writing, syncing and closing have come.

use std::sync::Arc;

use bessai_domain::event::Sequence;
use bessai_domain::journal::SyncPolicy;

use super::JournalState;
use crate::disk::OpenFile;

/// How far the journal has shut down. It only moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JournalPhase {
    /// Events are appended.
    Open,
    /// The journal closes: the writer writes the events that are left.
    Flushing,
    /// The writer has ended: the syncer does its last round.
    LastSync,
    /// No thread is running any more, or the journal has no folder and never had threads.
    Ended,
}

/// What a thread does between two notifications; notifying one that is working would be a system call for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadActivity {
    /// It looks for new work before it waits.
    Working,
    /// It waits to be notified.
    Waiting,
}

impl ThreadActivity {
    /// Whether the thread has to be notified of new work; it counts as working from here on.
    pub(crate) fn needs_wakeup(&mut self) -> bool {
        std::mem::replace(self, Self::Working) == Self::Waiting
    }
}

/// Where the writer puts the next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextWrite {
    /// Into the current segment.
    Append,
    /// Into a new segment.
    NewSegment,
    /// A sync failed: into a new segment, after everything that is not known to be on disk.
    Rewrite,
}

impl NextWrite {
    /// Ends the current segment; a rewrite does that too.
    pub(super) fn begin_segment(&mut self) {
        if *self == Self::Append {
            *self = Self::NewSegment;
        }
    }
}

/// What is written but not known to be on disk.
pub(crate) struct Unsynced {
    pub(crate) files: Vec<OpenFile>,
    /// Number after the last event in the files.
    pub(crate) end: Sequence,
    /// A file was created, so that the folder is to be synced too.
    pub(crate) has_new_file: bool,
}

impl Unsynced {
    pub(super) fn new(end: Sequence) -> Self {
        Self { files: Vec::new(), end, has_new_file: false }
    }

    /// Adds files, each of them once.
    pub(crate) fn add(&mut self, files: impl IntoIterator<Item = OpenFile>) {
        for file in files {
            if !self.files.iter().any(|known| Arc::ptr_eq(known, &file)) {
                self.files.push(file);
            }
        }
    }
}

/// Requests to save the cursors now. Each has a number; a finished round fulfils all that were made before it.
#[derive(Default)]
pub(crate) struct SaveRequests {
    requested: u64,
    done: u64,
}

impl SaveRequests {
    /// Requests a save and returns the request's number.
    pub(crate) fn request(&mut self) -> u64 {
        self.requested += 1;
        self.requested
    }

    /// The number of the newest request.
    pub(crate) fn newest(&self) -> u64 {
        self.requested
    }

    pub(crate) fn finish(&mut self, request: u64) {
        self.done = self.done.max(request);
    }

    pub(crate) fn is_done(&self, request: u64) -> bool {
        self.done >= request
    }

    pub(crate) fn is_pending(&self) -> bool {
        !self.is_done(self.requested)
    }
}

impl JournalState {
    /// Begins to close; a journal in memory has no writer to wait for.
    pub(crate) fn close(&mut self) {
        if self.phase == JournalPhase::Open {
            self.phase = if self.sync == SyncPolicy::Memory { JournalPhase::LastSync } else { JournalPhase::Flushing };
        }
    }

    /// There are events for the writer.
    pub(crate) fn has_unwritten(&self) -> bool {
        self.written != self.next || self.next_write == NextWrite::Rewrite
    }

    /// Somebody waits for the next write, so that it does not wait for more events.
    pub(crate) fn is_write_urgent(&self) -> bool {
        self.written < self.urgent_end
    }

    /// Has the event written at once; false if no write is to be expected, because nothing is written or the disk refuses it.
    pub(crate) fn urge(&mut self, sequence: Sequence) -> bool {
        let is_writing = matches!(self.phase, JournalPhase::Open | JournalPhase::Flushing);
        if self.sync == SyncPolicy::Memory || !is_writing || self.faults.stop_writes() {
            return false;
        }
        self.urgent_end = self.urgent_end.max(sequence.next());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_done_after_the_round_that_began_later() {
        let mut saves = SaveRequests::default();
        assert!(!saves.is_pending());
        let (first, round) = (saves.request(), saves.newest());
        let second = saves.request();
        saves.finish(round);
        assert_eq!((saves.is_done(first), saves.is_done(second), saves.is_pending()), (true, false, true));
        saves.finish(second);
        assert!(!saves.is_pending());
    }

    #[test]
    fn a_rewrite_is_not_reduced_to_a_new_segment() {
        for (before, after) in [
            (NextWrite::Append, NextWrite::NewSegment),
            (NextWrite::NewSegment, NextWrite::NewSegment),
            (NextWrite::Rewrite, NextWrite::Rewrite),
        ] {
            let mut next_write = before;
            next_write.begin_segment();
            assert_eq!(next_write, after);
        }
    }
}
