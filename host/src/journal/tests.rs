//! The journal on a real folder: what one run leaves is what the next one finds.

use std::fs;
use std::path::Path;

use bessai_domain::event::{Event, EventBody, Frame};

use super::*;

mod descriptions;
mod trouble;

const AT: u64 = 1_790_000_000_000_000_000;

fn at(second: u64) -> Timestamp {
    Timestamp::from_nanos(AT + second * 1_000_000_000)
}

fn frame(value: u64) -> EventBody {
    let value = f64::from(u32::try_from(value).unwrap());
    EventBody::Frame(Frame { source: 0, values: vec![value; 10], faults: Vec::new(), texts: Vec::new() })
}

fn site(id: &str) -> EventBody {
    EventBody::Site(Arc::new(description(id)))
}

fn description(id: &str) -> Site {
    Site { id: id.into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] }
}

fn settings(folder: &Path) -> Settings {
    Settings {
        folder: folder.to_owned(),
        sync: Sync::Interval(Duration::from_millis(5)),
        max_bytes: 1 << 30,
        max_age: Duration::from_hours(72),
    }
}

fn open(folder: &Path) -> Journal {
    Journal::open(&settings(folder), at(0)).unwrap()
}

fn numbers(events: &[Arc<Event>]) -> Vec<u64> {
    events.iter().map(|event| event.sequence.0).collect()
}

/// Everything that a feed gets up to and with this number.
async fn up_to(reader: &mut Reader, last: u64) -> Vec<Arc<Event>> {
    let mut events = Vec::new();
    while events.last().is_none_or(|event: &Arc<Event>| event.sequence.0 < last) {
        events.extend(reader.next(CALL).await);
    }
    events
}

fn files(folder: &Path) -> Vec<PathBuf> {
    store::event_files(folder).unwrap()
}

/// Waits until all that was appended is with the operating system.
async fn written(journal: &Journal) {
    let is_written = || {
        let kept = journal.0.shared.lock();
        kept.written == kept.next
    };
    while !is_written() {
        tokio::task::yield_now().await;
    }
}

/// What a kill leaves: no goodbye, the lock gone with the process.
async fn kill(journal: Journal, folder: &Path) -> tempfile::TempDir {
    written(&journal).await;
    // A file may be deleted meanwhile, when what it had is written elsewhere: then it is copied anew.
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

#[tokio::test]
async fn every_feed_reads_every_event_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let (mut quick, mut slow) = (journal.reader("quick", Start::Oldest).0, journal.reader("slow", Start::Oldest).0);
    for value in 0..70 {
        journal.append(at(value), frame(value));
    }
    assert_eq!(numbers(&quick.next(CALL).await), (1..=64).collect::<Vec<_>>());
    assert_eq!(numbers(&quick.next(CALL).await), (65..=70).collect::<Vec<_>>());
    assert_eq!(slow.next(CALL).await.len(), 64);
    quick.cursor().passed(Sequence(64), at(63), &State::default());
    let lag = |feed| (journal.lag(feed).events, journal.lag(feed).seconds);
    assert_eq!((lag("slow"), lag("quick"), lag("unknown")), ((70, 0.0), (6, 6.0), (0, 0.0)));
    let waiting = quick.next(CALL);
    let appending = async { journal.append(at(71), EventBody::Heartbeat) };
    let (events, number) = tokio::join!(waiting, appending);
    assert_eq!((numbers(&events), number), (vec![71], Sequence(71)));
}

#[tokio::test]
async fn the_next_run_goes_on_where_this_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = State::default();
    state.set("k".into(), vec![7]).unwrap();
    let journal = open(folder.path());
    assert_eq!(journal.site(), None);
    let mut reader = journal.reader("acme", Start::Now).0;
    journal.append(at(0), site("S"));
    for value in 1..200 {
        journal.append(at(value), frame(value));
    }
    assert_eq!(up_to(&mut reader, 200).await.len(), 200);
    reader.cursor().passed(Sequence(150), at(149), &state);
    journal.close().await;
    drop((reader, journal));

    let journal = open(folder.path());
    assert_eq!(journal.site().unwrap().id, "S");
    let (mut reader, kept) = journal.reader("acme", Start::Now);
    assert_eq!(kept, state);
    assert_eq!(journal.lag("acme"), Lag { events: 50, seconds: 0.0, lost: 0 });
    assert_eq!(journal.append(at(200), frame(200)), Sequence(201), "a good end leaves no jump");
    assert_eq!(journal.lag("acme").events, 51);
    let events = up_to(&mut reader, 201).await;
    assert_eq!(numbers(&events), (151..=201).collect::<Vec<_>>());
    assert_eq!(events[49].body, frame(199));
    assert_eq!(reader.site().unwrap().id, "S");
}

#[tokio::test]
async fn after_a_kill_no_number_is_used_twice_and_no_event_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    drop(journal.reader("acme", Start::Now));
    for value in 0..10 {
        journal.append(at(value), frame(value));
    }
    let folder = kill(journal, folder.path()).await;
    // A power loss takes what was not on the disk: here everything but the numbers.
    let lost = tempfile::tempdir().unwrap();
    fs::copy(folder.path().join("numbers"), lost.path().join("numbers")).unwrap();
    for (folder, expected) in [(folder, 10), (lost, 0)] {
        let journal = open(folder.path());
        let mut reader = journal.reader("acme", Start::Oldest).0;
        let number = journal.append(at(99), EventBody::Heartbeat);
        assert!(number.0 > 10, "{number:?}");
        let events = up_to(&mut reader, number.0).await;
        let gap = EventBody::Gap(bessai_domain::event::Gap {
            lost: None,
            reason: "the gateway ended without notice: what was not on the disk is lost".into(),
        });
        let gaps = events.iter().filter(|event| event.body == gap).count();
        assert_eq!((events.len() - gaps, gaps), (expected + 1, usize::from(expected > 0)));
        assert!(events.is_sorted_by_key(|event| event.sequence));
    }
}

#[tokio::test]
async fn a_file_cut_anywhere_in_its_last_event_loses_that_event_alone() {
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
        assert_eq!(journal.health().cut_bytes, (length - before) as u64, "{length}");
        let mut reader = journal.reader(&format!("feed-{length}"), Start::Oldest).0;
        let mut events = reader.next(CALL).await;
        events.truncate(5);
        assert_eq!(numbers(&events), [1, 2, 3, 4, 5], "{length}");
        assert_eq!(journal.site().unwrap().id, "S");
        journal.close().await;
    }
}

#[tokio::test]
async fn damage_takes_no_more_than_the_rest_of_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let many = Settings { max_bytes: 64 << 10, ..settings(folder.path()) };
    let journal = Journal::open(&Settings { max_bytes: 1 << 20, ..many.clone() }, at(0)).unwrap();
    for value in 0..100_000 {
        journal.append(at(value), frame(value * 7919 % 99_991));
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

    let journal = Journal::open(&Settings { max_bytes: 1 << 20, ..many }, at(0)).unwrap();
    assert_eq!(journal.health().set_aside, 1);
    assert!(!paths[2].exists() && paths[2].with_extension("damaged").exists());
    let mut reader = journal.reader("acme", Start::Oldest).0;
    let oldest = journal.health().oldest;
    let events = up_to(&mut reader, 100_000).await;
    let gaps: Vec<_> = events.iter().filter(|event| matches!(event.body, EventBody::Gap(_))).collect();
    assert_eq!(events[0].sequence.0, oldest);
    assert!(!gaps.is_empty());
    let damaged = journal.health().damaged;
    assert!(damaged > 0);
    let set_aside: u64 = gaps
        .iter()
        .map(|gap| match &gap.body {
            EventBody::Gap(gap) => gap.lost.unwrap_or_default(),
            _ => 0,
        })
        .sum();
    assert!(set_aside >= damaged, "{gaps:?}");
    for event in &events {
        if let EventBody::Frame(_) = event.body {
            assert_eq!(event.body, frame((event.sequence.0 - 1) * 7919 % 99_991));
        }
    }
}

#[tokio::test]
async fn what_falls_off_the_end_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let small = Settings { max_bytes: 64 << 10, ..settings(folder.path()) };
    let journal = Journal::open(&small, at(0)).unwrap();
    let mut acme = journal.reader("acme", Start::Now).0;
    journal.append(at(0), site("S"));
    for value in 1..1_000_000 {
        journal.append(at(value), frame(value * 7919 % 99_991));
        if value % 1000 == 0 {
            written(&journal).await;
        }
        if journal.health().oldest > 1 && journal.lag("acme").lost > 10_000 && value > 60_000 {
            break;
        }
    }
    let lag = journal.lag("acme");
    let health = journal.health();
    assert!(health.bytes <= small.max_bytes, "{health:?}");
    assert_eq!((lag.lost, health.lost), (health.oldest - 1, health.oldest - 1));
    assert_eq!(lag.events, health.newest - health.oldest + 1);
    let first = acme.next(CALL).await;
    let EventBody::Gap(gap) = &first[0].body else { panic!("{:?}", first[0]) };
    assert_eq!((gap.lost, gap.reason.as_str()), (Some(lag.lost), "the journal was full"));
    assert_eq!(first[0].sequence.0, health.oldest - 1);
    assert_eq!(acme.site().unwrap().id, "S");
    acme.cursor().passed(first[1].sequence, first[1].at, &State::default());
    // Told once.
    drop(acme);
    let mut acme = journal.reader("acme", Start::Now).0;
    assert_eq!(acme.next(CALL).await[0].sequence, first[2].sequence);
}

#[tokio::test]
async fn what_is_older_than_allowed_goes_also_at_a_low_rate() {
    let folder = tempfile::tempdir().unwrap();
    let hour = Settings { max_age: Duration::from_hours(1), ..settings(folder.path()) };
    let journal = Journal::open(&hour, at(0)).unwrap();
    // A file has an eighth of the age at least: ten of six minutes here.
    for value in 0..60 {
        journal.append(at(value * 60), frame(value));
        written(&journal).await;
    }
    assert!((7..=9).contains(&files(folder.path()).len()), "{:?}", files(folder.path()));
    journal.close().await;
    drop(journal);
    let journal = Journal::open(&hour, at(5400)).unwrap();
    journal.append(at(5400), EventBody::Heartbeat);
    written(&journal).await;
    journal.append(at(5401), EventBody::Heartbeat);
    written(&journal).await;
    let oldest = journal.health().oldest;
    assert!((20..=31).contains(&oldest), "all from half an hour on, and not much more: {oldest}");
}

#[tokio::test]
async fn a_feed_that_lags_reads_from_the_files_and_then_from_memory() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    drop(journal.reader("acme", Start::Now));
    for value in 0..60_000 {
        journal.append(at(value), frame(value));
        if value % 5000 == 0 {
            written(&journal).await;
        }
    }
    assert!(journal.0.shared.lock().recent.len() < 30_000, "memory is bounded");
    let mut reader = journal.reader("acme", Start::Now).0;
    let events = up_to(&mut reader, 60_000).await;
    assert_eq!(numbers(&events), (1..=60_000).collect::<Vec<_>>());
    let mut since = journal.reader("since", Start::At(at(31_234))).0;
    let events = up_to(&mut since, 60_000).await;
    assert_eq!(numbers(&events), (31_235..=60_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_read_that_is_dropped_has_taken_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    for value in 0..40_000 {
        journal.append(at(value), frame(value));
    }
    written(&journal).await;
    let mut reader = journal.reader("acme", Start::Oldest).0;
    let mut seen = Vec::new();
    while seen.last() != Some(&40_000) {
        tokio::select! {
            biased;
            events = reader.next(CALL) => seen.extend(numbers(&events)),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(seen, (1..=40_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn every_event_is_on_the_disk_before_a_feed_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&Settings { sync: Sync::EveryEvent, ..settings(folder.path()) }, at(0)).unwrap();
    let mut reader = journal.reader("acme", Start::Now).0;
    for value in 0..20 {
        let number = journal.append(at(value), frame(value));
        assert_eq!(numbers(&reader.next(CALL).await), [number.0]);
        assert!(journal.0.shared.lock().synced > number);
    }
}

#[tokio::test]
async fn in_memory_no_event_touches_the_disk_but_numbers_and_places_last() {
    let folder = tempfile::tempdir().unwrap();
    let memory = Settings { sync: Sync::Memory, ..settings(folder.path()) };
    let journal = Journal::open(&memory, at(0)).unwrap();
    let (reader, mut state) = journal.reader("acme", Start::Now);
    for value in 0..200_000 {
        journal.append(at(value), frame(value));
    }
    assert!(journal.lag("acme").lost > 1000);
    state.set("bdSeq".into(), vec![3]).unwrap();
    reader.cursor().keep(&state).await;
    assert_eq!(places::look(folder.path()).unwrap().places["acme"].state, state);
    journal.close().await;
    drop((reader, journal));
    assert!(files(folder.path()).is_empty());
    let journal = Journal::open(&memory, at(0)).unwrap();
    assert_eq!(journal.append(at(0), EventBody::Heartbeat), Sequence(200_001));
    assert_eq!(journal.reader("acme", Start::Now).1, state);
}

#[tokio::test]
async fn in_memory_a_folder_that_cannot_be_used_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "").unwrap();
    let unusable = Settings { sync: Sync::Memory, ..settings(&blocked.join("journal")) };
    let journal = Journal::open(&unusable, at(5)).unwrap();
    let reader = journal.reader("acme", Start::Now).0;
    let number = journal.append(at(5), EventBody::Heartbeat);
    assert!(number > Sequence(at(4).seconds() << 20), "{number:?}");
    reader.cursor().keep(&State::default()).await;
    journal.close().await;
    let on_disk = Settings { sync: Sync::EveryEvent, ..unusable };
    let error = Journal::open(&on_disk, at(5)).err().unwrap().to_string();
    assert!(error.contains("file/journal") && error.contains("name another [journal] dir"), "{error}");
}

#[tokio::test]
async fn one_folder_serves_one_gateway_and_a_later_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    journal.append(at(0), EventBody::Heartbeat);
    let error = |folder: &Path| Journal::open(&settings(folder), at(0)).err().unwrap().to_string();
    assert!(error(folder.path()).contains("in use by another gateway"), "{}", error(folder.path()));
    let folder = kill(journal, folder.path()).await;
    let path = files(folder.path())[0].clone();
    let mut bytes = fs::read(&path).unwrap();
    bytes[8] = 2;
    fs::write(&path, &bytes).unwrap();
    assert!(
        error(folder.path()).contains("is of format 2, and this version reads up to 1"),
        "{}",
        error(folder.path())
    );
    assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it is");
}

/// What the files under `tests/journals` hold, of each format that there ever was.
fn kept_for_ever() -> Vec<EventBody> {
    let safety = bessai_domain::event::Safety {
        is_safe: false,
        watchdog: bessai_domain::event::Watchdog::Late,
        power_limit_kw: Some(0.1),
        violations: vec![],
    };
    let noisy = |i: u32| {
        EventBody::Frame(Frame {
            source: 1,
            values: vec![f64::from(i) / 10.0, f64::from(0.1_f32) * f64::from(i), 1.0 / f64::from(i + 3), f64::NAN],
            faults: vec![bessai_domain::event::Fault { channel: 3, kind: bessai_domain::event::FaultKind::Missing }],
            texts: vec![bessai_domain::event::Text { channel: 2, value: format!("SN-{i}") }],
        })
    };
    let mut bodies = vec![site("S"), EventBody::Heartbeat, EventBody::Safety(safety.clone())];
    bodies.extend((0..40).map(noisy));
    bodies.extend([EventBody::Safety(safety), frame(7)]);
    bodies
}

fn journals() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/journals")
}

#[tokio::test]
#[ignore = "writes the files of a new format, once"]
async fn write_the_files_of_this_format() {
    let folder = journals().join(format!("format-{}", segment::FORMAT));
    let journal = open(&folder);
    let (reader, mut state) = journal.reader("acme", Start::Now);
    for (second, body) in (0..).zip(kept_for_ever()) {
        journal.append(at(second), body);
    }
    state.set("bdSeq".into(), vec![7]).unwrap();
    reader.cursor().passed(Sequence(40), at(39), &state);
    journal.close().await;
}

#[tokio::test]
async fn journals_of_every_format_are_carried_on() {
    for format in 1..=segment::FORMAT {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(journals().join(format!("format-{format}"))).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let journal = open(folder.path());
        let mut all = journal.reader("all", Start::Oldest).0;
        let bits = |body: &EventBody| format!("{body:?}");
        let events = up_to(&mut all, 45).await;
        let bodies: Vec<_> = events.iter().map(|event| bits(&event.body)).collect();
        assert_eq!(bodies, kept_for_ever().iter().map(bits).collect::<Vec<_>>());
        assert_eq!((events[0].at, events[44].at), (at(0), at(44)));
        let (mut acme, state) = journal.reader("acme", Start::Now);
        assert_eq!((state.get("bdSeq"), acme.next(CALL).await[0].sequence), (Some(&[7][..]), Sequence(41)));
        assert_eq!(journal.append(at(45), EventBody::Heartbeat), Sequence(46));
    }
}

#[tokio::test]
async fn a_feed_that_does_not_read_yet_keeps_its_place_and_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = State::default();
    state.set("bdSeq".into(), vec![7]).unwrap();
    let journal = open(folder.path());
    let readers = [journal.reader("loading", Start::Now).0, journal.reader("gone", Start::Now).0];
    for second in 0..100 {
        journal.append(at(second), frame(second));
    }
    for reader in &readers {
        reader.cursor().passed(Sequence(50), at(49), &state);
    }
    journal.close().await;
    drop((journal, readers));
    // Everything is too old when the gateway comes back.
    let journal = open(folder.path());
    let held = journal.reader("loading", Start::Now).0;
    journal.append(at(1_000_000), EventBody::Heartbeat);
    while journal.health().oldest <= 100 {
        tokio::task::yield_now().await;
    }
    assert!(journal.knows("loading") && !journal.knows("gone"));
    let (mut loaded, kept) = journal.reader("loading", Start::Now);
    drop(held);
    let events = loaded.next(CALL).await;
    let EventBody::Gap(gap) = &events[0].body else { panic!("{events:?}") };
    let reason = "the journal keeps nothing that is older than its max_age";
    assert_eq!((gap.lost, gap.reason.as_str(), kept), (Some(50), reason, state));
}
