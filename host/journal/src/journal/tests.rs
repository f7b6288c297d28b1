//! The journal on a real folder: what one run leaves behind is what the next one finds.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bessai_domain::event::{Event, Frame, Gap};
use bessai_domain::ports::{BatchLimit, Cursor, Events};

use super::*;
use crate::{cursors, inspect, reservation, segment, store};

mod descriptions;
mod faults;
mod formats;
mod reading;
mod recovery;
mod retention;

/// The time of second 0.
const START_NANOS: u64 = 1_790_000_000_000_000_000;

fn at(second: u64) -> Timestamp {
    Timestamp::from_nanos(START_NANOS + second * 1_000_000_000)
}

fn moment(second: u64) -> Moment {
    Moment::by_wall_clock(at(second))
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
    Journal::open(&settings(folder), at(0)).unwrap()
}

/// A disk whose syncs fail while a test wants it.
#[derive(Clone, Default)]
struct UnreliableDisk(Arc<AtomicBool>);

impl UnreliableDisk {
    fn open(&self, settings: &JournalSettings) -> Journal {
        let is_broken = Arc::clone(&self.0);
        let sync_file = move |file: &File| match is_broken.load(Ordering::Relaxed) {
            true => Err(io::Error::other("the disk is broken")),
            false => file.sync_data(),
        };
        Journal::open_with(settings, at(0), Arc::new(sync_file)).unwrap()
    }

    fn set_broken(&self, is_broken: bool) {
        self.0.store(is_broken, Ordering::Relaxed);
    }
}

fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.sequence.0).collect()
}

fn gap(event: &Event) -> &Gap {
    match &event.body {
        EventBody::Gap(gap) => gap,
        other => panic!("not a gap: {other:?}"),
    }
}

/// Everything that a feed gets up to the event `last`, which is included.
async fn read_to(reader: &mut JournalReader, last: u64) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Arc<Event>| event.sequence.0 < last) {
        events.extend(reader.next().await);
    }
    events
}

fn files(folder: &Path) -> Vec<PathBuf> {
    store::segment_files(folder).unwrap()
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
