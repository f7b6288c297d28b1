//! The journal's folder: which files there are, which one is written, and what is found when the gateway starts.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Sequence};
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::numbers::{Numbers, RESERVED, Reserved};
use super::places;
use super::segment::{self, ENDING, Segment, Trouble, Writer};

/// A file gets a successor at this size: what a damage can take at most, and what is deleted at once.
const SEGMENT_BYTES: u64 = 8 << 20;
/// A small journal has so many files at least, so that it is trimmed in small parts.
const SEGMENTS: u64 = 8;
/// Files that were set aside; the oldest go.
const DAMAGED: usize = 8;
const DAMAGED_ENDING: &str = "damaged";
const LOCK: &str = "lock";

/// Why the journal of a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes it.
    #[error("{} is in use by another gateway: end it, or give this one another [journal] dir", .0.display())]
    InUse(PathBuf),
    /// A later version of the program wrote it.
    #[error(
        "{} is of format {}, and this version reads up to {}: install the later version again, or move the folder away",
        .path.display(), .format, .known
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// What it says.
        format: u16,
        /// What this program reads.
        known: u16,
    },
    /// The folder cannot be read or written.
    #[error("the journal cannot use {}: {error}; make it writable and whole, or name another [journal] dir", .path.display())]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// What was found at the start.
pub(super) struct Opened {
    /// Held for as long as anything is written to the folder.
    pub(super) lock: File,
    pub(super) store: Store,
    pub(super) segments: VecDeque<Segment>,
    pub(super) numbers: Numbers,
    pub(super) places: places::Found,
    /// The first number that may be given.
    pub(super) next: Sequence,
    /// The first number that is not reserved.
    pub(super) reserved: Sequence,
    /// The description in force.
    pub(super) site: Option<Arc<Site>>,
    /// Bytes that were cut from damaged ends.
    pub(super) cut_bytes: u64,
    /// Files that were set aside.
    pub(super) set_aside: u64,
}

/// The end that writes.
pub(super) struct Store {
    folder: PathBuf,
    current: Option<Writer>,
    segment_bytes: u64,
}

/// What one write led to.
pub(super) struct Written {
    /// The file that was written, as it is now.
    pub(super) segment: Segment,
    /// Files with something that is not on the disk yet.
    pub(super) files: Vec<Arc<File>>,
    /// Its name is not on the disk yet.
    pub(super) is_new: bool,
}

/// What an error of the system there means.
pub(super) fn at(path: &Path) -> impl Fn(io::Error) -> OpenError {
    |error| OpenError::Io { path: path.to_owned(), error }
}

/// Takes the folder, cuts what is damaged, and reserves numbers.
pub(super) fn open(folder: &Path, max_bytes: u64, now: Timestamp) -> Result<Opened, OpenError> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let lock = File::create(folder.join(LOCK)).map_err(at(folder))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(OpenError::InUse(folder.to_owned()));
    }
    let places = open_places(folder)?;
    let mut found = Files::default();
    for path in event_files(folder).map_err(at(folder))? {
        found.take(&path)?;
    }
    bound_damaged(folder);
    let (mut numbers, reserved) = Numbers::open(folder).map_err(at(folder))?;
    // A feed passes over what is numbered below its place.
    let passed = places.places.values().map(|place| place.passed.next()).max().unwrap_or_default();
    let mut next = first_number(&found.segments, reserved).max(passed);
    let reservation = |next: Sequence| Reserved { end: Sequence(next.0.saturating_add(RESERVED)), is_exact: false };
    if let Err(error) = numbers.reserve(reservation(next)) {
        tracing::error!("{}: no numbers can be reserved, they are made of the clock: {error}", folder.display());
        next = next.max(number_of_clock(now));
    }
    let end = reservation(next).end;
    let segment_bytes = SEGMENT_BYTES.min(max_bytes / SEGMENTS);
    let Files { segments, site, cut_bytes, set_aside } = found;
    let store = Store { folder: folder.to_owned(), current: None, segment_bytes };
    Ok(Opened { lock, store, segments, numbers, places, next, reserved: end, site, cut_bytes, set_aside })
}

/// A number above those of earlier runs as far as the clock is right: as if a million had been used each second.
pub(super) fn number_of_clock(now: Timestamp) -> Sequence {
    Sequence(now.seconds().saturating_mul(RESERVED))
}

/// A file of events that a later version wrote.
pub(super) fn newer(path: &Path, format: u16) -> OpenError {
    OpenError::Newer { path: path.to_owned(), format, known: segment::FORMAT }
}

/// The feeds' places, unless a later version wrote them.
pub(super) fn read_places(folder: &Path) -> Result<places::Found, OpenError> {
    let found = places::look(folder).map_err(at(folder))?;
    match found.newer {
        None => Ok(found),
        Some(format) => {
            let (path, known) = (folder.join(places::NAME), u16::from(places::FORMAT));
            Err(OpenError::Newer { path, format: u16::from(format), known })
        }
    }
}

fn open_places(folder: &Path) -> Result<places::Found, OpenError> {
    let found = read_places(folder)?;
    if found.is_damaged {
        tracing::error!(
            "the feeds' places in {} are damaged and set aside: every feed begins with the oldest event",
            folder.display()
        );
        places::set_aside(folder).map_err(at(folder))?;
    } else if found.unsound > 0 {
        let bytes = found.unsound;
        tracing::warn!(
            bytes,
            "the feeds' places end with {bytes} unsound bytes: the ones before them count, and a feed without one begins with the oldest event"
        );
    }
    Ok(found)
}

/// Above everything that was given: exact after a good end, else the end of what was reserved.
fn first_number(segments: &VecDeque<Segment>, reserved: Option<Reserved>) -> Sequence {
    let after_last = segments.back().map_or(Sequence(1), |segment| segment.end);
    match reserved {
        Some(reserved) => after_last.max(reserved.end),
        // Nobody knows what was reserved: above whatever could have been.
        None if !segments.is_empty() => {
            let next = Sequence(after_last.0.saturating_add(RESERVED));
            tracing::warn!("the journal's file of numbers is missing or damaged: they go on at {}", next.0);
            next
        }
        None => after_last,
    }
}

/// Files with events, oldest first.
pub(super) fn event_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    files_with(folder, ENDING)
}

/// Files that were set aside, in the order of their first events.
pub(super) fn damaged_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    files_with(folder, DAMAGED_ENDING)
}

fn files_with(folder: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let paths = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<io::Result<Vec<_>>>()?;
    paths.retain(|path| path.extension().is_some_and(|found| found == ending));
    paths.sort();
    Ok(paths)
}

#[derive(Default)]
struct Files {
    segments: VecDeque<Segment>,
    site: Option<Arc<Site>>,
    cut_bytes: u64,
    set_aside: u64,
}

impl Files {
    fn take(&mut self, path: &Path) -> Result<(), OpenError> {
        let found = match segment::look(path) {
            Ok(found) => found,
            Err(Trouble::Newer(format)) => return Err(newer(path, format)),
            Err(trouble) => {
                self.set_aside(path, &trouble);
                return Ok(());
            }
        };
        let first = found.segment.first;
        if self.segments.back().is_some_and(|last| first <= last.first) {
            self.set_aside(path, &Trouble::Damaged);
            return Ok(());
        }
        if !found.is_sealed {
            self.mend(&found);
        }
        if !found.segment.is_empty() {
            if let Some(last) = self.segments.back_mut() {
                last.cut_before(first);
            }
            self.segments.push_back(found.segment);
        }
        self.site = found.site.or(self.site.take());
        Ok(())
    }

    fn mend(&mut self, found: &segment::Found) {
        let path = found.segment.path.display();
        if found.unsound > 0 {
            let (bytes, last) = (found.unsound, found.segment.end.0.saturating_sub(1));
            self.cut_bytes += bytes;
            if found.segment.is_empty() {
                tracing::warn!(bytes, "{path} has {bytes} bytes and no sound event: it goes");
            } else {
                tracing::warn!(
                    bytes,
                    "{path} ends with {bytes} unsound bytes: it is cut behind its last sound event, {last}"
                );
            }
        }
        if let Err(error) = segment::mend(found) {
            // It is read as far as it is sound all the same.
            tracing::warn!("{path} could not be cut: {error}");
        }
    }

    fn set_aside(&mut self, path: &Path, trouble: &Trouble) {
        self.set_aside += 1;
        let aside = path.with_extension(DAMAGED_ENDING);
        let why = match trouble {
            Trouble::Io(error) => error.to_string(),
            _ => "it is no file of the journal, or its beginning is damaged".into(),
        };
        match fs::rename(path, &aside) {
            Ok(()) => {
                tracing::error!("{} cannot be used and is set aside as {}: {why}", path.display(), aside.display())
            }
            Err(error) => tracing::error!("{} cannot be used: {why}; nor set aside: {error}", path.display()),
        }
    }
}

fn bound_damaged(folder: &Path) {
    let Ok(damaged) = damaged_files(folder) else { return };
    for path in damaged.iter().take(damaged.len().saturating_sub(DAMAGED)) {
        // It costs room, no more.
        let _ = fs::remove_file(path);
    }
}

impl Store {
    /// Adds events, which are numbered without a gap; a description only in front. `site`: the one in force before them.
    /// After an error the same events may be given again.
    pub(super) fn write(&mut self, events: &[Arc<Event>], site: Option<&Arc<Site>>) -> io::Result<Option<Written>> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(None) };
        let mut files = Vec::new();
        let is_described = matches!(first.body, EventBody::Site(_));
        let is_next = |writer: &Writer| writer.segment().end == first.sequence;
        let has_room = |writer: &Writer| writer.segment().bytes < self.segment_bytes;
        if !self.current.as_ref().is_some_and(|writer| is_next(writer) && has_room(writer) && !is_described) {
            files.extend(self.seal());
        }
        let is_new = self.current.is_none();
        let writer = match &mut self.current {
            Some(writer) => writer,
            None => self.current.insert(Writer::create(&self.folder, first.sequence, site)?),
        };
        if let Err(error) = writer.append(events) {
            // What it had before is among the files to be brought to the disk already.
            drop(self.seal());
            return Err(error);
        }
        debug_assert_eq!(writer.segment().end, last.sequence.next());
        files.push(Arc::clone(writer.file()));
        let segment = writer.segment().clone();
        Ok(Some(Written { segment, files, is_new }))
    }

    /// The next event goes into a new file; the one so far is to be brought to the disk.
    pub(super) fn seal(&mut self) -> Option<Arc<File>> {
        let writer = self.current.take()?;
        let (file, path) = (Arc::clone(writer.file()), writer.segment().path.clone());
        if let Err(error) = writer.seal() {
            // At the next start it is read through instead.
            tracing::debug!("{} could not get its foot: {error}", path.display());
        }
        Some(file)
    }

    /// For bringing names of new files to the disk.
    pub(super) fn folder(&self) -> io::Result<File> {
        File::open(&self.folder)
    }
}
