//! One file of the journal: a head that stands alone, events, and a foot once nothing more is added.
//!
//! The head has the number of the first event and the description of the site in force before it, so that every file can
//! be read without the others, and the oldest deleted. A file without foot was being written when the gateway ended: it is
//! read through, cut behind its last sound event, and gets one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::record;
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;

use super::bytes::{Bytes, Unsound, put, put_text};
use super::record::{Decoder, Encoder, SCRATCH_BYTES, Stopped};

/// What is written. Rises with every change of the bytes; files of lower ones stay readable.
pub(super) const FORMAT: u16 = 1;
/// Files of the journal, by the number of their first event.
pub(super) const ENDING: &str = "events";

const MAGIC: &[u8; 8] = b"bessai\0j";
const FOOT_MAGIC: &[u8; 8] = b"bessai\0f";
/// Magic, format, length of the body, its checksum.
const HEAD_BYTES: usize = 18;
/// A zero where a record's length would be, three numbers, checksum, magic.
pub(super) const FOOT_BYTES: usize = 37;
/// Read at once when the head is looked for: most have a small site.
const HEAD_READ: usize = 16 << 10;
/// Read at once when the first event is looked for.
const FIRST_READ: usize = 64 << 10;
/// No description of a site takes so much.
const LONGEST_HEAD: usize = 256 << 20;

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    /// Number of its first event.
    pub(super) first: Sequence,
    /// Number after its last event: `first` when it has none.
    pub(super) end: Sequence,
    /// Times of its events; they need not rise, since clocks are set.
    pub(super) earliest: Timestamp,
    pub(super) latest: Timestamp,
    /// Where its events begin.
    pub(super) head: u64,
    /// Where they end.
    pub(super) bytes: u64,
}

/// Why a file cannot be read.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Written by a later version of the program.
    Newer(u16),
    /// It does not begin as a file of the journal does.
    Damaged,
    Io(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Unsound> for Trouble {
    fn from(_: Unsound) -> Self {
        Self::Damaged
    }
}

/// What stands before a file's events.
pub(super) struct Head {
    pub(super) first: Sequence,
    pub(super) site: Option<Arc<Site>>,
    /// Its length.
    pub(super) bytes: u64,
}

impl Segment {
    pub(super) fn is_empty(&self) -> bool {
        self.end <= self.first
    }

    /// Events from this number on stand in a later file: they were written again.
    pub(super) fn cut_before(&mut self, next: Sequence) {
        self.end = self.end.min(next);
    }

    /// Events after one number and before another.
    pub(super) fn between(&self, after: Sequence, before: Sequence) -> u64 {
        self.end.0.min(before.0).saturating_sub(self.first.0.max(after.0.saturating_add(1)))
    }

    /// Bytes on the disk.
    pub(super) fn size(&self) -> u64 {
        self.bytes + FOOT_BYTES as u64
    }

    fn note(&mut self, event: &Event) {
        if self.is_empty() {
            (self.earliest, self.latest) = (event.at, event.at);
        }
        self.earliest = self.earliest.min(event.at);
        self.latest = self.latest.max(event.at);
        self.end = event.sequence.next();
    }
}

/// The name of the file whose first event has this number.
pub(super) fn path(folder: &Path, first: Sequence) -> PathBuf {
    folder.join(format!("{:020}.{ENDING}", first.0))
}

/// Adds events to a file.
pub(super) struct Writer {
    file: Arc<File>,
    segment: Segment,
    encoder: Encoder,
    buffer: Vec<u8>,
}

impl Writer {
    /// A new file for events from this number on.
    pub(super) fn create(folder: &Path, first: Sequence, site: Option<&Arc<Site>>) -> io::Result<Self> {
        let path = path(folder, first);
        // One of that name has nothing that counts: the event is not written yet. It could not be deleted when it failed.
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let head = head(first, site);
        if let Err(error) = file.write_all_at(&head, 0) {
            // A file without its head would be taken for damaged.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let bytes = head.len() as u64;
        let none = Timestamp::default();
        let segment = Segment { path, first, end: first, earliest: none, latest: none, head: bytes, bytes };
        Ok(Self { file: Arc::new(file), segment, encoder: Encoder::default(), buffer: Vec::new() })
    }

    pub(super) fn segment(&self) -> &Segment {
        &self.segment
    }

    /// For whoever brings it to the disk.
    pub(super) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Adds events, which have the numbers that follow. After an error nothing more can be added.
    pub(super) fn append(&mut self, events: &[Arc<Event>]) -> io::Result<()> {
        for event in events {
            self.encoder.write(event, &mut self.buffer);
        }
        let length = self.buffer.len() as u64;
        let written = self.file.write_all_at(&self.buffer, self.segment.bytes);
        self.buffer.clear();
        self.buffer.shrink_to(SCRATCH_BYTES);
        if let Err(error) = written {
            // What was written of it goes, if it can: the foot stands behind sound events.
            let _ = self.file.set_len(self.segment.bytes);
            return Err(error);
        }
        self.segment.bytes += length;
        events.iter().for_each(|event| self.segment.note(event));
        Ok(())
    }

    /// Nothing more will be added. One without events goes.
    pub(super) fn seal(self) -> io::Result<()> {
        if self.segment.is_empty() {
            return fs::remove_file(&self.segment.path);
        }
        self.file.write_all_at(&foot(&self.segment), self.segment.bytes)
    }
}

fn head(first: Sequence, site: Option<&Arc<Site>>) -> Vec<u8> {
    let site = site.map(|site| record::write_body(&EventBody::Site(Arc::clone(site))));
    let mut body = Vec::new();
    put(&mut body, first.0);
    put_text(&mut body, site.unwrap_or_default().as_bytes());
    let mut head = MAGIC.to_vec();
    head.extend_from_slice(&FORMAT.to_le_bytes());
    head.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    head.extend_from_slice(&body);
    head
}

fn foot(segment: &Segment) -> Vec<u8> {
    let mut foot = vec![0];
    for number in [segment.end.0, segment.earliest.nanos(), segment.latest.nanos()] {
        foot.extend_from_slice(&number.to_le_bytes());
    }
    foot.extend_from_slice(&crc32fast::hash(&foot).to_le_bytes());
    foot.extend_from_slice(FOOT_MAGIC);
    foot
}

/// Reads what stands before a file's events.
pub(super) fn read_head(file: &File) -> Result<Head, Trouble> {
    let mut read = read_at(file, 0, HEAD_READ)?;
    let mut bytes = Bytes(&read);
    if bytes.take(MAGIC.len())? != MAGIC {
        return Err(Trouble::Damaged);
    }
    let format = u16::try_from(bytes.fixed(2)?).map_err(|_| Trouble::Damaged)?;
    if format > FORMAT {
        return Err(Trouble::Newer(format));
    }
    let length = usize::try_from(bytes.fixed(4)?).map_err(|_| Trouble::Damaged)?;
    let checksum = bytes.fixed(4)?;
    if length > LONGEST_HEAD {
        return Err(Trouble::Damaged);
    }
    if bytes.0.len() < length {
        read = read_at(file, 0, HEAD_BYTES + length)?;
        bytes = Bytes(read.get(HEAD_BYTES..).unwrap_or_default());
    }
    let mut body = Bytes(bytes.take(length)?);
    if u64::from(crc32fast::hash(body.0)) != checksum {
        return Err(Trouble::Damaged);
    }
    let first = Sequence(body.number()?);
    let site = match std::str::from_utf8(body.text()?).map_err(|_| Trouble::Damaged)? {
        "" => None,
        text => match record::read_body(text) {
            Some(EventBody::Site(site)) => Some(site),
            _ => return Err(Trouble::Damaged),
        },
    };
    Ok(Head { first, site, bytes: (HEAD_BYTES + length) as u64 })
}

fn read_at(file: &File, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let available = usize::try_from(file.metadata()?.len().saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; count.min(available)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// What a file's foot says, if it has one.
fn read_foot(file: &File, path: &Path, head: &Head) -> io::Result<Option<Segment>> {
    let length = file.metadata()?.len();
    let Some(bytes) = length.checked_sub(FOOT_BYTES as u64) else { return Ok(None) };
    let foot = read_at(file, bytes, FOOT_BYTES)?;
    let mut rest = Bytes(foot.get(1..).unwrap_or_default());
    let mut number = || rest.fixed(8).unwrap_or(0);
    let (end, earliest, latest) =
        (Sequence(number()), Timestamp::from_nanos(number()), Timestamp::from_nanos(number()));
    let (path, first) = (path.to_owned(), head.first);
    let segment = Segment { path, first, end, earliest, latest, head: head.bytes, bytes };
    // Written again from what it says, it must be the same: magic and checksum included.
    Ok((self::foot(&segment) == foot && bytes >= head.bytes).then_some(segment))
}

/// A file as it was found.
pub(super) struct Found {
    pub(super) segment: Segment,
    /// It has its foot.
    pub(super) is_sealed: bool,
    /// Bytes behind the last sound event, which are none of its events.
    pub(super) unsound: u64,
    /// The description in force at its end.
    pub(super) site: Option<Arc<Site>>,
}

/// Looks at a file, and reads it through only where it has no foot.
pub(super) fn look(path: &Path) -> Result<Found, Trouble> {
    let file = File::open(path)?;
    let head = read_head(&file)?;
    if let Some(segment) = read_foot(&file, path, &head)? {
        // A description is the first event of its file, if it is in it.
        let whole = usize::try_from(segment.bytes - head.bytes).unwrap_or(0);
        let mut first = Decoder::new(head.first, None).read(&read_at(&file, head.bytes, whole.min(FIRST_READ))?);
        if whole > FIRST_READ && matches!(first, Err(Stopped::Short)) {
            first = Decoder::new(head.first, None).read(&read_at(&file, head.bytes, whole)?);
        }
        let site = match first {
            Ok((Event { body: EventBody::Site(site), .. }, _)) => Some(site),
            _ => head.site,
        };
        return Ok(Found { segment, is_sealed: true, unsound: 0, site });
    }
    read_through(&file, path, head)
}

fn read_through(file: &File, path: &Path, head: Head) -> Result<Found, Trouble> {
    let length = file.metadata()?.len();
    let bytes = read_at(file, head.bytes, usize::MAX)?;
    let none = Timestamp::default();
    let (path, first) = (path.to_owned(), head.first);
    let mut segment =
        Segment { path, first, end: first, earliest: none, latest: none, head: head.bytes, bytes: head.bytes };
    let mut decoder = Decoder::new(first, head.site);
    let mut rest = bytes.as_slice();
    while let Ok((event, taken)) = decoder.read(rest) {
        rest = rest.get(taken..).unwrap_or_default();
        segment.bytes += taken as u64;
        segment.note(&event);
    }
    let unsound = length - segment.bytes;
    Ok(Found { segment, is_sealed: false, unsound, site: decoder.site().cloned() })
}

/// Cuts a file behind its last sound event and gives it its foot; one without events goes.
pub(super) fn mend(found: &Found) -> io::Result<()> {
    let segment = &found.segment;
    if segment.is_empty() {
        return fs::remove_file(&segment.path);
    }
    let file = OpenOptions::new().write(true).open(&segment.path)?;
    file.set_len(segment.bytes)?;
    file.write_all_at(&foot(segment), segment.bytes)?;
    file.sync_data()
}
