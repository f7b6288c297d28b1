//! Disks that are full, that keep nothing, and folders that somebody tidied up.

use std::process::Command;
use std::sync::atomic::Ordering;

use super::*;

/// Waits until the journal is as it should be.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), waiting).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

fn synced(journal: &Journal) -> Sequence {
    journal.0.shared.lock().synced
}

fn trouble(journal: &Journal) -> String {
    journal.health().trouble.unwrap_or_default()
}

fn breaks_syncs(journal: &Journal, breaks: bool) {
    journal.0.shared.breaks_syncs.store(breaks, Ordering::Relaxed);
}

#[tokio::test]
async fn what_could_not_be_brought_to_the_disk_is_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    journal.append(at(0), site("S"));
    for second in 1..10 {
        journal.append(at(second), frame(second));
    }
    until("a sync", || synced(&journal) == Sequence(11)).await;
    let path = files(folder.path())[0].clone();
    let sound = usize::try_from(fs::metadata(&path).unwrap().len()).unwrap();

    breaks_syncs(&journal, true);
    for second in 10..20 {
        journal.append(at(second), frame(second));
    }
    until("trouble", || trouble(&journal).contains("cannot be brought to the disk: the disk is broken")).await;
    journal.append(at(20), frame(20));
    written(&journal).await;
    assert!(!trouble(&journal).is_empty(), "that it can be written does not heal it");
    assert_eq!(synced(&journal), Sequence(11));
    // The system drops what it could not write, and says nothing of it at the next try.
    let mut bytes = fs::read(&path).unwrap();
    bytes[sound..].fill(0);
    fs::write(&path, bytes).unwrap();
    breaks_syncs(&journal, false);
    until("a sync", || synced(&journal) == Sequence(22)).await;
    until("no trouble", || trouble(&journal).is_empty()).await;
    let mut reader = journal.reader("live", Start::Oldest).0;
    assert_eq!(numbers(&up_to(&mut reader, 21).await), (1..=21).collect::<Vec<_>>());

    let folder = kill(journal, folder.path()).await;
    let mut out = Vec::new();
    assert_eq!(look::export(folder.path(), None, None, &mut out).unwrap(), 21);
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", Start::Oldest).0;
    let events = up_to(&mut reader, 21).await;
    assert_eq!(numbers(&events), (1..=21).collect::<Vec<_>>());
    assert_eq!(events[20].body, frame(20));
    assert_eq!(journal.health().set_aside, 0);
}

#[tokio::test]
async fn a_disk_that_keeps_nothing_silences_nobody_and_gets_everything_later() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&Settings { sync: Sync::EveryEvent, ..settings(folder.path()) }, at(0)).unwrap();
    let mut reader = journal.reader("acme", Start::Now).0;
    breaks_syncs(&journal, true);
    journal.append(at(0), frame(0));
    until("trouble", || !trouble(&journal).is_empty()).await;
    assert_eq!(synced(&journal), Sequence(1));
    assert_eq!(numbers(&reader.next(CALL).await), [1]);
    breaks_syncs(&journal, false);
    until("no trouble", || trouble(&journal).is_empty()).await;
    let folder = kill(journal, folder.path()).await;
    let journal = open(folder.path());
    assert_eq!(numbers(&journal.reader("acme", Start::Oldest).0.next(CALL).await)[0], 1);
}

/// A file system of a mebibyte; none where we may not mount one.
struct TinyDisk(tempfile::TempDir);

impl TinyDisk {
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

    fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        // It is full when this fails.
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
async fn on_a_full_disk_live_feeds_go_on_and_all_that_fits_memory_is_written_when_there_is_room() {
    let Some(disk) = TinyDisk::mount() else { return };
    let journal = open(disk.path());
    let mut live = journal.reader("live", Start::Oldest).0;
    let mut late = journal.reader("late", Start::Oldest).0;
    journal.append(at(0), site("S"));
    written(&journal).await;
    let ballast = disk.fill();
    for second in 1..20_000 {
        let number = journal.append(at(second), frame(second * 7919 % 99_991));
        if second % 64 == 0 {
            assert_eq!(up_to(&mut live, number.0).await.last().unwrap().sequence, number);
        }
    }
    until("trouble", || trouble(&journal).contains("its disk is full: make room there")).await;
    let mut state = State::default();
    state.set("bdSeq".into(), vec![1]).unwrap();
    live.cursor().passed(Sequence(19_000), at(18_999), &state);
    live.cursor().keep(&state).await;

    fs::remove_file(ballast).unwrap();
    until("all to be written", || trouble(&journal).is_empty() && synced(&journal) == Sequence(20_001)).await;
    assert_eq!(journal.lag("late").lost, 0);
    assert_eq!(numbers(&up_to(&mut late, 20_000).await), (1..=20_000).collect::<Vec<_>>());
    journal.close().await;
    drop((live, late, journal));
    let journal = open(disk.path());
    assert_eq!(journal.reader("live", Start::Now).1, state);
    let mut again = journal.reader("again", Start::Oldest).0;
    assert_eq!(numbers(&up_to(&mut again, 20_000).await), (1..=20_000).collect::<Vec<_>>());
    assert_eq!((journal.health().cut_bytes, journal.health().set_aside), (0, 0));
    journal.close().await;
}

#[tokio::test]
async fn on_a_disk_smaller_than_the_bound_the_oldest_go_and_are_told() {
    let Some(disk) = TinyDisk::mount() else { return };
    let small = Settings { max_bytes: 4 << 20, ..settings(disk.path()) };
    let journal = Journal::open(&small, at(0)).unwrap();
    let mut live = journal.reader("live", Start::Oldest).0;
    let mut second = 0;
    // Three times the disk, for a feed that keeps up.
    while journal.health().oldest < 200_000 {
        let number = journal.append(at(second), frame(second * 7919 % 99_991));
        second += 1;
        if second % 64 == 0 {
            assert_eq!(up_to(&mut live, number.0).await.last().unwrap().sequence, number);
            live.cursor().passed(number, at(second), &State::default());
        }
        if second % 1024 == 0 {
            written(&journal).await;
        }
    }
    assert_eq!((journal.lag("live").lost, journal.health().lost), (0, 0), "it had passed all that went");
    journal.close().await;
}

#[tokio::test]
async fn numbers_are_reserved_ahead_also_where_no_event_touches_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Settings { sync: Sync::Memory, ..settings(folder.path()) };
    let journal = Journal::open(&memory, at(0)).unwrap();
    for second in 0..numbers::RESERVED * 3 / 4 {
        journal.append(at(second), EventBody::Heartbeat);
    }
    let reserved = || numbers::Numbers::open(folder.path()).unwrap().1.unwrap().end;
    until("a reservation", || reserved() > Sequence(numbers::RESERVED + 1)).await;
}

#[tokio::test]
async fn no_feed_passes_over_new_events_where_the_numbers_are_gone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let reader = journal.reader("acme", Start::Now).0;
    for second in 0..100 {
        journal.append(at(second), frame(second));
    }
    reader.cursor().passed(Sequence(100), at(99), &State::default());
    journal.close().await;
    drop((journal, reader));
    for path in files(folder.path()).into_iter().chain([folder.path().join("numbers")]) {
        fs::remove_file(path).unwrap();
    }
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", Start::Now).0;
    let number = journal.append(at(100), frame(100));
    assert_eq!(numbers(&reader.next(CALL).await).last(), Some(&number.0));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_for_a_while_is_not_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    for second in 0..1000 {
        journal.append(at(second), frame(second));
    }
    journal.close().await;
    drop(journal);
    let journal = open(folder.path());
    tokio::time::pause();
    let path = files(folder.path())[0].clone();
    let elsewhere = folder.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    fs::create_dir(&path).unwrap();
    let mut reader = journal.reader("acme", Start::Oldest).0;
    assert!(timeout(READ_SHORTLY, reader.next(CALL)).await.is_err());
    fs::remove_dir(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(numbers(&up_to(&mut reader, 1000).await), (1..=1000).collect::<Vec<_>>());
    assert_eq!(journal.health().damaged, 0);
    // For good it is: the rest is told as lost, and what comes after is delivered.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let mut late = journal.reader("late", Start::Oldest).0;
    let number = journal.append(at(1000), EventBody::Heartbeat);
    let events = late.next(CALL).await;
    let EventBody::Gap(gap) = &events[0].body else { panic!("{events:?}") };
    assert_eq!((gap.lost, numbers(&events)), (Some(1000), vec![1000, number.0]));
}

/// Two tries.
const READ_SHORTLY: Duration = Duration::from_millis(1500);
