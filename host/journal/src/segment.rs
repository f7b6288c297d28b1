//! One file of the journal: a self-contained header, the records of its events, and a footer once the file is complete.
//!
//! The header holds the number of the first event, the site description in force before it and the distance of the two
//! clocks, so that every file can be read without the others and the oldest can be deleted. A file without footer was being
//! written when the gateway ended: the next start reads it through, truncates it after its last valid event and adds the
//! footer.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::event::{RecordedEvent, Sequence};
use bessai_domain::site::Site;
use bessai_domain::time::{MonotonicTime, Timestamp};

use crate::bytes::InvalidBytes;
use crate::cursors::FeedCursor;
use crate::disk::{Access, Disk, OpenFile};
use crate::record::{BUFFER_CAPACITY, RecordEncoder};
use crate::timeline::{Boot, ClockDistance, TimeLine};

mod layout;
mod scan;

pub(crate) use layout::{FORMAT, read_header};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use scan::scan_file;
pub(crate) use scan::{ScannedSegment, repair, scan};

use layout::{encode_footer, encode_header, footer_bytes};

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
    /// When its events occurred, as the segment says it.
    pub(crate) occurred: OccurredSpan,
    /// Where these times are on this run's clock.
    pub(crate) line: TimeLine,
    /// The boot during which it was written; none in format 1, which has no monotonic times.
    pub(crate) boot: Option<Boot>,
    /// The distance of the clocks at the first event.
    pub(crate) distance: ClockDistance,
    /// Offset of the first record.
    pub(crate) start_offset: u64,
    /// Offset after the last record.
    pub(crate) end_offset: u64,
}

/// Monotonic times of a segment's events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OccurredSpan {
    /// Of its oldest event.
    pub(crate) oldest: MonotonicTime,
    /// Of its newest event.
    pub(crate) newest: MonotonicTime,
}

/// Why a file cannot be read as a segment.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SegmentError {
    #[error("it has the format {0} of a later version")]
    NewerFormat(u16),
    #[error("it is not a journal file, or its header is damaged")]
    Damaged,
    /// A power failure came before its first bytes were on disk.
    #[error("nothing was written to it")]
    Blank,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl From<InvalidBytes> for SegmentError {
    fn from(_: InvalidBytes) -> Self {
        Self::Damaged
    }
}

impl Segment {
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
        self.end_offset + footer_bytes(self.boot.as_ref()) as u64
    }

    /// When its oldest event occurred, on this run's clock.
    pub(crate) const fn oldest_occurred(&self) -> MonotonicTime {
        self.line.place(self.occurred.oldest)
    }

    /// When its newest event occurred, on this run's clock.
    pub(crate) const fn newest_occurred(&self) -> MonotonicTime {
        self.line.place(self.occurred.newest)
    }

    /// When the event after a feed's cursor occurred, on this run's clock. Exact if that is the first one; for any other one it
    /// is the time of the event before it.
    pub(crate) fn occurred_after(&self, cursor: &FeedCursor) -> MonotonicTime {
        if cursor.delivered < self.first {
            return self.oldest_occurred();
        }
        let OccurredSpan { oldest, newest } = self.occurred;
        let by_clock = self.distance.monotonic(cursor.at);
        // The wall clock was set within the segment, or the feed has not delivered anything yet: estimated by the number.
        let by_number = || {
            let part = |from: Sequence, to: Sequence| u128::from(to.0.saturating_sub(from.0));
            let nanos = newest.since(oldest).as_nanos() * part(self.first, cursor.delivered);
            let nanos = nanos.checked_div(part(self.first, self.end)).unwrap_or_default();
            MonotonicTime::from_nanos(oldest.nanos().saturating_add(i64::try_from(nanos).unwrap_or_default()))
        };
        self.line.place(if (oldest..=newest).contains(&by_clock) { by_clock } else { by_number() })
    }

    fn add(&mut self, sequence: Sequence, at: Timestamp, occurred: MonotonicTime) {
        if self.is_empty() {
            (self.earliest, self.latest) = (at, at);
            self.occurred = OccurredSpan { oldest: occurred, newest: occurred };
        }
        self.earliest = self.earliest.min(at);
        self.latest = self.latest.max(at);
        self.occurred.oldest = self.occurred.oldest.min(occurred);
        self.occurred.newest = self.occurred.newest.max(occurred);
        self.end = sequence.next();
    }
}

/// The path of the segment whose first event has this number.
fn path(folder: &Path, first: Sequence) -> PathBuf {
    folder.join(format!("{:020}.{EXTENSION}", first.0))
}

/// Appends events to a segment file.
pub(crate) struct SegmentWriter {
    file: OpenFile,
    segment: Segment,
    encoder: RecordEncoder,
    buffer: Vec<u8>,
}

impl SegmentWriter {
    /// Creates a file for the events from `first` on; `site` is the description in force before it.
    pub(crate) fn create(
        disk: &dyn Disk,
        folder: &Path,
        first: &RecordedEvent,
        site: Option<&Arc<Site>>,
        boot: &Boot,
    ) -> io::Result<Self> {
        let sequence = first.event.sequence;
        let path = path(folder, sequence);
        // A file of that name is left over from a failed attempt: event `first` is not written yet.
        if let Err(error) = disk.remove(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = disk.open(&path, Access::New)?;
        let distance = ClockDistance::between(first.event.at, first.occurred);
        let header = encode_header(sequence, site, Some((distance, boot)));
        if let Err(error) = file.write_at(&header, 0) {
            // The next start would report a file without header as damaged.
            let _ = disk.remove(&path);
            return Err(error);
        }
        let offset = header.len() as u64;
        let segment = Segment {
            path,
            first: sequence,
            end: sequence,
            earliest: Timestamp::default(),
            latest: Timestamp::default(),
            occurred: OccurredSpan::default(),
            line: TimeLine::THIS_RUN,
            boot: Some(boot.clone()),
            distance,
            start_offset: offset,
            end_offset: offset,
        };
        Ok(Self { file, segment, encoder: RecordEncoder::new(distance), buffer: Vec::new() })
    }

    pub(crate) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// The file, to be synced.
    pub(crate) fn file(&self) -> &OpenFile {
        &self.file
    }

    /// Appends the events that follow. After an error nothing more can be appended.
    pub(crate) fn append(&mut self, events: &[RecordedEvent]) -> io::Result<()> {
        for event in events {
            self.encoder.encode(event, &mut self.buffer);
        }
        let length = self.buffer.len() as u64;
        let written = self.file.write_at(&self.buffer, self.segment.end_offset);
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_CAPACITY);
        if let Err(error) = written {
            // The footer belongs behind the last complete record; if this fails too, the next start truncates the file.
            let _ = self.file.set_len(self.segment.end_offset);
            return Err(error);
        }
        self.segment.end_offset += length;
        events.iter().for_each(|event| self.segment.add(event.event.sequence, event.event.at, event.occurred));
        Ok(())
    }

    /// Completes the file with its footer; deletes it if it has no events.
    pub(crate) fn seal(self, disk: &dyn Disk) -> io::Result<()> {
        if self.segment.is_empty() {
            return disk.remove(&self.segment.path);
        }
        self.file.write_at(&encode_footer(&self.segment), self.segment.end_offset)
    }
}
