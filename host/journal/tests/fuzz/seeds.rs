//! Valid inputs to start from: the files of a small journal, whole and taken apart.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{DeviceStatus, EventBody, Fault, FaultKind, Frame, Sequence, Text};
use bessai_domain::journal::{StartAt, SyncPolicy};
use bessai_domain::ports::{Cursor, Events};
use bessai_domain::proposal::{Proposal, SetValue, WriteOutcome, WriteStep};
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source};
use bessai_domain::time::{Moment, Timestamp};
use bessai_journal::{Journal, JournalSettings};

use super::files::{SectionKind, write_sections};

/// The time of the first event.
const AT: Timestamp = Timestamp::from_nanos(1_790_000_000_000_000_000);
/// Bytes of a segment's header in front of its body.
const HEADER_BYTES: usize = 18;
/// Bytes of a segment's footer.
const FOOTER_BYTES: usize = 53;
/// Bytes of a footer's numbers, which follow a zero.
const FOOTER_NUMBERS_BYTES: usize = 40;
/// Bytes of the header of the file of cursors.
const CURSORS_HEADER_BYTES: usize = 9;

/// The files as they are, and as their records, whose checksums stay valid when they are changed.
pub fn journal() -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let segment = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let segment = segment.filter(|path| path.extension().is_some_and(|ending| ending == "events")).min().unwrap();
    let (segment, cursors, numbers) = (std::fs::read(segment).unwrap(), read("feeds"), read("numbers"));
    let whole = write_sections(&[
        (SectionKind::Segment, &segment),
        (SectionKind::Cursors, &cursors),
        (SectionKind::Numbers, &numbers),
    ]);
    let header_body = usize::from(segment[10]) + 256 * usize::from(segment[11]);
    let (header, after_header) = segment[HEADER_BYTES..].split_at(header_body);
    let (events, footer) = after_header.split_at(after_header.len() - FOOTER_BYTES);
    let mut sections = vec![(SectionKind::Header, header)];
    sections.extend(records(events).into_iter().map(|body| (SectionKind::Record, body)));
    sections.push((SectionKind::Footer, &footer[1..=FOOTER_NUMBERS_BYTES]));
    sections.extend(records(&cursors[CURSORS_HEADER_BYTES..]).into_iter().map(|body| (SectionKind::Cursor, body)));
    let slots = std::str::from_utf8(&numbers).unwrap().lines().map(|line| line.trim_matches(['\0', ' ']));
    let slots = slots.filter_map(|line| Some(line.rsplit_once(' ')?.0));
    sections.extend(slots.map(|text| (SectionKind::Slot, text.as_bytes())));
    let open_end: Vec<_> = sections.iter().filter(|(kind, _)| *kind != SectionKind::Footer).copied().collect();
    vec![whole, write_sections(&sections), write_sections(&open_end)]
}

/// The bodies of records.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut bodies = Vec::new();
    while !bytes.is_empty() {
        let (mut length, mut shift) = (0, 0);
        loop {
            let byte = bytes[0];
            bytes = &bytes[1..];
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        bodies.push(&bytes[..length]);
        bytes = &bytes[length + 4..];
    }
    bodies
}

/// A journal with events of several kinds and the cursors of two feeds.
fn write(folder: &Path) {
    let settings = JournalSettings {
        folder: folder.to_owned(),
        sync: SyncPolicy::Interval(Duration::from_secs(1)),
        max_bytes: 1 << 30,
        max_age: Duration::from_hours(24),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let journal = Journal::open(&settings, Moment::by_wall_clock(AT)).unwrap();
        let readers = ["default", "acme"].map(|feed| journal.reader(feed, StartAt::Oldest));
        journal.append(Moment::by_wall_clock(AT), EventBody::Site(Arc::new(site())));
        for count in 0..12_u32 {
            let at = Timestamp::from_nanos(AT.nanos() + u64::from(count) * 1_000_000_007);
            let at = Moment::by_wall_clock(at);
            journal.append(at, EventBody::Frame(frame(count)));
            if count.is_multiple_of(4) {
                journal.append(at, EventBody::Heartbeat);
                let status = DeviceStatus { device: "battery".into(), online: count > 0, detail: "answers".into() };
                journal.append(at, EventBody::Device(status));
                journal.append(at, EventBody::Write(Box::new(write_step())));
            }
        }
        for (mut reader, mut state) in readers {
            let events = reader.next().await;
            state.set("last".into(), b"53.2".to_vec()).unwrap();
            let last = events.last().unwrap();
            reader.cursor().advance(last.event.sequence, last.event.at, &state);
        }
        journal.close().await;
    });
}

fn write_step() -> WriteStep {
    let (device, channel, reference) = ("battery".into(), "power_kw".into(), "a1".into());
    let proposal = Proposal { device, channel, value: Some(SetValue::Number(20.0)), until: Some(AT), reference };
    let outcome = Some(WriteOutcome::Refused("not yet".into()));
    WriteStep { proposed: Some(Sequence(2)), proposer: "feed/acme".into(), proposal, unit: "kW".into(), outcome }
}

fn frame(count: u32) -> Frame {
    let values = vec![53.2 + f64::from(count) / 10.0, f64::NAN, f64::from(count) * 1e9 + 0.123_456_7, 230.0];
    let faults = vec![Fault { channel: 1, kind: FaultKind::Missing }];
    let texts = if count.is_multiple_of(3) { vec![Text { channel: 3, value: "SN-1".into() }] } else { Vec::new() };
    Frame { source: count % 2, values, faults, texts }
}

fn site() -> Site {
    let channel = |name: &str| Channel {
        name: name.into(),
        unit: "%".into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    let source = |device: &str| Source {
        device: device.into(),
        period: Duration::from_secs(1),
        channels: ["a", "b", "c", "d"].map(channel).into(),
        attributes: Vec::new(),
    };
    let device = |name: &str| Device { name: name.into(), attributes: vec![("serial".into(), "1".into())] };
    let names = ["battery", "meter"];
    let (devices, sources) = (names.map(device).into(), names.map(source).into());
    Site { id: "S".into(), revision: 1, devices, sources, attributes: Vec::new() }
}
