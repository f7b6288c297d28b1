//! Modbus/TCP: finds the reply by its transaction id, or by its content alone where a device does not copy ids.

use tokio::time::Instant;

use super::expected::{Content, Contradiction, Expected};
use super::{LATEST_REPLY, LateReplies, Scan, Tally};
use crate::irregularity::Irregularity;

/// The header of a frame: transaction id, protocol id, length, unit.
pub(super) const HEADER: usize = 7;
/// The bytes of the header that its length does not count: all but the unit.
pub(super) const UNCOUNTED: usize = HEADER - 1;
/// The shortest frame: an exception.
const SHORTEST: usize = HEADER + 2;
/// The largest length that a header may state (unit and PDU).
const MAX_LENGTH: usize = 254;
/// The longest length that exceptions were seen to state; it is 3.
const MAX_EXCEPTION_LENGTH: usize = 4;
/// The bit of a function code that marks an exception.
const EXCEPTION_BIT: u8 = 0x80;
/// The highest function code of the standard.
const MAX_FUNCTION: u8 = 0x2b;
/// The first id: devices that do not copy ids send small ones.
const FIRST_ID: u16 = 0x4b1d;
/// The step to the next id. It is larger than 1, so that the late reply of a device whose ids are off by one does not have the
/// id of the next request, and odd, so that all ids come in turn.
const ID_STEP: u16 = 0x0101;
/// Ids of requests without a reply to remember, so that their late replies are recognised.
const MAX_UNANSWERED: usize = 32;
/// The largest step between two ids of a device that counts them itself.
const MAX_OWN_STEP: u16 = 16;
/// Right ids in a row after which a device that did not copy ids is taken to copy them.
const RIGHT_IDS: u8 = 3;

/// Whether replies have the transaction ids of their requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IdHabit {
    /// No reply has come yet.
    #[default]
    Unknown,
    /// They have.
    Copies,
    /// They have not: they all have the same id, or ids of the device's own.
    Ignores,
}

/// The ids of a connection.
#[derive(Debug)]
pub(super) struct TransactionIds {
    pub(super) habit: IdHabit,
    pub(super) next: u16,
    /// The id of the last request on the wire.
    expected: u16,
    /// The ids of requests that were given up.
    unanswered: Vec<u16>,
    /// Requests that were given up while ids did not tell their replies from others.
    given_up: Vec<GivenUp>,
    /// The id of the last reply that did not have the right one.
    wrong: Option<u16>,
    /// The last wrong id of an accepted reply. A device may copy ids and yet use a constant one in its exceptions.
    pub(super) known_wrong: Option<u16>,
    /// The last accepted reply had a wrong id.
    accepted_wrong: bool,
    right_in_a_row: u8,
    /// Skipped frames that only their id kept from being the reply.
    candidates: u8,
    /// Frames of other masters arrive on this connection.
    is_shared: bool,
    /// The last reply is the first of this device, and had a wrong id: it may be another master's.
    pub(super) may_be_foreign: bool,
    /// The right reply came after one that was accepted by its content.
    pub(super) is_ambiguous: bool,
}

/// A request without a reply.
#[derive(Debug)]
struct GivenUp {
    request: Expected,
    id: u16,
    at: Instant,
}

impl GivenUp {
    fn is_over(&self) -> bool {
        self.at.elapsed() >= LATEST_REPLY
    }
}

/// A header and what follows it.
struct Frame<'a> {
    id: u16,
    has_protocol: bool,
    /// The stated length.
    stated: usize,
    unit: u8,
    pdu: &'a [u8],
}

/// What begins at some byte.
enum Verdict {
    /// More bytes are needed.
    Incomplete,
    /// No frame.
    Stray,
    /// A frame of that many bytes that is not the reply; what it is, unless that shows later.
    Other(usize, Option<Irregularity>),
    /// As [`Scan`] has it, but counted from this byte.
    Found(Scan),
}

impl<'a> Frame<'a> {
    fn at(bytes: &'a [u8]) -> Option<Self> {
        let [i1, i0, p1, p0, l1, l0, unit, _, _, ..] = *bytes else { return None };
        Some(Self {
            id: u16::from_be_bytes([i1, i0]),
            has_protocol: (p1, p0) == (0, 0),
            stated: usize::from(u16::from_be_bytes([l1, l0])),
            unit,
            pdu: bytes.get(HEADER..)?,
        })
    }

    fn function(&self) -> u8 {
        self.pdu.first().copied().unwrap_or_default()
    }

    /// Whether this may be a frame at all.
    fn is_plausible(&self) -> bool {
        let function = self.function() & !EXCEPTION_BIT;
        self.has_protocol && (2..=MAX_LENGTH).contains(&self.stated) && (1..=MAX_FUNCTION).contains(&function)
    }

    /// The bytes of the whole frame. The stated length of an exception may be wrong.
    fn whole(&self) -> usize {
        let is_exception = self.function() & EXCEPTION_BIT != 0 && self.stated <= MAX_EXCEPTION_LENGTH;
        if is_exception { SHORTEST } else { UNCOUNTED + self.stated }
    }

    fn has(&self, frame_bytes: usize) -> bool {
        HEADER + self.pdu.len() >= frame_bytes
    }
}

impl TransactionIds {
    pub(super) fn new(habit: IdHabit, next: Option<u16>, known_wrong: Option<u16>) -> Self {
        Self {
            habit,
            next: next.unwrap_or(FIRST_ID),
            expected: 0,
            unanswered: Vec::new(),
            given_up: Vec::new(),
            wrong: None,
            known_wrong,
            accepted_wrong: false,
            right_in_a_row: 0,
            candidates: 0,
            is_shared: false,
            may_be_foreign: false,
            is_ambiguous: false,
        }
    }

    /// The id of a new request: none that a late reply or a constant id can have.
    pub(super) fn begin(&mut self) -> u16 {
        while self.unanswered.contains(&self.next) || [self.wrong, self.known_wrong].contains(&Some(self.next)) {
            self.next = self.next.wrapping_add(ID_STEP);
        }
        self.expected = self.next;
        self.next = self.next.wrapping_add(ID_STEP);
        self.candidates = 0;
        (self.may_be_foreign, self.is_ambiguous) = (false, false);
        self.expected
    }

    /// The request is given up. A single reply that came with another id shows that the device does not copy ids.
    pub(super) fn give_up(&mut self, request: Expected, tally: &mut Tally) {
        if self.habit == IdHabit::Copies && self.candidates == 1 && !self.is_shared {
            (self.habit, self.known_wrong) = (IdHabit::Ignores, self.wrong);
            self.right_in_a_row = 0;
            tally.add(Irregularity::WrongId, 1);
            return;
        }
        self.skip_candidates(tally);
        if self.habit != IdHabit::Copies {
            if self.given_up.len() == MAX_UNANSWERED {
                self.given_up.remove(0);
            }
            self.given_up.push(GivenUp { request, id: self.expected, at: Instant::now() });
        }
        if self.habit != IdHabit::Ignores {
            if self.unanswered.len() == MAX_UNANSWERED {
                self.unanswered.remove(0);
            }
            self.unanswered.push(self.expected);
        }
    }

    /// Counts skipped frames, after it has shown that they were not the reply: the last reply again, or another master's.
    fn skip_candidates(&mut self, tally: &mut Tally) {
        let is_repeated = self.wrong == Some(self.expected.wrapping_sub(ID_STEP));
        self.is_shared |= self.candidates > 0 && !is_repeated;
        let irregularity = if is_repeated { Irregularity::LateReply } else { Irregularity::ForeignFrame };
        tally.add(irregularity, u64::from(self.candidates));
        if self.candidates > 0 {
            (self.candidates, self.wrong) = (0, None);
        }
    }

    /// Whether a late reply cannot be taken for the reply to a later request.
    pub(super) fn tells_late_replies(&self) -> bool {
        self.habit == IdHabit::Copies
    }

    /// The late replies that could be taken for the reply to this request.
    pub(super) fn late_replies(&mut self, request: &Expected) -> LateReplies {
        self.given_up.retain(|late| !late.is_over());
        let count =
            |is_alike: &dyn Fn(&Expected) -> bool| self.given_up.iter().filter(|late| is_alike(&late.request)).count();
        LateReplies {
            all: self.given_up.len(),
            values: count(&|late| late.has_alike_values(request)),
            exceptions: count(&|late| late.has_same_exceptions(request)),
        }
    }

    /// Whether a frame that is not the awaited reply is one to a request that was given up. Of several an exception may
    /// belong to each.
    fn came_late(&mut self, frame: &Frame<'_>) -> bool {
        let fits = |late: &&GivenUp| {
            late.request.unit == frame.unit
                && matches!(late.request.compare(frame.pdu), Content::Reply(bytes) if frame.has(HEADER + bytes))
        };
        let Some(index) = self.given_up.iter().position(|late| fits(&late)) else { return false };
        let is_exception = frame.function() & EXCEPTION_BIT != 0;
        if !is_exception || self.given_up.iter().filter(fits).count() == 1 {
            self.given_up.remove(index);
        }
        true
    }

    pub(super) fn scan(&mut self, bytes: &[u8], expected: &Expected, tally: &mut Tally) -> Scan {
        let (mut at, mut held, mut stray) = (0, None, 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= SHORTEST) {
            let verdict = if held.is_none() { self.judge(rest, expected) } else { self.find_exact(rest, expected) };
            match verdict {
                Verdict::Found(scan) => {
                    tally.add(Irregularity::StrayBytes, stray);
                    return self.accept(scan.moved_by(at), rest, tally);
                }
                Verdict::Other(frame_bytes, irregularity) => {
                    irregularity.into_iter().for_each(|irregularity| tally.add(irregularity, 1));
                    at += self.own_start(rest, frame_bytes);
                }
                Verdict::Stray => {
                    stray += u64::from(held.is_none());
                    at += 1;
                }
                Verdict::Incomplete => {
                    held = held.or(Some(at));
                    at += 1;
                }
            }
        }
        tally.add(Irregularity::StrayBytes, stray);
        Scan::Incomplete { skipped: held.unwrap_or(at).min(bytes.len()) }
    }

    /// The bytes of another frame up to its end, or to where the reply begins: stray bytes can look like a header.
    fn own_start(&self, rest: &[u8], frame_bytes: usize) -> usize {
        let [high, low] = self.expected.to_be_bytes();
        let own = [high, low, 0, 0];
        let begins = |tail: &[u8]| !tail.is_empty() && (tail.starts_with(&own) || own.starts_with(tail));
        let inner = (1..frame_bytes).find(|&start| rest.get(start..).is_some_and(begins));
        inner.unwrap_or(frame_bytes)
    }

    /// What begins at the first byte.
    fn judge(&mut self, rest: &[u8], expected: &Expected) -> Verdict {
        let Some(frame) = Frame::at(rest) else { return Verdict::Incomplete };
        let has_right_id = frame.id == self.expected;
        let content = expected.compare(frame.pdu);
        if let (true, Content::Reply(pdu_bytes)) = (frame.unit == expected.unit, content) {
            let has_right_header = frame.stated == 1 + pdu_bytes;
            if has_right_id && (frame.has_protocol || has_right_header) {
                return reply(&frame, pdu_bytes);
            }
            if !has_right_id && frame.has_protocol && (has_right_header || frame.is_plausible()) {
                return self.judge_other_id(&frame, pdu_bytes);
            }
        }
        if !frame.is_plausible() {
            return Verdict::Stray;
        }
        if has_right_id {
            return contradiction(&frame, expected, content);
        }
        if !frame.has(frame.whole()) {
            return Verdict::Incomplete;
        }
        let is_late = self.came_late(&frame) || self.habit == IdHabit::Ignores && self.is_known_wrong(frame.id);
        let irregularity = if is_late { Irregularity::LateReply } else { self.of_other_request(frame.id) };
        Verdict::Other(frame.whole(), Some(irregularity))
    }

    /// A frame whose content is that of the reply, with another id.
    fn judge_other_id(&mut self, frame: &Frame<'_>, pdu_bytes: usize) -> Verdict {
        if !frame.has(HEADER + pdu_bytes) {
            return Verdict::Incomplete;
        }
        if self.habit != IdHabit::Ignores && self.unanswered.contains(&frame.id) {
            return Verdict::Other(frame.whole(), Some(self.of_other_request(frame.id)));
        }
        // A device that did not copy ids may copy them now: then this is the late reply to that request.
        if let Some(index) = self.given_up.iter().position(|late| late.id == frame.id && !late.is_over()) {
            self.given_up.remove(index);
            return Verdict::Other(frame.whole(), Some(Irregularity::LateReply));
        }
        let may_be_late = self.known_wrong != Some(frame.id) || !self.unanswered.is_empty() || self.is_shared;
        let is_uncertain = match self.habit {
            IdHabit::Copies => may_be_late,
            IdHabit::Unknown => self.is_shared,
            IdHabit::Ignores => false,
        };
        if is_uncertain {
            self.candidates = self.candidates.saturating_add(1);
            self.wrong = Some(frame.id);
            return Verdict::Other(frame.whole(), None);
        }
        reply(frame, pdu_bytes)
    }

    /// What a frame with the id of another request is.
    fn of_other_request(&mut self, id: u16) -> Irregularity {
        if let Some(index) = self.unanswered.iter().position(|unanswered| *unanswered == id) {
            self.unanswered.remove(index);
            return Irregularity::LateReply;
        }
        self.is_shared = true;
        Irregularity::ForeignFrame
    }

    /// Behind an incomplete frame, only what is right in every detail is the reply: the incomplete one may be none, or may
    /// state a wrong length.
    fn find_exact(&self, rest: &[u8], expected: &Expected) -> Verdict {
        let Some(frame) = Frame::at(rest) else { return Verdict::Stray };
        let has_id = frame.id == self.expected || self.habit == IdHabit::Ignores && Some(frame.id) == self.wrong;
        match expected.compare(frame.pdu) {
            Content::Reply(pdu_bytes)
                if has_id
                    && frame.has_protocol
                    && frame.unit == expected.unit
                    && frame.has(HEADER + pdu_bytes)
                    && (frame.stated == 1 + pdu_bytes || frame.function() & EXCEPTION_BIT != 0) =>
            {
                reply(&frame, pdu_bytes)
            }
            _ => Verdict::Stray,
        }
    }

    /// Learns from a found reply.
    fn accept(&mut self, scan: Scan, frame: &[u8], tally: &mut Tally) -> Scan {
        let Some(Frame { id, stated, unit, .. }) = Frame::at(frame) else { return scan };
        let Scan::Reply { start, end, .. } = scan else {
            tally.add(Irregularity::Contradiction, 1);
            return scan;
        };
        if stated != end - start - UNCOUNTED {
            tally.add(Irregularity::WrongLength, 1);
        }
        if tally.unit.is_some_and(|expected| expected != unit) {
            tally.add(Irregularity::OtherUnit, 1);
        }
        self.accepted_wrong = id != self.expected;
        if self.accepted_wrong {
            self.may_be_foreign = self.habit == IdHabit::Unknown || !self.is_known_wrong(id);
            if self.habit != IdHabit::Copies {
                (self.habit, self.wrong, self.right_in_a_row) = (IdHabit::Ignores, Some(id), 0);
            }
            self.known_wrong = Some(id);
            tally.add(Irregularity::WrongId, 1);
            return scan;
        }
        self.skip_candidates(tally);
        self.right_in_a_row = self.right_in_a_row.saturating_add(1);
        if self.habit == IdHabit::Unknown || self.right_in_a_row >= RIGHT_IDS {
            self.habit = IdHabit::Copies;
            self.wrong = None;
            self.given_up.clear();
        }
        scan
    }

    /// Whether a wrong id is the constant one of earlier replies, or a next one of the device's own.
    fn is_known_wrong(&self, id: u16) -> bool {
        self.known_wrong.is_some_and(|known| id.wrapping_sub(known) <= MAX_OWN_STEP)
    }

    /// Judges bytes that arrived while no reply was awaited.
    pub(super) fn discard(&mut self, bytes: &[u8], tally: &mut Tally) {
        let (mut rest, mut stray) = (bytes, 0);
        while let Some((_, behind)) = rest.split_first() {
            let frame = Frame::at(rest).filter(|frame| frame.is_plausible() && frame.has(frame.whole()));
            let Some(frame) = frame else {
                stray += 1;
                rest = behind;
                continue;
            };
            tally.add(self.unsolicited(&frame), 1);
            rest = rest.get(frame.whole()..).unwrap_or_default();
        }
        tally.add(Irregularity::StrayBytes, stray);
    }

    fn unsolicited(&mut self, frame: &Frame<'_>) -> Irregularity {
        let id = frame.id;
        if id == self.expected && self.accepted_wrong {
            // The reply that was accepted by its content was another master's: this is the right one.
            (self.habit, self.accepted_wrong) = (IdHabit::Copies, false);
            (self.wrong, self.known_wrong) = (None, None);
            (self.is_shared, self.is_ambiguous) = (true, true);
            return Irregularity::Contradiction;
        }
        let is_own = self.habit == IdHabit::Ignores && (self.wrong == Some(id) || self.is_known_wrong(id));
        if self.came_late(frame) || id == self.expected || is_own {
            return Irregularity::LateReply;
        }
        self.of_other_request(id)
    }
}

fn reply(frame: &Frame<'_>, pdu_bytes: usize) -> Verdict {
    if !frame.has(HEADER + pdu_bytes) {
        return Verdict::Incomplete;
    }
    // What the stated length counts beyond the content is padding.
    let padded = (UNCOUNTED + frame.stated).clamp(HEADER + pdu_bytes, UNCOUNTED + MAX_LENGTH);
    Verdict::Found(Scan::Reply { start: 0, end: HEADER + pdu_bytes, padded })
}

/// A frame with the right id that is not the reply. Devices on Modbus/TCP may answer 0 and 255 with their own unit.
fn contradiction(frame: &Frame<'_>, expected: &Expected, content: Content) -> Verdict {
    let contradiction = match content {
        Content::Incomplete => return Verdict::Incomplete,
        Content::Reply(pdu_bytes) if matches!(expected.unit, 0 | 255) => return reply(frame, pdu_bytes),
        Content::Reply(_) => Contradiction::Unit { expected: expected.unit, received: frame.unit },
        Content::Other(contradiction) => contradiction,
    };
    if !frame.has(frame.whole()) {
        return Verdict::Incomplete;
    }
    Verdict::Found(Scan::Contradiction { contradiction, end: frame.whole() })
}
