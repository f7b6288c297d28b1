//! Reads events from segments: one segment from its first event on, and for a feed that lags the journal's segments in
//! pieces.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bessai_domain::event::{RecordedEvent, Sequence};
use bessai_domain::ports::BatchLimit;
use bessai_domain::site::Site;
use rustix::io::Errno;

use crate::disk::{Access, Disk, OpenFile};
use crate::record::{RecordDecoder, RecordError};
use crate::segment::{Segment, SegmentError, read_header};
use crate::state::SharedState;
use crate::timeline::TimeLine;

/// Events that are read at once: a few batches.
const PIECE: BatchLimit = BatchLimit { events: 256, values: 16_384 };
/// Bytes that are read from a file at once.
const READ_BYTES: usize = 64 << 10;
/// Consecutive failed reads after which the rest of a segment is abandoned, unless the system lacks resources.
const MAX_READS: u32 = 10;

/// Reads the journal's segments piece by piece.
#[derive(Default)]
pub(crate) struct PieceReader {
    open: Option<SegmentReader>,
    /// The site description in force before the events read last.
    site: Option<Arc<Site>>,
    /// Number after the last event that could be read, in the segment read last.
    valid_end: Sequence,
    /// Consecutive failed reads of the current segment.
    failures: u32,
    /// The last read failed and is to be tried again.
    has_failed: bool,
}

/// Reads one segment from its first event on.
pub(crate) struct SegmentReader {
    file: OpenFile,
    path: PathBuf,
    line: TimeLine,
    decoder: RecordDecoder,
    offset: u64,
    buffer: Vec<u8>,
    used: usize,
}

impl PieceReader {
    /// The site description in force before the events read last.
    pub(crate) fn site(&self) -> Option<Arc<Site>> {
        self.site.clone()
    }

    /// The last read failed and is to be tried again.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Reads the next piece of events after `read` and before `until`: empty if none are left or the read failed.
    pub(crate) fn read(&mut self, shared: &SharedState, read: Sequence, until: Sequence) -> Vec<RecordedEvent> {
        self.has_failed = false;
        loop {
            let segment = shared.lock().segments.iter().find(|segment| segment.end > read.next()).cloned();
            let Some(segment) = segment.filter(|segment| segment.first < until) else { return Vec::new() };
            self.valid_end = segment.first;
            let events = self.read_segment(&*shared.disk, &segment, read, until);
            match events {
                Ok(events) if !events.is_empty() => {
                    self.failures = 0;
                    return events;
                }
                Ok(_) => shared.lock().record_damage(&segment.path, self.valid_end),
                Err(error) => {
                    let mut state = shared.lock();
                    // Otherwise the segment was deleted meanwhile.
                    if state.segments.iter().any(|known| known.path == segment.path) {
                        if self.may_recover(&segment, &error) {
                            self.has_failed = true;
                            return Vec::new();
                        }
                        state.record_damage(&segment.path, self.valid_end);
                    }
                }
            }
            self.failures = 0;
            self.open = None;
        }
    }

    /// Counts a failed read; false if the rest of the segment is to be abandoned.
    fn may_recover(&mut self, segment: &Segment, error: &io::Error) -> bool {
        let path = segment.path.display();
        let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS].map(|errno| errno.raw_os_error());
        let lacks_resources = error.raw_os_error().is_some_and(|code| exhausted.contains(&code));
        let is_final = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData);
        if self.failures == 0 && !is_final {
            tracing::error!("failed to read {path}: {error}; retrying every second");
        }
        self.failures = self.failures.saturating_add(1);
        let may_recover = lacks_resources || !is_final && self.failures < MAX_READS;
        if !may_recover {
            tracing::error!("failed to read {path}: {error}; abandoning the rest of the file");
        }
        may_recover
    }

    /// Empty if the segment is damaged.
    fn read_segment(
        &mut self,
        disk: &dyn Disk,
        segment: &Segment,
        read: Sequence,
        until: Sequence,
    ) -> io::Result<Vec<RecordedEvent>> {
        let continues = |open: &SegmentReader| open.path == segment.path && open.decoder.next() <= read.next();
        let mut open = match self.open.take().filter(continues) {
            Some(open) => open,
            None => SegmentReader::open(disk, segment)?,
        };
        self.valid_end = open.decoder.next();
        let (mut events, mut values) = (Vec::new(), 0);
        while events.len() < PIECE.events && values < PIECE.values && open.decoder.next() < until.min(segment.end) {
            let site = open.site().cloned();
            let recorded = match open.next(segment) {
                Ok(Ok(recorded)) => recorded,
                Ok(Err(_)) => break,
                // The events read so far are valid; the next read opens the segment again.
                Err(_) if !events.is_empty() => return Ok(events),
                Err(error) => return Err(error),
            };
            self.valid_end = recorded.event.sequence.next();
            if recorded.event.sequence > read {
                if events.is_empty() {
                    self.site = site;
                }
                values += recorded.event.body.value_count();
                events.push(recorded);
            }
        }
        self.open = Some(open);
        Ok(events)
    }
}

impl SegmentReader {
    pub(crate) fn open(disk: &dyn Disk, segment: &Segment) -> io::Result<Self> {
        let file = disk.open(&segment.path, Access::Read)?;
        let header = read_header(&*file).map_err(|error| match error {
            SegmentError::Io(error) => error,
            other => io::Error::new(io::ErrorKind::InvalidData, other),
        })?;
        let decoder = RecordDecoder::new(header.first, header.site, header.distance);
        let (path, line, offset) = (segment.path.clone(), segment.line, segment.start_offset);
        Ok(Self { file, path, line, decoder, offset, buffer: Vec::new(), used: 0 })
    }

    /// The site description that the next event refers to.
    pub(crate) fn site(&self) -> Option<&Arc<Site>> {
        self.decoder.site()
    }

    /// The next event, if there is a valid one.
    pub(crate) fn next(&mut self, segment: &Segment) -> io::Result<Result<RecordedEvent, RecordError>> {
        if self.decoder.next() >= segment.end {
            return Ok(Err(RecordError::Incomplete));
        }
        loop {
            match self.decoder.decode(self.buffer.get(self.used..).unwrap_or_default()) {
                Ok((event, length)) => {
                    self.used += length;
                    let occurred = self.line.place(self.decoder.occurred(event.at));
                    return Ok(Ok(RecordedEvent { event: Arc::new(event), occurred }));
                }
                Err(RecordError::Incomplete) if self.offset < segment.end_offset => self.fill(segment)?,
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Reads more bytes behind those that are not decoded yet.
    fn fill(&mut self, segment: &Segment) -> io::Result<()> {
        self.buffer.drain(..self.used);
        self.used = 0;
        let left = usize::try_from(segment.end_offset - self.offset).unwrap_or(usize::MAX);
        let before = self.buffer.len();
        self.buffer.resize(before + left.min(READ_BYTES), 0);
        let added = self.buffer.get_mut(before..).unwrap_or_default();
        self.offset += added.len() as u64;
        self.file.read_at(added, self.offset - added.len() as u64)
    }
}
