//! Finds out what an existing segment file holds, and repairs one that was left incomplete.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody};
use bessai_domain::site::Site;

use super::layout::{SegmentHeader, encode_footer, read_footer, read_header};
use super::{Segment, SegmentError};
use crate::disk::{Access, Disk, DiskFile, read_up_to};
use crate::record::{RecordDecoder, RecordError};

/// Read at once to decode the first event of a complete segment.
const FIRST_READ_BYTES: usize = 64 << 10;

/// What a segment file holds.
pub(crate) struct ScannedSegment {
    pub(crate) segment: Segment,
    /// The file is complete: it has its footer.
    pub(crate) is_sealed: bool,
    /// Bytes behind the last valid event.
    pub(crate) invalid_bytes: u64,
    /// The site description in force at the end.
    pub(crate) site: Option<Arc<Site>>,
}

/// Reads header and footer; reads the file through only if it has no footer.
pub(crate) fn scan(disk: &dyn Disk, path: &Path) -> Result<ScannedSegment, SegmentError> {
    scan_file(&*disk.open(path, Access::Read)?, path)
}

/// Does what [`scan`] does with an open file.
pub(crate) fn scan_file(file: &dyn DiskFile, path: &Path) -> Result<ScannedSegment, SegmentError> {
    let header = read_header(file)?;
    if let Some(segment) = read_footer(file, path, &header)? {
        // A site description begins a new segment, so that only the first event can be one.
        let all = usize::try_from(segment.end_offset - segment.start_offset).unwrap_or(0);
        let decode = |bytes: &[u8]| RecordDecoder::new(header.first, None, header.distance).decode(bytes);
        let mut first = decode(&read_up_to(file, segment.start_offset, all.min(FIRST_READ_BYTES))?);
        if all > FIRST_READ_BYTES && matches!(first, Err(RecordError::Incomplete)) {
            first = decode(&read_up_to(file, segment.start_offset, all)?);
        }
        let site = match first {
            Ok((Event { body: EventBody::Site(site), .. }, _)) => Some(site),
            _ => header.site,
        };
        return Ok(ScannedSegment { segment, is_sealed: true, invalid_bytes: 0, site });
    }
    read_through(file, path, header)
}

fn read_through(file: &dyn DiskFile, path: &Path, header: SegmentHeader) -> Result<ScannedSegment, SegmentError> {
    let mut segment = header.empty_segment(path);
    let bytes = read_up_to(file, segment.start_offset, usize::MAX)?;
    let mut decoder = RecordDecoder::new(header.first, header.site, header.distance);
    let mut rest = bytes.as_slice();
    while let Ok((event, taken)) = decoder.decode(rest) {
        rest = rest.get(taken..).unwrap_or_default();
        segment.end_offset += taken as u64;
        segment.add(event.sequence, event.at, decoder.occurred(event.at));
    }
    Ok(ScannedSegment { segment, is_sealed: false, invalid_bytes: rest.len() as u64, site: decoder.site().cloned() })
}

/// Truncates a file after its last valid event and adds the footer; deletes a file without events.
pub(crate) fn repair(disk: &dyn Disk, scanned: &ScannedSegment) -> io::Result<()> {
    let segment = &scanned.segment;
    if segment.is_empty() {
        return disk.remove(&segment.path);
    }
    let file = disk.open(&segment.path, Access::Write)?;
    file.set_len(segment.end_offset)?;
    file.write_at(&encode_footer(segment), segment.end_offset)?;
    file.sync()
}
