//! Plain files that are only appended to: a stand-in for what the product would write itself.
//!
//! A record is length, CRC-32 of all that follows, number, body. A file is named for the first number in it.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{Access, Journal};

const SEGMENT_BYTES: u64 = 16 << 20;
const HEADER_BYTES: usize = 16;
/// A length beyond this is damage.
const BODY_BYTES: usize = 4 << 20;

pub(super) struct Segments {
    folder: PathBuf,
    file: Option<File>,
    bytes: u64,
    record: Vec<u8>,
}

impl Segments {
    pub(super) fn open(folder: &Path, access: Access) -> Result<Self> {
        let mut segments = Self { folder: folder.to_owned(), file: None, bytes: 0, record: Vec::new() };
        if access == Access::Write
            && let Some((_, path)) = segments.files()?.pop()
        {
            let sound = walk(&fs::read(&path)?, &mut |_, _| ());
            let file = OpenOptions::new().append(true).open(&path)?;
            segments.bytes = u64::try_from(sound)?;
            if file.metadata()?.len() > segments.bytes {
                file.set_len(segments.bytes)?;
            }
            segments.file = Some(file);
        }
        Ok(segments)
    }

    fn files(&self) -> Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".events"));
            if let Some(first) = name.and_then(|name| name.parse().ok()) {
                found.push((first, path));
            }
        }
        found.sort();
        Ok(found)
    }

    fn start_file(&mut self, first: u64) -> Result<&mut File> {
        if let Some(full) = self.file.take() {
            full.sync_data()?;
        }
        let path = self.folder.join(format!("{first:020}.events"));
        let file = OpenOptions::new().append(true).create_new(true).open(path)?;
        File::open(&self.folder)?.sync_all()?;
        self.bytes = 0;
        Ok(self.file.insert(file))
    }
}

/// Shows each sound record, passes over what is not, and says where the last sound one ends.
fn walk(bytes: &[u8], seen: &mut dyn FnMut(u64, &[u8])) -> usize {
    let (mut at, mut sound) = (0, 0);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= HEADER_BYTES) {
        if let Some((sequence, body)) = record(rest) {
            seen(sequence, body);
            at += HEADER_BYTES + body.len();
            sound = at;
        } else {
            at += 1;
        }
    }
    sound
}

fn record(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (sum, rest) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= BODY_BYTES)?;
    let summed = rest.get(..8 + length)?;
    let (sequence, body) = summed.split_first_chunk()?;
    (crc32fast::hash(summed) == u32::from_le_bytes(*sum)).then(|| (u64::from_le_bytes(*sequence), body))
}

impl Journal for Segments {
    fn append(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        if self.file.is_none() || self.bytes >= SEGMENT_BYTES {
            self.start_file(sequence)?;
        }
        self.record.clear();
        self.record.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
        self.record.extend_from_slice(&[0; 4]);
        self.record.extend_from_slice(&sequence.to_le_bytes());
        self.record.extend_from_slice(body);
        let sum = crc32fast::hash(self.record.get(8..).context("a record has a header")?);
        self.record.get_mut(4..8).context("a record has a header")?.copy_from_slice(&sum.to_le_bytes());
        self.file.as_mut().context("no file is open")?.write_all(&self.record)?;
        self.bytes += u64::try_from(self.record.len())?;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.file.as_ref().map_or(Ok(()), |file| Ok(file.sync_data()?))
    }

    fn newest(&self) -> Result<Option<(u64, Vec<u8>)>> {
        for (_, path) in self.files()?.iter().rev() {
            let (bytes, mut newest) = (fs::read(path)?, None);
            walk(&bytes, &mut |sequence, body| newest = Some((sequence, body.to_vec())));
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    fn read(&self, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        for (_, path) in self.files()? {
            walk(&fs::read(path)?, seen);
        }
        Ok(())
    }

    fn drop_below(&mut self, sequence: u64) -> Result<()> {
        let files = self.files()?;
        for ((_, path), (next, _)) in files.iter().zip(files.iter().skip(1)) {
            if *next <= sequence {
                fs::remove_file(path)?;
            }
        }
        Ok(File::open(&self.folder)?.sync_all()?)
    }
}
