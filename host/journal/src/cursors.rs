//! The file of the feeds' cursors. A record holds a feed's cursor and its plugin's state together, so that neither is ever
//! newer than the other.
//!
//! Records are appended; the newest of each feed counts. A file that has grown to a multiple of what counts is
//! rewritten: a new file replaces it.
//!
//! ```text
//! header   magic (8)  format (1)
//! records  body length, body, CRC-32 of the body (4)
//! ```
//!
//! A backlog that a feed left behind has a record of its own, named `<feed>/<number>`, which also has the number at which
//! the backlog ends. Earlier versions skip that number and take the backlog for a feed that was removed.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bessai_domain::event::Sequence;
use bessai_domain::state::PluginState;
use bessai_domain::time::Timestamp;

use crate::bytes::{ByteReader, InvalidBytes, put_number, put_size, put_string};
use crate::disk::{self, Access, Disk, OpenFile};
use crate::error::OpenError;

/// Name of the file.
pub(crate) const FILE_NAME: &str = "feeds";
/// The format that is written.
const FORMAT: u8 = 1;
/// First bytes of the file.
const MAGIC: &[u8; 8] = b"bessai\0p";
/// Magic and format.
const HEADER_BYTES: usize = MAGIC.len() + 1;
/// A file smaller than this is not worth rewriting.
const MIN_REWRITTEN_BYTES: u64 = 256 << 10;
/// A file is rewritten when it is this many times larger than the records that count.
const GROWTH_FACTOR: u64 = 4;
/// Approximate size of a record without the plugin's state.
const RECORD_OVERHEAD_BYTES: u64 = 64;

/// A feed's cursor and its plugin's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FeedCursor {
    /// The last event whose messages are delivered.
    pub(crate) delivered: Sequence,
    /// When that event happened.
    pub(crate) at: Timestamp,
    /// Events that were lost before the feed had delivered them.
    pub(crate) lost: u64,
    /// Those of the lost events that a delivered gap event has reported.
    pub(crate) reported: u64,
    /// The plugin's state.
    pub(crate) state: PluginState,
    /// Of a backlog: the number of the first event that does not belong to it.
    pub(crate) end: Option<Sequence>,
}

impl FeedCursor {
    /// Whether it is a backlog with events that are not delivered.
    pub(crate) fn is_open_backlog(&self) -> bool {
        self.end.is_some_and(|end| self.delivered.next() < end)
    }
}

/// Separates a feed's name from the number of its backlog; no file name contains it.
const BACKLOG_SEPARATOR: char = '/';

/// The name of a backlog's record.
pub(crate) fn backlog_key(feed: &str, number: usize) -> String {
    format!("{feed}{BACKLOG_SEPARATOR}{number}")
}

/// The feed that a record belongs to.
pub(crate) fn feed_of(key: &str) -> &str {
    key.split_once(BACKLOG_SEPARATOR).map_or(key, |(feed, _)| feed)
}

/// Drops delivered backlogs, and completes what a kill interrupted between the record of a backlog and that of its feed.
pub(crate) fn settle_backlogs(cursors: &mut FeedCursors) {
    cursors.retain(|_, cursor| cursor.end.is_none() || cursor.is_open_backlog());
    let ends: Vec<_> =
        cursors.iter().filter_map(|(key, cursor)| Some((feed_of(key).to_owned(), cursor.end?))).collect();
    for (feed, end) in ends {
        if let Some(cursor) = cursors.get_mut(&feed) {
            cursor.delivered = cursor.delivered.max(Sequence(end.0.saturating_sub(1)));
        }
    }
}

/// Cursors by the names of their feeds.
pub(crate) type FeedCursors = BTreeMap<String, FeedCursor>;

/// What the file holds.
pub(crate) struct LoadedCursors {
    pub(crate) cursors: FeedCursors,
    pub(crate) condition: CursorFileCondition,
    /// Length of the header and the valid records.
    valid_bytes: u64,
}

/// Whether the file has lost cursors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CursorFileCondition {
    /// It holds every cursor that was saved, or there is no file.
    Intact,
    /// It ends with this many invalid bytes: the newest records may be lost.
    InvalidEnd(u64),
    /// Its header is damaged: all records are lost.
    Damaged,
}

/// Appends records to the file.
pub(crate) struct CursorFile {
    path: PathBuf,
    /// None until the first write creates the file.
    file: Option<OpenFile>,
    bytes: u64,
    /// What the file holds: a state is written only if it has changed.
    written: FeedCursors,
}

/// Reads the file; a missing file holds no cursors.
pub(crate) fn load(disk: &dyn Disk, folder: &Path) -> Result<LoadedCursors, OpenError> {
    let path = folder.join(FILE_NAME);
    match disk::read(disk, &path) {
        Ok(read) => decode(&read).map_err(|format| {
            let (format, supported) = (u16::from(format), u16::from(FORMAT));
            OpenError::NewerFormat { path, format, supported }
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LoadedCursors::none()),
        Err(error) => Err(OpenError::Io { path, error }),
    }
}

/// Decodes a file; the error is the format of a later version.
pub(crate) fn decode(read: &[u8]) -> Result<LoadedCursors, u8> {
    let mut loaded = LoadedCursors::none();
    // The file is created by a rename of a complete one, so that a file without whole header was truncated.
    let (header, mut rest) = read.split_at_checked(HEADER_BYTES).unwrap_or_default();
    match header.strip_prefix(MAGIC) {
        Some([format]) if *format > FORMAT => return Err(*format),
        Some([FORMAT]) => {}
        _ => {
            loaded.condition = CursorFileCondition::Damaged;
            return Ok(loaded);
        }
    }
    while let Ok(taken) = decode_record(rest, &mut loaded.cursors) {
        rest = rest.get(taken..).unwrap_or_default();
    }
    if !rest.is_empty() {
        loaded.condition = CursorFileCondition::InvalidEnd(rest.len() as u64);
    }
    loaded.valid_bytes = (read.len() - rest.len()) as u64;
    Ok(loaded)
}

/// Renames a damaged file, so that a new one can be created.
pub(crate) fn quarantine(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    disk.rename(&folder.join(FILE_NAME), &folder.join(format!("{FILE_NAME}.damaged")))
}

impl LoadedCursors {
    fn none() -> Self {
        Self { cursors: FeedCursors::new(), condition: CursorFileCondition::Intact, valid_bytes: 0 }
    }
}

impl CursorFile {
    /// Continues behind the last valid record.
    pub(crate) fn open(disk: &dyn Disk, folder: &Path, loaded: &LoadedCursors) -> Self {
        let path = folder.join(FILE_NAME);
        let bytes = loaded.valid_bytes;
        let file = disk.open(&path, Access::Write).ok().filter(|_| bytes > 0);
        let file = file.filter(|file| file.set_len(bytes).is_ok());
        Self { path, file, bytes, written: loaded.cursors.clone() }
    }

    /// Writes and syncs the changed cursors; `all` are those that count.
    pub(crate) fn write(&mut self, disk: &dyn Disk, changed: &FeedCursors, all: &FeedCursors) -> io::Result<()> {
        let live: u64 = all.values().map(|cursor| cursor.state.bytes() as u64 + RECORD_OVERHEAD_BYTES).sum();
        let Some(file) = self.file.as_ref().filter(|_| self.bytes < MIN_REWRITTEN_BYTES + GROWTH_FACTOR * live) else {
            return self.rewrite(disk, all);
        };
        let mut records = Vec::new();
        // Backlogs come before their feeds: a record of a feed that moved past its backlog must not be alone.
        for (feed, cursor) in changed.iter().rev() {
            let state = match self.written.get(feed) {
                Some(written) if written.state == cursor.state => None,
                _ => Some(&cursor.state),
            };
            encode_record(&mut records, feed, cursor, state);
        }
        let written = file.write_at(&records, self.bytes).and_then(|()| file.sync());
        if let Err(error) = written {
            // If this fails too, the next write overwrites the incomplete record.
            let _ = file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += records.len() as u64;
        self.written.extend(changed.iter().map(|(feed, cursor)| (feed.clone(), cursor.clone())));
        Ok(())
    }

    /// Replaces the file by one that holds these cursors only.
    pub(crate) fn rewrite(&mut self, disk: &dyn Disk, all: &FeedCursors) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(FORMAT);
        for (feed, cursor) in all {
            encode_record(&mut bytes, feed, cursor, Some(&cursor.state));
        }
        let part = self.path.with_extension("part");
        let file = disk.open(&part, Access::Replace)?;
        file.write_at(&bytes, 0)?;
        file.sync()?;
        disk.rename(&part, &self.path)?;
        // From here on the file that was written to so far is gone.
        self.file = None;
        if let Some(folder) = self.path.parent() {
            disk.sync_folder(folder)?;
        }
        (self.file, self.bytes, self.written) = (Some(file), bytes.len() as u64, all.clone());
        Ok(())
    }
}

/// Appends a record; without `state` the feed's previous one stays in force.
fn encode_record(bytes: &mut Vec<u8>, feed: &str, cursor: &FeedCursor, state: Option<&PluginState>) {
    let mut body = Vec::new();
    put_string(&mut body, feed.as_bytes());
    put_number(&mut body, cursor.delivered.0);
    put_number(&mut body, cursor.at.nanos());
    put_number(&mut body, cursor.lost);
    put_number(&mut body, cursor.reported);
    match state {
        None => body.push(0),
        Some(state) => {
            body.push(1);
            put_size(&mut body, state.iter().count());
            for (key, value) in state.iter() {
                put_string(&mut body, key.as_bytes());
                put_string(&mut body, value);
            }
        }
    }
    if let Some(end) = cursor.end {
        put_number(&mut body, end.0);
    }
    put_size(bytes, body.len());
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
}

/// Applies the first record to the cursors and returns its length.
fn decode_record(bytes: &[u8], cursors: &mut FeedCursors) -> Result<usize, InvalidBytes> {
    let mut rest = ByteReader(bytes);
    let body = rest.string()?;
    if rest.fixed(4)? != u64::from(crc32fast::hash(body)) {
        return Err(InvalidBytes);
    }
    let mut body = ByteReader(body);
    let feed = String::from_utf8(body.string()?.to_vec()).map_err(|_| InvalidBytes)?;
    let cursor = cursors.entry(feed).or_default();
    cursor.delivered = Sequence(body.number()?);
    cursor.at = Timestamp::from_nanos(body.number()?);
    cursor.lost = body.number()?;
    cursor.reported = body.number()?;
    if body.byte()? == 1 {
        let mut state = PluginState::default();
        for _ in 0..body.count()? {
            let key = String::from_utf8(body.string()?.to_vec()).map_err(|_| InvalidBytes)?;
            state.set(key, body.string()?.to_vec()).map_err(|_| InvalidBytes)?;
        }
        cursor.state = state;
    }
    cursor.end = if body.0.is_empty() { None } else { Some(Sequence(body.number()?)) };
    Ok(bytes.len() - rest.0.len())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::SystemDisk;

    fn load(folder: &Path) -> Result<LoadedCursors, OpenError> {
        super::load(&SystemDisk, folder)
    }

    fn cursor(delivered: u64, value: &[u8]) -> FeedCursor {
        let mut state = PluginState::default();
        state.set("k".into(), value.to_vec()).unwrap();
        let at = Timestamp::from_nanos(delivered * 10);
        FeedCursor { delivered: Sequence(delivered), at, lost: delivered / 2, reported: 1, state, end: None }
    }

    #[test]
    fn a_cursor_and_its_state_are_restored_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let mut all = FeedCursors::new();
        let mut file = CursorFile::open(&SystemDisk, folder.path(), &load(folder.path()).unwrap());
        let mut sizes = vec![];
        for (feed, delivered, value) in [("a", 1, "x"), ("b", 2, "y"), ("a", 3, "x"), ("a", 4, "zzzz")] {
            let changed = FeedCursors::from([(feed.to_owned(), cursor(delivered, value.as_bytes()))]);
            all.extend(changed.clone());
            file.write(&SystemDisk, &changed, &all).unwrap();
            assert_eq!(load(folder.path()).unwrap().cursors, all);
            sizes.push(fs::metadata(&path).unwrap().len());
        }
        assert!(sizes[2] - sizes[1] < sizes[1] - sizes[0], "an unchanged state is not written again");
        let whole = fs::read(&path).unwrap();
        let before = FeedCursors::from([("a".into(), cursor(3, b"x")), ("b".into(), cursor(2, b"y"))]);
        for length in usize::try_from(sizes[2]).unwrap()..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let loaded = load(folder.path()).unwrap();
            assert_eq!(loaded.cursors, before, "a torn record leaves the previous one in force");
            let mut file = CursorFile::open(&SystemDisk, folder.path(), &loaded);
            file.write(&SystemDisk, &FeedCursors::from([("b".into(), cursor(9, b"y"))]), &before).unwrap();
            assert_eq!(load(folder.path()).unwrap().cursors["b"], cursor(9, b"y"));
        }
    }

    #[test]
    fn the_file_is_compacted() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = CursorFile::open(&SystemDisk, folder.path(), &load(folder.path()).unwrap());
        let mut all = FeedCursors::new();
        for delivered in 0..40 {
            all.insert("a".into(), cursor(delivered, &[u8::try_from(delivered).unwrap(); 20_000]));
            file.write(&SystemDisk, &all.clone(), &all).unwrap();
        }
        assert!(fs::metadata(folder.path().join(FILE_NAME)).unwrap().len() < 2 * MIN_REWRITTEN_BYTES);
        assert_eq!(load(folder.path()).unwrap().cursors, all);
    }

    #[test]
    fn a_foreign_file_is_recognized() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8]| {
            fs::write(folder.path().join(FILE_NAME), bytes).unwrap();
            assert_eq!(load(folder.path()).unwrap().condition, CursorFileCondition::Damaged);
        };
        check(b"hello world");
        check(b"bessai");
        check(b"");
        fs::write(folder.path().join(FILE_NAME), b"bessai\0p\x02").unwrap();
        let error = load(folder.path()).err().unwrap();
        assert!(matches!(error, OpenError::NewerFormat { format: 2, supported: 1, .. }), "{error}");
    }
}
