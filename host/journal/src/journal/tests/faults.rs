//! Disks that are full or keep nothing.

use std::process::Command;

use super::*;

/// How long a test waits for a change.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
pub(super) async fn wait_for(what: &str, condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT_LIMIT, waiting).await.unwrap_or_else(|_| panic!("{what} did not come within {WAIT_LIMIT:?}"));
}

fn synced(journal: &Journal) -> Sequence {
    journal.0.shared.lock().synced
}

fn fault(journal: &Journal) -> String {
    journal.health().fault.unwrap_or_default()
}

#[tokio::test]
async fn what_could_not_be_synced_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = UnreliableDisk::default();
    let journal = disk.open_journal(&settings(folder.path()));
    journal.append(at(0), site("S"));
    for second in 1..10 {
        journal.append(at(second), frame(second));
    }
    wait_for("a sync", || synced(&journal) == Sequence(11)).await;
    let path = files(folder.path())[0].clone();
    let synced_bytes = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();

    disk.set_broken(true);
    for second in 10..20 {
        journal.append(at(second), frame(second));
    }
    wait_for("a fault", || fault(&journal).contains("cannot sync events to disk: the disk is broken")).await;
    journal.append(at(20), frame(20));
    written(&journal).await;
    assert!(!fault(&journal).is_empty(), "a write does not end the fault of a sync");
    assert_eq!(synced(&journal), Sequence(11));
    // The system drops what it could not write, and the next sync of the same file does not report it.
    let mut bytes = fs::read(&path).unwrap();
    bytes[synced_bytes..].fill(0);
    fs::write(&path, bytes).unwrap();
    disk.set_broken(false);
    wait_for("a sync", || synced(&journal) == Sequence(22)).await;
    wait_for("the end of the fault", || fault(&journal).is_empty()).await;
    let mut reader = journal.reader("live", StartAt::Oldest).0;
    assert_eq!(numbers(&read_to(&mut reader, 21).await), (1..=21).collect::<Vec<_>>());

    let folder = kill(journal, folder.path()).await;
    let mut out = Vec::new();
    assert_eq!(inspect::export(folder.path(), None, None, &mut out).unwrap(), 21);
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    let events = read_to(&mut reader, 21).await;
    assert_eq!(numbers(&events), (1..=21).collect::<Vec<_>>());
    assert_eq!(events[20].event.body, frame(20));
    assert_eq!(journal.health().quarantined_files, 0);
}

#[tokio::test]
async fn a_disk_that_keeps_nothing_stops_no_delivery_and_gets_everything_later() {
    let folder = tempfile::tempdir().unwrap();
    let disk = UnreliableDisk::default();
    let journal = disk.open_journal(&JournalSettings { sync: SyncPolicy::EveryEvent, ..settings(folder.path()) });
    let mut reader = journal.reader("acme", StartAt::Now).0;
    disk.set_broken(true);
    journal.append(at(0), frame(0));
    wait_for("a fault", || !fault(&journal).is_empty()).await;
    assert_eq!(synced(&journal), Sequence(1));
    assert_eq!(numbers(&reader.next().await), [1]);
    disk.set_broken(false);
    wait_for("the end of the fault", || fault(&journal).is_empty()).await;
    let folder = kill(journal, folder.path()).await;
    let journal = open(folder.path());
    assert_eq!(numbers(&journal.reader("acme", StartAt::Oldest).0.next().await)[0], 1);
}

/// A file system of one mebibyte.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
    /// None if this process may not mount one.
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        if mounted.is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder));
        }
        eprintln!("NOT TESTED: a full disk needs the right to mount a tmpfs");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all free space, until the returned file is deleted.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        fs::write(&path, vec![0; 2 << 20]).unwrap_err();
        path
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
async fn on_a_full_disk_live_feeds_continue_and_what_fits_in_memory_is_written_later() {
    let Some(disk) = TinyDisk::mount() else { return };
    let journal = open(disk.path());
    let mut live = journal.reader("live", StartAt::Oldest).0;
    let mut late = journal.reader("late", StartAt::Oldest).0;
    journal.append(at(0), site("S"));
    written(&journal).await;
    let ballast = disk.fill();
    for second in 1..20_000 {
        let number = journal.append(at(second), large_frame(second));
        if second % 64 == 0 {
            assert_eq!(read_to(&mut live, number.0).await.last().unwrap().event.sequence, number);
        }
    }
    wait_for("a fault", || fault(&journal).contains("its disk is full, free some space on it")).await;
    let state = state("bdSeq", 1);
    live.cursor().advance(Sequence(19_000), at(18_999).wall, &state);
    live.cursor().save_state(&state).await;

    fs::remove_file(ballast).unwrap();
    wait_for("all writes", || fault(&journal).is_empty() && synced(&journal) == Sequence(20_001)).await;
    assert_eq!(journal.lag("late", at(0).monotonic).lost, 0);
    assert_eq!(numbers(&read_to(&mut late, 20_000).await), (1..=20_000).collect::<Vec<_>>());
    journal.close().await;
    drop((live, late, journal));
    let journal = open(disk.path());
    assert_eq!(journal.reader("live", StartAt::Now).1, state);
    let mut again = journal.reader("again", StartAt::Oldest).0;
    assert_eq!(numbers(&read_to(&mut again, 20_000).await), (1..=20_000).collect::<Vec<_>>());
    assert_eq!((journal.health().truncated_bytes, journal.health().quarantined_files), (0, 0));
    journal.close().await;
}

#[tokio::test]
async fn on_a_disk_smaller_than_max_bytes_the_oldest_delivered_events_are_deleted() {
    let Some(disk) = TinyDisk::mount() else { return };
    let large = JournalSettings { max_bytes: 4 << 20, ..settings(disk.path()) };
    let journal = open_with(&large, at(0));
    let mut live = journal.reader("live", StartAt::Oldest).0;
    let mut second = 0;
    // Three times the disk, for a feed that keeps up.
    while journal.health().oldest < 200_000 {
        let number = journal.append(at(second), large_frame(second));
        second += 1;
        if second % 64 == 0 {
            assert_eq!(read_to(&mut live, number.0).await.last().unwrap().event.sequence, number);
            live.cursor().advance(number, at(second).wall, &PluginState::default());
        }
        if second % 1024 == 0 {
            written(&journal).await;
        }
    }
    assert_eq!(
        (journal.lag("live", at(0).monotonic).lost, journal.health().lost),
        (0, 0),
        "it had delivered all deleted events"
    );
    journal.close().await;
}

#[tokio::test]
async fn the_reserve_comes_back_without_another_event() {
    let Some(disk) = TinyDisk::mount() else { return };
    let ballast = disk.path().join("ballast");
    // Leaves room for events, but not for the reserve.
    fs::write(&ballast, vec![0; 960 << 10]).unwrap();
    let journal = open(disk.path());
    journal.append(at(0), site("S"));
    wait_for("a fault", || fault(&journal).contains("cannot keep its reserve of disk space")).await;
    fs::remove_file(ballast).unwrap();
    wait_for("the reserve", || fault(&journal).is_empty()).await;
    assert!(disk.path().join("reserve").exists());
    journal.close().await;
}

#[tokio::test]
async fn a_full_disk_takes_the_reserve_first_and_it_comes_back() {
    let Some(disk) = TinyDisk::mount() else { return };
    let journal = open(disk.path());
    let reserve = disk.path().join("reserve");
    journal.append(at(0), site("S"));
    wait_for("the reserve", || fs::metadata(&reserve).is_ok_and(|found| found.len() > 16 << 10)).await;
    let ballast = disk.fill();
    let mut second = 1;
    // Events are written to what the reserve leaves.
    while !fault(&journal).contains("cannot keep its reserve of disk space: its disk is full, free some space on it") {
        second += 1;
        journal.append(at(second), large_frame(second));
        written(&journal).await;
    }
    assert!(!reserve.exists() && !fault(&journal).contains("cannot write"), "{}", fault(&journal));
    let last = journal.append(at(second + 1), frame(1));
    wait_for("a sync", || synced(&journal) > last).await;
    fs::remove_file(ballast).unwrap();
    wait_for("the reserve", || {
        journal.append(at(second + 2), EventBody::Heartbeat);
        reserve.exists() && fault(&journal).is_empty()
    })
    .await;
    // A start on a full disk gives up the reserve of the last run.
    journal.close().await;
    drop(journal);
    disk.fill();
    let journal = open(disk.path());
    let last = journal.append(at(second + 3), large_frame(1));
    wait_for("a sync", || synced(&journal) > last).await;
    assert!(last.0 < 1 << 20, "numbering continues from the reservation: {last:?}");
    journal.close().await;
}

#[tokio::test]
async fn the_folder_is_private() {
    use std::os::unix::fs::PermissionsExt;

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("data/journal");
    let journal = open(&folder);
    drop(journal.reader("acme", StartAt::Now));
    journal.append(at(0), EventBody::Heartbeat);
    wait_for("the reserve", || folder.join("reserve").exists()).await;
    journal.close().await;
    assert_eq!(mode(&folder), 0o700);
    let paths: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 5, "{paths:?}");
    paths.iter().for_each(|path| assert_eq!(mode(path), 0o600, "{}", path.display()));
    // An operator's choice is left as it is.
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o750)).unwrap();
    assert!(!SystemDisk.is_open_to_others(&folder));
    drop(journal);
    drop(open(&folder));
    assert_eq!(mode(&folder), 0o750);
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(SystemDisk.is_open_to_others(&folder));
}
