//! The lock that a journal's folder has while a process writes to it.

#![allow(clippy::disallowed_methods, reason = "it runs at the start and in commands")]

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::disk::{Disk, FolderLock};
use crate::error::OpenError;

/// Name of the file that is locked.
const NAME: &str = "lock";
/// How often the lock is tried: a command may hold it for a moment.
const ATTEMPTS: u32 = 6;
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Locks the folder, which must exist, until the lock is dropped.
pub(crate) fn acquire(disk: &dyn Disk, folder: &Path) -> Result<FolderLock, OpenError> {
    for _ in 1..ATTEMPTS {
        match disk.lock(&folder.join(NAME)).map_err(OpenError::io(folder))? {
            Some(lock) => return Ok(lock),
            None => thread::sleep(PAUSE),
        }
    }
    Err(OpenError::InUse(folder.to_owned()))
}

/// Whether a gateway writes to the folder now. Changes nothing; the error is that of reading the folder.
pub fn is_in_use(folder: &Path) -> io::Result<bool> {
    let file = match File::open(folder.join(NAME)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    // A shared lock, which is released at once: a gateway that starts at the same time tries again.
    Ok(flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
}
