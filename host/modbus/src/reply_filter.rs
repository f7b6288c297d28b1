//! Finds the reply to a request among the bytes that arrive, and repairs what devices get wrong in its header.
//!
//! With one request outstanding, unit, function and length identify its reply, and on Modbus/TCP its transaction id.
//! tokio-modbus is handed one whole and right frame, so it never waits for bytes that do not come, nor fails at others.
//! A reply that comes alone, which is the rule, is copied once and its fields are compared once.

use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::expected::Contradiction;
use self::expected::Expected;
pub(crate) use self::rtu::Echo;
use self::rtu::SerialLine;
pub(crate) use self::tcp::IdHabit;
use self::tcp::{HEADER, TransactionIds, UNCOUNTED};
use crate::irregularity::{FramingCounts, Irregularity, Notes};

mod expected;
mod rtu;
mod tcp;
#[cfg(test)]
mod tests;

/// Received bytes to keep at most: several of the longest frames.
const MAX_RECEIVED: usize = 1024;

/// A reply that has not come this long after its request was given up counts as lost; slow radio links take a few seconds.
pub(crate) const LATEST_REPLY: Duration = Duration::from_secs(10);

/// How many late replies can still come, and could be taken for the reply to a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LateReplies {
    /// All of the connection.
    pub(crate) all: usize,
    /// Those whose values have the length of the requested ones.
    pub(crate) values: usize,
    /// Those that may be an exception to the requested function.
    pub(crate) exceptions: usize,
}

/// What was learnt about a bus, for its next connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Habits {
    pub(crate) ids: IdHabit,
    /// The next transaction id; ids continue, so that a constant one does not match the first of each connection.
    pub(crate) next_id: Option<u16>,
    /// The last wrong id of an accepted reply.
    pub(crate) wrong_id: Option<u16>,
    pub(crate) echo: Echo,
    /// Frames of other masters arrive.
    pub(crate) is_shared: bool,
}

/// Finds the replies on one connection.
#[derive(Debug)]
pub(crate) struct ReplyFilter {
    framing: Framing,
    /// The request being sent, as it is on the wire.
    outgoing: Vec<u8>,
    sent: usize,
    /// The transaction id that tokio-modbus gave the request.
    client_id: [u8; 2],
    expected: Option<Expected>,
    received: Vec<u8>,
    /// The found reply and how much of it was handed over.
    reply: Vec<u8>,
    taken: usize,
    contradiction: Option<Contradiction>,
    tally: Tally,
}

#[derive(Debug)]
enum Framing {
    Tcp(TransactionIds),
    Rtu(SerialLine),
}

/// Counts irregularities and notes which there were.
#[derive(Debug)]
struct Tally {
    counts: Arc<FramingCounts>,
    notes: Notes,
    /// What arrived instead of the outstanding reply.
    instead: Notes,
    /// The unit that the outstanding request is sent to.
    unit: Option<u8>,
}

/// What the received bytes hold.
enum Scan {
    /// More bytes are needed; so many at the beginning belong to no reply.
    Incomplete { skipped: usize },
    /// The reply, and where its padding ends.
    Reply { start: usize, end: usize, padded: usize },
    /// A frame for this request that cannot be its reply.
    Contradiction { contradiction: Contradiction, end: usize },
}

impl Scan {
    fn moved_by(self, offset: usize) -> Self {
        match self {
            Self::Incomplete { skipped } => Self::Incomplete { skipped: skipped + offset },
            Self::Reply { start, end, padded } => {
                Self::Reply { start: start + offset, end: end + offset, padded: padded + offset }
            }
            Self::Contradiction { contradiction, end } => Self::Contradiction { contradiction, end: end + offset },
        }
    }
}

impl Tally {
    fn add(&mut self, irregularity: Irregularity, count: u64) {
        if count > 0 {
            self.counts.add(irregularity, count);
            self.notes.add(irregularity);
            self.instead.add(irregularity);
        }
    }
}

impl ReplyFilter {
    pub(crate) fn new(is_rtu: bool, habits: Habits, counts: Arc<FramingCounts>) -> Self {
        let framing = if is_rtu {
            Framing::Rtu(SerialLine::new(habits.echo, habits.is_shared))
        } else {
            Framing::Tcp(TransactionIds::new(habits.ids, habits.next_id, habits.wrong_id))
        };
        Self {
            framing,
            outgoing: Vec::new(),
            sent: 0,
            client_id: [0, 0],
            expected: None,
            received: Vec::new(),
            reply: Vec::new(),
            taken: 0,
            contradiction: None,
            tally: Tally { counts, notes: Notes::default(), instead: Notes::default(), unit: None },
        }
    }

    /// What has been learnt so far.
    pub(crate) fn habits(&self) -> Habits {
        match &self.framing {
            Framing::Tcp(ids) => {
                Habits { ids: ids.habit, next_id: Some(ids.next), wrong_id: ids.known_wrong, ..Habits::default() }
            }
            Framing::Rtu(line) => Habits { echo: line.echo, is_shared: line.is_shared, ..Habits::default() },
        }
    }

    /// What is left to send of a request of tokio-modbus.
    pub(crate) fn outgoing(&mut self, request: &[u8]) -> &[u8] {
        if self.sent == self.outgoing.len() {
            self.begin(request);
        }
        self.outgoing.get(self.sent..).unwrap_or_default()
    }

    /// Records that so many bytes of it were sent.
    pub(crate) fn sent(&mut self, count: usize) {
        self.sent = (self.sent + count).min(self.outgoing.len());
    }

    fn begin(&mut self, request: &[u8]) {
        self.clear();
        self.outgoing.clear();
        self.outgoing.extend_from_slice(request);
        self.sent = 0;
        self.tally.instead = Notes::default();
        let body = if let Framing::Tcp(_) = self.framing { UNCOUNTED } else { 0 };
        self.expected = Expected::of(request.get(body..).unwrap_or_default());
        self.tally.unit = self.expected.map(|expected| expected.unit);
        match (&mut self.framing, self.outgoing.as_mut_slice(), &self.expected) {
            (Framing::Tcp(ids), [first, second, ..], _) => {
                self.client_id = [*first, *second];
                [*first, *second] = ids.begin().to_be_bytes();
            }
            (Framing::Rtu(line), _, Some(expected)) => line.begin(expected),
            _ => {}
        }
    }

    /// Forgets what has arrived for the last request.
    pub(crate) fn clear(&mut self) {
        let received = std::mem::take(&mut self.received);
        self.discard(&received);
        self.received = received;
        self.received.clear();
        self.expected = None;
        self.reply.clear();
        self.taken = 0;
        self.contradiction = None;
    }

    /// Gives the outstanding request up, after its time is over.
    pub(crate) fn give_up(&mut self) {
        let Some(expected) = self.expected else { return };
        match &mut self.framing {
            Framing::Tcp(ids) => ids.give_up(expected, &mut self.tally),
            Framing::Rtu(line) => line.give_up(expected),
        }
        self.clear();
    }

    /// The late replies that could be taken for the reply to a request with this unit and PDU, where ids do not tell them.
    pub(crate) fn late_replies(&mut self, request: &[u8]) -> LateReplies {
        match (&mut self.framing, Expected::of(request)) {
            (Framing::Tcp(ids), Some(expected)) => ids.late_replies(&expected),
            _ => LateReplies::default(),
        }
    }

    /// Whether the late reply to a request with this unit and PDU has come since the last call; RTU frames only.
    pub(crate) fn take_late_reply(&mut self, request: &[u8]) -> bool {
        let (Framing::Rtu(line), Some(expected)) = (&mut self.framing, Expected::of(request)) else { return false };
        let Some(index) = line.came_late.iter().position(|late| *late == expected) else { return false };
        line.came_late.remove(index);
        true
    }

    /// Whether a reply is awaited, or not yet taken to its end.
    pub(crate) fn is_waiting(&self) -> bool {
        self.expected.is_some() || self.taken < self.reply.len()
    }

    /// Whether the last request was sent as a whole, so that the next one begins where the device expects it.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.outgoing.len()
    }

    /// Whether a late reply is distinguished from the reply to a later request.
    pub(crate) fn tells_late_replies(&self) -> bool {
        matches!(&self.framing, Framing::Tcp(ids) if ids.tells_late_replies())
    }

    /// Whether frames of other masters arrive.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(&self.framing, Framing::Rtu(line) if line.is_shared)
    }

    /// Whether the last reply may be another master's, so that a second one has to be waited for.
    pub(crate) fn may_be_foreign(&self) -> bool {
        match &self.framing {
            Framing::Tcp(ids) => ids.may_be_foreign,
            Framing::Rtu(line) => line.has_rival(),
        }
    }

    /// Whether a second, different reply to the last request has come.
    pub(crate) fn is_ambiguous(&self) -> bool {
        match &self.framing {
            Framing::Tcp(ids) => ids.is_ambiguous,
            Framing::Rtu(line) => line.is_ambiguous,
        }
    }

    /// What was noticed since the last call.
    pub(crate) fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.tally.notes)
    }

    /// What arrived since the last request, other than its reply.
    pub(crate) fn instead(&self) -> Notes {
        self.tally.instead
    }

    /// Why the frame that came for the request is not its reply.
    pub(crate) fn take_contradiction(&mut self) -> Option<Contradiction> {
        self.contradiction.take()
    }

    /// Takes bytes that have arrived.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        let Some(expected) = self.expected else {
            self.discard(bytes);
            return;
        };
        self.received.extend_from_slice(bytes);
        let scan = match &mut self.framing {
            Framing::Tcp(ids) => ids.scan(&self.received, &expected, &mut self.tally),
            Framing::Rtu(line) => line.scan(&self.received, &self.outgoing, &expected, &mut self.tally),
        };
        let used = match scan {
            Scan::Incomplete { skipped } => {
                let excess = self.received.len().saturating_sub(MAX_RECEIVED);
                self.received.drain(..skipped.max(excess).min(self.received.len()));
                return;
            }
            Scan::Reply { start, end, padded } => {
                self.hand_over(start, end, expected.unit);
                padded
            }
            Scan::Contradiction { contradiction, end } => {
                self.contradiction = Some(contradiction);
                end
            }
        };
        self.expected = None;
        // With one request outstanding, whatever follows belongs to no reply.
        if used < self.received.len() {
            let rest = self.received.split_off(used);
            self.discard(&rest);
        }
        self.received.clear();
    }

    /// Makes the reply of these received bytes, with the header that tokio-modbus expects.
    fn hand_over(&mut self, start: usize, end: usize, unit: u8) {
        let frame = self.received.get(start..end).unwrap_or_default();
        self.reply.clear();
        self.taken = 0;
        if let (Framing::Tcp(_), Some(pdu)) = (&self.framing, frame.get(HEADER..)) {
            let [first, second] = self.client_id;
            let length = u16::try_from(1 + pdu.len()).unwrap_or(u16::MAX).to_be_bytes();
            self.reply.extend_from_slice(&[first, second, 0, 0, length[0], length[1], unit]);
            self.reply.extend_from_slice(pdu);
        } else {
            self.reply.extend_from_slice(frame);
        }
    }

    /// Judges bytes that arrived while no reply was awaited.
    pub(crate) fn discard(&mut self, bytes: &[u8]) {
        match &mut self.framing {
            Framing::Tcp(ids) => ids.discard(bytes, &mut self.tally),
            Framing::Rtu(line) => line.discard(bytes, &mut self.tally),
        }
    }

    /// What is left of the found reply, at most that many bytes.
    pub(crate) fn take(&mut self, most: usize) -> &[u8] {
        let from = self.taken;
        self.taken = self.reply.len().min(from + most);
        self.reply.get(from..self.taken).unwrap_or_default()
    }
}
