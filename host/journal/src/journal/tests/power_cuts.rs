//! Power failures at every moment: whatever the file system may leave of the operations before, the next start keeps what was
//! promised.
//!
//! Runs are recorded on a simulated disk. For each prefix of their operations the disks that a power failure may leave are
//! made, all of them where they are few, else some by chance, and the journal is opened on each. `EDGE_POWER_CUTS` sets how many
//! runs by chance are made.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::disk_state::{DiskState, Operation, Promise};
use super::simulated_disk::{FailingCalls, SimulatedDisk};
use super::workload::{FEED, Random, Run, STATE_KEY, run, run_on, settings_for, simulated_machine};
use super::*;

/// Disks that are tried after one prefix of a short run.
const IMAGES_OF_SHORT_RUN: usize = 64;
/// Disks that are tried after one prefix of a long run.
const IMAGES_OF_LONG_RUN: usize = 2;
/// Steps of a short run.
const SHORT_RUN_STEPS: usize = 16;
/// Steps of a long run.
const LONG_RUN_STEPS: usize = 60;
/// Steps of the runs in which each call fails or each byte is damaged in turn.
const FAILING_RUN_STEPS: usize = 12;
/// One in so many recoveries loses its power, too.
const SECOND_CUT: usize = 8;
/// A journal whose segments have 2 KiB and whose oldest ones are deleted.
const SMALL_BYTES: u64 = 16 << 10;
/// How long a start may take to deliver everything.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs by chance of the bounded test.
fn seeds() -> u64 {
    std::env::var("EDGE_POWER_CUTS").ok().map_or(1, |seeds| seeds.parse().unwrap())
}

/// What was promised by a number of operations.
#[derive(Default)]
struct Promised {
    numbers: BTreeSet<u64>,
    durable: u64,
    moves: Vec<(u64, u8)>,
    /// Moves that are certainly saved.
    saved: usize,
}

impl Promised {
    /// A start does not count on from here to a number that was used.
    fn check_next(&self, next: u64) -> Result<(), String> {
        match self.numbers.range(next..next + reservation::RESERVED_NUMBERS).next_back() {
            None => Ok(()),
            Some(used) => Err(format!("numbering continues at {next}, and {used} was used")),
        }
    }

    fn by(operations: &[Operation]) -> Self {
        let mut promised = Self::default();
        for operation in operations {
            let Operation::Promise(promise) = operation else { continue };
            match promise {
                Promise::Numbered(number) => {
                    promised.numbers.insert(*number);
                }
                Promise::Durable(number) => promised.durable = promised.durable.max(*number),
                Promise::Moved { delivered, state } => promised.moves.push((*delivered, *state)),
                Promise::Saved => promised.saved = promised.moves.len(),
            }
        }
        promised
    }
}

/// Every combination of choices in turn, as an odometer counts.
#[derive(Default)]
struct Choices(Vec<(usize, usize)>);

impl Choices {
    /// Makes one combination; false if it was the last one.
    fn next<T>(&mut self, make: impl FnOnce(&mut dyn FnMut(usize) -> usize) -> T) -> (T, bool) {
        let mut used = 0;
        let made = make(&mut |bound| {
            if used == self.0.len() {
                self.0.push((0, bound));
            }
            used += 1;
            self.0[used - 1].0
        });
        while let Some((value, bound)) = self.0.last_mut() {
            *value += 1;
            if *value < *bound {
                return (made, true);
            }
            self.0.pop();
        }
        (made, false)
    }
}

/// Disks that a power failure may leave: all if they are at most `count`, else that many, among them the one with nothing and
/// the one with everything that is not durable.
fn images(state: &DiskState, count: usize, random: &mut Random) -> Vec<DiskState> {
    let (mut all, mut choices) = (Vec::new(), Choices::default());
    while all.len() < count {
        let (image, has_more) = choices.next(|choice| state.after_power_failure(choice));
        all.push(image);
        if !has_more {
            return all;
        }
    }
    all.truncate(1);
    all.push(state.after_power_failure(&mut |bound| bound - 1));
    while all.len() < count.max(2) {
        // Much or little of it is left.
        let part = 1 + random.below(4);
        all.push(state.after_power_failure(&mut |bound| if random.below(4) < part { random.below(bound) } else { 0 }));
    }
    all
}

/// Opens the journal on a disk and checks what was promised; returns what the start did to the disk.
async fn check(run: &Run, promised: &Promised, kept_from: u64, image: DiskState) -> Result<SimulatedDisk, String> {
    let disk = SimulatedDisk::new(image);
    let now = run.end.plus(Duration::from_secs(10));
    let journal = Journal::open_on(simulated_machine(&disk), &run.settings, now).map_err(|error| error.to_string())?;
    check_cursor(promised, &journal)?;
    let mut reader = journal.reader("check", StartAt::Oldest).0;
    let next = journal.append(now, EventBody::Heartbeat).0;
    promised.check_next(next)?;
    let read = timeout(LIMIT, read_to(&mut reader, next)).await.map_err(|_| "not all events are delivered")?;
    let mut found = BTreeSet::new();
    let mut before = 0;
    for RecordedEvent { event, occurred } in &read {
        let number = event.sequence.0;
        // A gap event, and the description that comes with it, stand in for events that are missing.
        let is_inserted = matches!(event.body, EventBody::Gap(_)) || number == before;
        before = number;
        // Starts after earlier cuts have appended heartbeats.
        let is_of_start = !promised.numbers.contains(&number) && event.body == EventBody::Heartbeat;
        if is_inserted || is_of_start {
            continue;
        }
        let Some((body, appended)) = run.events.get(&number) else { return Err(format!("event {number} is made up")) };
        let error = appended.nanos().abs_diff(occurred.nanos());
        if *body != event.body || error > 100_000_000 {
            return Err(format!(
                "event {number} has changed: {body:?} at {appended:?}, {:?} at {occurred:?}",
                event.body
            ));
        }
        found.insert(number);
    }
    let durable = run.events.keys().copied().filter(|number| (kept_from..=promised.durable).contains(number));
    let missing: Vec<_> = durable.filter(|number| !found.contains(number) && !run.lost.contains(number)).collect();
    if !missing.is_empty() {
        return Err(format!("events {missing:?} were on disk and are missing"));
    }
    journal.close().await;
    Ok(disk)
}

/// The cursor is one that was set, not before the last that was saved, and with its own state.
fn check_cursor(promised: &Promised, journal: &Journal) -> Result<(), String> {
    let state = journal.0.shared.lock();
    let Some(cursor) = state.cursors.get(FEED) else {
        return if promised.saved == 0 { Ok(()) } else { Err("the cursor is lost".into()) };
    };
    let pair = (cursor.delivered.0, cursor.state.get(STATE_KEY).map_or(0, |state| state[0]));
    if cursor.delivered >= state.next {
        return Err(format!("the cursor is at {} and the next number is {}", pair.0, state.next.0));
    }
    let possible = promised.moves.get(promised.saved.saturating_sub(1)..).unwrap_or_default();
    let is_initial = promised.saved == 0 && pair == (0, 0);
    if is_initial || possible.contains(&pair) {
        return Ok(());
    }
    Err(format!("cursor and state are {pair:?}, possible are {possible:?}"))
}

fn listed(operations: &[Operation]) -> String {
    let mut list = String::new();
    for operation in operations {
        writeln!(list, "  {operation}").unwrap();
    }
    list
}

/// Cuts the power after each operation of a run; returns how many disks were tried.
async fn cut_everywhere(run: &Run, count: usize) -> usize {
    let (mut state, mut random, mut tried) = (DiskState::default(), Random::new(run.seed), 0);
    for (nth, operation) in run.operations.iter().enumerate() {
        state.apply(operation);
        let promised = Promised::by(&run.operations[..=nth]);
        for image in images(&state, count, &mut random) {
            tried += 1;
            let first = state.first_number();
            let failed = match check(run, &promised, first, image.clone()).await {
                Ok(disk) if random.below(SECOND_CUT) == 0 => {
                    cut_recovery(run, &promised, image, &disk.operations(), &mut random).await.err()
                }
                outcome => outcome.err(),
            };
            if let Some(failure) = failed {
                let list = listed(&run.operations[..=nth]);
                panic!("seed {}, {:?}, after operation {nth}: {failure}\n{list}", run.seed, run.settings.sync);
            }
        }
    }
    tried
}

/// Cuts the power once more, somewhere in the operations of the start after the first cut.
async fn cut_recovery(
    run: &Run,
    promised: &Promised,
    mut state: DiskState,
    operations: &[Operation],
    random: &mut Random,
) -> Result<(), String> {
    for operation in operations.iter().take(random.below(operations.len() + 1)) {
        state.apply(operation);
    }
    let image = state.after_power_failure(&mut |bound| random.below(bound));
    let kept_from = state.first_number();
    // A number that the first start gave to its event was not seen by anybody.
    check(run, promised, kept_from, image).await.map(drop).map_err(|failure| format!("after a second cut: {failure}"))
}

fn policies() -> [SyncPolicy; 3] {
    [SyncPolicy::EveryEvent, SyncPolicy::Interval(Duration::from_millis(1)), SyncPolicy::Memory]
}

#[tokio::test]
async fn power_cuts_in_short_runs_keep_what_was_promised() {
    for (seed, sync) in (1..).zip(policies()) {
        let run = run(seed, SHORT_RUN_STEPS, &settings_for(sync, 1 << 20)).await;
        let tried = cut_everywhere(&run, IMAGES_OF_SHORT_RUN).await;
        println!("{sync:?}: {} operations, {tried} disks", run.operations.len());
    }
}

#[tokio::test]
async fn power_cuts_in_long_runs_keep_what_was_promised() {
    for seed in 100..100 + seeds() {
        for sync in policies() {
            let run = run(seed, LONG_RUN_STEPS, &settings_for(sync, SMALL_BYTES)).await;
            assert_eq!(run.lost, BTreeSet::new(), "a shutdown brings everything to disk");
            let tried = cut_everywhere(&run, IMAGES_OF_LONG_RUN).await;
            println!("seed {seed}, {sync:?}: {} operations, {tried} disks", run.operations.len());
        }
    }
}

#[tokio::test]
async fn power_cuts_after_calls_that_failed_keep_what_was_promised() {
    for seed in 200..200 + seeds() {
        for sync in [SyncPolicy::EveryEvent, SyncPolicy::Interval(Duration::from_millis(20)), SyncPolicy::Memory] {
            let mut random = Random::new(seed);
            let failing =
                FailingCalls { first: 1 + random.below(80), count: 1 + random.below(4), panics: random.below(4) == 0 };
            let settings = settings_for(sync, 1 << 20);
            let run =
                run_on(SimulatedDisk::default(), seed, LONG_RUN_STEPS, &settings, |disk| disk.fail(failing)).await;
            let tried = cut_everywhere(&run, IMAGES_OF_LONG_RUN).await;
            println!("seed {seed}, {sync:?}, {failing:?}: {} operations, {tried} disks", run.operations.len());
        }
    }
}

#[tokio::test]
async fn a_journal_goes_on_after_each_call_that_fails() {
    for (sync, panics) in policies().into_iter().flat_map(|sync| [(sync, false), (sync, true)]) {
        let settings = settings_for(sync, 1 << 20);
        let whole = SimulatedDisk::default();
        run_on(whole.clone(), 7, FAILING_RUN_STEPS, &settings, |disk| disk.fail(FailingCalls::default())).await;
        for first in 1..=whole.calls() {
            let disk = SimulatedDisk::default();
            let run = run_on(disk.clone(), 7, FAILING_RUN_STEPS, &settings, |disk| {
                disk.fail(FailingCalls { first, count: 1, panics })
            })
            .await;
            disk.fail(FailingCalls::default());
            let promised = Promised::by(&run.operations);
            if let Err(failure) = check(&run, &promised, 0, disk.state()).await {
                let list = listed(&run.operations);
                panic!("{sync:?}, call {first}, panics: {panics}: {failure}\n{list}");
            }
        }
    }
}

#[tokio::test]
async fn what_a_killed_run_has_written_is_on_disk_after_the_next_start() {
    let settings = settings_for(SyncPolicy::Interval(Duration::from_hours(1)), SMALL_BYTES);
    let disk = SimulatedDisk::default();
    let journal = Journal::open_on(simulated_machine(&disk), &settings, at(0)).unwrap();
    let mut newest = journal.append(at(0), site("S"));
    for second in 1..60 {
        newest = journal.append(at(second), large_frame(second));
        written(&journal).await;
    }
    let files =
        |state: &DiskState| state.names().keys().filter(|path| path.extension() == Some("events".as_ref())).count();
    let (killed, powerless) = (disk.state(), disk.state().after_power_failure(&mut |_| 0));
    assert!(files(&killed) > 1 && files(&powerless) < 2, "{} {}", files(&killed), files(&powerless));

    let disk = SimulatedDisk::new(killed);
    let journal = Journal::open_on(simulated_machine(&disk), &settings, at(60)).unwrap();
    let disk = SimulatedDisk::new(disk.state().after_power_failure(&mut |_| 0));
    let again = Journal::open_on(simulated_machine(&disk), &settings, at(61)).unwrap();
    let mut reader = again.reader("check", StartAt::Oldest).0;
    assert_eq!(numbers(&read_to(&mut reader, newest.0).await), (1..=newest.0).collect::<Vec<_>>());
    journal.close().await;
    again.close().await;
}

#[tokio::test]
async fn a_flipped_bit_anywhere_costs_no_number_and_no_start() {
    let run = run(11, FAILING_RUN_STEPS, &settings_for(SyncPolicy::EveryEvent, 1 << 20)).await;
    let promised = Promised { numbers: Promised::by(&run.operations).numbers, ..Promised::default() };
    let mut state = DiskState::default();
    run.operations.iter().for_each(|operation| state.apply(operation));
    let contents = state.contents();
    for (file, (name, bytes)) in contents.iter().enumerate().filter(|(_, (name, _))| !name.ends_with("reserve")) {
        for byte in 0..bytes.len() {
            let mut damaged = contents.clone();
            damaged[file].1[byte] ^= 1 << (byte % 8);
            let checked = check_damaged(&run, &promised, damaged).await;
            // The format of a later version is refused: which file it is in only the later version knows.
            let is_refused = checked.as_ref().is_err_and(|failure| failure.contains("this version reads up to"));
            if let (Err(failure), false) = (checked, is_refused) {
                panic!("byte {byte} of {}: {failure}", name.display());
            }
            assert!(!is_refused || (8..10).contains(&byte), "byte {byte} of {} is no format", name.display());
        }
    }
}

async fn check_damaged(run: &Run, promised: &Promised, damaged: Vec<(PathBuf, Vec<u8>)>) -> Result<(), String> {
    let disk = SimulatedDisk::new(DiskState::from_contents(damaged));
    let now = run.end.plus(Duration::from_secs(10));
    let journal = Journal::open_on(simulated_machine(&disk), &run.settings, now).map_err(|error| error.to_string())?;
    let mut reader = journal.reader("check", StartAt::Oldest).0;
    let next = journal.append(now, EventBody::Heartbeat).0;
    promised.check_next(next)?;
    let read = timeout(LIMIT, read_to(&mut reader, next)).await.map_err(|_| "not all events are delivered")?;
    for RecordedEvent { event, .. } in read.iter().filter(|recorded| recorded.event.sequence.0 < next) {
        let known = run.events.get(&event.sequence.0).map(|(body, _)| body);
        let is_inserted = matches!(event.body, EventBody::Gap(_) | EventBody::Site(_));
        if !is_inserted && known != Some(&event.body) {
            return Err(format!("event {} has changed", event.sequence.0));
        }
    }
    journal.close().await;
    Ok(())
}
