//! Ages along the journal's own time line: what the wall clock does deletes nothing and changes no age.

use super::*;

/// How far a wall clock is set, in seconds: two minutes, an hour, a year and ten years.
const STEPS_S: [i64; 7] = [120, -120, 3600, -3600, 31_536_000, -31_536_000, 315_360_000];
/// Undelivered events in these tests.
const EVENTS: u64 = 400;
/// What two clocks may differ by.
const TOLERANCE: Duration = Duration::from_millis(100);

/// The moment after so many seconds, with a wall clock that is this much ahead.
fn stepped(second: u64, ahead_s: i64) -> Moment {
    let Moment { monotonic, wall } = at(second);
    let nanos = wall.nanos().saturating_add_signed(ahead_s * 1_000_000_000);
    Moment { monotonic, wall: Timestamp::from_nanos(nanos) }
}

fn unset(second: u64) -> Moment {
    Moment { wall: Timestamp::from_nanos(second * 1_000_000_000), ..at(second) }
}

/// Everything that a feed without cursor gets up to `last`, with the seconds at which it occurred.
async fn seconds(journal: &Journal, feed: &str, last: u64) -> Vec<i64> {
    let mut reader = journal.reader(feed, StartAt::Oldest).0;
    let events = read_to(&mut reader, last).await;
    let second = |recorded: &RecordedEvent| {
        let nanos = recorded.occurred.nanos() + i64::try_from(TOLERANCE.as_nanos()).unwrap() / 2;
        nanos.div_euclid(1_000_000_000) - START_UPTIME_S
    };
    events.iter().map(second).collect()
}

#[tokio::test]
async fn a_step_while_the_gateway_runs_deletes_nothing_and_changes_no_age() {
    let wall_clocks: Vec<Box<dyn Fn(u64) -> Moment>> = STEPS_S
        .map(|ahead| -> Box<dyn Fn(u64) -> Moment> { Box::new(move |second| stepped(second, ahead)) })
        .into_iter()
        .chain([Box::new(unset) as Box<dyn Fn(u64) -> Moment>])
        .collect();
    for wrong in wall_clocks {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(folder.path());
        drop(journal.reader("late", StartAt::Now));
        let held = journal.reader("late", StartAt::Now).0;
        // Right, set wrongly, and right again.
        for second in 0..EVENTS {
            let moment = if (100..300).contains(&second) { wrong(second) } else { at(second) };
            journal.append(moment, frame(second));
            if second % 50 == 0 {
                written(&journal).await;
            }
        }
        let lag = journal.lag("late", at(EVENTS).monotonic);
        assert_eq!(lag, Lag { events: EVENTS, seconds: 400.0, ..Lag::default() });
        journal.close().await;
        drop((journal, held));
        let journal = open_with(&settings(folder.path()), wrong(EVENTS));
        journal.append(wrong(EVENTS), EventBody::Heartbeat);
        written(&journal).await;
        assert_eq!((journal.health().oldest, journal.lag("late", at(EVENTS).monotonic).seconds), (1, 400.0));
        let expected: Vec<_> = (0..=EVENTS).map(|second| i64::try_from(second).unwrap()).collect();
        assert_eq!(seconds(&journal, "all", EVENTS + 1).await, expected);
    }
}

#[tokio::test]
async fn a_restart_with_a_clock_that_is_ahead_deletes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let reader = journal.reader("late", StartAt::Now).0;
    for second in 0..EVENTS {
        journal.append(at(second), frame(second));
    }
    journal.close().await;
    drop((journal, reader));
    let mut last = EVENTS;
    for (nth, ahead) in (1..).zip([31_536_000, 0, -31_536_000, 0, 315_360_000]) {
        let now = |second: u64| stepped(EVENTS + nth * 1000 + second, ahead);
        let journal = open_with(&settings(folder.path()), now(0));
        let reader = journal.reader("late", StartAt::Now).0;
        for second in 0..10 {
            last = journal.append(now(second), EventBody::Heartbeat).0;
            written(&journal).await;
        }
        let (health, lag) = (journal.health(), journal.lag("late", now(10).monotonic));
        assert_eq!((health.oldest, health.lost, lag.events, lag.lost), (1, 0, last, 0));
        assert_eq!(lag.seconds, at(EVENTS + nth * 1000 + 10).monotonic.since(at(0).monotonic).as_secs_f64());
        journal.close().await;
        drop((journal, reader));
    }
    let journal = open_with(&settings(folder.path()), at(10_000));
    let mut reader = journal.reader("late", StartAt::Now).0;
    assert_eq!(numbers(&read_to(&mut reader, last).await), (1..=last).collect::<Vec<_>>());
}

#[tokio::test]
async fn ages_count_while_the_wall_clock_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let hour = JournalSettings { max_age: Duration::from_hours(1), ..settings(folder.path()) };
    let journal = open_with(&hour, at(0));
    for second in (0..7200).step_by(60) {
        journal.append(Moment { wall: at(0).wall, ..at(second) }, frame(second));
        written(&journal).await;
    }
    let oldest = journal.0.shared.lock().segments[0].first.0;
    assert!((50..=62).contains(&oldest), "all of the last hour, and not much more: {oldest}");
}

#[tokio::test]
async fn the_time_that_a_machine_was_off_counts_as_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    let reader = journal.reader("late", StartAt::Now).0;
    for second in 0..EVENTS {
        journal.append(at(second), frame(second));
    }
    journal.close().await;
    drop((journal, reader));
    // Another machine took the folder over: it has been running for a year, and its clock is ten years ahead.
    let year = Duration::from_hours(24 * 365);
    let now = Moment { monotonic: MonotonicTime::default().plus(year), wall: at(0).wall.plus(year * 10) };
    let machine = Machine { boot: Boot("other".into()), ..machine(Arc::new(SystemDisk)) };
    let journal = Journal::open_on(machine, &settings(folder.path()), now).unwrap();
    journal.append(now, EventBody::Heartbeat);
    written(&journal).await;
    journal.append(now.plus(Duration::from_hours(71)), EventBody::Heartbeat);
    written(&journal).await;
    let lag = journal.lag("late", now.monotonic);
    assert_eq!((journal.health().oldest, lag.events, lag.seconds), (1, EVENTS + 2, 60.0 + 399.0));
    let mut reader = journal.reader("late", StartAt::Now).0;
    let events = read_to(&mut reader, EVENTS + 2).await;
    let ages: Vec<_> = events.iter().map(|recorded| now.monotonic.since(recorded.occurred).as_secs()).collect();
    assert_eq!(ages[..400], (60..460).rev().collect::<Vec<_>>());
    // They reach their age on the new machine.
    for hour in [72, 73] {
        journal.append(now.plus(Duration::from_hours(hour)), EventBody::Heartbeat);
        written(&journal).await;
    }
    assert!(journal.health().oldest > EVENTS, "{:?}", journal.health());
}

#[tokio::test]
async fn a_journal_without_monotonic_times_ages_from_its_first_start_on() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(formats::stored_journal(1)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let mut second = 100_000_000;
    for _ in 0..2 {
        let journal = open_with(&settings(folder.path()), at(second));
        let mut reader = journal.reader("acme", StartAt::Now).0;
        let last = journal.append(at(second), EventBody::Heartbeat);
        written(&journal).await;
        assert_eq!(journal.health().oldest, 1);
        let events = read_to(&mut reader, last.0).await;
        let age = at(100_000_000).monotonic.since(events[0].occurred);
        assert_eq!((events[0].event.sequence.0, age), (41, Duration::from_mins(1)));
        second += 1000;
        journal.close().await;
    }
}

#[test]
fn a_wrong_clock_does_not_give_numbers_twice() {
    for moment in [at(5), unset(12)] {
        let numbers: std::collections::BTreeSet<_> = (0..50).map(|_| number_from_clock(moment.wall)).collect();
        assert!(numbers.len() > 45, "{numbers:?}");
        assert!(numbers.iter().all(|number| *number <= number_from_clock(at(7).wall)));
    }
    assert!(number_from_clock(at(4).wall) < number_from_clock(at(6).wall));
}
