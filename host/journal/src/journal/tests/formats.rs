//! Journals of every format that was ever written stay readable.

use bessai_domain::event::{Fault, FaultKind, Safety, Text, Watchdog};
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};

use super::*;

/// The first format with events `write`.
const WRITES: u16 = 3;

/// What the files of this format under `tests/journals` hold.
fn stored_bodies(format: u16) -> Vec<EventBody> {
    let safety = Safety { is_safe: false, watchdog: Watchdog::Late, power_limit_kw: Some(0.1), violations: vec![] };
    let noisy = |i: u32| {
        EventBody::Frame(Frame {
            source: 1,
            values: vec![f64::from(i) / 10.0, f64::from(0.1_f32) * f64::from(i), 1.0 / f64::from(i + 3), f64::NAN],
            faults: vec![Fault { channel: 3, kind: FaultKind::Missing }],
            texts: vec![Text { channel: 2, value: format!("SN-{i}") }],
        })
    };
    let mut bodies = vec![site("S"), EventBody::Heartbeat, EventBody::Safety(safety.clone())];
    bodies.extend((0..40).map(noisy));
    bodies.extend([EventBody::Safety(safety), frame(7)]);
    if format >= WRITES {
        bodies.extend([write(None, None), write(Some(46), Some(WriteOutcome::Refused("not yet".into())))]);
    }
    bodies
}

fn write(proposed: Option<u64>, outcome: Option<WriteOutcome>) -> EventBody {
    let (device, channel, reference) = ("battery".into(), "power_kw".into(), "a1".into());
    let (value, until) = (Some(SetValue::Number(20.5)), Some(at(60).wall));
    let proposal = Proposal { device, channel, value, until, reference };
    let (proposed, proposer, unit) = (proposed.map(Sequence), "feed/acme".into(), "kW".into());
    EventBody::Write(Box::new(WriteStep { proposed, proposer, proposal, unit, outcome }))
}

pub(super) fn stored_journal(format: u16) -> PathBuf {
    Path::new("../../tests/journals").join(format!("format-{format}"))
}

/// Writes what a stored journal holds.
async fn write_stored(folder: &Path) {
    let journal = open(folder);
    let reader = journal.reader("acme", StartAt::Now).0;
    for (second, body) in (0..).zip(stored_bodies(segment::FORMAT)) {
        journal.append(at(second), body);
    }
    reader.cursor().advance(Sequence(40), at(39).wall, &state("bdSeq", 7));
    journal.close().await;
}

#[tokio::test]
async fn events_are_written_as_the_format_says_to_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    write_stored(folder.path()).await;
    let bytes = |folder: &Path| fs::read(&files(folder)[0]).unwrap();
    assert_eq!(bytes(folder.path()), bytes(&stored_journal(segment::FORMAT)));
}

#[tokio::test]
async fn journals_of_every_format_are_continued() {
    for format in 1..=segment::FORMAT {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(stored_journal(format)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
        }
        let journal = open(folder.path());
        let mut all = journal.reader("all", StartAt::Oldest).0;
        // As text, because the NaN values are not equal to themselves.
        let text = |body: &EventBody| format!("{body:?}");
        let stored = stored_bodies(format);
        let events = read_to(&mut all, stored.len() as u64).await;
        let bodies: Vec<_> = events.iter().map(|recorded| text(&recorded.event.body)).collect();
        assert_eq!(bodies, stored.iter().map(text).collect::<Vec<_>>());
        assert_eq!((events[0].event.at, events[44].event.at), (at(0).wall, at(44).wall));
        let (mut acme, state) = journal.reader("acme", StartAt::Now);
        assert_eq!((state.get("bdSeq"), acme.next().await[0].event.sequence), (Some(&[7][..]), Sequence(41)));
        let next = Sequence(stored.len() as u64 + 1);
        assert_eq!(journal.append(at(60), EventBody::Heartbeat), next);
    }
}
