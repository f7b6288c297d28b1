//! Event numbers are reserved on disk before the first of them is used, so that none is used twice, even if a power loss
//! destroys events that were delivered but not yet on disk.
//!
//! The file has two slots of the same length, written alternately: one of them is intact at any time.

#![allow(clippy::disallowed_methods, reason = "it runs at the start and in the syncer's thread")]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bessai_domain::event::Sequence;

/// Numbers that are reserved at once: two writes are 17 minutes apart at 1,000 events/s.
pub(crate) const RESERVED_NUMBERS: u64 = 1 << 20;
/// Name of the file.
const FILE_NAME: &str = "numbers";
/// Length of a slot.
const SLOT_BYTES: usize = 64;

/// The file of reservations.
pub(crate) struct ReservationFile {
    file: File,
    /// Counts the writes; its parity selects the slot.
    turn: u64,
}

/// Which numbers may have been used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reservation {
    /// No number from this one on was used.
    pub(crate) end: Sequence,
    /// All numbers before `end` were used: the gateway was shut down cleanly.
    pub(crate) is_exact: bool,
}

impl Reservation {
    /// Reserves [`RESERVED_NUMBERS`] from `next` on.
    pub(crate) fn ahead_of(next: Sequence) -> Self {
        Self { end: Sequence(next.0.saturating_add(RESERVED_NUMBERS)), is_exact: false }
    }
}

impl ReservationFile {
    /// Opens or creates the file; returns its newest intact reservation.
    pub(crate) fn open(folder: &Path) -> io::Result<(Self, Option<Reservation>)> {
        let path = folder.join(FILE_NAME);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let (turn, reservation) = newest(&file).map_or((0, None), |(turn, reservation)| (turn, Some(reservation)));
        Ok((Self { file, turn }, reservation))
    }

    /// Writes and syncs a reservation.
    pub(crate) fn write(&mut self, reservation: Reservation) -> io::Result<()> {
        // The turn advances only on success, so that a failed write never touches the slot of the last good one.
        let turn = self.turn + 1;
        let kind = if reservation.is_exact { "exact" } else { "reserved" };
        let text = format!("{turn:010} {:020} {kind:8}", reservation.end.0);
        let line = format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()));
        let slot = format!("{line:>SLOT_BYTES$}");
        self.file.write_all_at(slot.as_bytes(), (turn % 2) * SLOT_BYTES as u64)?;
        self.file.sync_data()?;
        self.turn = turn;
        Ok(())
    }
}

fn newest(file: &File) -> Option<(u64, Reservation)> {
    [read_slot(file, 0), read_slot(file, 1)].into_iter().flatten().max_by_key(|(turn, _)| *turn)
}

fn read_slot(file: &File, index: u64) -> Option<(u64, Reservation)> {
    let mut bytes = [0; SLOT_BYTES];
    file.read_exact_at(&mut bytes, index * SLOT_BYTES as u64).ok()?;
    let (text, checksum) = std::str::from_utf8(&bytes).ok()?.trim().rsplit_once(' ')?;
    if format!("{:08x}", crc32fast::hash(text.as_bytes())) != checksum {
        return None;
    }
    let mut words = text.split_ascii_whitespace();
    let (turn, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((turn, Reservation { end: Sequence(end), is_exact: words.next()? == "exact" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_previous_reservation() {
        let folder = tempfile::tempdir().unwrap();
        let (mut file, none) = ReservationFile::open(folder.path()).unwrap();
        assert_eq!(none, None);
        let reservation = |end, is_exact| Reservation { end: Sequence(end), is_exact };
        file.write(reservation(1000, false)).unwrap();
        file.write(reservation(500, true)).unwrap();
        assert_eq!(ReservationFile::open(folder.path()).unwrap().1, Some(reservation(500, true)));
        file.file.write_all_at(b"#", 20).unwrap();
        assert_eq!(ReservationFile::open(folder.path()).unwrap().1, Some(reservation(1000, false)));
        file.file.set_len(70).unwrap();
        assert_eq!(ReservationFile::open(folder.path()).unwrap().1, None);
    }
}
