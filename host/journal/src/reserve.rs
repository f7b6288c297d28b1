//! Disk space that the journal holds in reserve: a file that is given up when the disk is full, so that events can be written
//! until somebody frees space, and that is created again when there is room.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{Access, Disk};

/// Name of the file.
const FILE_NAME: &str = "reserve";
/// Size of the reserve: at a kilobyte of events a second more than an hour.
const RESERVE_BYTES: u64 = 4 << 20;
/// The reserve takes at most one part in so many of a small disk.
const DISK_PARTS: u64 = 32;
/// The reserve takes at most one part in so many of a small journal's `max_bytes`.
const JOURNAL_PARTS: u64 = 8;
/// The reserve is created again only if so many times its size is free, so that it is not given up again at once.
const FREE_FACTOR: u64 = 2;

/// Gives up the reserve that the last run left; true if there was one.
pub(crate) fn give_up(disk: &dyn Disk, folder: &Path) -> bool {
    disk.remove(&folder.join(FILE_NAME)).is_ok()
}

/// The file of the reserve.
#[derive(Clone)]
pub(crate) struct ReserveFile {
    folder: PathBuf,
    path: PathBuf,
    max_bytes: u64,
}

impl ReserveFile {
    /// For a journal of `max_bytes`.
    pub(crate) fn new(folder: &Path, max_bytes: u64) -> Self {
        Self { folder: folder.to_owned(), path: folder.join(FILE_NAME), max_bytes }
    }

    /// Whether the last run left its reserve.
    pub(crate) fn exists(&self, disk: &dyn Disk) -> bool {
        disk.open(&self.path, Access::Read).is_ok()
    }

    /// Creates the file, or extends it to its size.
    pub(crate) fn create(&self, disk: &dyn Disk) -> io::Result<()> {
        let space = disk.space(&self.folder)?;
        let bytes = RESERVE_BYTES.min(space.total / DISK_PARTS).min(self.max_bytes / JOURNAL_PARTS);
        if space.free < bytes.saturating_mul(FREE_FACTOR) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let file = disk.open(&self.path, Access::Keep)?;
        let allocated = file.allocate(bytes).and_then(|()| file.sync());
        if allocated.is_err() {
            // A part of the reserve would be kept for nothing.
            let _ = disk.remove(&self.path);
        }
        allocated
    }

    /// Gives the space back to the disk.
    pub(crate) fn remove(&self, disk: &dyn Disk) -> io::Result<()> {
        disk.remove(&self.path)
    }
}
