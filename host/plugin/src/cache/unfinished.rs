//! Files that machine code is written to before they become entries of the cache.

#![allow(clippy::disallowed_methods, reason = "it runs within `Engine::load`, which blocks")]

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{MemfdFlags, memfd_create, statvfs};

/// Extension of a file that is still being written.
pub(super) const PART: &str = "part";
/// The disk's free space below which nothing is added, in bytes: room for the journal and for what else is vital.
const MIN_FREE_BYTES: u64 = 64 << 20;

/// Tells the unfinished files of one process apart.
static UNFINISHED_FILES: AtomicU64 = AtomicU64::new(0);

/// A file that machine code is written to.
pub(crate) struct UnfinishedEntry {
    pub(crate) file: File,
    /// Where the file is and where it belongs; none if it is in memory.
    pub(super) paths: Option<(PathBuf, PathBuf)>,
}

impl UnfinishedEntry {
    /// In memory, which takes no disk but this machine's memory.
    pub(super) fn in_memory() -> io::Result<Self> {
        let file = memfd_create(c"component", MemfdFlags::CLOEXEC)?;
        Ok(Self { file: file.into(), paths: None })
    }

    /// Beside the path at which it belongs.
    pub(super) fn in_folder(path: PathBuf) -> io::Result<Self> {
        let (file, part) = create_part(&path)?;
        Ok(Self { file, paths: Some((part, path)) })
    }
}

impl Drop for UnfinishedEntry {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.paths {
            // A finished entry has another name by now.
            let _ = fs::remove_file(part);
        }
    }
}

/// Creates the cache's folder for this user alone.
pub(super) fn create_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Fails if so many bytes more leave too little space on the folder's disk.
pub(super) fn check_space(folder: &Path, bytes: u64) -> io::Result<()> {
    let disk = statvfs(folder)?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free >= bytes.saturating_add(MIN_FREE_BYTES) {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "its disk has {} MiB of free space, of which {} MiB are kept free",
        free >> 20,
        MIN_FREE_BYTES >> 20
    )))
}

/// Creates a file with a name of its own beside `path`.
pub(super) fn create_part(path: &Path) -> io::Result<(File, PathBuf)> {
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let number = UNFINISHED_FILES.fetch_add(1, Ordering::Relaxed);
    let part = path.with_extension(format!("{extension}.{}-{number}.{PART}", std::process::id()));
    let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    Ok((file, part))
}
