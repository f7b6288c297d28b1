//! The decoders of the journal's files, for the fuzzer: each takes any bytes as a file and must not panic.

use std::io;
use std::path::Path;

use bessai_domain::event::Sequence;

use crate::cursors;
use crate::disk::DiskFile;
use crate::record::RecordDecoder;
use crate::reservation;
use crate::segment;
use crate::timeline::ClockDistance;

/// The bytes of a file that is only read.
struct Bytes<'a>(&'a [u8]);

impl DiskFile for Bytes<'_> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.0.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn allocate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A file of events: header, records and footer. Whether it is one.
pub fn segment(bytes: &[u8]) -> bool {
    segment::scan_file(&Bytes(bytes), Path::new("fuzzed.events")).is_ok()
}

/// Records without a header; how many events they are.
pub fn records(bytes: &[u8]) -> usize {
    let mut decoder = RecordDecoder::new(Sequence(1), None, ClockDistance::default());
    let (mut rest, mut events) = (bytes, 0);
    while let Ok((event, length)) = decoder.decode(rest) {
        let _ = decoder.occurred(event.at);
        rest = rest.get(length..).unwrap_or_default();
        events += 1;
    }
    events
}

/// The file of the feeds' cursors; how many there are.
pub fn cursors(bytes: &[u8]) -> usize {
    cursors::decode(bytes).map_or(0, |loaded| loaded.cursors.len())
}

/// The file of reserved numbers. Whether it holds a reservation.
pub fn reservation(bytes: &[u8]) -> bool {
    reservation::newest(&Bytes(bytes)).is_ok_and(|slot| slot.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stored files with some bytes changed, doubled or removed: what the fuzzer does, bounded.
    #[test]
    fn damaged_files_are_read_or_refused() {
        let folder = Path::new("../../tests/journals");
        let mut seed = 88_172_645_463_325_252_u64;
        let mut random = |bound: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            usize::try_from(seed >> 16).unwrap() % bound
        };
        let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
        for format in 1..=segment::FORMAT {
            let events = read(&format!("format-{format}/00000000000000000001.events"));
            let (feeds, numbers) = (read(&format!("format-{format}/feeds")), read(&format!("format-{format}/numbers")));
            assert!(segment(&events) && cursors(&feeds) == 1 && reservation(&numbers));
            for _ in 0..2000 {
                for stored in [&events, &feeds, &numbers] {
                    let mut bytes = stored.clone();
                    for _ in 0..=random(3) {
                        let at = random(bytes.len());
                        match random(3) {
                            0 => bytes[at] = u8::try_from(random(256)).unwrap(),
                            1 => bytes.truncate(at + 1),
                            _ => bytes.insert(at, bytes[at]),
                        }
                    }
                    let _ = (segment(&bytes), records(&bytes), cursors(&bytes), reservation(&bytes));
                    let _ = records(bytes.get(random(bytes.len())..).unwrap_or_default());
                }
            }
        }
    }
}
