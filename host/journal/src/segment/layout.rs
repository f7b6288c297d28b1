//! The bytes of a segment's header and footer. Numbers of fixed size are little-endian.
//!
//! ```text
//! header   magic (8)  format (2)  body length (4)  body CRC-32 (4)  body
//! body     first event's number, site as JSON, distance of the clocks, boot
//! records  one for each event, and one for each step of the wall clock
//! footer   0 (1)  end (8)  earliest (8)  latest (8)  oldest (8)  newest (8)  CRC-32 (4)  magic (8)
//! ```
//!
//! The footer's zero stands where the next record's length would be; no record has the length zero. Earliest and latest are
//! times of the wall clock, oldest and newest of the monotonic clock. Format 1 has neither distance and boot nor oldest and
//! newest. Up to format 2 no record is an event `write`. Up to format 3 a description has the channels of each source; since then
//! it has each list once.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bessai_domain::event::{EventBody, Sequence};
use bessai_domain::record;
use bessai_domain::site::Site;
use bessai_domain::time::{MonotonicTime, Timestamp};

use super::{OccurredSpan, Segment, SegmentError};
use crate::bytes::{ByteReader, put_number, put_string, unzigzag, zigzag};
use crate::disk::{DiskFile, read_up_to};
use crate::timeline::{Boot, ClockDistance, TimeLine};

/// The format that is written. It rises with every change of the bytes and with every new kind of event, so that a program
/// that does not know them refuses the file instead of repairing it; files of lower formats stay readable.
pub(crate) const FORMAT: u16 = 4;
/// The last format without monotonic times.
const WALL_CLOCK_FORMAT: u16 = 1;
/// First bytes of a segment.
const HEADER_MAGIC: &[u8; 8] = b"bessai\0j";
/// Last bytes of a complete segment.
const FOOTER_MAGIC: &[u8; 8] = b"bessai\0f";
/// Magic, format, length and checksum in front of the header's body.
const HEADER_PREFIX_BYTES: usize = 18;
/// The whole footer.
const FOOTER_BYTES: usize = 53;
/// The whole footer in format 1.
const WALL_CLOCK_FOOTER_BYTES: usize = 37;
/// Read at once to decode a header: enough for the description of most sites.
const HEADER_READ_BYTES: usize = 16 << 10;
/// The longest body of a header: more than the description of any site takes.
const MAX_HEADER_BYTES: usize = 256 << 20;

/// What a segment's header says.
pub(crate) struct SegmentHeader {
    /// Number of the first event.
    pub(crate) first: Sequence,
    /// The site description in force before the first event.
    pub(crate) site: Option<Arc<Site>>,
    /// The distance of the clocks at the first event.
    pub(crate) distance: ClockDistance,
    /// The boot during which the segment was written; none in format 1.
    pub(super) boot: Option<Boot>,
    /// Length of the header.
    pub(super) bytes: u64,
}

impl SegmentHeader {
    /// The segment before its first event.
    pub(super) fn empty_segment(&self, path: &Path) -> Segment {
        Segment {
            path: path.to_owned(),
            first: self.first,
            end: self.first,
            earliest: Timestamp::default(),
            latest: Timestamp::default(),
            occurred: OccurredSpan::default(),
            line: TimeLine::THIS_RUN,
            boot: self.boot.clone(),
            distance: self.distance,
            start_offset: self.bytes,
            end_offset: self.bytes,
        }
    }
}

/// Length of the footer of a segment that was written during `boot`, or of one in format 1.
pub(super) const fn footer_bytes(boot: Option<&Boot>) -> usize {
    match boot {
        Some(_) => FOOTER_BYTES,
        None => WALL_CLOCK_FOOTER_BYTES,
    }
}

/// Encodes a header; without a time line in format 1.
pub(super) fn encode_header(
    first: Sequence,
    site: Option<&Arc<Site>>,
    time_line: Option<(ClockDistance, &Boot)>,
) -> Vec<u8> {
    let site = site.map(|site| record::write_body(&EventBody::Site(Arc::clone(site))));
    let mut body = Vec::new();
    put_number(&mut body, first.0);
    put_string(&mut body, site.unwrap_or_default().as_bytes());
    if let Some((distance, boot)) = time_line {
        put_number(&mut body, zigzag(distance.0));
        put_string(&mut body, boot.0.as_bytes());
    }
    let format = if time_line.is_some() { FORMAT } else { WALL_CLOCK_FORMAT };
    let mut header = HEADER_MAGIC.to_vec();
    header.extend_from_slice(&format.to_le_bytes());
    header.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    header.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    header.extend_from_slice(&body);
    header
}

pub(super) fn encode_footer(segment: &Segment) -> Vec<u8> {
    let mut footer = vec![0];
    for number in [segment.end.0, segment.earliest.nanos(), segment.latest.nanos()] {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    if segment.boot.is_some() {
        for time in [segment.occurred.oldest, segment.occurred.newest] {
            footer.extend_from_slice(&time.nanos().to_le_bytes());
        }
    }
    footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
    footer.extend_from_slice(FOOTER_MAGIC);
    footer
}

/// Reads a segment's header.
pub(crate) fn read_header(file: &dyn DiskFile) -> Result<SegmentHeader, SegmentError> {
    let mut read = read_up_to(file, 0, HEADER_READ_BYTES)?;
    let is_blank = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    if is_blank(&read) && is_blank(&read_up_to(file, 0, usize::MAX)?) {
        return Err(SegmentError::Blank);
    }
    let mut bytes = ByteReader(&read);
    if bytes.take(HEADER_MAGIC.len())? != HEADER_MAGIC {
        return Err(SegmentError::Damaged);
    }
    let format = u16::try_from(bytes.fixed(2)?).map_err(|_| SegmentError::Damaged)?;
    if format > FORMAT {
        return Err(SegmentError::NewerFormat(format));
    }
    let length = usize::try_from(bytes.fixed(4)?).map_err(|_| SegmentError::Damaged)?;
    let checksum = bytes.fixed(4)?;
    if length > MAX_HEADER_BYTES {
        return Err(SegmentError::Damaged);
    }
    if bytes.0.len() < length {
        read = read_up_to(file, 0, HEADER_PREFIX_BYTES + length)?;
        bytes = ByteReader(read.get(HEADER_PREFIX_BYTES..).unwrap_or_default());
    }
    let body = bytes.take(length)?;
    if u64::from(crc32fast::hash(body)) != checksum {
        return Err(SegmentError::Damaged);
    }
    decode_header_body(ByteReader(body), format, (HEADER_PREFIX_BYTES + length) as u64)
}

fn decode_header_body(mut body: ByteReader<'_>, format: u16, bytes: u64) -> Result<SegmentHeader, SegmentError> {
    let first = Sequence(body.number()?);
    let site = match std::str::from_utf8(body.string()?).map_err(|_| SegmentError::Damaged)? {
        "" => None,
        text => match record::read_body(text) {
            Some(EventBody::Site(site)) => Some(site),
            _ => return Err(SegmentError::Damaged),
        },
    };
    let (distance, boot) = match format {
        0 => return Err(SegmentError::Damaged),
        WALL_CLOCK_FORMAT => (ClockDistance::default(), None),
        _ => {
            let distance = ClockDistance(unzigzag(body.number()?));
            let boot = std::str::from_utf8(body.string()?).map_err(|_| SegmentError::Damaged)?;
            (distance, Some(Boot(boot.into())))
        }
    };
    Ok(SegmentHeader { first, site, distance, boot, bytes })
}

/// What a segment's footer says, if it has one.
pub(super) fn read_footer(file: &dyn DiskFile, path: &Path, header: &SegmentHeader) -> io::Result<Option<Segment>> {
    let count = footer_bytes(header.boot.as_ref());
    let Some(end_offset) = file.len()?.checked_sub(count as u64) else { return Ok(None) };
    let footer = read_up_to(file, end_offset, count)?;
    let mut rest = ByteReader(footer.get(1..).unwrap_or_default());
    let mut number = || rest.fixed(8).unwrap_or(0);
    let (end, earliest, latest) =
        (Sequence(number()), Timestamp::from_nanos(number()), Timestamp::from_nanos(number()));
    let occurred = if header.boot.is_some() {
        let (oldest, newest) = (number().cast_signed(), number().cast_signed());
        OccurredSpan { oldest: MonotonicTime::from_nanos(oldest), newest: MonotonicTime::from_nanos(newest) }
    } else {
        OccurredSpan::default()
    };
    let segment = Segment { end, earliest, latest, occurred, end_offset, ..header.empty_segment(path) };
    // Encoding the footer again from what it says must yield the same bytes: this checks magic and checksum too.
    Ok((encode_footer(&segment) == footer && end_offset >= segment.start_offset).then_some(segment))
}
