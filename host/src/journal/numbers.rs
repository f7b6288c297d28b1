//! The numbers that events may get: reserved on the disk before the first of them is used, so that none is used twice,
//! also when a power loss takes events that were delivered but not on the disk yet.
//!
//! The file has two places of the same length, written in turn: one of them is whole at any time.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bessai_domain::event::Sequence;

/// Numbers that are reserved at once: 17 minutes at 1,000 events a second between two writes.
pub(super) const RESERVED: u64 = 1 << 20;
const NAME: &str = "numbers";
const PLACE_BYTES: usize = 64;

/// The file.
pub(super) struct Numbers {
    file: File,
    turn: u64,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reserved {
    /// No number from this one on was used.
    pub(super) end: Sequence,
    /// The number before it was used: the gateway ended in good order.
    pub(super) is_exact: bool,
}

impl Numbers {
    /// Opens or makes the file; what it says, if it is whole.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, Option<Reserved>)> {
        let path = folder.join(NAME);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (turn, reserved) = newest(&file).map_or((0, None), |(turn, reserved)| (turn, Some(reserved)));
        Ok((Self { file, turn }, reserved))
    }

    /// Brings a reservation to the disk.
    pub(super) fn reserve(&mut self, reserved: Reserved) -> io::Result<()> {
        // A write that fails leaves the other place as it is, however often it is tried.
        let turn = self.turn + 1;
        let word = if reserved.is_exact { "exact" } else { "reserved" };
        let text = format!("{turn:010} {:020} {word:8}", reserved.end.0);
        let line = format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()));
        let place = format!("{line:>PLACE_BYTES$}");
        self.file.write_all_at(place.as_bytes(), (turn % 2) * PLACE_BYTES as u64)?;
        self.file.sync_data()?;
        self.turn = turn;
        Ok(())
    }
}

fn newest(file: &File) -> Option<(u64, Reserved)> {
    let read = |place: u64| {
        let mut bytes = [0; PLACE_BYTES];
        file.read_exact_at(&mut bytes, place * PLACE_BYTES as u64).ok()?;
        let (text, checksum) = std::str::from_utf8(&bytes).ok()?.trim().rsplit_once(' ')?;
        if format!("{:08x}", crc32fast::hash(text.as_bytes())) != checksum {
            return None;
        }
        let mut words = text.split_ascii_whitespace();
        let (turn, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
        Some((turn, Reserved { end: Sequence(end), is_exact: words.next()? == "exact" }))
    };
    [read(0), read(1)].into_iter().flatten().max_by_key(|(turn, _)| *turn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let (mut numbers, none) = Numbers::open(folder.path()).unwrap();
        assert_eq!(none, None);
        let reserved = |end, is_exact| Reserved { end: Sequence(end), is_exact };
        numbers.reserve(reserved(1000, false)).unwrap();
        numbers.reserve(reserved(500, true)).unwrap();
        assert_eq!(Numbers::open(folder.path()).unwrap().1, Some(reserved(500, true)));
        numbers.file.write_all_at(b"#", 20).unwrap();
        assert_eq!(Numbers::open(folder.path()).unwrap().1, Some(reserved(1000, false)));
        numbers.file.set_len(70).unwrap();
        assert_eq!(Numbers::open(folder.path()).unwrap().1, None);
    }
}
