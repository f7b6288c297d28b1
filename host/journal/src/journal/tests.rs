//! The journal on a real folder: what one run leaves behind is what the next one finds.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bessai_domain::event::{Frame, Gap, RecordedEvent};
use bessai_domain::ports::{BatchLimit, Cursor, Events};
use bessai_domain::time::Timestamp;

use super::*;
use crate::disk::{Access, DiskFile, DiskSpace, FolderLock, OpenFile};
use crate::{cursors, inspect, reservation, segment, store};

mod backlogs;
mod descriptions;
mod disk_state;
mod faults;
mod formats;
mod power_cuts;
mod reading;
mod recovery;
mod retention;
mod simulated_disk;
mod time;
mod unfinished_writes;
mod workload;

/// The wall-clock time of second 0.
const START_NANOS: u64 = 1_790_000_000_000_000_000;
/// The monotonic time of second 0: the machine was running before.
const START_UPTIME_S: i64 = 50_000;

/// A moment on a machine whose clock is right.
fn at(second: u64) -> Moment {
    let uptime = START_UPTIME_S + i64::try_from(second).unwrap();
    let monotonic = MonotonicTime::from_nanos(uptime * 1_000_000_000);
    Moment { monotonic, wall: Timestamp::from_nanos(START_NANOS + second * 1_000_000_000) }
}

fn frame(value: u64) -> EventBody {
    let value = f64::from(u32::try_from(value).unwrap());
    EventBody::Frame(Frame { source: 0, values: vec![value; 10], faults: Vec::new(), texts: Vec::new() })
}

/// A frame whose values differ widely from those of the frame before, so that it takes many bytes.
fn large_frame(value: u64) -> EventBody {
    frame(value * 7919 % 99_991)
}

fn site(id: &str) -> EventBody {
    EventBody::Site(Arc::new(Site { id: id.into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] }))
}

fn state(key: &str, value: u8) -> PluginState {
    let mut state = PluginState::default();
    state.set(key.into(), vec![value]).unwrap();
    state
}

fn settings(folder: &Path) -> JournalSettings {
    JournalSettings {
        folder: folder.to_owned(),
        sync: SyncPolicy::Interval(Duration::from_millis(5)),
        max_bytes: 1 << 30,
        max_age: Duration::from_hours(72),
    }
}

fn open(folder: &Path) -> Journal {
    open_with(&settings(folder), at(0))
}

/// The machine of the tests, which does not restart.
fn machine(disk: Arc<dyn Disk>) -> Machine {
    Machine { disk, boot: Boot("test".into()), retry_pause: RETRY_PAUSE }
}

fn open_with(settings: &JournalSettings, now: Moment) -> Journal {
    Journal::open_on(machine(Arc::new(SystemDisk)), settings, now).unwrap()
}

/// A disk whose syncs fail while a test wants it.
#[derive(Clone, Default)]
struct UnreliableDisk(Arc<AtomicBool>);

/// A file on an [`UnreliableDisk`].
struct UnreliableFile(OpenFile, UnreliableDisk);

impl UnreliableDisk {
    fn open_journal(&self, settings: &JournalSettings) -> Journal {
        Journal::open_on(machine(Arc::new(self.clone())), settings, at(0)).unwrap()
    }

    fn set_broken(&self, is_broken: bool) {
        self.0.store(is_broken, Ordering::Relaxed);
    }

    fn sync(&self) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(io::Error::other("the disk is broken")) } else { Ok(()) }
    }
}

impl Disk for UnreliableDisk {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        SystemDisk.create_folder(folder)
    }

    fn is_open_to_others(&self, folder: &Path) -> bool {
        SystemDisk.is_open_to_others(folder)
    }

    fn lock(&self, path: &Path) -> io::Result<Option<FolderLock>> {
        SystemDisk.lock(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        SystemDisk.list(folder)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<OpenFile> {
        Ok(Arc::new(UnreliableFile(SystemDisk.open(path, access)?, self.clone())))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        SystemDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        SystemDisk.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.sync()?;
        SystemDisk.sync_folder(folder)
    }

    fn space(&self, folder: &Path) -> io::Result<DiskSpace> {
        SystemDisk.space(folder)
    }
}

impl DiskFile for UnreliableFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.0.allocate(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.1.sync()?;
        self.0.sync()
    }
}

fn numbers(events: &[RecordedEvent]) -> Vec<u64> {
    events.iter().map(|recorded| recorded.event.sequence.0).collect()
}

fn gap(recorded: &RecordedEvent) -> &Gap {
    match &recorded.event.body {
        EventBody::Gap(gap) => gap,
        other => panic!("not a gap: {other:?}"),
    }
}

/// Everything that a feed gets up to the event `last`, which is included.
async fn read_to(reader: &mut JournalReader, last: u64) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    while events.last().is_none_or(|recorded: &RecordedEvent| recorded.event.sequence.0 < last) {
        events.extend(reader.next().await);
    }
    events
}

fn files(folder: &Path) -> Vec<PathBuf> {
    store::segment_files(&SystemDisk, folder).unwrap()
}

/// Waits until everything appended is written.
async fn written(journal: &Journal) {
    while journal.0.shared.lock().has_unwritten() {
        tokio::task::yield_now().await;
    }
}

/// A copy of the folder as a kill would leave it: written, but not closed.
async fn kill(journal: Journal, folder: &Path) -> tempfile::TempDir {
    written(&journal).await;
    // A rewrite deletes files while they are copied: then the copy starts again.
    let copy = loop {
        let copy = tempfile::tempdir().unwrap();
        let mut paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        if paths.all(|path| fs::copy(&path, copy.path().join(path.file_name().unwrap())).is_ok()) {
            break copy;
        }
    };
    drop(journal);
    copy
}
