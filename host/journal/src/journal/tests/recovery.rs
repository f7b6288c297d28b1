//! What a start finds after a shutdown, a kill, a power loss, damage, and in a folder that it must not touch.

use super::*;
use bessai_domain::event::{Violation, Watchdog};

#[tokio::test]
async fn the_next_run_continues_where_this_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let state = state("k", 7);
    let journal = open(folder.path());
    assert_eq!(journal.site(), None);
    let mut reader = journal.reader("acme", StartAt::Now).0;
    journal.append(at(0), site("S"));
    for value in 1..200 {
        journal.append(at(value), frame(value));
    }
    assert_eq!(read_to(&mut reader, 200).await.len(), 200);
    reader.cursor().advance(Sequence(150), at(149).wall, &state);
    journal.close().await;
    drop((reader, journal));

    let journal = open_with(&settings(folder.path()), at(220));
    assert_eq!(journal.site().unwrap().id, "S");
    let (mut reader, restored) = journal.reader("acme", StartAt::Now);
    assert_eq!(restored, state);
    // Of an event within a file only the time of the one before it is known.
    assert_eq!(journal.lag("acme", at(230).monotonic), Lag { events: 50, seconds: 81.0, ..Lag::default() });
    assert_eq!(journal.append(at(200), frame(200)), Sequence(201), "a clean shutdown leaves no gap in the numbers");
    assert_eq!(journal.lag("acme", at(0).monotonic).events, 51);
    let events = read_to(&mut reader, 201).await;
    assert_eq!(numbers(&events), (151..=201).collect::<Vec<_>>());
    assert_eq!(events[49].event.body, frame(199));
    assert_eq!(reader.site().unwrap().id, "S");
}

/// A verdict that is told from others by the power that it allows.
fn verdict(kw: f64) -> Safety {
    let violations = vec![Violation {
        rule: "trip".into(),
        device: "battery".into(),
        channel: "temp_c".into(),
        value: 61.0,
        limit: 60.0,
    }];
    Safety { is_safe: false, watchdog: Watchdog::Ok, power_limit_kw: Some(kw), violations }
}

#[tokio::test]
async fn the_last_verdict_is_found_after_a_shutdown_and_after_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    assert_eq!(journal.last_verdict(), None);
    for value in 0..4_u32 {
        journal.append(at(value.into()), EventBody::Safety(verdict(value.into())));
        journal.append(at(value.into()), frame(value.into()));
    }
    journal.close().await;
    drop(journal);
    let journal = open(folder.path());
    assert_eq!(journal.last_verdict(), Some(verdict(3.0)));
    // A description begins a new file, in which there is no verdict yet.
    journal.append(at(9), site("S"));
    let folder = kill(journal, folder.path()).await;
    let journal = open(folder.path());
    assert_eq!(journal.last_verdict(), Some(verdict(3.0)));
    // So do starts that end before their first verdict.
    let mut folder = kill(journal, folder.path()).await;
    for start in 10..20 {
        let journal = open(folder.path());
        journal.append(at(start), site("S"));
        folder = kill(journal, folder.path()).await;
    }
    let journal = open(folder.path());
    assert_eq!(journal.last_verdict(), Some(verdict(3.0)));
    journal.append(at(20), EventBody::Safety(verdict(10.0)));
    let folder = kill(journal, folder.path()).await;
    assert_eq!(open(folder.path()).last_verdict(), Some(verdict(10.0)));
}

#[tokio::test]
async fn after_a_kill_no_number_is_used_twice_and_no_event_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    drop(journal.reader("acme", StartAt::Now));
    for value in 0..10 {
        journal.append(at(value), frame(value));
    }
    let folder = kill(journal, folder.path()).await;
    // A power loss takes what is not synced: here everything but the reservation.
    let lost = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("numbers"), lost.path().join("numbers")).unwrap();
    for (folder, expected) in [(folder, 10), (lost, 0)] {
        let journal = open(folder.path());
        let mut reader = journal.reader("acme", StartAt::Oldest).0;
        let number = journal.append(at(99), EventBody::Heartbeat);
        assert!(number.0 > 10, "{number:?}");
        let events = read_to(&mut reader, number.0).await;
        let gap = EventBody::Gap(Gap {
            lost: None,
            reason: "the gateway ended without a shutdown: events that were not on disk are lost".into(),
        });
        let gaps = events.iter().filter(|recorded| recorded.event.body == gap).count();
        assert_eq!((events.len() - gaps, gaps), (expected + 1, usize::from(expected > 0)));
        assert!(events.is_sorted_by_key(|recorded| recorded.event.sequence));
    }
}

#[tokio::test]
async fn a_file_truncated_anywhere_in_its_last_event_loses_only_that_event() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    journal.append(at(0), site("S"));
    for value in 1..5 {
        journal.append(at(value), frame(value));
    }
    written(&journal).await;
    let path = files(folder.path())[0].clone();
    let before = fs::metadata(&path).unwrap().len();
    journal.append(at(5), frame(50_000));
    let folder = kill(journal, folder.path()).await;
    let path = folder.path().join(path.file_name().unwrap());
    let whole = fs::read(&path).unwrap();
    let before = usize::try_from(before).unwrap();
    assert!(whole.len() > before + 10);
    for length in before..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let journal = open(folder.path());
        assert_eq!(journal.health().truncated_bytes, (length - before) as u64, "{length}");
        let mut reader = journal.reader(&format!("feed-{length}"), StartAt::Oldest).0;
        let mut events = reader.next().await;
        events.truncate(5);
        assert_eq!(numbers(&events), [1, 2, 3, 4, 5], "{length}");
        assert_eq!(journal.site().unwrap().id, "S");
        journal.close().await;
    }
}

#[tokio::test]
async fn damage_costs_no_more_than_the_rest_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let many_segments = JournalSettings { max_bytes: 1 << 20, ..settings(folder.path()) };
    let journal = open_with(&many_segments, at(0));
    for value in 0..100_000 {
        journal.append(at(value), large_frame(value));
        if value % 1000 == 0 {
            written(&journal).await;
        }
    }
    journal.close().await;
    drop(journal);
    let paths = files(folder.path());
    assert!(paths.len() > 4, "{}", paths.len());
    let mut bytes = fs::read(&paths[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    fs::write(&paths[1], bytes).unwrap();
    fs::write(&paths[2], "something else").unwrap();

    let journal = open_with(&many_segments, at(0));
    assert_eq!(journal.health().quarantined_files, 1);
    assert!(!paths[2].exists() && paths[2].with_extension("damaged").exists());
    let mut reader = journal.reader("acme", StartAt::Oldest).0;
    let oldest = journal.health().oldest;
    let events = read_to(&mut reader, 100_000).await;
    assert_eq!(events[0].event.sequence.0, oldest);
    let gaps: Vec<_> = events.iter().filter(|recorded| matches!(recorded.event.body, EventBody::Gap(_))).collect();
    assert!(!gaps.is_empty());
    let damaged = journal.health().damaged;
    assert!(damaged > 0);
    let reported: u64 = gaps.iter().map(|event| gap(event).lost.unwrap_or_default()).sum();
    assert!(reported >= damaged, "{gaps:?}");
    for RecordedEvent { event, .. } in &events {
        if let EventBody::Frame(_) = event.body {
            assert_eq!(event.body, large_frame(event.sequence.0 - 1));
        }
    }
}

#[tokio::test]
async fn a_folder_serves_one_gateway_and_a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    journal.append(at(0), EventBody::Heartbeat);
    let error = |folder: &Path| Journal::open(&settings(folder), at(0)).err().unwrap().to_string();
    assert!(error(folder.path()).contains("in use by another gateway"), "{}", error(folder.path()));
    let folder = kill(journal, folder.path()).await;
    let path = files(folder.path())[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] += 1;
    fs::write(&path, &bytes).unwrap();
    assert!(error(folder.path()).contains("has format 5, this version reads up to 4"), "{}", error(folder.path()));
    assert_eq!(fs::read(&path).unwrap(), bytes, "the file is left as it is");
}

#[tokio::test]
async fn numbers_are_reserved_ahead_in_memory_too() {
    let folder = tempfile::tempdir().unwrap();
    let memory = JournalSettings { sync: SyncPolicy::Memory, ..settings(folder.path()) };
    let journal = open_with(&memory, at(0));
    for second in 0..reservation::RESERVED_NUMBERS * 3 / 4 {
        journal.append(at(second), EventBody::Heartbeat);
    }
    let reserved = || reservation::ReservationFile::open(&SystemDisk, folder.path()).unwrap().1.unwrap().end;
    faults::wait_for("a reservation", || reserved() > Sequence(reservation::RESERVED_NUMBERS + 1)).await;
}

#[tokio::test]
async fn no_feed_skips_new_events_when_the_reservation_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let reader = journal.reader("acme", StartAt::Now).0;
    for second in 0..100 {
        journal.append(at(second), frame(second));
    }
    reader.cursor().advance(Sequence(100), at(99).wall, &PluginState::default());
    journal.close().await;
    drop((journal, reader));
    for path in files(folder.path()).into_iter().chain([folder.path().join("numbers")]) {
        fs::remove_file(path).unwrap();
    }
    let journal = open(folder.path());
    let mut reader = journal.reader("acme", StartAt::Now).0;
    let number = journal.append(at(100), frame(100));
    assert_eq!(numbers(&reader.next().await).last(), Some(&number.0));
}
