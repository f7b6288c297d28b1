//! One feed's folder of the quarantine: bounded in files and bytes, and kept off a disk that is nearly full.

#![allow(clippy::disallowed_methods, reason = "all of it runs in the quarantine's thread")]

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{Error, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::entry::{EVENT_EXTENSION, MESSAGE_EXTENSION};

/// Files kept for each feed; the oldest are deleted when there are more.
const FILES_PER_FEED: usize = 1000;
/// Free bytes of the disk that are left to the journal: the quarantine writes nothing below them.
const FREE_FLOOR: u64 = 64 << 20;
/// On a small disk the floor is the size of the disk divided by this.
const FLOOR_DIVISOR: u64 = 10;
/// The folders, in which readings and what customers publish can be seen, are the gateway's own.
pub(super) const FOLDER_MODE: u32 = 0o700;
/// The same for the files.
const FILE_MODE: u32 = 0o600;
/// Extension of a file that is not complete.
const UNFINISHED_EXTENSION: &str = "part";

/// One feed's files, oldest first, with their sizes.
pub(super) struct FeedFolder {
    path: PathBuf,
    files: BTreeMap<String, u64>,
    bytes: u64,
}

impl FeedFolder {
    /// Creates the folder, or counts what it has and removes what an interrupted write has left.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        create(path)?;
        let mut folder = Self { path: path.to_owned(), files: BTreeMap::new(), bytes: 0 };
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            let (Ok(name), path) = (entry.file_name().into_string(), entry.path()) else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(EVENT_EXTENSION | MESSAGE_EXTENSION) => folder.count(name, entry.metadata()?.len()),
                Some(UNFINISHED_EXTENSION) => fs::remove_file(path)?,
                _ => {}
            }
        }
        Ok(folder)
    }

    /// Writes a file, then deletes the oldest ones beyond the limits, and returns how many. The file is on the disk when this
    /// returns; the error is for people.
    pub(super) fn write(&mut self, name: &str, content: &[u8], quota_bytes: u64) -> Result<(PathBuf, u64), String> {
        let path = self.path.join(name);
        let failed = |error: Error| format!("{}: {error}", path.display());
        create(&self.path).map_err(failed)?;
        self.check_free_space()?;
        write_file(&path, content).map_err(failed)?;
        self.count(name.to_owned(), u64::try_from(content.len()).unwrap_or(u64::MAX));
        let deleted = self.delete_oldest(name, quota_bytes).map_err(failed)?;
        Ok((path, deleted))
    }

    fn check_free_space(&self) -> Result<(), String> {
        // Without an answer the write itself shows whether there is room.
        let Ok(disk) = rustix::fs::statvfs(&self.path) else { return Ok(()) };
        let floor = FREE_FLOOR.min(disk.f_blocks.saturating_mul(disk.f_frsize) / FLOOR_DIVISOR);
        if disk.f_bavail.saturating_mul(disk.f_frsize) >= floor {
            return Ok(());
        }
        let (mebibytes, path) = (floor >> 20, self.path.display());
        Err(format!(
            "{path}: the disk has less than {mebibytes} MiB free, which are left to the journal; free some space"
        ))
    }

    fn count(&mut self, name: String, bytes: u64) {
        let replaced = self.files.insert(name, bytes).unwrap_or(0);
        self.bytes = self.bytes - replaced + bytes;
    }

    /// Keeps the newest files; the one that was just written stays, also where it is the oldest event.
    fn delete_oldest(&mut self, written: &str, quota_bytes: u64) -> Result<u64, Error> {
        let mut deleted = 0;
        while self.files.len() > FILES_PER_FEED || self.bytes > quota_bytes {
            let Some(oldest) = self.files.keys().find(|name| *name != written).cloned() else { break };
            match fs::remove_file(self.path.join(&oldest)) {
                // Somebody has taken it away.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                result => {
                    result?;
                    deleted += 1;
                }
            }
            self.bytes -= self.files.remove(&oldest).unwrap_or(0);
        }
        Ok(deleted)
    }
}

/// Creates the folder and those above it; makes one of an earlier version private.
fn create(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE))?;
    }
    Ok(())
}

/// Writes a file under a temporary name first, so that nobody reads it half-written, and syncs it and its directory entry.
fn write_file(path: &Path, content: &[u8]) -> Result<(), Error> {
    let unfinished = path.with_extension(UNFINISHED_EXTENSION);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(FILE_MODE);
    let written = options.open(&unfinished).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_data()?;
        fs::rename(&unfinished, path)
    });
    if written.is_err() {
        // What a full disk has taken of it is needed by the journal.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quota that no test reaches.
    const LARGE: u64 = 1 << 30;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn name(sequence: usize) -> String {
        format!("{sequence:020}.jsonl")
    }

    #[test]
    fn files_beyond_the_count_and_the_quota_are_deleted_oldest_first() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("acme");
        let mut folder = FeedFolder::open(&path).unwrap();
        for sequence in 0..FILES_PER_FEED + 2 {
            let (_, deleted) = folder.write(&name(sequence), &[b'x'; 10], LARGE).unwrap();
            assert_eq!(deleted, u64::from(sequence >= FILES_PER_FEED));
        }
        let left = names(&path);
        assert_eq!((left.len(), &left[0]), (FILES_PER_FEED, &name(2)));
        // A later start counts what is there, and a quota that has become smaller is kept from the next file on.
        let mut folder = FeedFolder::open(&path).unwrap();
        folder.write(&name(5000), &[b'x'; 10], 35).unwrap();
        assert_eq!(names(&path), [name(FILES_PER_FEED), name(FILES_PER_FEED + 1), name(5000)]);
        // The same entry again takes its place, an older one stays until the next.
        folder.write(&name(5000), &[b'x'; 5], 35).unwrap();
        folder.write(&name(1), &[b'x'; 40], 35).unwrap();
        assert_eq!((names(&path), folder.bytes), (vec![name(1)], 40));
    }

    #[test]
    fn what_somebody_deleted_is_no_error_and_what_an_interrupted_write_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("acme");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join("00000000000000000001.part"), "half").unwrap();
        fs::write(path.join("notes.txt"), "kept").unwrap();
        let mut folder = FeedFolder::open(&path).unwrap();
        folder.write(&name(2), b"one", 5).unwrap();
        fs::remove_dir_all(&path).unwrap();
        let (stored, _) = folder.write(&name(3), b"two", 5).unwrap();
        assert_eq!(names(&path), [name(3)]);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&stored)), (FOLDER_MODE, FILE_MODE));
    }
}
