//! Reads a journal's folder without changing or locking it, also while a gateway writes it.

#![allow(clippy::disallowed_methods, reason = "only commands call it")]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Gap, Sequence};
use bessai_domain::record::write_event;
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;

use crate::cursors::{self, FeedCursor};
use crate::disk::SystemDisk;
use crate::segment::{self, Segment, SegmentError};
use crate::segment_reader::SegmentReader;
use crate::state::open_backlogs;
use crate::store::{quarantined_files, segment_files};
use crate::timeline;
use crate::{Lag, OpenError};

/// A file of events.
#[derive(Clone, Debug)]
pub struct FileEntry {
    /// The file's path.
    pub path: PathBuf,
    /// Size on disk.
    pub bytes: u64,
    /// Which events it holds, if any can be read.
    pub extent: Option<Extent>,
    /// Its condition for people: "being written", "damaged", "no events" or "set aside"; empty for a complete file.
    pub note: &'static str,
}

/// A range of events.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Number of the first event.
    pub first: Sequence,
    /// Number of the last event.
    pub last: Sequence,
    /// The earliest time of an event.
    pub earliest: Timestamp,
    /// The latest time of an event.
    pub latest: Timestamp,
}

/// A feed's saved cursor.
#[derive(Clone, Debug)]
pub struct FeedEntry {
    /// The feed's name.
    pub name: String,
    /// The last event that it has delivered.
    pub delivered: Sequence,
    /// When that event happened, if it has delivered any.
    pub delivered_at: Option<Timestamp>,
    /// How far it is behind the written events.
    pub lag: Lag,
}

/// The first or last event of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventBound {
    /// The event with this number.
    Number(Sequence),
    /// The events at this time.
    Time(Timestamp),
}

/// Lists the files of events, oldest first, then the quarantined ones.
pub fn files(folder: &Path) -> Result<Vec<FileEntry>, OpenError> {
    let mut entries = Vec::new();
    for path in segment_files(&SystemDisk, folder).map_err(OpenError::io(folder))? {
        let bytes = file_bytes(&path);
        let (extent, note) = match segment::scan(&SystemDisk, &path) {
            Ok(scanned) if scanned.segment.is_empty() => (None, "no events"),
            Err(SegmentError::Blank) => (None, "no events"),
            Ok(scanned) => (Some(extent(&scanned.segment)), if scanned.is_sealed { "" } else { "being written" }),
            Err(SegmentError::NewerFormat(format)) => return Err(OpenError::newer_segment(&path, format)),
            // Deleted since the folder was listed.
            Err(SegmentError::Io(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => (None, "damaged"),
        };
        entries.push(FileEntry { path, bytes, extent, note });
    }
    for path in quarantined_files(&SystemDisk, folder).map_err(OpenError::io(folder))? {
        entries.push(FileEntry { bytes: file_bytes(&path), path, extent: None, note: "set aside" });
    }
    Ok(entries)
}

fn file_bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn extent(segment: &Segment) -> Extent {
    let last = Sequence(segment.end.0.saturating_sub(1));
    Extent { first: segment.first, last, earliest: segment.earliest, latest: segment.latest }
}

fn segments(folder: &Path) -> Result<Vec<Segment>, OpenError> {
    let mut segments: Vec<Segment> = Vec::new();
    for path in segment_files(&SystemDisk, folder).map_err(OpenError::io(folder))? {
        match segment::scan(&SystemDisk, &path) {
            Ok(scanned) if !scanned.segment.is_empty() => {
                if let Some(last) = segments.last_mut() {
                    last.end_before(scanned.segment.first);
                }
                segments.push(scanned.segment);
            }
            Err(SegmentError::NewerFormat(format)) => return Err(OpenError::newer_segment(&path, format)),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(segments)
}

/// Lists the feeds' cursors as they were saved last.
pub fn feeds(folder: &Path) -> Result<Vec<FeedEntry>, OpenError> {
    let mut segments = segments(folder)?;
    timeline::place_on_newest(&mut segments);
    let loaded = cursors::load(&SystemDisk, folder)?;
    let mut cursors = loaded.cursors;
    cursors::settle_backlogs(&mut cursors);
    let entry = |(name, cursor): (&String, &FeedCursor)| {
        let mut lag = lag(&segments, cursor);
        for backlog in open_backlogs(&cursors, name).iter().filter_map(|key| cursors.get(key)) {
            lag.add_backlog(self::lag(&segments, backlog));
        }
        let delivered_at = (cursor.at != Timestamp::default()).then_some(cursor.at);
        FeedEntry { name: name.clone(), delivered: cursor.delivered, delivered_at, lag }
    };
    Ok(cursors.iter().filter(|(_, cursor)| cursor.end.is_none()).map(entry).collect())
}

/// How far a cursor is behind the written events.
fn lag(segments: &[Segment], cursor: &FeedCursor) -> Lag {
    let newest = segments.iter().map(Segment::newest_occurred).max().unwrap_or_default();
    let count = |segment: &Segment| {
        let end = cursor.end.map_or(segment.end, |end| end.min(segment.end));
        segment.count_between(cursor.delivered, end)
    };
    let first = segments.iter().find(|segment| count(segment) > 0);
    let seconds = first.map_or(0.0, |first| newest.since(first.occurred_after(cursor)).as_secs_f64());
    Lag { events: segments.iter().map(count).sum(), seconds, lost: cursor.lost, backlog: 0 }
}

/// Writes events as lines of JSON, preceded by the site description in force; returns how many events.
pub fn export(
    folder: &Path,
    from: Option<EventBound>,
    to: Option<EventBound>,
    out: &mut impl Write,
) -> Result<u64, OpenError> {
    let mut lines = JsonLines { out, last: None, has_site: false, events: 0 };
    for segment in segments(folder)? {
        let is_before = match from {
            Some(EventBound::Number(number)) => segment.end <= number,
            Some(EventBound::Time(time)) => segment.latest < time,
            None => false,
        };
        if is_before {
            continue;
        }
        let mut reader = match SegmentReader::open(&SystemDisk, &segment) {
            Ok(reader) => reader,
            // Deleted since the folder was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(OpenError::io(&segment.path)(error)),
        };
        loop {
            let site = reader.site().cloned();
            let Ok(recorded) = reader.next(&segment).map_err(OpenError::io(&segment.path))? else { break };
            let event = recorded.event;
            if to.is_some_and(|to| is_after(&event, to)) {
                return Ok(lines.events);
            }
            if from.is_none_or(|from| is_at_or_after(&event, from)) {
                lines.write(&event, site.as_ref()).map_err(OpenError::io(Path::new("the output")))?;
            }
        }
    }
    Ok(lines.events)
}

fn is_after(event: &Event, bound: EventBound) -> bool {
    match bound {
        EventBound::Number(number) => event.sequence > number,
        EventBound::Time(time) => event.at > time,
    }
}

fn is_at_or_after(event: &Event, bound: EventBound) -> bool {
    match bound {
        EventBound::Number(number) => event.sequence >= number,
        EventBound::Time(time) => event.at >= time,
    }
}

struct JsonLines<'a, W> {
    out: &'a mut W,
    last: Option<Sequence>,
    /// A site description was written.
    has_site: bool,
    events: u64,
}

impl<W: Write> JsonLines<'_, W> {
    /// Writes an event. The first one is preceded by the site description in force, `site`; one after missing numbers is
    /// preceded by a gap event.
    fn write(&mut self, event: &Event, site: Option<&Arc<Site>>) -> io::Result<()> {
        let before = Sequence(event.sequence.0.saturating_sub(1));
        if let (false, Some(site)) = (self.has_site, site) {
            let body = EventBody::Site(Arc::clone(site));
            writeln!(self.out, "{}", write_event(&Event { sequence: before, at: event.at, body }, None))?;
            self.has_site = true;
        }
        self.has_site |= matches!(event.body, EventBody::Site(_));
        // A frame is meaningless without the description that it refers to.
        if !self.has_site {
            return Ok(());
        }
        if self.last.is_some_and(|last| last < before) {
            let body = EventBody::Gap(Gap { lost: None, reason: "event numbers are missing in the journal".into() });
            writeln!(self.out, "{}", write_event(&Event { sequence: before, at: event.at, body }, None))?;
        }
        writeln!(self.out, "{}", write_event(event, None))?;
        self.last = Some(event.sequence);
        self.events += 1;
        Ok(())
    }
}
