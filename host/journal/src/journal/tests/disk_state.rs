//! What a power failure may leave of a disk.
//!
//! Durable is what a sync has covered: of a file its bytes and its length, of the folder the names in it. Of the rest a power
//! failure may leave any part, in any order: each sector in any of its versions since the last sync, each length, each change
//! of a name. After a failed sync Linux takes the bytes for written, so that a later sync does not write them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// Bytes that a disk writes as a whole.
const SECTOR_BYTES: usize = 512;
/// What happened to the disk, and what the journal had promised by then.
#[derive(Clone, Debug)]
pub(super) enum Operation {
    Create { inode: usize, name: PathBuf },
    Rename { from: PathBuf, to: PathBuf },
    Remove { name: PathBuf },
    Write { inode: usize, offset: usize, bytes: Vec<u8> },
    SetLen { inode: usize, len: usize },
    Sync { inode: usize, succeeded: bool },
    SyncFolder,
    Promise(Promise),
}

/// What the journal's user knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    /// The number was given to an event.
    Numbered(u64),
    /// All events up to this number are on disk.
    Durable(u64),
    /// The feed's cursor and state may be saved from here on.
    Moved { delivered: u64, state: u8 },
    /// The last of them is saved.
    Saved,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write { inode, offset, bytes } => write!(f, "write {inode} at {offset}: {} bytes", bytes.len()),
            other => write!(f, "{other:?}"),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct FileState {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Versions of each sector that may be on disk instead of the durable one.
    sectors: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Sectors that the next sync writes.
    dirty: BTreeSet<usize>,
    /// Lengths that may be on disk instead of the durable one.
    lens: Vec<usize>,
    is_len_dirty: bool,
}

/// A change of a name: it then stands for the file, or for none.
type NameChange = Vec<(PathBuf, Option<usize>)>;

/// The disk at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct DiskState {
    files: Vec<FileState>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    changes: Vec<NameChange>,
}

/// Answers what is left: a number below the bound, 0 for what is durable.
pub(super) type Choice<'a> = &'a mut dyn FnMut(usize) -> usize;

impl FileState {
    fn of(bytes: Vec<u8>) -> Self {
        Self { live: bytes.clone(), durable: bytes, ..Self::default() }
    }

    fn sector(&self, sector: usize) -> Vec<u8> {
        let start = (sector * SECTOR_BYTES).min(self.live.len());
        let mut bytes = self.live[start..self.live.len().min(start + SECTOR_BYTES)].to_vec();
        bytes.resize(SECTOR_BYTES, 0);
        bytes
    }

    fn touch(&mut self, start: usize, end: usize) {
        for sector in start / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES) {
            let bytes = self.sector(sector);
            self.sectors.entry(sector).or_default().push(bytes);
            self.dirty.insert(sector);
        }
    }

    fn set_len(&mut self, len: usize) {
        let before = self.live.len();
        if len != before {
            self.live.resize(len, 0);
            self.lens.push(len);
            self.is_len_dirty = true;
        }
        if len < before {
            self.touch(len, before);
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.live.len() {
            self.set_len(end);
        }
        self.live[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    fn sync(&mut self, succeeded: bool) {
        let (dirty, is_len_dirty) = (std::mem::take(&mut self.dirty), std::mem::take(&mut self.is_len_dirty));
        if !succeeded {
            return;
        }
        if is_len_dirty {
            self.durable.resize(self.live.len(), 0);
            self.lens.clear();
        }
        for sector in dirty {
            let (start, bytes) = (sector * SECTOR_BYTES, self.sector(sector));
            self.sectors.remove(&sector);
            let end = self.durable.len().min(start + SECTOR_BYTES);
            if start < end {
                self.durable[start..end].copy_from_slice(&bytes[..end - start]);
            }
        }
    }

    fn after_power_failure(&self, choice: Choice<'_>) -> Vec<u8> {
        let len = match choice(self.lens.len() + 1) {
            0 => self.durable.len(),
            nth => self.lens[nth - 1],
        };
        let mut bytes = self.durable.clone();
        bytes.resize(len, 0);
        for (sector, versions) in self.sectors.iter().filter(|(sector, _)| *sector * SECTOR_BYTES < len) {
            if let Some(nth) = choice(versions.len() + 1).checked_sub(1) {
                let (start, end) = (sector * SECTOR_BYTES, len.min((sector + 1) * SECTOR_BYTES));
                bytes[start..end].copy_from_slice(&versions[nth][..end - start]);
            }
        }
        bytes
    }
}

impl DiskState {
    pub(super) fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Create { inode, name } => {
                self.files.resize_with(self.files.len().max(inode + 1), FileState::default);
                self.change(vec![(name.clone(), Some(*inode))]);
            }
            Operation::Rename { from, to } => {
                let inode = self.names.get(from).copied();
                self.change(vec![(from.clone(), None), (to.clone(), inode)]);
            }
            Operation::Remove { name } => self.change(vec![(name.clone(), None)]),
            Operation::Write { inode, offset, bytes } => self.files[*inode].write(*offset, bytes),
            Operation::SetLen { inode, len } => self.files[*inode].set_len(*len),
            Operation::Sync { inode, succeeded } => self.files[*inode].sync(*succeeded),
            Operation::SyncFolder => {
                self.durable_names.clone_from(&self.names);
                self.changes.clear();
            }
            Operation::Promise(_) => {}
        }
    }

    fn change(&mut self, change: NameChange) {
        apply_names(&mut self.names, &change);
        self.changes.push(change);
    }

    /// The disk after a power failure, everything that is left of it being durable.
    pub(super) fn after_power_failure(&self, choice: Choice<'_>) -> Self {
        let mut names = self.durable_names.clone();
        for change in &self.changes {
            if choice(2) == 1 {
                apply_names(&mut names, change);
            }
        }
        let mut left = Self::default();
        for (name, inode) in names {
            left.durable_names.insert(name, left.files.len());
            left.files.push(FileState::of(self.files[inode].after_power_failure(choice)));
        }
        left.names.clone_from(&left.durable_names);
        left
    }

    /// The file of each name.
    pub(super) fn names(&self) -> &BTreeMap<PathBuf, usize> {
        &self.names
    }

    /// A file's bytes.
    pub(super) fn bytes(&self, inode: usize) -> &[u8] {
        &self.files[inode].live
    }

    /// The number of the next file.
    pub(super) fn next_inode(&self) -> usize {
        self.files.len()
    }

    /// The smallest number in the names of the files of events: events before it were deleted on purpose.
    pub(super) fn first_number(&self) -> u64 {
        let of_events = self.names.keys().filter(|name| name.extension().is_some_and(|found| found == "events"));
        of_events.filter_map(|name| name.file_stem()?.to_str()?.parse().ok()).min().unwrap_or(0)
    }

    /// The files with their bytes.
    pub(super) fn contents(&self) -> Vec<(PathBuf, Vec<u8>)> {
        self.names.iter().map(|(name, inode)| (name.clone(), self.files[*inode].live.clone())).collect()
    }

    pub(super) fn from_contents(contents: Vec<(PathBuf, Vec<u8>)>) -> Self {
        let mut state = Self::default();
        for (name, bytes) in contents {
            state.durable_names.insert(name, state.files.len());
            state.files.push(FileState::of(bytes));
        }
        state.names.clone_from(&state.durable_names);
        state
    }
}

fn apply_names(names: &mut BTreeMap<PathBuf, usize>, change: &NameChange) {
    for (name, inode) in change {
        match inode {
            Some(inode) => names.insert(name.clone(), *inode),
            None => names.remove(name),
        };
    }
}
