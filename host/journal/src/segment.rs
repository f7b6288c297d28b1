//! One file of the journal: a self-contained header, the records of its events, and a footer once the file is complete.
//!
//! The header holds the number of the first event and the site description in force before it, so that every file can be
//! read without the others and the oldest can be deleted. A file without footer was being written when the gateway ended:
//! the next start reads it through, truncates it after its last valid event and adds the footer.

#![allow(clippy::disallowed_methods, reason = "it runs at the start, in the journal's threads and in commands")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::event::{Event, Sequence};
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;

use crate::bytes::InvalidBytes;
use crate::record::{BUFFER_CAPACITY, RecordEncoder};

mod layout;
mod scan;

pub(crate) use layout::{FORMAT, read_header};
pub(crate) use scan::{ScannedSegment, repair, scan};

use layout::{FOOTER_BYTES, encode_footer, encode_header};

/// Extension of segment files; their names are the numbers of their first events.
pub(crate) const EXTENSION: &str = "events";

/// The events of a segment file and where they are in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    /// Number of the first event.
    pub(crate) first: Sequence,
    /// Number after the last event; `first` if there are no events.
    pub(crate) end: Sequence,
    /// Earliest time of an event; times need not rise, because clocks are set back.
    pub(crate) earliest: Timestamp,
    /// Latest time of an event.
    pub(crate) latest: Timestamp,
    /// Offset of the first record.
    pub(crate) start_offset: u64,
    /// Offset after the last record.
    pub(crate) end_offset: u64,
}

/// Why a file cannot be read as a segment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    #[error("it has the format {0} of a later version")]
    NewerFormat(u16),
    #[error("it is not a journal file, or its header is damaged")]
    Damaged,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<InvalidBytes> for SegmentError {
    fn from(_: InvalidBytes) -> Self {
        Self::Damaged
    }
}

impl Segment {
    /// A segment without events, whose header takes `header_bytes`.
    fn empty(path: PathBuf, first: Sequence, header_bytes: u64) -> Self {
        let (earliest, latest) = (Timestamp::default(), Timestamp::default());
        Self { path, first, end: first, earliest, latest, start_offset: header_bytes, end_offset: header_bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.end <= self.first
    }

    /// Leaves out the events from `next` on, which a later file holds because they were written again.
    pub(crate) fn end_before(&mut self, next: Sequence) {
        self.end = self.end.min(next);
    }

    /// The number of events after `after` and before `before`.
    pub(crate) fn count_between(&self, after: Sequence, before: Sequence) -> u64 {
        self.end.0.min(before.0).saturating_sub(self.first.0.max(after.0.saturating_add(1)))
    }

    /// The size of the complete file.
    pub(crate) fn bytes(&self) -> u64 {
        self.end_offset + FOOTER_BYTES as u64
    }

    fn add(&mut self, event: &Event) {
        if self.is_empty() {
            (self.earliest, self.latest) = (event.at, event.at);
        }
        self.earliest = self.earliest.min(event.at);
        self.latest = self.latest.max(event.at);
        self.end = event.sequence.next();
    }
}

/// The path of the segment whose first event has this number.
fn path(folder: &Path, first: Sequence) -> PathBuf {
    folder.join(format!("{:020}.{EXTENSION}", first.0))
}

/// Appends events to a segment file.
pub(crate) struct SegmentWriter {
    file: Arc<File>,
    segment: Segment,
    encoder: RecordEncoder,
    buffer: Vec<u8>,
}

impl SegmentWriter {
    /// Creates a file for events from `first` on.
    pub(crate) fn create(folder: &Path, first: Sequence, site: Option<&Arc<Site>>) -> io::Result<Self> {
        let path = path(folder, first);
        // A file of that name is left over from a failed attempt: event `first` is not written yet.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let header = encode_header(first, site);
        if let Err(error) = file.write_all_at(&header, 0) {
            // The next start would report a file without header as damaged.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let segment = Segment::empty(path, first, header.len() as u64);
        Ok(Self { file: Arc::new(file), segment, encoder: RecordEncoder::default(), buffer: Vec::new() })
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The file, to be synced.
    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Appends the events that follow. After an error nothing more can be appended.
    pub(crate) fn append(&mut self, events: &[Arc<Event>]) -> io::Result<()> {
        for event in events {
            self.encoder.encode(event, &mut self.buffer);
        }
        let length = self.buffer.len() as u64;
        let written = self.file.write_all_at(&self.buffer, self.segment.end_offset);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_CAPACITY);
        if let Err(error) = written {
            // The footer belongs behind the last complete record; if this fails too, the next start truncates the file.
            let _ = self.file.set_len(self.segment.end_offset);
            return Err(error);
        }
        self.segment.end_offset += length;
        events.iter().for_each(|event| self.segment.add(event));
        Ok(())
    }

    /// Completes the file with its footer; deletes it if it has no events.
    pub(crate) fn seal(self) -> io::Result<()> {
        if self.segment.is_empty() {
            return fs::remove_file(&self.segment.path);
        }
        self.file.write_all_at(&encode_footer(&self.segment), self.segment.end_offset)
    }
}
