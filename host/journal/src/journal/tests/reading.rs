//! What feeds read from memory and from segments, and how each sync setting treats the disk.

use super::*;

#[tokio::test]
async fn every_feed_reads_every_event_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let (mut quick, mut slow) = (journal.reader("quick", StartAt::Oldest).0, journal.reader("slow", StartAt::Oldest).0);
    for value in 0..70 {
        journal.append(at(value), frame(value));
    }
    assert_eq!(numbers(&quick.next().await), (1..=64).collect::<Vec<_>>());
    assert_eq!(numbers(&quick.next().await), (65..=70).collect::<Vec<_>>());
    assert_eq!(slow.next().await.len(), 64);
    quick.cursor().advance(Sequence(64), at(63).wall, &PluginState::default());
    let lag = |feed| {
        let lag = journal.lag(feed, at(72).monotonic);
        (lag.events, lag.seconds)
    };
    assert_eq!((lag("slow"), lag("quick"), lag("unknown")), ((70, 72.0), (6, 8.0), (0, 0.0)));
    quick.cursor().advance(Sequence(70), at(69).wall, &PluginState::default());
    assert_eq!(lag("quick"), (0, 0.0));
    let waiting = quick.next();
    let appending = async { journal.append(at(71), EventBody::Heartbeat) };
    let (events, number) = tokio::join!(waiting, appending);
    assert_eq!((numbers(&events), number), (vec![71], Sequence(71)));
}

#[tokio::test]
async fn a_feed_that_lags_reads_from_segments_and_then_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    drop(journal.reader("acme", StartAt::Now));
    for value in 0..60_000 {
        journal.append(at(value), frame(value));
        if value % 5000 == 0 {
            written(&journal).await;
        }
    }
    assert!(journal.0.shared.lock().recent.len() < 30_000, "memory is bounded");
    let mut reader = journal.reader("acme", StartAt::Now).0;
    let events = read_to(&mut reader, 60_000).await;
    assert_eq!(numbers(&events), (1..=60_000).collect::<Vec<_>>());
    let mut since = journal.reader("since", StartAt::At(at(31_234).wall)).0;
    let events = read_to(&mut since, 60_000).await;
    assert_eq!(numbers(&events), (31_235..=60_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_cancelled_read_loses_no_event() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    for value in 0..40_000 {
        journal.append(at(value), frame(value));
    }
    written(&journal).await;
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    let mut seen = Vec::new();
    while seen.last() != Some(&40_000) {
        tokio::select! {
            biased;
            events = reader.next() => seen.extend(numbers(&events)),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(seen, (1..=40_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_event_is_on_disk_before_a_feed_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let every_event = JournalSettings { sync: SyncPolicy::EveryEvent, ..settings(folder.path()) };
    let journal = open_with(&every_event, at(0));
    let mut reader = journal.reader("acme", StartAt::Now).0;
    for value in 0..20 {
        let number = journal.append(at(value), frame(value));
        assert_eq!(numbers(&reader.next().await), [number.0]);
        assert!(journal.0.shared.lock().synced > number);
    }
}

#[tokio::test]
async fn in_memory_no_event_is_written_but_numbers_and_cursors_last() {
    let folder = tempfile::tempdir().unwrap();
    let memory = JournalSettings { sync: SyncPolicy::Memory, ..settings(folder.path()) };
    let journal = open_with(&memory, at(0));
    let reader = journal.reader("acme", StartAt::Now).0;
    for value in 0..200_000 {
        journal.append(at(value), frame(value));
    }
    assert!(journal.lag("acme", at(0).monotonic).lost > 1000);
    let state = state("bdSeq", 3);
    reader.cursor().save_state(&state).await;
    assert_eq!(cursors::load(&SystemDisk, folder.path()).unwrap().cursors["acme"].state, state);
    journal.close().await;
    drop((reader, journal));
    assert!(files(folder.path()).is_empty());
    let journal = open_with(&memory, at(0));
    assert_eq!(journal.append(at(0), EventBody::Heartbeat), Sequence(200_001));
    assert_eq!(journal.reader("acme", StartAt::Now).1, state);
}

#[tokio::test]
async fn in_memory_an_unusable_folder_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    let unusable = JournalSettings { sync: SyncPolicy::Memory, ..settings(&blocked.join("journal")) };
    let journal = open_with(&unusable, at(5));
    let reader = journal.reader("acme", StartAt::Now).0;
    let number = journal.append(at(5), EventBody::Heartbeat);
    assert!(number > Sequence(at(4).wall.seconds() << 20), "{number:?}");
    reader.cursor().save_state(&PluginState::default()).await;
    journal.close().await;
    let on_disk = JournalSettings { sync: SyncPolicy::EveryEvent, ..unusable };
    let error = Journal::open(&on_disk, at(5)).err().unwrap().to_string();
    assert!(error.contains("file/journal") && error.contains("set another [journal] dir"), "{error}");
}

/// Time of two tries to read a segment.
const TWO_TRIES: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn a_segment_that_cannot_be_read_for_a_while_is_not_abandoned() {
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
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    assert!(timeout(TWO_TRIES, reader.next()).await.is_err());
    fs::remove_dir(&path).unwrap();
    fs::rename(&elsewhere, &path).unwrap();
    assert_eq!(numbers(&read_to(&mut reader, 1000).await), (1..=1000).collect::<Vec<_>>());
    assert_eq!(journal.health().damaged, 0);
    // A segment that stays unreadable is abandoned: its events are reported as lost, later ones are delivered.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let mut late = journal.reader("late", StartAt::Oldest).0;
    let number = journal.append(at(1000), EventBody::Heartbeat);
    let events = late.next().await;
    assert_eq!((gap(&events[0]).lost, numbers(&events)), (Some(1000), vec![1000, number.0]));
}
