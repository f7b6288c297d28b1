//! Event numbers are reserved on disk before the first of them is used, so that none is used twice, even if a power loss
//! destroys events that were delivered but not yet on disk.
//!
//! The file has two slots, written alternately and far enough apart that no sector or page holds a part of both: one of them
//! is intact at any time.
//!
//! ```text
//! 0     slot (64)
//! 64    slot of earlier versions (64), never written
//! 4096  slot (64)
//! slot  turn  number  "reserved" or "exact"  CRC-32, as text with spaces in front and between
//! ```

use std::io;
use std::path::Path;

use bessai_domain::event::Sequence;

use crate::disk::{Access, Disk, DiskFile, OpenFile, read_up_to};

/// Numbers that are reserved at once: two writes are 17 minutes apart at 1,000 events/s.
pub(crate) const RESERVED_NUMBERS: u64 = 1 << 20;
/// Name of the file.
pub(crate) const FILE_NAME: &str = "numbers";
/// Length of a slot.
const SLOT_BYTES: usize = 64;
/// Offsets of the slots that are written.
const SLOT_OFFSETS: [u64; 2] = [0, 4096];
/// Length of the file.
const FILE_BYTES: u64 = 4096 + 64;
/// Offset of the second slot of earlier versions, in the same sector as the first one.
const EARLIER_OFFSET: u64 = 64;

/// The file of reservations.
pub(crate) struct ReservationFile {
    file: OpenFile,
    /// The slot that was written last; none before the first write.
    newest: Option<Slot>,
}

/// A slot of the file.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    offset: u64,
    /// Counts the writes: the slot with the higher turn counts.
    turn: u64,
    reservation: Reservation,
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
    /// Opens or creates the file; returns its newest intact reservation. If the other slot is damaged, which may have been a
    /// newer one, that is extended as far as the other may have reached.
    pub(crate) fn open(disk: &dyn Disk, folder: &Path) -> io::Result<(Self, Option<Reservation>)> {
        let file = disk.open(&folder.join(FILE_NAME), Access::Keep)?;
        // Without space for it the write of a slot could fail for the first time when the disk is full.
        let _ = file.allocate(FILE_BYTES);
        let newest = newest(&*file)?;
        let mut reservation = newest.map(|slot| slot.reservation);
        let [first, second] = SLOT_OFFSETS;
        if let Some(known) = &mut reservation
            && (is_damaged(&*file, first)? || is_damaged(&*file, second)?)
        {
            *known = Reservation::ahead_of(known.end);
        }
        Ok((Self { file, newest }, reservation))
    }

    /// Writes and syncs a reservation.
    pub(crate) fn write(&mut self, reservation: Reservation) -> io::Result<()> {
        // The newest slot changes only on success, so that a failed write never touches the last good one.
        let turn = self.newest.map_or(0, |newest| newest.turn) + 1;
        let [first, second] = SLOT_OFFSETS;
        let offset = if self.newest.is_none_or(|newest| newest.offset == second) { first } else { second };
        let kind = if reservation.is_exact { "exact" } else { "reserved" };
        let text = format!("{turn:010} {:020} {kind:8}", reservation.end.0);
        let line = format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()));
        let slot = format!("{line:>SLOT_BYTES$}");
        self.file.write_at(slot.as_bytes(), offset)?;
        self.file.sync()?;
        self.newest = Some(Slot { offset, turn, reservation });
        Ok(())
    }
}

/// The slot with the newest intact reservation.
pub(crate) fn newest(file: &dyn DiskFile) -> io::Result<Option<Slot>> {
    let [first, second] = SLOT_OFFSETS;
    let mut newest: Option<Slot> = None;
    for offset in [first, EARLIER_OFFSET, second] {
        let slot = decode_slot(&read_up_to(file, offset, SLOT_BYTES)?, offset);
        newest = slot.filter(|slot| newest.is_none_or(|newest| newest.turn < slot.turn)).or(newest);
    }
    Ok(newest)
}

/// Whether something is in a slot that is no reservation.
fn is_damaged(file: &dyn DiskFile, offset: u64) -> io::Result<bool> {
    let bytes = read_up_to(file, offset, SLOT_BYTES)?;
    Ok(bytes.iter().any(|byte| *byte != 0) && decode_slot(&bytes, offset).is_none())
}

fn decode_slot(bytes: &[u8], offset: u64) -> Option<Slot> {
    if bytes.len() < SLOT_BYTES {
        return None;
    }
    let (text, checksum) = std::str::from_utf8(bytes).ok()?.trim().rsplit_once(' ')?;
    if format!("{:08x}", crc32fast::hash(text.as_bytes())) != checksum {
        return None;
    }
    let mut words = text.split_ascii_whitespace();
    let (turn, end) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let reservation = Reservation { end: Sequence(end), is_exact: words.next()? == "exact" };
    Some(Slot { offset, turn, reservation })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SystemDisk;

    fn reservation(end: u64, is_exact: bool) -> Reservation {
        Reservation { end: Sequence(end), is_exact }
    }

    #[test]
    fn a_torn_write_leaves_the_previous_reservation() {
        let folder = tempfile::tempdir().unwrap();
        let open = || ReservationFile::open(&SystemDisk, folder.path()).unwrap();
        let (mut file, none) = open();
        assert_eq!(none, None);
        for turn in 1..8 {
            file.write(reservation(turn * 1000, turn % 2 == 0)).unwrap();
            let (reopened, newest) = open();
            assert_eq!(newest, Some(reservation(turn * 1000, turn % 2 == 0)));
            file = reopened;
            if turn == 1 {
                continue;
            }
            // The other slot is in another sector, of whatever size a disk has.
            let offset = file.newest.unwrap().offset;
            let path = folder.path().join(FILE_NAME);
            let whole = std::fs::read(&path).unwrap();
            for sector in [512, 4096] {
                let mut torn = whole.clone();
                let start = usize::try_from(offset / sector * sector).unwrap();
                let end = torn.len().min(start + usize::try_from(sector).unwrap());
                torn[start..end].fill(0);
                std::fs::write(&path, torn).unwrap();
                assert_eq!(open().1, Some(reservation((turn - 1) * 1000, turn % 2 == 1)), "{sector}");
            }
            std::fs::write(&path, whole).unwrap();
        }
    }

    #[test]
    fn a_file_with_both_slots_in_one_sector_is_continued_in_another_one() {
        for turn in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join(FILE_NAME);
            let slot = |turn: u64| {
                let text = format!("{turn:010} {:020} {:8}", turn * 1000, "reserved");
                let line = format!("{text} {:08x}\n", crc32fast::hash(text.as_bytes()));
                format!("{line:>64}")
            };
            // An even turn stands in the first slot.
            let (even, odd) = if turn == 2 { (2, 1) } else { (0, 1) };
            std::fs::write(&path, slot(even) + &slot(odd)).unwrap();
            let (mut file, newest) = ReservationFile::open(&SystemDisk, folder.path()).unwrap();
            assert_eq!(newest, Some(reservation(turn * 1000, false)));
            file.write(reservation(5000, false)).unwrap();
            let written = std::fs::read(&path).unwrap();
            assert_eq!(
                written[..128],
                (slot(even) + &slot(odd)).into_bytes(),
                "the newest slot and its sector are untouched"
            );
            assert_eq!(ReservationFile::open(&SystemDisk, folder.path()).unwrap().1, Some(reservation(5000, false)));
        }
    }
}
