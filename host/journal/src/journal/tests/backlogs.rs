//! Backlogs: what a feed leaves behind to continue with the newest events is read later, once, whatever happens in between.

use super::*;
use crate::cursors::FILE_NAME;

/// Anything that has waited at all.
const AGE: Duration = Duration::ZERO;

/// All events of the oldest backlog, and the state that belongs to it.
async fn read_backlog(reader: &JournalReader) -> Option<(JournalReader, Vec<u64>, PluginState)> {
    let (mut backlog, state) = reader.backlog()?;
    let mut events = Vec::new();
    loop {
        let batch = backlog.next().await;
        if batch.is_empty() {
            return Some((backlog, events, state));
        }
        events.extend(numbers(&batch));
    }
}

fn append(journal: &Journal, values: std::ops::Range<u64>) {
    for value in values {
        journal.append(at(value), frame(value));
    }
}

fn deliver(reader: &JournalReader, sequence: u64, state: &PluginState) {
    reader.cursor().advance(Sequence(sequence), at(sequence).wall, state);
}

#[tokio::test]
async fn the_newest_events_are_read_first_and_the_backlog_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    assert!(reader.backlog().is_none());
    append(&journal, 0..30_000);
    written(&journal).await;
    assert_eq!(numbers(&reader.next().await).len(), 64);
    deliver(&reader, 10, &state("count", 10));
    assert!(!reader.leave_backlog(Duration::from_hours(10), at(30_000).monotonic), "it is not that old");
    assert!(reader.leave_backlog(AGE, at(30_000).monotonic));
    append(&journal, 30_000..30_003);
    assert_eq!(numbers(&reader.next().await), [30_001, 30_002, 30_003]);
    let lag = journal.lag("acme", at(30_003).monotonic);
    assert_eq!((lag.events, lag.backlog, lag.lost), (29_993, 29_990, 0));
    deliver(&reader, 30_003, &state("count", 3));
    let (backlog, events, of_backlog) = read_backlog(&reader).await.unwrap();
    assert_eq!((events, of_backlog), ((11..=30_000).collect(), state("count", 10)));
    deliver(&backlog, 20_000, &state("count", 99));
    let lag = journal.lag("acme", at(30_003).monotonic);
    assert_eq!((lag.events, lag.backlog), (10_000, 10_000));
    backlog.cursor().finish_backlog();
    assert_eq!(journal.lag("acme", at(30_003).monotonic).events, 0);
    assert!(reader.backlog().is_none());
    assert_eq!(journal.reader("acme", StartAt::Now).1, state("count", 3), "the state of the backlog is not the feed's");
}

#[tokio::test]
async fn a_backlog_outlives_the_run_and_a_delivered_one_does_not_return() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    append(&journal, 0..100);
    assert!(reader.leave_backlog(AGE, at(100).monotonic));
    let (backlog, ..) = read_backlog(&reader).await.unwrap();
    deliver(&backlog, 40, &state("count", 40));
    journal.close().await;
    drop((reader, backlog, journal));
    let listed = inspect::feeds(folder.path()).unwrap();
    assert_eq!(listed.iter().map(|feed| (feed.name.as_str(), feed.lag.backlog)).collect::<Vec<_>>(), [("acme", 60)]);

    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    let (backlog, events, of_backlog) = read_backlog(&reader).await.unwrap();
    assert_eq!((events, of_backlog), ((41..=100).collect(), state("count", 40)));
    append(&journal, 100..101);
    assert_eq!(numbers(&reader.next().await), [101]);
    backlog.cursor().finish_backlog();
    journal.close().await;
    drop((reader, backlog, journal));

    let journal = open(folder.path());
    assert!(journal.reader("acme", StartAt::Oldest).0.backlog().is_none());
}

#[tokio::test]
async fn outages_in_a_row_are_one_backlog_and_others_follow_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    append(&journal, 0..100);
    assert!(reader.leave_backlog(AGE, at(100).monotonic));
    append(&journal, 100..200);
    assert!(reader.leave_backlog(AGE, at(200).monotonic));
    append(&journal, 200..210);
    deliver(&reader, 205, &PluginState::default());
    append(&journal, 210..300);
    assert!(reader.leave_backlog(AGE, at(300).monotonic));
    let (backlog, events, _) = read_backlog(&reader).await.unwrap();
    assert_eq!(events, (1..=200).collect::<Vec<_>>());
    backlog.cursor().finish_backlog();
    let (backlog, events, _) = read_backlog(&reader).await.unwrap();
    assert_eq!(events, (206..=300).collect::<Vec<_>>());
    backlog.cursor().finish_backlog();
    assert!(reader.backlog().is_none());
    // With too many of them a feed stays with its oldest events.
    let mut left = 0;
    for _ in 0..100 {
        append(&journal, 300..302);
        left += u32::from(reader.leave_backlog(AGE, at(1000).monotonic));
        let newer = journal.append(at(302), frame(302));
        deliver(&reader, newer.0, &PluginState::default());
    }
    assert!((10..100).contains(&left), "{left}");
}

#[tokio::test]
async fn what_is_lost_of_a_backlog_is_counted_for_its_feed_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let small = JournalSettings { max_bytes: 200_000, ..settings(folder.path()) };
    let journal = open_with(&small, at(0));
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    journal.append(at(0), frame(0));
    append(&journal, 1..100);
    assert!(reader.leave_backlog(AGE, at(100).monotonic));
    for value in 100..60_000 {
        journal.append(at(value), large_frame(value));
        if value % 1000 == 0 {
            written(&journal).await;
            let last = journal.append(at(value), frame(value));
            deliver(&reader, last.0, &PluginState::default());
            while numbers(&reader.next().await).last().is_some_and(|read| *read < last.0) {}
        }
    }
    let lost = journal.lag("acme", at(60_000).monotonic).lost;
    assert!(lost >= 100, "{lost}");
    let (backlog, events, _) = read_backlog(&reader).await.unwrap();
    assert!(events.is_empty(), "{events:?}");
    backlog.cursor().finish_backlog();
    let lag = journal.lag("acme", at(60_000).monotonic);
    assert_eq!((lag.lost, lag.backlog), (lost, 0));
}

#[tokio::test]
async fn a_torn_record_loses_no_event_of_a_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    append(&journal, 0..100);
    deliver(&reader, 7, &state("count", 7));
    reader.cursor().save_state(&state("count", 7)).await;
    let path = folder.path().join(FILE_NAME);
    let before = fs::read(&path).unwrap().len();
    assert!(reader.leave_backlog(AGE, at(100).monotonic));
    journal.close().await;
    drop((reader, journal));
    let whole = fs::read(&path).unwrap();
    for length in before..=whole.len() {
        let copy = tempfile::tempdir().unwrap();
        for file in fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
        }
        fs::write(copy.path().join(FILE_NAME), &whole[..length]).unwrap();
        let journal = open(copy.path());
        let mut reader = journal.reader("acme", StartAt::Oldest).0;
        let mut read = match read_backlog(&reader).await {
            Some((_, events, of_backlog)) => {
                assert_eq!(of_backlog, state("count", 7));
                events
            }
            None => Vec::new(),
        };
        let last = journal.append(at(200), EventBody::Heartbeat).0;
        read.extend(numbers(&read_to(&mut reader, last).await));
        read.retain(|number| *number <= 100);
        assert_eq!(read, (8..=100).collect::<Vec<_>>(), "{length} of {} bytes", whole.len());
    }
}

#[tokio::test]
async fn a_forgotten_feed_leaves_no_backlog() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    append(&journal, 0..10);
    assert!(reader.leave_backlog(AGE, at(10).monotonic));
    journal.close().await;
    drop((reader, journal));
    crate::forget(folder.path(), "acme").unwrap();
    assert!(cursors::load(&SystemDisk, folder.path()).unwrap().cursors.is_empty());
}
