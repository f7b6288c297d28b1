//! RTU frames: finds the reply by unit, function, length and CRC, among echoes, noise and the frames of other masters.

use super::expected::{Content, Expected};
use super::{Scan, Tally};
use crate::irregularity::Irregularity;

/// The bytes of a CRC.
const CRC_BYTES: usize = 2;
/// The CRC of a frame (Modbus over Serial Line V1.02, 2.5.1.2).
const CRC: crc::Crc<u16> = crc::Crc::<u16>::new(&crc::CRC_16_MODBUS);
/// The highest unit id of a serial bus; 0 is the broadcast.
const MAX_UNIT: u8 = 247;
/// The bytes of a request of functions 1 to 6, and of a confirmed write.
const FIXED_FRAME: usize = 8;
/// The bytes of an exception.
const EXCEPTION_FRAME: usize = 5;
/// Replies in a row without an echo after which none is expected any more.
const REPLIES_WITHOUT_ECHO: u8 = 3;
/// Replies in a row without a frame of another master after which there is none any more.
const REPLIES_ALONE: u8 = 100;
/// Given-up requests to remember, so that their late replies are counted as such.
const MAX_GIVEN_UP: usize = 4;

/// Whether the bus returns what is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Echo {
    /// No reply has come yet.
    #[default]
    Unknown,
    /// It does not.
    No,
    /// It does.
    Yes,
    /// It does, by the settings.
    Configured,
}

/// What is known about a line.
#[derive(Debug)]
pub(super) struct SerialLine {
    pub(super) echo: Echo,
    /// The echo of the outstanding request has come.
    has_echoed: bool,
    replies_without_echo: u8,
    replies_alone: u8,
    /// Requests of other masters whose replies look like the awaited one and come first.
    rival_requests: u8,
    /// The last frame that arrived unsolicited was this request of another master.
    foreign_request: Option<Expected>,
    given_up: Vec<Expected>,
    /// Those of them whose late replies have come.
    pub(super) came_late: Vec<Expected>,
    /// The last accepted reply.
    accepted: Vec<u8>,
    last: Option<Expected>,
    /// Units and functions of replies to another master whose requests are not seen.
    rivals: Vec<(u8, u8)>,
    /// A second, different reply to the last request has come.
    pub(super) is_ambiguous: bool,
    /// Frames of other masters arrive.
    pub(super) is_shared: bool,
}

/// A frame that is recognised by its CRC.
struct Frame<'a> {
    bytes: &'a [u8],
    is_request: bool,
}

impl SerialLine {
    pub(super) fn new(echo: Echo, is_shared: bool) -> Self {
        Self {
            echo,
            has_echoed: false,
            replies_without_echo: 0,
            replies_alone: 0,
            rival_requests: 0,
            foreign_request: None,
            given_up: Vec::new(),
            came_late: Vec::new(),
            accepted: Vec::new(),
            last: None,
            rivals: Vec::new(),
            is_ambiguous: false,
            is_shared,
        }
    }

    /// Whether another master asks the same unit with the same function, and its requests are not seen.
    pub(super) fn has_rival(&self) -> bool {
        self.last.is_some_and(|last| self.rivals.contains(&(last.unit, last.function)))
    }

    pub(super) fn begin(&mut self, expected: &Expected) {
        let rival = self.foreign_request.take().is_some_and(|request| request.has_equal_replies(expected));
        self.rival_requests = u8::from(rival);
        (self.has_echoed, self.is_ambiguous, self.last) = (false, false, Some(*expected));
    }

    pub(super) fn give_up(&mut self, expected: Expected) {
        if self.given_up.len() == MAX_GIVEN_UP {
            self.given_up.remove(0);
        }
        // What came late before says nothing about the reply to this one.
        self.came_late.retain(|late| *late != expected);
        self.given_up.push(expected);
    }

    pub(super) fn scan(&mut self, bytes: &[u8], request: &[u8], expected: &Expected, tally: &mut Tally) -> Scan {
        let (mut at, mut held, mut stray) = (0, None, 0);
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            if held.is_none() && self.is_echo(rest, request, expected) {
                (self.has_echoed, self.replies_without_echo) = (true, 0);
                if self.echo != Echo::Configured {
                    self.echo = Echo::Yes;
                    tally.add(Irregularity::LocalEcho, 1);
                }
                at += request.len();
                continue;
            }
            match own(rest, expected) {
                Some(own) if own.len() > rest.len() || own.is_incomplete => held = held.or(Some(at)),
                Some(own) if has_right_crc(rest.get(..own.len()).unwrap_or_default()) => {
                    if self.rival_requests == 0 {
                        tally.add(Irregularity::StrayBytes, stray);
                        return self.accept(at, at + own.len(), bytes);
                    }
                    self.rival_requests -= 1;
                    tally.add(Irregularity::ForeignFrame, 1);
                    at += own.len();
                    continue;
                }
                _ => {}
            }
            if held.is_none() {
                if let Some(frame) = frame(rest) {
                    if self.take_late(&frame) {
                        tally.add(Irregularity::LateReply, 1);
                    } else {
                        self.note_foreign(&frame, Some(expected));
                        tally.add(Irregularity::ForeignFrame, 1);
                    }
                    at += frame.bytes.len();
                    continue;
                }
                if may_become_frame(rest) || request.starts_with(rest) {
                    held = Some(at);
                } else {
                    stray += 1;
                }
            }
            at += 1;
        }
        tally.add(Irregularity::StrayBytes, stray);
        Scan::Incomplete { skipped: held.unwrap_or(at).min(bytes.len()) }
    }

    /// Whether the request comes back here. The confirmation of some writes equals the write: where the bus may echo, the
    /// first copy is the echo. Another master may send the same request.
    fn is_echo(&self, rest: &[u8], request: &[u8], expected: &Expected) -> bool {
        let is_excluded = self.echo == Echo::No && (self.is_shared || expected.is_confirmed_by_itself());
        !self.has_echoed && !is_excluded && rest.starts_with(request)
    }

    fn accept(&mut self, start: usize, end: usize, bytes: &[u8]) -> Scan {
        self.accepted.clear();
        self.accepted.extend_from_slice(bytes.get(start..end).unwrap_or_default());
        self.replies_alone = self.replies_alone.saturating_add(1);
        if self.replies_alone >= REPLIES_ALONE {
            self.is_shared = false;
            self.rivals.clear();
        }
        if !self.has_echoed {
            self.replies_without_echo = self.replies_without_echo.saturating_add(1);
            let is_disproved = self.echo == Echo::Yes && self.replies_without_echo >= REPLIES_WITHOUT_ECHO;
            if self.echo == Echo::Unknown || is_disproved {
                self.echo = Echo::No;
            }
        }
        Scan::Reply { start, end, padded: end }
    }

    /// Records a frame of another master or the reply to it. Returns whether it is the reply to a request that was seen.
    fn note_foreign(&mut self, frame: &Frame<'_>, expected: Option<&Expected>) -> bool {
        (self.is_shared, self.replies_alone) = (true, 0);
        let content = Expected::of(frame.bytes);
        let asked = std::mem::replace(&mut self.foreign_request, content.filter(|_| frame.is_request));
        let is_answer = !frame.is_request && asked.is_some_and(|request| is_reply(frame.bytes, &request));
        if let (Some(expected), Some(content)) = (expected, content) {
            let rival = (content.unit, content.function);
            let is_unannounced = !frame.is_request && !is_answer;
            if is_unannounced && rival == (expected.unit, expected.function) && !self.rivals.contains(&rival) {
                self.rivals.push(rival);
            }
            self.rival_requests += u8::from(frame.is_request && content.has_equal_replies(expected));
        }
        is_answer
    }

    /// Judges bytes that arrived while no reply was awaited.
    pub(super) fn discard(&mut self, bytes: &[u8], tally: &mut Tally) {
        let (mut rest, mut stray) = (bytes, 0);
        while let Some((_, behind)) = rest.split_first() {
            let Some(frame) = frame(rest) else {
                stray += 1;
                rest = behind;
                continue;
            };
            tally.add(self.unsolicited(&frame), 1);
            rest = rest.get(frame.bytes.len()..).unwrap_or_default();
        }
        tally.add(Irregularity::StrayBytes, stray);
    }

    /// Whether a frame is the late reply to a request that was given up.
    fn take_late(&mut self, frame: &Frame<'_>) -> bool {
        let fits = |request: &Expected| is_reply(frame.bytes, request);
        let Some(index) = self.given_up.iter().position(fits) else { return false };
        // Of several requests an exception may belong to each.
        let is_exception = frame.bytes.len() == EXCEPTION_FRAME;
        if is_exception && self.given_up.iter().filter(|request| fits(request)).count() > 1 {
            return true;
        }
        if self.came_late.len() == MAX_GIVEN_UP {
            self.came_late.remove(0);
        }
        self.came_late.push(self.given_up.remove(index));
        true
    }

    fn unsolicited(&mut self, frame: &Frame<'_>) -> Irregularity {
        let is_reply_to = |request: &Expected| is_reply(frame.bytes, request);
        if frame.bytes == self.accepted {
            return Irregularity::LateReply;
        }
        if self.take_late(frame) {
            return Irregularity::LateReply;
        }
        let last = self.last;
        // A reply whose request was seen behind the own reply is the other master's.
        let answers_foreign = self.note_foreign(frame, last.as_ref());
        self.is_ambiguous |= !answers_foreign && last.as_ref().is_some_and(is_reply_to);
        Irregularity::ForeignFrame
    }
}

/// A frame that begins like the reply.
struct Own {
    bytes: usize,
    is_incomplete: bool,
}

impl Own {
    fn len(&self) -> usize {
        self.bytes
    }
}

/// The reply, if these bytes begin like it.
fn own(rest: &[u8], expected: &Expected) -> Option<Own> {
    let (unit, pdu) = rest.split_first()?;
    if *unit != expected.unit {
        return None;
    }
    match expected.compare(pdu) {
        Content::Incomplete => Some(Own { bytes: 0, is_incomplete: true }),
        Content::Reply(pdu_bytes) => Some(Own { bytes: 1 + pdu_bytes + CRC_BYTES, is_incomplete: false }),
        Content::Other(_) => None,
    }
}

fn is_reply(frame: &[u8], request: &Expected) -> bool {
    own(frame, request).is_some_and(|own| !own.is_incomplete && own.len() == frame.len())
}

/// The lengths that a frame with this beginning can have; the first is that of a reply, the second that of a request.
fn lengths(rest: &[u8]) -> [Option<usize>; 2] {
    let (Some(0..=MAX_UNIT), Some(function)) = (rest.first(), rest.get(1)) else { return [None, None] };
    let counted = |index: usize, more: usize| rest.get(index).map_or(FIXED_FRAME, |count| more + usize::from(*count));
    match function {
        1..=4 => [Some(counted(2, 5)), Some(FIXED_FRAME)],
        5 | 6 => [None, Some(FIXED_FRAME)],
        15 | 16 => [Some(FIXED_FRAME), Some(counted(6, 9))],
        0x81..=0xab => [Some(EXCEPTION_FRAME), None],
        _ => [None, None],
    }
}

/// The frame that begins here.
fn frame(rest: &[u8]) -> Option<Frame<'_>> {
    let [reply, request] = lengths(rest);
    let whole = |bytes: Option<usize>| rest.get(..bytes?).filter(|frame| has_right_crc(frame));
    let of = |bytes, is_request| Some(Frame { bytes: whole(bytes)?, is_request });
    of(request, true).or_else(|| of(reply, false))
}

/// Whether further bytes can make this a frame.
fn may_become_frame(rest: &[u8]) -> bool {
    rest.len() < 2 || lengths(rest).into_iter().flatten().any(|bytes| bytes > rest.len())
}

fn has_right_crc(frame: &[u8]) -> bool {
    let Some((covered, crc)) = frame.split_last_chunk::<CRC_BYTES>() else { return false };
    !covered.is_empty() && CRC.checksum(covered) == u16::from_le_bytes(*crc)
}
