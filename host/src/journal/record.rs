//! Events as records of a file: each with its length and a checksum, and told by what changed since those before it.
//!
//! A record is its body's length, the body, and the body's CRC-32. A body is the kind, the time since the event before,
//! and what the kind needs: a frame its values by what changed, a heartbeat nothing, anything else its JSON or, when the
//! same was said lately, the place of that in a short list.

use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Fault, FaultKind, Frame, Sequence, Text};
use bessai_domain::record;
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;

use super::bytes::{Bytes, Unsound, put, put_size, put_text, unzigzag, zigzag};
use super::values::Column;

/// Frames, whose values, faults and texts follow.
const FRAME: u8 = 1;
const HEARTBEAT: u8 = 2;
/// A body in JSON.
const SAID: u8 = 3;
/// The same body again.
const SAID_AGAIN: u8 = 4;

/// Bodies that are remembered, so that a verdict repeated every few seconds takes few bytes.
const REMEMBERED: usize = 64;
/// A record's body has at most so many bytes: the largest is the description of a site with a million channels.
const LONGEST_BODY: usize = 256 << 20;
const CHECKSUM_BYTES: usize = 4;
/// What is kept of a buffer for the next events: more than a second of many devices takes, less than a large site's description.
pub(super) const SCRATCH_BYTES: usize = 1 << 20;

const FAULTS: [FaultKind; 5] =
    [FaultKind::Missing, FaultKind::Unavailable, FaultKind::Stale, FaultKind::OutOfRange, FaultKind::Other];

/// What both sides remember of the records so far.
#[derive(Default)]
struct Memory {
    at: u64,
    columns: Vec<Column>,
    bodies: Vec<EventBody>,
    replaced: usize,
}

/// Writes events; a fresh one for each file.
#[derive(Default)]
pub(super) struct Encoder {
    memory: Memory,
    body: Vec<u8>,
}

/// Reads what one [`Encoder`] wrote, from its first record on.
pub(super) struct Decoder {
    memory: Memory,
    next: Sequence,
    site: Option<Arc<Site>>,
}

/// Why there is no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The bytes end within a record.
    Short,
    /// They are not a record.
    Unsound,
}

impl From<Unsound> for Stopped {
    fn from(_: Unsound) -> Self {
        Self::Unsound
    }
}

impl Memory {
    fn column(&mut self, source: usize, values: usize) -> Option<&mut Column> {
        /// A site has fewer sources; a number beyond is damage.
        const SOURCES: usize = 1 << 20;
        if source >= SOURCES {
            return None;
        }
        if source >= self.columns.len() {
            self.columns.resize_with(source + 1, Column::default);
        }
        let column = self.columns.get_mut(source)?;
        if column.len() != values {
            column.reset(values);
        }
        Some(column)
    }

    fn remember(&mut self, body: EventBody) {
        if matches!(body, EventBody::Site(_)) {
            return;
        }
        if self.bodies.len() < REMEMBERED {
            self.bodies.push(body);
        } else if let Some(place) = self.bodies.get_mut(self.replaced) {
            *place = body;
            self.replaced = (self.replaced + 1) % REMEMBERED;
        }
    }
}

impl Encoder {
    /// Adds an event's record.
    pub(super) fn write(&mut self, event: &Event, bytes: &mut Vec<u8>) {
        let mut body = std::mem::take(&mut self.body);
        self.body_of(event, &mut body);
        put_size(bytes, body.len());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        body.clear();
        body.shrink_to(SCRATCH_BYTES);
        self.body = body;
    }

    fn body_of(&mut self, event: &Event, body: &mut Vec<u8>) {
        let after = event.at.nanos().wrapping_sub(self.memory.at).cast_signed();
        self.memory.at = event.at.nanos();
        let mut head = |kind: u8| {
            body.push(kind);
            put(body, zigzag(after));
        };
        match &event.body {
            EventBody::Frame(frame) => {
                head(FRAME);
                self.frame(frame, body);
            }
            EventBody::Heartbeat => head(HEARTBEAT),
            other => match self.memory.bodies.iter().position(|known| known == other) {
                Some(place) => {
                    head(SAID_AGAIN);
                    put_size(body, place);
                }
                None => {
                    head(SAID);
                    body.extend_from_slice(record::write_body(other).as_bytes());
                    self.memory.remember(other.clone());
                }
            },
        }
    }

    fn frame(&mut self, frame: &Frame, body: &mut Vec<u8>) {
        let source = usize::try_from(frame.source).unwrap_or(usize::MAX);
        put_size(body, source);
        put_size(body, frame.values.len());
        if let Some(column) = self.memory.column(source, frame.values.len()) {
            column.write(&frame.values, body);
        }
        put_size(body, frame.faults.len());
        for fault in &frame.faults {
            put(body, u64::from(fault.channel));
            let kind = FAULTS.iter().position(|kind| *kind == fault.kind);
            put_size(body, kind.unwrap_or(FAULTS.len() - 1));
        }
        put_size(body, frame.texts.len());
        for text in &frame.texts {
            put(body, u64::from(text.channel));
            put_text(body, text.value.as_bytes());
        }
    }
}

impl Decoder {
    /// For a file whose first event has this number, under that description.
    pub(super) fn new(first: Sequence, site: Option<Arc<Site>>) -> Self {
        Self { memory: Memory::default(), next: first, site }
    }

    /// The number of the next event.
    pub(super) fn next(&self) -> Sequence {
        self.next
    }

    /// The description that the next event refers to.
    pub(super) fn site(&self) -> Option<&Arc<Site>> {
        self.site.as_ref()
    }

    /// The first event of `bytes`, and how many bytes it took.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<(Event, usize), Stopped> {
        let mut rest = Bytes(bytes);
        // A length that ends early may go on; a longer one is damage.
        let length = rest.size().map_err(|_| if bytes.len() < 10 { Stopped::Short } else { Stopped::Unsound })?;
        if length == 0 || length > LONGEST_BODY {
            return Err(Stopped::Unsound);
        }
        let body = rest.take(length).map_err(|_| Stopped::Short)?;
        let checksum = rest.take(CHECKSUM_BYTES).map_err(|_| Stopped::Short)?;
        if checksum != crc32fast::hash(body).to_le_bytes() {
            return Err(Stopped::Unsound);
        }
        let event = self.event(Bytes(body))?;
        Ok((event, bytes.len() - rest.0.len()))
    }

    fn event(&mut self, mut body: Bytes<'_>) -> Result<Event, Unsound> {
        let kind = body.byte()?;
        let at = self.memory.at.wrapping_add(unzigzag(body.number()?).cast_unsigned());
        let read = match kind {
            FRAME => EventBody::Frame(self.frame(&mut body)?),
            HEARTBEAT => EventBody::Heartbeat,
            SAID => {
                let text = std::str::from_utf8(body.take(body.0.len())?).map_err(|_| Unsound)?;
                let said = record::read_body(text).ok_or(Unsound)?;
                self.memory.remember(said.clone());
                said
            }
            SAID_AGAIN => self.memory.bodies.get(body.size()?).cloned().ok_or(Unsound)?,
            _ => return Err(Unsound),
        };
        if let EventBody::Site(site) = &read {
            self.site = Some(Arc::clone(site));
        }
        self.memory.at = at;
        let sequence = self.next;
        self.next = sequence.next();
        Ok(Event { sequence, at: Timestamp::from_nanos(at), body: read })
    }

    fn frame(&mut self, body: &mut Bytes<'_>) -> Result<Frame, Unsound> {
        let source = body.size()?;
        let count = body.size()?;
        // Each value has a bit at least.
        if count.div_ceil(8) > body.0.len() {
            return Err(Unsound);
        }
        let values = self.memory.column(source, count).ok_or(Unsound)?.read(body)?;
        let mut faults = Vec::new();
        for _ in 0..body.count()? {
            let channel = u32::try_from(body.number()?).map_err(|_| Unsound)?;
            faults.push(Fault { channel, kind: *FAULTS.get(body.size()?).ok_or(Unsound)? });
        }
        let mut texts = Vec::new();
        for _ in 0..body.count()? {
            let channel = u32::try_from(body.number()?).map_err(|_| Unsound)?;
            let value = String::from_utf8(body.text()?.to_vec()).map_err(|_| Unsound)?;
            texts.push(Text { channel, value });
        }
        Ok(Frame { source: u32::try_from(source).map_err(|_| Unsound)?, values, faults, texts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::event::{Safety, Watchdog};

    fn events() -> Vec<Event> {
        let site = Site { id: "S".into(), revision: 3, devices: vec![], sources: vec![], attributes: vec![] };
        let safety = |kw| {
            EventBody::Safety(Safety {
                is_safe: true,
                watchdog: Watchdog::Ok,
                power_limit_kw: Some(kw),
                violations: vec![],
            })
        };
        let frame = |source, values: &[f64]| {
            let faults = vec![Fault { channel: 1, kind: FaultKind::Stale }];
            let texts = vec![Text { channel: 0, value: "SN-1".into() }];
            EventBody::Frame(Frame { source, values: values.to_vec(), faults, texts })
        };
        let bodies = [
            EventBody::Site(Arc::new(site)),
            frame(1, &[53.2, 1.0]),
            safety(5.5),
            EventBody::Heartbeat,
            frame(0, &[1.5; 9]),
            safety(5.5),
            frame(1, &[53.3, 1.0]),
            frame(1, &[53.3, 1.0, 2.0]),
        ];
        // The clock is set back before the fourth.
        let at =
            |i: u64| Timestamp::from_nanos(1_790_000_000_000_000_000 + i * 1_000_003 - u64::from(i > 3) * 999_999_999);
        let numbered = (0..).zip(bodies).map(|(i, body)| Event { sequence: Sequence(7 + i), at: at(i), body });
        numbered.collect()
    }

    fn written(events: &[Event]) -> Vec<u8> {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        events.iter().for_each(|event| encoder.write(event, &mut bytes));
        bytes
    }

    #[test]
    fn events_come_back() {
        let (events, mut decoder) = (events(), Decoder::new(Sequence(7), None));
        let bytes = written(&events);
        let mut rest = &bytes[..];
        for event in &events {
            let (read, length) = decoder.read(rest).unwrap();
            assert_eq!(&read, event);
            rest = &rest[length..];
        }
        assert_eq!((rest.len(), decoder.site().unwrap().revision), (0, 3));
        let again = written(&events[5..6]).len();
        let all_but = written(&[&events[..5], &events[6..]].concat()).len();
        assert!(bytes.len() - all_but < again / 4, "what was said lately takes few bytes");
    }

    #[test]
    fn a_record_that_ends_early_or_has_a_wrong_bit_is_told_apart() {
        let bytes = written(&events()[..2]);
        let first = Decoder::new(Sequence(7), None).read(&bytes).unwrap().1;
        for length in 0..bytes.len() - first {
            let mut decoder = Decoder::new(Sequence(7), None);
            decoder.read(&bytes).unwrap();
            assert_eq!(decoder.read(&bytes[first..first + length]).unwrap_err(), Stopped::Short, "{length}");
        }
        for bit in 0..(bytes.len() - first) * 8 {
            let mut damaged = bytes.clone();
            damaged[first + bit / 8] ^= 1 << (bit % 8);
            let mut decoder = Decoder::new(Sequence(7), None);
            decoder.read(&damaged).unwrap();
            assert!(decoder.read(&damaged[first..]).is_err(), "bit {bit}");
        }
    }
}
