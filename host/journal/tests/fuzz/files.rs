//! The files of a journal's folder as an input describes them. Only this module knows their bytes.

use std::path::Path;

/// First bytes of a segment, with the format.
const SEGMENT_MAGIC: &[u8] = b"bessai\0j\x02\0";
/// First bytes of the file of cursors, with the format.
const CURSORS_MAGIC: &[u8] = b"bessai\0p\x01";
/// The header's body of a segment that begins with event 1 and has no description of the site, no distance of the clocks and
/// no boot.
const PLAIN_HEADER: &[u8] = &[1, 0, 0, 0];
/// Bytes of a slot in the file of reserved numbers.
const SLOT_BYTES: usize = 64;
/// Bytes from the beginning of the first slot to that of the second one.
const SLOT_DISTANCE: usize = 4096;
/// The most segments of one input.
const SEGMENTS: usize = 8;

/// What the bytes of a section are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Bytes of the current segment as they are; the first such section begins a segment without a header of ours.
    Segment,
    /// Begins a segment; the body of its header.
    Header,
    /// The body of a record of the current segment.
    Record,
    /// A footer of the current segment without its checksum.
    Footer,
    /// Bytes of the file of cursors as they are.
    Cursors,
    /// The body of a record of the file of cursors.
    Cursor,
    /// Bytes of the file of reserved numbers as they are.
    Numbers,
    /// The text of a slot in that file, without its checksum.
    Slot,
}

/// Every kind by its number in an input.
const KINDS: [SectionKind; 8] = [
    SectionKind::Segment,
    SectionKind::Header,
    SectionKind::Record,
    SectionKind::Footer,
    SectionKind::Cursors,
    SectionKind::Cursor,
    SectionKind::Numbers,
    SectionKind::Slot,
];

/// A section of an input.
pub type Section<'a> = (SectionKind, &'a [u8]);

/// The sections of an input: each has its kind in one byte, its length in two, and its bytes. The last one may be cut off.
pub fn read_sections(mut data: &[u8]) -> Vec<Section<'_>> {
    let mut sections = Vec::new();
    while let [kind, high, low, rest @ ..] = data {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (bytes, rest) = rest.split_at(length);
        sections.push((KINDS[usize::from(*kind) % KINDS.len()], bytes));
        data = rest;
    }
    sections
}

/// The inverse of [`read_sections`].
pub fn write_sections(sections: &[Section<'_>]) -> Vec<u8> {
    let mut data = Vec::new();
    for (kind, bytes) in sections {
        let number = KINDS.iter().position(|known| known == kind).unwrap();
        data.push(u8::try_from(number).unwrap());
        data.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
        data.extend_from_slice(bytes);
    }
    data
}

/// The bytes of each file.
#[derive(Debug, Default)]
pub struct FolderFiles {
    segments: Vec<Vec<u8>>,
    cursors: Vec<u8>,
    numbers: Vec<u8>,
}

impl FolderFiles {
    pub fn of(sections: Vec<Section<'_>>) -> Self {
        let mut files = Self::default();
        for (kind, bytes) in sections {
            match kind {
                SectionKind::Segment if files.segments.is_empty() => files.segments.push(bytes.to_vec()),
                SectionKind::Segment => files.segment().extend(bytes),
                SectionKind::Header => {
                    files.segments.truncate(SEGMENTS - 1);
                    files.segments.push(header(bytes));
                }
                SectionKind::Record => {
                    let record = record(bytes);
                    files.segment().extend(record);
                }
                SectionKind::Footer => {
                    let mut footer = [&[0], bytes].concat();
                    footer.extend(crc32fast::hash(&footer).to_le_bytes());
                    files.segment().extend(footer.iter().chain(b"bessai\0f"));
                }
                SectionKind::Cursors => files.cursors.extend(bytes),
                SectionKind::Cursor => {
                    if files.cursors.is_empty() {
                        files.cursors.extend(CURSORS_MAGIC);
                    }
                    files.cursors.extend(record(bytes));
                }
                SectionKind::Numbers => files.numbers.extend(bytes),
                SectionKind::Slot => {
                    files.numbers.resize(files.numbers.len().next_multiple_of(SLOT_DISTANCE), 0);
                    files.numbers.extend(slot(bytes));
                }
            }
        }
        files
    }

    pub fn write(&self, folder: &Path) {
        for (number, bytes) in (1..).zip(&self.segments) {
            std::fs::write(folder.join(format!("{number:020}.events")), bytes).unwrap();
        }
        let others = [("feeds", &self.cursors), ("numbers", &self.numbers)];
        for (name, bytes) in others.into_iter().filter(|(_, bytes)| !bytes.is_empty()) {
            std::fs::write(folder.join(name), bytes).unwrap();
        }
    }

    fn segment(&mut self) -> &mut Vec<u8> {
        if self.segments.is_empty() {
            self.segments.push(header(PLAIN_HEADER));
        }
        self.segments.last_mut().unwrap()
    }
}

fn header(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [SEGMENT_MAGIC, &length, &crc32fast::hash(body).to_le_bytes(), body].concat()
}

/// A record of a segment or of the file of cursors: the length of its body, the body and its checksum.
fn record(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut length = body.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(body);
    bytes.extend(crc32fast::hash(body).to_le_bytes());
    bytes
}

fn slot(text: &[u8]) -> Vec<u8> {
    let mut slot = text.to_vec();
    slot.truncate(SLOT_BYTES - 10);
    let line = format!(" {:08x}\n", crc32fast::hash(&slot));
    slot.extend(line.bytes());
    let padding = SLOT_BYTES - slot.len();
    [vec![b' '; padding], slot].concat()
}
