//! Which site description the events of a batch refer to, wherever they are read from.

use super::*;

fn site_ids(events: &[RecordedEvent]) -> Vec<String> {
    let id = |recorded: &RecordedEvent| match &recorded.event.body {
        EventBody::Site(site) => Some(site.id.clone()),
        _ => None,
    };
    events.iter().filter_map(id).collect()
}

/// A run of the gateway under the description `id`, with frames from the second `from` on.
async fn run(folder: &Path, id: &str, from: u64, count: u64) {
    let journal = open(folder);
    journal.append(at(from), site(id));
    for second in from + 1..from + count {
        journal.append(at(second), frame(second));
    }
    journal.close().await;
}

#[tokio::test]
async fn old_events_are_read_under_the_description_of_their_time() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let reader = journal.reader("acme", StartAt::Now).0;
    journal.append(at(0), site("A"));
    journal.append(at(1), frame(1));
    reader.cursor().advance(Sequence(1), at(0).wall, &PluginState::default());
    for second in 2..300 {
        journal.append(at(second), frame(second));
    }
    journal.close().await;
    drop((journal, reader));
    run(folder.path(), "B", 300, 300).await;
    let journal = open(folder.path());
    assert_eq!(journal.site().unwrap().id, "B");
    journal.append(at(600), site("C"));
    let mut acme = journal.reader("acme", StartAt::Now).0;
    assert_eq!(acme.site(), None, "the segments are not read yet");
    let mut in_force = "A".to_owned();
    let mut last = 1;
    while last < 601 {
        let events = acme.next().await;
        assert_eq!(acme.site().unwrap().id, in_force, "before event {}", events[0].event.sequence.0);
        in_force = site_ids(&events).pop().unwrap_or(in_force);
        last = events.last().unwrap().event.sequence.0;
    }
    assert_eq!(in_force, "C");
    // The events before the start time are skipped, among them the description that is in force there.
    let mut since = journal.reader("since", StartAt::At(at(302).wall)).0;
    assert_eq!((since.next().await[0].event.sequence, since.site().unwrap().id.as_str()), (Sequence(303), "B"));
}

#[tokio::test]
async fn a_deleted_description_comes_with_the_gap() {
    let folder = tempfile::tempdir().unwrap();
    let small = JournalSettings { max_bytes: 64 << 10, ..settings(folder.path()) };
    run(folder.path(), "A", 0, 10).await;
    let journal = open_with(&small, at(0));
    let mut acme = journal.reader("acme", StartAt::Oldest).0;
    assert_eq!(numbers(&acme.next_batch(BatchLimit { events: 5, values: 8192 }).await), [1, 2, 3, 4, 5]);
    journal.append(at(10), site("B"));
    let mut value = 11;
    while journal.lag("acme", at(0).monotonic).lost < 10_000 {
        journal.append(at(value), large_frame(value));
        value += 1;
        if value % 1000 == 0 {
            written(&journal).await;
        }
    }
    // Events that were read from the segments before their deletion come first.
    let mut events = acme.next().await;
    while !matches!(events[0].event.body, EventBody::Gap(_)) {
        events = acme.next().await;
    }
    assert_eq!(site_ids(&events), ["B"]);
    assert_eq!(
        (events.len(), events[0].event.sequence, acme.site().unwrap().id.as_str()),
        (64, events[1].event.sequence, "A")
    );
    let next = acme.next().await;
    assert_eq!((next[0].event.sequence, acme.site().unwrap().id.as_str()), (events[63].event.sequence.next(), "B"));
}

#[tokio::test]
async fn each_gap_reports_its_own_losses() {
    let folder = tempfile::tempdir().unwrap();
    let memory = JournalSettings { sync: SyncPolicy::Memory, ..settings(folder.path()) };
    let journal = open_with(&memory, at(0));
    let mut acme = journal.reader("acme", StartAt::Now).0;
    let (mut reported, mut value) = (0, 0);
    for _ in 0..3 {
        let before = journal.lag("acme", at(0).monotonic).lost;
        while journal.lag("acme", at(0).monotonic).lost < before + 1000 {
            journal.append(at(value), frame(value));
            value += 1;
        }
        reported += gap(&acme.next().await[0]).lost.unwrap();
        assert_eq!(reported, journal.lag("acme", at(0).monotonic).lost);
    }
    // None of the gaps was delivered: the next one reports all losses.
    let mut again = journal.reader("acme", StartAt::Now).0;
    assert_eq!(gap(&again.next().await[0]).lost, Some(reported));
}

#[tokio::test]
async fn a_description_larger_than_a_segment_does_not_begin_one_with_each_write() {
    let folder = tempfile::tempdir().unwrap();
    // As that of a site with a hundred thousand channels.
    let journal = open(folder.path());
    journal.append(at(0), site(&"S".repeat(9 << 20)));
    for value in 1..20 {
        journal.append(at(value), frame(value));
        written(&journal).await;
    }
    let _ = journal.close().await;
    assert_eq!(files(folder.path()).len(), 2, "the description's own, and one for what follows");
}
