//! The bytes of a segment's header and footer. Numbers of fixed size are little-endian.
//!
//! ```text
//! header   magic (8)  format (2)  body length (4)  body CRC-32 (4)  body: first event's number, site as JSON
//! records  one for each event
//! footer   0 (1)  end (8)  earliest (8)  latest (8)  CRC-32 (4)  magic (8)
//! ```
//!
//! The footer's zero stands where the next record's length would be; no record has the length zero.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bessai_domain::event::{EventBody, Sequence};
use bessai_domain::record;
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;

use super::{Segment, SegmentError};
use crate::bytes::{ByteReader, put_number, put_string};

/// The format that is written. It rises with every change of the bytes; files of lower formats stay readable.
pub(crate) const FORMAT: u16 = 1;
/// First bytes of a segment.
const HEADER_MAGIC: &[u8; 8] = b"bessai\0j";
/// Last bytes of a complete segment.
const FOOTER_MAGIC: &[u8; 8] = b"bessai\0f";
/// Magic, format, length and checksum in front of the header's body.
const HEADER_PREFIX_BYTES: usize = 18;
/// The whole footer.
pub(super) const FOOTER_BYTES: usize = 37;
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
    /// Length of the header.
    pub(super) bytes: u64,
}

pub(super) fn encode_header(first: Sequence, site: Option<&Arc<Site>>) -> Vec<u8> {
    let site = site.map(|site| record::write_body(&EventBody::Site(Arc::clone(site))));
    let mut body = Vec::new();
    put_number(&mut body, first.0);
    put_string(&mut body, site.unwrap_or_default().as_bytes());
    let mut header = HEADER_MAGIC.to_vec();
    header.extend_from_slice(&FORMAT.to_le_bytes());
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
    footer.extend_from_slice(&crc32fast::hash(&footer).to_le_bytes());
    footer.extend_from_slice(FOOTER_MAGIC);
    footer
}

/// Reads a segment's header.
pub(crate) fn read_header(file: &File) -> Result<SegmentHeader, SegmentError> {
    let mut read = read_at(file, 0, HEADER_READ_BYTES)?;
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
        read = read_at(file, 0, HEADER_PREFIX_BYTES + length)?;
        bytes = ByteReader(read.get(HEADER_PREFIX_BYTES..).unwrap_or_default());
    }
    let mut body = ByteReader(bytes.take(length)?);
    if u64::from(crc32fast::hash(body.0)) != checksum {
        return Err(SegmentError::Damaged);
    }
    let first = Sequence(body.number()?);
    let site = match std::str::from_utf8(body.string()?).map_err(|_| SegmentError::Damaged)? {
        "" => None,
        text => match record::read_body(text) {
            Some(EventBody::Site(site)) => Some(site),
            _ => return Err(SegmentError::Damaged),
        },
    };
    Ok(SegmentHeader { first, site, bytes: (HEADER_PREFIX_BYTES + length) as u64 })
}

/// What a segment's footer says, if it has one.
pub(super) fn read_footer(file: &File, path: &Path, header: &SegmentHeader) -> io::Result<Option<Segment>> {
    let length = file.metadata()?.len();
    let Some(end_offset) = length.checked_sub(FOOTER_BYTES as u64) else { return Ok(None) };
    let footer = read_at(file, end_offset, FOOTER_BYTES)?;
    let mut rest = ByteReader(footer.get(1..).unwrap_or_default());
    let mut number = || rest.fixed(8).unwrap_or(0);
    let (end, earliest, latest) =
        (Sequence(number()), Timestamp::from_nanos(number()), Timestamp::from_nanos(number()));
    let (path, first, start_offset) = (path.to_owned(), header.first, header.bytes);
    let segment = Segment { path, first, end, earliest, latest, start_offset, end_offset };
    // Encoding the footer again from what it says must yield the same bytes: this checks magic and checksum too.
    Ok((encode_footer(&segment) == footer && end_offset >= start_offset).then_some(segment))
}

/// Reads up to `count` bytes at `offset`: fewer if the file ends before.
pub(super) fn read_at(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let available = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; count.min(available)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}
