//! A disk in memory that records every operation and fails where a test wants it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk_state::{DiskState, Operation, Promise};
use super::*;

/// Space of the simulated file system.
const DISK_BYTES: u64 = 1 << 30;

/// Which calls fail.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FailingCalls {
    /// The first one, counted from 1; 0 for none.
    pub(super) first: usize,
    pub(super) count: usize,
    /// They panic in the journal's threads instead of returning an error.
    pub(super) panics: bool,
}

#[derive(Default)]
struct Simulation {
    state: DiskState,
    operations: Vec<Operation>,
    calls: usize,
    failing: FailingCalls,
}

/// The disk that a journal runs on.
#[derive(Clone, Default)]
pub(super) struct SimulatedDisk(Arc<Mutex<Simulation>>);

struct SimulatedFile {
    disk: SimulatedDisk,
    inode: usize,
}

impl Simulation {
    fn record(&mut self, operation: Operation) {
        self.state.apply(&operation);
        self.operations.push(operation);
    }

    fn call(&mut self) -> io::Result<()> {
        self.calls += 1;
        let FailingCalls { first, count, panics } = self.failing;
        if first > 0 && (first..first + count).contains(&self.calls) {
            let is_of_journal = std::thread::current().name().is_some_and(|name| name.starts_with("journal-"));
            assert!(!(panics && is_of_journal), "simulated panic");
            return Err(io::Error::other("simulated I/O error"));
        }
        Ok(())
    }
}

impl SimulatedDisk {
    pub(super) fn new(state: DiskState) -> Self {
        Self(Arc::new(Mutex::new(Simulation { state, ..Simulation::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Simulation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets calls fail, counted from now on.
    pub(super) fn fail(&self, failing: FailingCalls) {
        let mut simulation = self.lock();
        (simulation.calls, simulation.failing) = (0, failing);
    }

    /// Calls since [`Self::fail`], or since the disk was made.
    pub(super) fn calls(&self) -> usize {
        self.lock().calls
    }

    pub(super) fn promise(&self, promise: Promise) {
        self.lock().record(Operation::Promise(promise));
    }

    pub(super) fn operations(&self) -> Vec<Operation> {
        self.lock().operations.clone()
    }

    pub(super) fn state(&self) -> DiskState {
        self.lock().state.clone()
    }

    fn create(&self, name: &Path) -> usize {
        let mut simulation = self.lock();
        let inode = simulation.state.next_inode();
        simulation.record(Operation::Create { inode, name: name.to_owned() });
        inode
    }
}

impl Disk for SimulatedDisk {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        self.lock().call()
    }

    fn is_open_to_others(&self, _: &Path) -> bool {
        false
    }

    fn lock(&self, _: &Path) -> io::Result<Option<FolderLock>> {
        self.lock().call()?;
        Ok(Some(Box::new(())))
    }

    fn list(&self, _: &Path) -> io::Result<Vec<PathBuf>> {
        let mut simulation = self.lock();
        simulation.call()?;
        Ok(simulation.state.names().keys().cloned().collect())
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<OpenFile> {
        let mut simulation = self.lock();
        simulation.call()?;
        let existing = simulation.state.names().get(path).copied();
        drop(simulation);
        let inode = match (access, existing) {
            (Access::Read | Access::Write, None) => return Err(io::ErrorKind::NotFound.into()),
            (Access::New, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Access::Keep | Access::New | Access::Replace, None) => self.create(path),
            (_, Some(inode)) => inode,
        };
        if access == Access::Replace {
            self.lock().record(Operation::SetLen { inode, len: 0 });
        }
        Ok(Arc::new(SimulatedFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut simulation = self.lock();
        simulation.call()?;
        if !simulation.state.names().contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        simulation.record(Operation::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut simulation = self.lock();
        simulation.call()?;
        if !simulation.state.names().contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        simulation.record(Operation::Remove { name: path.to_owned() });
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        let mut simulation = self.lock();
        simulation.call()?;
        simulation.record(Operation::SyncFolder);
        Ok(())
    }

    fn space(&self, _: &Path) -> io::Result<DiskSpace> {
        self.lock().call()?;
        Ok(DiskSpace { free: DISK_BYTES, total: DISK_BYTES })
    }
}

impl DiskFile for SimulatedFile {
    fn len(&self) -> io::Result<u64> {
        let mut simulation = self.disk.lock();
        simulation.call()?;
        Ok(simulation.state.bytes(self.inode).len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let mut simulation = self.disk.lock();
        simulation.call()?;
        let start = usize::try_from(offset).unwrap();
        let bytes = simulation.state.bytes(self.inode).get(start..start + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut simulation = self.disk.lock();
        let called = simulation.call();
        // A write that fails may have written a part.
        let count = if called.is_ok() { bytes.len() } else { bytes.len() / 2 };
        let (offset, bytes) = (usize::try_from(offset).unwrap(), bytes[..count].to_vec());
        simulation.record(Operation::Write { inode: self.inode, offset, bytes });
        called
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut simulation = self.disk.lock();
        simulation.call()?;
        simulation.record(Operation::SetLen { inode: self.inode, len: usize::try_from(len).unwrap() });
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let current = self.len()?;
        if current < len { self.set_len(len) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut simulation = self.disk.lock();
        let called = simulation.call();
        simulation.record(Operation::Sync { inode: self.inode, succeeded: called.is_ok() });
        called
    }
}
