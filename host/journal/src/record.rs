//! Events as records of a segment file, each with a length and a checksum, and encoded by what changed since the records
//! before it.
//!
//! A record is the length of its body, the body, and the body's CRC-32. A body is the kind, the time since the previous
//! event, and what the kind needs: a frame its changed values, a heartbeat nothing, any other event its JSON or, if the
//! same body was written recently, its index in a short list.
//!
//! A record of one more kind is no event: it says how far the wall clock is ahead of the monotonic clock from here on, and
//! precedes the first event after a step of the wall clock. Format 1 has none.

use std::sync::Arc;

use bessai_domain::event::{Event, EventBody, Fault, FaultKind, Frame, RecordedEvent, Sequence, Text};
use bessai_domain::record;
use bessai_domain::site::Site;
use bessai_domain::time::{MonotonicTime, Timestamp};

use crate::bytes::{ByteReader, InvalidBytes, put_number, put_size, put_string, unzigzag, zigzag};
use crate::timeline::ClockDistance;
use crate::values::FrameHistory;

/// Kind of a frame, followed by its values, faults and texts.
const FRAME: u8 = 1;
/// Kind of a heartbeat.
const HEARTBEAT: u8 = 2;
/// Kind of a body in JSON.
const JSON: u8 = 3;
/// Kind of a body equal to a recent one, followed by its index.
const REPEATED: u8 = 4;
/// Kind of a record that is no event: the distance of the clocks, in nanoseconds.
const CLOCKS: u8 = 5;

/// Bodies that are remembered, so that a verdict repeated every few seconds takes few bytes.
const RECENT_BODIES: usize = 64;
/// The longest body of a record: more than the description of a site with a million channels.
const MAX_BODY_BYTES: usize = 256 << 20;
/// The longest encoding of a record's length.
const MAX_LENGTH_BYTES: usize = 10;
/// The CRC-32 behind a body.
const CHECKSUM_BYTES: usize = 4;
/// Capacity that buffers keep between events: more than a second of many devices needs, less than the description of a
/// large site.
pub(crate) const BUFFER_CAPACITY: usize = 1 << 20;

/// Faults by their number in a record.
const FAULTS: [FaultKind; 5] =
    [FaultKind::Missing, FaultKind::Unavailable, FaultKind::Stale, FaultKind::OutOfRange, FaultKind::Other];

/// What encoder and decoder remember of a segment's records so far.
#[derive(Default)]
struct RecordHistory {
    at: u64,
    frames: Vec<FrameHistory>,
    bodies: Vec<EventBody>,
    next_replaced: usize,
}

/// Encodes the events of one segment.
pub(crate) struct RecordEncoder {
    history: RecordHistory,
    distance: ClockDistance,
    body: Vec<u8>,
}

/// Decodes what one [`RecordEncoder`] wrote, from its first record on.
pub(crate) struct RecordDecoder {
    history: RecordHistory,
    next: Sequence,
    site: Option<Arc<Site>>,
    distance: ClockDistance,
}

/// What a record is.
enum Record {
    Event(Event),
    Clocks(ClockDistance),
}

/// Why there is no next event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordError {
    /// The bytes end within a record.
    Incomplete,
    /// The bytes are not a record.
    Invalid,
}

impl From<InvalidBytes> for RecordError {
    fn from(_: InvalidBytes) -> Self {
        Self::Invalid
    }
}

impl RecordHistory {
    fn frames(&mut self, source: usize, values: usize) -> Option<&mut FrameHistory> {
        /// A site has fewer sources; a higher number is damage.
        const MAX_SOURCES: usize = 1 << 20;
        if source >= MAX_SOURCES {
            return None;
        }
        if source >= self.frames.len() {
            self.frames.resize_with(source + 1, FrameHistory::default);
        }
        let frames = self.frames.get_mut(source)?;
        if frames.len() != values {
            frames.reset(values);
        }
        Some(frames)
    }

    fn remember(&mut self, body: EventBody) {
        if matches!(body, EventBody::Site(_)) {
            return;
        }
        if self.bodies.len() < RECENT_BODIES {
            self.bodies.push(body);
        } else if let Some(oldest) = self.bodies.get_mut(self.next_replaced) {
            *oldest = body;
            self.next_replaced = (self.next_replaced + 1) % RECENT_BODIES;
        }
    }
}

impl RecordEncoder {
    /// For a segment that begins with this distance of the clocks.
    pub(crate) fn new(distance: ClockDistance) -> Self {
        Self { history: RecordHistory::default(), distance, body: Vec::new() }
    }

    /// Appends an event's record, preceded by the distance of the clocks if the wall clock was set before it.
    pub(crate) fn encode(&mut self, recorded: &RecordedEvent, bytes: &mut Vec<u8>) {
        let event = &recorded.event;
        let distance = ClockDistance::between(event.at, recorded.occurred);
        if distance.is_stepped_from(self.distance) {
            self.distance = distance;
            self.put_record(bytes, |_, body| {
                body.push(CLOCKS);
                put_number(body, zigzag(distance.0));
            });
        }
        self.put_record(bytes, |encoder, body| encoder.encode_body(event, body));
    }

    fn put_record(&mut self, bytes: &mut Vec<u8>, encode: impl FnOnce(&mut Self, &mut Vec<u8>)) {
        let mut body = std::mem::take(&mut self.body);
        encode(self, &mut body);
        put_size(bytes, body.len());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
        body.clear();
        body.shrink_to(BUFFER_CAPACITY);
        self.body = body;
    }

    fn encode_body(&mut self, event: &Event, body: &mut Vec<u8>) {
        let elapsed = event.at.nanos().wrapping_sub(self.history.at).cast_signed();
        self.history.at = event.at.nanos();
        let mut put_head = |kind: u8| {
            body.push(kind);
            put_number(body, zigzag(elapsed));
        };
        match &event.body {
            EventBody::Frame(frame) => {
                put_head(FRAME);
                self.encode_frame(frame, body);
            }
            EventBody::Heartbeat => put_head(HEARTBEAT),
            other => match self.history.bodies.iter().position(|known| known == other) {
                Some(index) => {
                    put_head(REPEATED);
                    put_size(body, index);
                }
                None => {
                    put_head(JSON);
                    body.extend_from_slice(record::write_body(other).as_bytes());
                    self.history.remember(other.clone());
                }
            },
        }
    }

    fn encode_frame(&mut self, frame: &Frame, body: &mut Vec<u8>) {
        let source = usize::try_from(frame.source).unwrap_or(usize::MAX);
        put_size(body, source);
        put_size(body, frame.values.len());
        if let Some(frames) = self.history.frames(source, frame.values.len()) {
            frames.encode(&frame.values, body);
        }
        put_size(body, frame.faults.len());
        for fault in &frame.faults {
            put_number(body, u64::from(fault.channel));
            let kind = FAULTS.iter().position(|kind| *kind == fault.kind);
            put_size(body, kind.unwrap_or(FAULTS.len() - 1));
        }
        put_size(body, frame.texts.len());
        for text in &frame.texts {
            put_number(body, u64::from(text.channel));
            put_string(body, text.value.as_bytes());
        }
    }
}

impl RecordDecoder {
    /// For a segment whose first event has the number `first`, refers to the description `site` and occurred when the clocks
    /// had this distance.
    pub(crate) fn new(first: Sequence, site: Option<Arc<Site>>, distance: ClockDistance) -> Self {
        Self { history: RecordHistory::default(), next: first, site, distance }
    }

    /// The number of the next event.
    pub(crate) fn next(&self) -> Sequence {
        self.next
    }

    /// The description that the next event refers to.
    pub(crate) fn site(&self) -> Option<&Arc<Site>> {
        self.site.as_ref()
    }

    /// When the event decoded last occurred, which carries the time `at`, on the monotonic clock of the segment's boot.
    pub(crate) fn occurred(&self, at: Timestamp) -> MonotonicTime {
        self.distance.monotonic(at)
    }

    /// The first event in `bytes` and the length of its record, with that of a record before it that is no event.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<(Event, usize), RecordError> {
        let mut used = 0;
        loop {
            let (record, length) = self.decode_record(bytes.get(used..).unwrap_or_default())?;
            used += length;
            match record {
                Record::Event(event) => return Ok((event, used)),
                Record::Clocks(distance) => self.distance = distance,
            }
        }
    }

    fn decode_record(&mut self, bytes: &[u8]) -> Result<(Record, usize), RecordError> {
        let mut rest = ByteReader(bytes);
        // An unfinished length may continue in later bytes, unless it is already as long as an encoded length can be.
        let is_short = bytes.len() < MAX_LENGTH_BYTES;
        let length = rest.size().map_err(|_| if is_short { RecordError::Incomplete } else { RecordError::Invalid })?;
        if length == 0 || length > MAX_BODY_BYTES {
            return Err(RecordError::Invalid);
        }
        let body = rest.take(length).map_err(|_| RecordError::Incomplete)?;
        let checksum = rest.take(CHECKSUM_BYTES).map_err(|_| RecordError::Incomplete)?;
        if checksum != crc32fast::hash(body).to_le_bytes() {
            return Err(RecordError::Invalid);
        }
        let record = self.decode_body(ByteReader(body))?;
        Ok((record, bytes.len() - rest.0.len()))
    }

    fn decode_body(&mut self, mut bytes: ByteReader<'_>) -> Result<Record, InvalidBytes> {
        let kind = bytes.byte()?;
        if kind == CLOCKS {
            return Ok(Record::Clocks(ClockDistance(unzigzag(bytes.number()?))));
        }
        let at = self.history.at.wrapping_add(unzigzag(bytes.number()?).cast_unsigned());
        let body = match kind {
            FRAME => EventBody::Frame(self.decode_frame(&mut bytes)?),
            HEARTBEAT => EventBody::Heartbeat,
            JSON => {
                let text = std::str::from_utf8(bytes.take(bytes.0.len())?).map_err(|_| InvalidBytes)?;
                let body = record::read_body(text).ok_or(InvalidBytes)?;
                self.history.remember(body.clone());
                body
            }
            REPEATED => self.history.bodies.get(bytes.size()?).cloned().ok_or(InvalidBytes)?,
            _ => return Err(InvalidBytes),
        };
        if let EventBody::Site(site) = &body {
            self.site = Some(Arc::clone(site));
        }
        self.history.at = at;
        let sequence = self.next;
        self.next = sequence.next();
        Ok(Record::Event(Event { sequence, at: Timestamp::from_nanos(at), body }))
    }

    fn decode_frame(&mut self, bytes: &mut ByteReader<'_>) -> Result<Frame, InvalidBytes> {
        let source = bytes.size()?;
        let count = bytes.size()?;
        // Each value takes at least one bit.
        if count.div_ceil(8) > bytes.0.len() {
            return Err(InvalidBytes);
        }
        let values = self.history.frames(source, count).ok_or(InvalidBytes)?.decode(bytes)?;
        let mut faults = Vec::new();
        for _ in 0..bytes.count()? {
            let channel = u32::try_from(bytes.number()?).map_err(|_| InvalidBytes)?;
            faults.push(Fault { channel, kind: *FAULTS.get(bytes.size()?).ok_or(InvalidBytes)? });
        }
        let mut texts = Vec::new();
        for _ in 0..bytes.count()? {
            let channel = u32::try_from(bytes.number()?).map_err(|_| InvalidBytes)?;
            let value = String::from_utf8(bytes.string()?.to_vec()).map_err(|_| InvalidBytes)?;
            texts.push(Text { channel, value });
        }
        Ok(Frame { source: u32::try_from(source).map_err(|_| InvalidBytes)?, values, faults, texts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::event::{Safety, Watchdog};

    /// The wall clock at the first event, when the monotonic clock shows 0.
    const START: u64 = 1_790_000_000_000_000_000;
    const DISTANCE: ClockDistance = ClockDistance(START.cast_signed());

    fn events() -> Vec<RecordedEvent> {
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
        // The clock is set back before the fifth event.
        let at = |i: u64| Timestamp::from_nanos(START + i * 1_000_003 - u64::from(i > 3) * 999_999_999);
        let numbered = (0..).zip(bodies).map(|(i, body)| Event { sequence: Sequence(7 + i), at: at(i), body });
        let recorded = (0..).zip(numbered).map(|(i, event)| RecordedEvent {
            event: Arc::new(event),
            occurred: MonotonicTime::from_nanos(i * 1_000_003),
        });
        recorded.collect()
    }

    fn encoded(events: &[RecordedEvent]) -> Vec<u8> {
        let (mut encoder, mut bytes) = (RecordEncoder::new(DISTANCE), Vec::new());
        events.iter().for_each(|event| encoder.encode(event, &mut bytes));
        bytes
    }

    fn decoder() -> RecordDecoder {
        RecordDecoder::new(Sequence(7), None, DISTANCE)
    }

    #[test]
    fn events_survive_a_round_trip() {
        let (events, mut decoder) = (events(), decoder());
        let bytes = encoded(&events);
        let mut rest = &bytes[..];
        for event in &events {
            let (decoded, length) = decoder.decode(rest).unwrap();
            assert_eq!((&decoded, decoder.occurred(decoded.at)), (&*event.event, event.occurred));
            rest = &rest[length..];
        }
        assert_eq!((rest.len(), decoder.site().unwrap().revision), (0, 3));
        let alone = encoded(&events[5..6]).len();
        let without = encoded(&[&events[..5], &events[6..]].concat()).len();
        assert!(bytes.len() - without < alone / 4, "a repeated body takes few bytes");
    }

    #[test]
    fn an_incomplete_record_is_told_apart_from_a_damaged_one() {
        let bytes = encoded(&events()[..2]);
        let first = decoder().decode(&bytes).unwrap().1;
        for length in 0..bytes.len() - first {
            let mut decoder = decoder();
            decoder.decode(&bytes).unwrap();
            assert_eq!(decoder.decode(&bytes[first..first + length]).unwrap_err(), RecordError::Incomplete, "{length}");
        }
        for bit in 0..(bytes.len() - first) * 8 {
            let mut damaged = bytes.clone();
            damaged[first + bit / 8] ^= 1 << (bit % 8);
            let mut decoder = decoder();
            decoder.decode(&damaged).unwrap();
            assert!(decoder.decode(&damaged[first..]).is_err(), "bit {bit}");
        }
    }
}
