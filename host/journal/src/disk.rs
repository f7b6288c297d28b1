//! The file operations of the journal as a port: the real disk, and in tests one that fails or loses power.

#![allow(
    clippy::disallowed_methods,
    reason = "it runs at the start, in the journal's threads, in spawn_blocking and in commands"
)]

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs};
use rustix::io::Errno;

/// Mode of the folder: its owner alone reads what happens at a site.
const FOLDER_MODE: u32 = 0o700;
/// Mode of the files.
const FILE_MODE: u32 = 0o600;
/// Permissions of users who are neither the owner nor in the group.
const OTHERS: u32 = 0o007;
/// Written at once where a file system cannot allocate space without writing.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

/// A file that is open. Shared, because the syncer syncs what the writer writes.
pub(crate) type OpenFile = Arc<dyn DiskFile>;

/// Locks a folder until it is dropped.
pub(crate) type FolderLock = Box<dyn Send>;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To read an existing file.
    Read,
    /// To write to an existing file.
    Write,
    /// To read and write a file, which is created if it is missing.
    Keep,
    /// To write a new file; one of that name must not exist.
    New,
    /// To write a new file in place of an existing one.
    Replace,
}

/// Space of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    /// Bytes that are free for this user.
    pub(crate) free: u64,
    /// All bytes.
    pub(crate) total: u64,
}

/// A file system with one folder of files.
pub(crate) trait Disk: Send + Sync {
    /// Creates the folder, readable by its owner alone, if there is none.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;
    /// Whether users other than the owner and the group may enter or list the folder.
    fn is_open_to_others(&self, folder: &Path) -> bool;
    /// Locks the folder by a file in it; none if another process holds the lock.
    fn lock(&self, path: &Path) -> io::Result<Option<FolderLock>>;
    /// The paths of the folder's files, in no order.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Opens or creates a file.
    fn open(&self, path: &Path, access: Access) -> io::Result<OpenFile>;
    /// Renames a file, replacing one that has the new name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Brings the folder's entries to disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// The space of the folder's file system.
    fn space(&self, folder: &Path) -> io::Result<DiskSpace>;
}

/// A file.
pub(crate) trait DiskFile: Send + Sync {
    /// The file's length.
    fn len(&self) -> io::Result<u64>;
    /// Fills the buffer with the bytes at `offset`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all bytes at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Truncates or extends the file.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Allocates space for a file of this length; what is in it remains.
    fn allocate(&self, len: u64) -> io::Result<()>;
    /// Brings the file's bytes to disk.
    fn sync(&self) -> io::Result<()>;
}

/// Reads a whole file.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Access::Read)?;
    read_up_to(&*file, 0, usize::MAX)
}

/// Reads up to `count` bytes at `offset`: fewer if the file ends before.
pub(crate) fn read_up_to(file: &dyn DiskFile, offset: u64, count: usize) -> io::Result<Vec<u8>> {
    let available = usize::try_from(file.len()?.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut bytes = vec![0; count.min(available)];
    if !bytes.is_empty() {
        file.read_at(&mut bytes, offset)?;
    }
    Ok(bytes)
}

/// The system's files.
pub(crate) struct SystemDisk;

impl SystemDisk {
    /// The parent of a path; the working folder for a bare name.
    fn parent(path: &Path) -> &Path {
        path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

impl Disk for SystemDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        if folder.is_dir() {
            return Ok(());
        }
        let parent = Self::parent(folder);
        fs::create_dir_all(parent)?;
        DirBuilder::new().mode(FOLDER_MODE).create(folder)?;
        // Without its own entry in the parent the folder would be gone after a power failure, and every event with it.
        self.sync_folder(parent)
    }

    fn is_open_to_others(&self, folder: &Path) -> bool {
        fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & OTHERS != 0)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<FolderLock>> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(FILE_MODE).open(path)?;
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        Ok(locked.is_ok().then_some(Box::new(file)))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<OpenFile> {
        let mut options = OpenOptions::new();
        options.mode(FILE_MODE);
        match access {
            Access::Read => options.read(true),
            Access::Write => options.write(true),
            Access::Keep => options.read(true).write(true).create(true).truncate(false),
            Access::New => options.write(true).create_new(true),
            Access::Replace => options.write(true).create(true).truncate(true),
        };
        Ok(Arc::new(SystemFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn space(&self, folder: &Path) -> io::Result<DiskSpace> {
        let space = statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Ok(DiskSpace { free: bytes(space.f_bavail), total: bytes(space.f_blocks) })
    }
}

struct SystemFile(File);

impl DiskFile for SystemFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match fallocate(&self.0, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            outcome => return Ok(outcome?),
        }
        let mut offset = self.len()?;
        while offset < len {
            let count = usize::try_from(len - offset).unwrap_or(ZEROS.len()).min(ZEROS.len());
            self.0.write_all_at(ZEROS.get(..count).unwrap_or(&ZEROS), offset)?;
            offset += count as u64;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
