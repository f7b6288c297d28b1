//! What is deleted by size and age, and how feeds get to know of it.

use super::*;

#[tokio::test]
async fn events_deleted_before_their_delivery_are_counted_and_reported() {
    let folder = tempfile::tempdir().unwrap();
    let small = JournalSettings { max_bytes: 64 << 10, ..settings(folder.path()) };
    let journal = open_with(&small, at(0));
    let mut acme = journal.reader("acme", StartAt::Now).0;
    journal.append(at(0), site("S"));
    for value in 1..1_000_000 {
        journal.append(at(value), large_frame(value));
        if value % 1000 == 0 {
            written(&journal).await;
        }
        if journal.health().oldest > 1 && journal.lag("acme", at(0).monotonic).lost > 10_000 && value > 60_000 {
            break;
        }
    }
    let lag = journal.lag("acme", at(0).monotonic);
    let health = journal.health();
    assert!(health.bytes <= small.max_bytes, "{health:?}");
    assert_eq!((lag.lost, health.lost), (health.oldest - 1, health.oldest - 1));
    assert_eq!(lag.events, health.newest - health.oldest + 1);
    let first = acme.next().await;
    let Gap { lost, reason } = gap(&first[0]);
    assert_eq!((*lost, reason.as_str()), (Some(lag.lost), "the journal was full"));
    assert_eq!(first[0].event.sequence.0, health.oldest - 1);
    assert_eq!(acme.site().unwrap().id, "S");
    acme.cursor().advance(first[1].event.sequence, first[1].event.at, &PluginState::default());
    // A delivered gap is not reported again.
    drop(acme);
    let mut acme = journal.reader("acme", StartAt::Now).0;
    assert_eq!(acme.next().await[0].event.sequence, first[2].event.sequence);
}

#[tokio::test]
async fn old_events_are_deleted_at_a_low_rate_too() {
    let folder = tempfile::tempdir().unwrap();
    let hour = JournalSettings { max_age: Duration::from_hours(1), ..settings(folder.path()) };
    let journal = open_with(&hour, at(0));
    // A segment ends once it spans more than an eighth of the age: the hour takes about eight.
    for value in 0..60 {
        journal.append(at(value * 60), frame(value));
        written(&journal).await;
    }
    assert!((7..=9).contains(&files(folder.path()).len()), "{:?}", files(folder.path()));
    journal.close().await;
    drop(journal);
    let journal = open_with(&hour, at(5400));
    journal.append(at(5400), EventBody::Heartbeat);
    written(&journal).await;
    journal.append(at(5401), EventBody::Heartbeat);
    written(&journal).await;
    let oldest = journal.health().oldest;
    assert!((20..=31).contains(&oldest), "all from half an hour on, and not much more: {oldest}");
}

#[tokio::test]
async fn a_feed_that_does_not_read_yet_keeps_its_cursor_and_gets_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let state = state("bdSeq", 7);
    let journal = open(folder.path());
    let readers = [journal.reader("loading", StartAt::Now).0, journal.reader("gone", StartAt::Now).0];
    for second in 0..100 {
        journal.append(at(second), frame(second));
    }
    for reader in &readers {
        reader.cursor().advance(Sequence(50), at(49).wall, &state);
    }
    journal.close().await;
    drop((journal, readers));
    // All events are too old when the gateway starts again.
    let journal = open(folder.path());
    let held = journal.reader("loading", StartAt::Now).0;
    journal.append(at(1_000_000), EventBody::Heartbeat);
    while journal.health().oldest <= 100 {
        tokio::task::yield_now().await;
    }
    assert!(journal.has_cursor("loading") && !journal.has_cursor("gone"));
    let (mut loaded, restored) = journal.reader("loading", StartAt::Now);
    drop(held);
    let events = loaded.next().await;
    let Gap { lost, reason } = gap(&events[0]);
    let aged = "the journal keeps no events older than its max_age";
    assert_eq!((*lost, reason.as_str(), restored), (Some(50), aged, state));
}
