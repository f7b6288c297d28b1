//! Announced register writes: written at once, and found after a kill if they have no outcome.

use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};

use super::faults::wait_for;
use super::*;

fn step(number: u64, outcome: Option<WriteOutcome>) -> WriteStep {
    let (device, channel) = ("battery".into(), "mode".into());
    let (value, reference) = (Some(SetValue::Number(1.0)), WriteStep::register_write(number));
    let proposal = Proposal { device, channel, value, until: None, reference };
    WriteStep { proposed: None, proposer: WriteStep::GATEWAY.into(), proposal, unit: String::new(), outcome }
}

fn write(number: u64, outcome: Option<WriteOutcome>) -> EventBody {
    EventBody::Write(Box::new(step(number, outcome)))
}

/// What the operating system has of the folder at this moment.
fn snapshot(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

#[tokio::test]
async fn an_event_that_was_waited_for_outlasts_a_kill_that_follows_at_once() {
    for sync in [SyncPolicy::Interval(Duration::from_hours(1)), SyncPolicy::EveryEvent] {
        let folder = tempfile::tempdir().unwrap();
        let journal = open_with(&JournalSettings { sync, ..settings(folder.path()) }, at(0));
        journal.append(at(0), site("S"));
        for number in 1..50 {
            journal.append(at(number), frame(number));
            let last = journal.append(at(number), write(number, None));
            assert!(journal.written(last).await);
            let mut out = Vec::new();
            let exported = inspect::export(snapshot(folder.path()).path(), None, None, &mut out).unwrap();
            assert_eq!(exported, last.0, "{sync:?}");
        }
    }
}

#[tokio::test]
async fn writes_without_outcome_are_found_until_a_start_has_recorded_one() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path());
    assert_eq!(journal.unfinished_writes(), []);
    journal.append(at(0), site("S"));
    journal.append(at(0), write(1, None));
    journal.append(at(0), write(2, None));
    journal.append(at(1), write(1, Some(WriteOutcome::Acknowledged)));
    // A description begins a new file.
    journal.append(at(2), site("T"));
    journal.append(at(3), write(3, None));
    let mut folder = kill(journal, folder.path()).await;
    let expected = vec![(Sequence(3), step(2, None)), (Sequence(6), step(3, None))];
    // A start that is killed before it records them leaves them to the next one.
    for start in 0..3 {
        let journal = open(folder.path());
        assert_eq!(journal.unfinished_writes(), expected);
        journal.append(at(10 + start), site("U"));
        folder = kill(journal, folder.path()).await;
    }
    let journal = open(folder.path());
    for number in [2, 3] {
        journal.append(at(20), write(number, Some(WriteOutcome::Failed("unknown".into()))));
    }
    // The numbers of another run begin again.
    journal.append(at(21), write(2, None));
    let folder = kill(journal, folder.path()).await;
    let unfinished = open(folder.path()).unfinished_writes();
    assert_eq!(unfinished.into_iter().map(|(_, step)| step).collect::<Vec<_>>(), [step(2, None)]);
}

#[tokio::test]
async fn nobody_waits_for_a_disk_that_refuses_to_write_or_a_journal_that_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let disk = UnreliableDisk::default();
    let journal = disk.open_journal(&JournalSettings { sync: SyncPolicy::EveryEvent, ..settings(folder.path()) });
    disk.set_broken(true);
    let refused = journal.append(at(0), write(1, None));
    assert!(!journal.written(refused).await);
    disk.set_broken(false);
    wait_for("the end of the fault", || journal.health().fault.is_none()).await;
    assert!(journal.written(refused).await);
    let last = journal.append(at(1), write(1, None));
    journal.close().await;
    assert!(journal.written(last).await);
    assert!(!journal.written(journal.append(at(2), write(2, None))).await);

    let folder = tempfile::tempdir().unwrap();
    let journal = open_with(&JournalSettings { sync: SyncPolicy::Memory, ..settings(folder.path()) }, at(0));
    assert!(!journal.written(journal.append(at(0), write(1, None))).await);
}
