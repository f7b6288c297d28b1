//! The journal's folder from outside, also while a gateway writes it: nothing is changed, cut or locked.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Gap, Sequence};
use bessai_domain::record::write_event;
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;

use super::places;
use super::reader::OpenFile;
use super::segment::{self, Segment, Trouble};
use super::store::{OpenError, at, damaged_files, event_files, newer, read_places};

/// A file of events.
#[derive(Clone, Debug)]
pub struct FileEntry {
    /// Where it is.
    pub path: PathBuf,
    /// Bytes on the disk.
    pub bytes: u64,
    /// First and last number and time, where it has events that can be read.
    pub extent: Option<Extent>,
    /// For people: being written, damaged, or nothing to say.
    pub note: &'static str,
}

/// From which event to which.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Number of the first.
    pub first: Sequence,
    /// Number of the last.
    pub last: Sequence,
    /// The earliest time.
    pub earliest: Timestamp,
    /// The latest time.
    pub latest: Timestamp,
}

/// Where a feed is.
#[derive(Clone, Debug)]
pub struct FeedEntry {
    /// Its name.
    pub name: String,
    /// The last event that it passed.
    pub passed: Sequence,
    /// When that was, if it has passed any.
    pub at: Option<Timestamp>,
    /// Events that it has not passed.
    pub events: u64,
    /// How much older the last event that it passed is than the newest.
    pub seconds: f64,
    /// Events that fell off the old end before it had passed them.
    pub lost: u64,
}

/// The end of what is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// An event's number.
    Number(Sequence),
    /// A time.
    Time(Timestamp),
}

/// The files, oldest first, those that were set aside last.
pub fn files(folder: &Path) -> Result<Vec<FileEntry>, OpenError> {
    let mut entries = Vec::new();
    for path in event_files(folder).map_err(at(folder))? {
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        let (extent, note) = match segment::look(&path) {
            Ok(found) if found.segment.is_empty() => (None, "no events"),
            Ok(found) => (Some(extent(&found.segment)), if found.is_sealed { "" } else { "being written" }),
            Err(Trouble::Newer(format)) => return Err(newer(&path, format)),
            // Deleted since the folder was read.
            Err(Trouble::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => (None, "damaged"),
        };
        entries.push(FileEntry { path, bytes, extent, note });
    }
    for path in damaged_files(folder).map_err(at(folder))? {
        let bytes = fs::metadata(&path).map_or(0, |metadata| metadata.len());
        entries.push(FileEntry { path, bytes, extent: None, note: "set aside" });
    }
    Ok(entries)
}

fn extent(segment: &Segment) -> Extent {
    let last = Sequence(segment.end.0.saturating_sub(1));
    Extent { first: segment.first, last, earliest: segment.earliest, latest: segment.latest }
}

fn segments(folder: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut segments: Vec<Segment> = Vec::new();
    for path in event_files(folder).map_err(at(folder))? {
        match segment::look(&path) {
            Ok(found) if !found.segment.is_empty() => {
                if let Some(last) = segments.last_mut() {
                    last.cut_before(found.segment.first);
                }
                segments.push(found.segment);
            }
            Err(Trouble::Newer(format)) => return Err(newer(&path, format)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(segments)
}

/// The feeds' places as they were saved last, a second ago or less.
pub fn feeds(folder: &Path) -> Result<Vec<FeedEntry>, OpenError> {
    let segments = segments(folder)?;
    let found = read_places(folder)?;
    let newest = segments.last().map(|segment| segment.latest);
    let entry = |(name, place): (String, places::Place)| {
        let events = segments.iter().map(|segment| segment.between(place.passed, segment.end)).sum();
        let at = (place.at != Timestamp::default()).then_some(place.at);
        let behind = newest.zip(at).filter(|_| events > 0).map(|(newest, at)| newest.since(at).as_secs_f64());
        FeedEntry { name, passed: place.passed, at, events, seconds: behind.unwrap_or(0.0), lost: place.lost }
    };
    Ok(found.places.into_iter().map(entry).collect())
}

/// Writes events as lines of JSON, from the description in force on; how many.
pub fn export(folder: &Path, from: Option<Bound>, to: Option<Bound>, out: &mut impl Write) -> Result<u64, OpenError> {
    let mut lines = Lines { out, last: None, is_described: false, count: 0 };
    for segment in segments(folder)? {
        let is_before = match from {
            Some(Bound::Number(number)) => segment.end <= number,
            Some(Bound::Time(time)) => segment.latest < time,
            None => false,
        };
        if is_before {
            continue;
        }
        let mut open = match OpenFile::new(&segment) {
            Ok(open) => open,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(at(&segment.path)(error)),
        };
        loop {
            let site = open.site().cloned();
            let Ok(event) = open.next(&segment).map_err(at(&segment.path))? else { break };
            if to.is_some_and(|to| is_past(&event, to)) {
                return Ok(lines.count);
            }
            if from.is_none_or(|from| is_at_or_past(&event, from)) {
                lines.write(&event, site.as_ref()).map_err(at(Path::new("the output")))?;
            }
        }
    }
    Ok(lines.count)
}

fn is_past(event: &Event, bound: Bound) -> bool {
    match bound {
        Bound::Number(number) => event.sequence > number,
        Bound::Time(time) => event.at > time,
    }
}

fn is_at_or_past(event: &Event, bound: Bound) -> bool {
    match bound {
        Bound::Number(number) => event.sequence >= number,
        Bound::Time(time) => event.at >= time,
    }
}

struct Lines<'a, W> {
    out: &'a mut W,
    last: Option<Sequence>,
    is_described: bool,
    count: u64,
}

impl<W: Write> Lines<'_, W> {
    /// A description in front of the first event, and what tells of a jump in front of each that follows one.
    fn write(&mut self, event: &Event, site: Option<&Arc<Site>>) -> io::Result<()> {
        let before = Sequence(event.sequence.0.saturating_sub(1));
        if let (false, Some(site)) = (self.is_described, site) {
            let body = EventBody::Site(Arc::clone(site));
            writeln!(self.out, "{}", write_event(&Event { sequence: before, at: event.at, body }, None))?;
            self.is_described = true;
        }
        self.is_described |= matches!(event.body, EventBody::Site(_));
        // A frame means nothing without the description that it refers to.
        if !self.is_described {
            return Ok(());
        }
        if self.last.is_some_and(|last| last < before) {
            let body = EventBody::Gap(Gap { lost: None, reason: "numbers jump in the journal".into() });
            writeln!(self.out, "{}", write_event(&Event { sequence: before, at: event.at, body }, None))?;
        }
        writeln!(self.out, "{}", write_event(event, None))?;
        self.last = Some(event.sequence);
        self.count += 1;
        Ok(())
    }
}
