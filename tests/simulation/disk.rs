//! The disk of the simulated machine: files in memory, of which a power cut takes what was not synced.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::c_int;
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::world::World;

/// Where files in memory are kept, if the machine has it.
const MEMORY: &str = "/dev/shm";
/// The extension of the files that grow: the others are written in place and synced at once.
const SEGMENT: &str = "events";

thread_local! {
    /// The length of each file of this thread's disk that is safe from a power cut; none in threads that simulate nothing.
    static SYNCED: RefCell<Option<BTreeMap<PathBuf, u64>>> = const { RefCell::new(None) };
}

/// Takes the place of the C library's function, to which the standard library leaves the syncing of a file's data.
#[allow(unsafe_code, reason = "the linker finds the function by its unmangled name")]
#[unsafe(no_mangle)]
extern "C" fn fdatasync(file: c_int) -> c_int {
    SYNCED.with_borrow_mut(|synced| match synced {
        Some(synced) => {
            let link = format!("/proc/self/fd/{file}");
            if let (Ok(path), Ok(metadata)) = (fs::read_link(&link), fs::metadata(&link)) {
                synced.insert(path, metadata.len());
            }
            0
        }
        // SAFETY: the system call takes a descriptor and no memory.
        None => c_int::try_from(unsafe { libc::syscall(libc::SYS_fdatasync, file) }).unwrap_or(-1),
    })
}

/// The folder of a run.
pub(crate) struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let memory = Path::new(MEMORY);
        let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        SYNCED.set(Some(BTreeMap::new()));
        Self { folder: folder.unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The power is cut: of each segment, what was synced stays, and of the rest any part from its beginning.
    pub(crate) fn cut_power(&self, world: &World) {
        let mut paths: Vec<_> = fs::read_dir(self.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == SEGMENT)) {
            let length = fs::metadata(&path).unwrap().len();
            let synced = SYNCED.with_borrow(|synced| synced.as_ref().and_then(|synced| synced.get(&path).copied()));
            let synced = synced.unwrap_or(0).min(length);
            let kept = world.choose(|random| random.number(synced..length + 1));
            if kept == 0 {
                fs::remove_file(&path).unwrap();
            } else {
                OpenOptions::new().write(true).open(&path).unwrap().set_len(kept).unwrap();
            }
        }
    }

    /// Everything on it is gone.
    pub(crate) fn wipe(&self) {
        for entry in fs::read_dir(self.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}
