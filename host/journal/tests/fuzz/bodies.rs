//! Properties of the journal's folder that hold whatever bytes are in its files. `cargo test` runs them with damaged files,
//! `scripts/fuzz` with those that a fuzzer finds.

use std::path::Path;
use std::time::Duration;

use bessai_domain::event::EventBody;
use bessai_domain::journal::SyncPolicy;
use bessai_domain::time::{Moment, Timestamp};
use bessai_journal::{Journal, JournalSettings, OpenError, inspect};

use super::files::{FolderFiles, read_sections};

/// The time at which the journal is opened.
const NOW: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);
/// Numbers above this are too close to the last one for the next to be greater.
const LAST_COUNTED: u64 = u64::MAX - (1 << 21);

/// Any bytes as the files of a journal, which are inspected, opened, continued and opened again.
///
/// The input is a list of sections, see [`read_sections`]: some are written as they are, others get a valid length and
/// checksum, because a fuzzer does not find those.
pub fn journal(data: &[u8]) {
    let folder = folder();
    FolderFiles::of(read_sections(data)).write(folder.path());
    let shown = inspected(folder.path());
    let Ok(appended) = continued(folder.path()) else { return };
    if shown < LAST_COUNTED {
        assert!(appended > shown, "event {appended} was appended after event {shown}");
    }
    // A folder that was closed is sound, and a reservation makes no number repeat.
    let again = continued(folder.path()).unwrap_or_else(|error| panic!("the folder cannot be opened again: {error}"));
    assert!(again > appended || appended >= LAST_COUNTED, "event {again} was appended after event {appended}");
    let mut lines = Vec::new();
    inspect::export(folder.path(), None, None, &mut lines).unwrap();
    let lines = String::from_utf8(lines).unwrap();
    for number in [appended, again] {
        let is_exported = lines.contains(&format!("\"sequence\":{number},")) || !lines.contains("\"site\"");
        assert!(is_exported || number >= LAST_COUNTED, "event {number} is missing in\n{lines}");
    }
}

/// A folder in memory where there is one, because each input is synced to its disk several times.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// The highest number that the commands show, as an event's or as a feed's cursor.
pub fn inspected(folder: &Path) -> u64 {
    let files = inspect::files(folder).unwrap_or_default();
    let extents = files.iter().filter_map(|file| file.extent);
    extents.clone().for_each(|extent| assert!(extent.first <= extent.last, "{extent:?}"));
    let feeds = inspect::feeds(folder).unwrap_or_default();
    let mut exported = Vec::new();
    // A file of a later format refuses the export.
    let _ = inspect::export(folder, None, None, &mut exported);
    String::from_utf8(exported).unwrap();
    let delivered = feeds.iter().map(|feed| feed.delivered.0);
    extents.map(|extent| extent.last.0).chain(delivered).max().unwrap_or(0)
}

/// Opens the journal, appends an event and closes the journal; returns the event's number.
fn continued(folder: &Path) -> Result<u64, OpenError> {
    let settings = JournalSettings {
        folder: folder.to_owned(),
        sync: SyncPolicy::Interval(Duration::from_secs(1)),
        max_bytes: 1 << 30,
        max_age: Duration::from_hours(24 * 3650),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(&settings, Moment::by_wall_clock(NOW))?;
        let number = journal.append(Moment::by_wall_clock(NOW), EventBody::Heartbeat);
        journal.close().await;
        let health = journal.health();
        assert!(health.fault.is_none(), "{health:?}");
        drop(journal);
        unlocked(&settings).await;
        Ok(number.0)
    })
}

/// Waits until the threads of a closed journal have released its folder.
async fn unlocked(settings: &JournalSettings) {
    let lock = std::fs::File::open(settings.folder.join("lock")).unwrap();
    while rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
        tokio::task::yield_now().await;
    }
}
