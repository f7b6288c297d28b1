//! Where each feed is, and what its plugin keeps there: one record for both, so that neither is ever without the other.
//!
//! Records are added to a file, the newest of a feed counts. When the file has grown well beyond what counts it is
//! written anew beside the old one and takes its place.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bessai_domain::event::Sequence;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;

use super::bytes::{Bytes, Unsound, put, put_size, put_text};

/// The file.
pub(super) const NAME: &str = "feeds";
const MAGIC: &[u8; 8] = b"bessai\0p";
/// What is written.
pub(super) const FORMAT: u8 = 1;
const HEAD_BYTES: usize = MAGIC.len() + 1;
/// A smaller file is not worth writing anew.
const SMALL_BYTES: u64 = 256 << 10;
/// A file is written anew when it is so many times what counts in it.
const GROWN: u64 = 4;

/// Where a feed is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The last event whose messages are delivered.
    pub(super) passed: Sequence,
    /// When that event happened.
    pub(super) at: Timestamp,
    /// Events that fell off the old end before the feed had passed them.
    pub(super) lost: u64,
    /// Of those, the ones that a delivered gap has told of.
    pub(super) told: u64,
    /// What its plugin keeps.
    pub(super) state: State,
}

pub(super) type Places = BTreeMap<String, Place>;

/// What was found in the file.
pub(super) struct Found {
    pub(super) places: Places,
    /// Sound bytes.
    bytes: u64,
    /// Bytes behind the last sound record.
    pub(super) unsound: u64,
    /// Its format, where that is a later one.
    pub(super) newer: Option<u8>,
    /// There was a file, and it does not begin as one of places.
    pub(super) is_damaged: bool,
}

/// Adds records to the file.
pub(super) struct Writer {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    // Written last, so that a state is written only when it has changed.
    written: Places,
}

/// Reads the file; one that is not there has no places.
pub(super) fn look(folder: &Path) -> io::Result<Found> {
    let read = match fs::read(folder.join(NAME)) {
        Ok(read) => Some(read),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut found = Found { places: Places::new(), bytes: 0, unsound: 0, newer: None, is_damaged: false };
    let Some(read) = read else { return Ok(found) };
    let Some((head, mut rest)) = read.split_at_checked(HEAD_BYTES) else {
        // It takes its place as a whole, so an empty one was cut.
        found.is_damaged = true;
        return Ok(found);
    };
    match head.strip_prefix(MAGIC) {
        Some([format]) if *format > FORMAT => found.newer = Some(*format),
        Some([FORMAT]) => {}
        _ => found.is_damaged = true,
    }
    if found.is_damaged || found.newer.is_some() {
        return Ok(found);
    }
    while let Ok(taken) = read_record(rest, &mut found.places) {
        rest = rest.get(taken..).unwrap_or_default();
    }
    found.unsound = rest.len() as u64;
    found.bytes = (read.len() - rest.len()) as u64;
    Ok(found)
}

/// Takes a file that cannot be used out of the way.
pub(super) fn set_aside(folder: &Path) -> io::Result<()> {
    fs::rename(folder.join(NAME), folder.join(format!("{NAME}.damaged")))
}

impl Writer {
    /// Goes on behind the last sound record.
    pub(super) fn open(folder: &Path, found: &Found) -> Self {
        let path = folder.join(NAME);
        let file = OpenOptions::new().write(true).open(&path).ok().filter(|_| found.bytes > 0);
        let file = file.filter(|file| file.set_len(found.bytes).is_ok());
        Self { path, file, bytes: found.bytes, written: found.places.clone() }
    }

    /// Brings places to the disk; `all` are those that count.
    pub(super) fn write(&mut self, changed: &Places, all: &Places) -> io::Result<()> {
        let live: u64 = all.values().map(|place| place.state.bytes() as u64 + 64).sum();
        let Some(file) = self.file.as_ref().filter(|_| self.bytes < SMALL_BYTES + GROWN * live) else {
            return self.write_anew(all);
        };
        let mut records = Vec::new();
        for (feed, place) in changed {
            let state = match self.written.get(feed) {
                Some(written) if written.state == place.state => None,
                _ => Some(&place.state),
            };
            put_record(&mut records, feed, place, state);
        }
        let written = file.write_all_at(&records, self.bytes).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // What was written of it is overwritten by the next.
            let _ = file.set_len(self.bytes);
            return Err(error);
        }
        self.bytes += records.len() as u64;
        self.written.extend(changed.iter().map(|(feed, place)| (feed.clone(), place.clone())));
        Ok(())
    }

    fn write_anew(&mut self, all: &Places) -> io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(FORMAT);
        for (feed, place) in all {
            put_record(&mut bytes, feed, place, Some(&place.state));
        }
        let part = self.path.with_extension("part");
        let file = File::create(&part)?;
        file.write_all_at(&bytes, 0)?;
        file.sync_data()?;
        fs::rename(&part, &self.path)?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_data()?;
        }
        (self.file, self.bytes, self.written) = (Some(file), bytes.len() as u64, all.clone());
        Ok(())
    }
}

fn put_record(bytes: &mut Vec<u8>, feed: &str, place: &Place, state: Option<&State>) {
    let mut body = Vec::new();
    put_text(&mut body, feed.as_bytes());
    put(&mut body, place.passed.0);
    put(&mut body, place.at.nanos());
    put(&mut body, place.lost);
    put(&mut body, place.told);
    match state {
        None => body.push(0),
        Some(state) => {
            body.push(1);
            put_size(&mut body, state.iter().count());
            for (key, value) in state.iter() {
                put_text(&mut body, key.as_bytes());
                put_text(&mut body, value);
            }
        }
    }
    put_size(bytes, body.len());
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
}

fn read_record(bytes: &[u8], places: &mut Places) -> Result<usize, Unsound> {
    let mut rest = Bytes(bytes);
    let body = rest.text()?;
    if rest.fixed(4)? != u64::from(crc32fast::hash(body)) {
        return Err(Unsound);
    }
    let mut body = Bytes(body);
    let feed = String::from_utf8(body.text()?.to_vec()).map_err(|_| Unsound)?;
    let place = places.entry(feed).or_default();
    place.passed = Sequence(body.number()?);
    place.at = Timestamp::from_nanos(body.number()?);
    place.lost = body.number()?;
    place.told = body.number()?;
    if body.byte()? == 1 {
        let mut state = State::default();
        for _ in 0..body.count()? {
            let key = String::from_utf8(body.text()?.to_vec()).map_err(|_| Unsound)?;
            state.set(key, body.text()?.to_vec()).map_err(|_| Unsound)?;
        }
        place.state = state;
    }
    Ok(bytes.len() - rest.0.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(passed: u64, value: &[u8]) -> Place {
        let mut state = State::default();
        state.set("k".into(), value.to_vec()).unwrap();
        Place { passed: Sequence(passed), at: Timestamp::from_nanos(passed * 10), lost: passed / 2, told: 1, state }
    }

    #[test]
    fn a_place_and_its_state_come_back_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(NAME);
        let mut all = Places::new();
        let mut writer = Writer::open(folder.path(), &look(folder.path()).unwrap());
        let mut sizes = vec![];
        for (feed, passed, value) in [("a", 1, "x"), ("b", 2, "y"), ("a", 3, "x"), ("a", 4, "zzzz")] {
            let changed = Places::from([(feed.to_owned(), place(passed, value.as_bytes()))]);
            all.extend(changed.clone());
            writer.write(&changed, &all).unwrap();
            assert_eq!(look(folder.path()).unwrap().places, all);
            sizes.push(fs::metadata(&file).unwrap().len());
        }
        assert!(sizes[2] - sizes[1] < sizes[1] - sizes[0], "an unchanged state is not written again");
        let whole = fs::read(&file).unwrap();
        let before = Places::from([("a".into(), place(3, b"x")), ("b".into(), place(2, b"y"))]);
        for length in usize::try_from(sizes[2]).unwrap()..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            let found = look(folder.path()).unwrap();
            assert_eq!(found.places, before, "a torn record leaves the one before");
            let mut writer = Writer::open(folder.path(), &found);
            writer.write(&Places::from([("b".into(), place(9, b"y"))]), &before).unwrap();
            assert_eq!(look(folder.path()).unwrap().places["b"], place(9, b"y"));
        }
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::open(folder.path(), &look(folder.path()).unwrap());
        let mut all = Places::new();
        for passed in 0..40 {
            all.insert("a".into(), place(passed, &[u8::try_from(passed).unwrap(); 20_000]));
            writer.write(&all.clone(), &all).unwrap();
        }
        assert!(fs::metadata(folder.path().join(NAME)).unwrap().len() < 2 * SMALL_BYTES);
        assert_eq!(look(folder.path()).unwrap().places, all);
    }

    #[test]
    fn a_file_of_something_else_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let check = |bytes: &[u8], newer, is_damaged| {
            fs::write(folder.path().join(NAME), bytes).unwrap();
            let found = look(folder.path()).unwrap();
            assert_eq!((found.newer, found.is_damaged), (newer, is_damaged));
        };
        check(b"bessai\0p\x02", Some(2), false);
        check(b"hello world", None, true);
        check(b"bessai", None, true);
        check(b"", None, true);
    }
}
