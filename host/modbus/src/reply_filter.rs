//! Finds the reply to a Modbus/TCP request among the bytes that arrive, and repairs what devices get wrong in its header.
//!
//! With one request outstanding, unit, function and length identify its reply. A reply with the id of an earlier request is a
//! late one and skipped. tokio-modbus is handed one whole frame with a right header, so it never waits for bytes that do not
//! come.

use std::collections::BTreeSet;

/// The header of a Modbus/TCP frame: transaction id, protocol id, length, unit.
const HEADER: usize = 7;
/// The shortest frame: an exception.
const EXCEPTION: usize = HEADER + 2;
/// A confirmed write: function, address and value or count.
const CONFIRMATION: usize = HEADER + 5;
/// The largest length that a header may state (unit and PDU).
const MAX_LENGTH: usize = 254;
/// The bit of a function code that marks an exception.
const EXCEPTION_BIT: u8 = 0x80;
/// The first id of a connection: devices that do not copy ids send small ones.
const FIRST_ID: u16 = 0x4b1d;

/// What a device does against the standard, although its replies can be used.
pub(crate) const WRONG_LENGTH: &str =
    "states a wrong length in the header of its replies; using the length of their content";
/// Likewise.
pub(crate) const CONSTANT_ID: &str =
    "does not copy the transaction id of a request; identifying its replies by unit, function and length";
/// Likewise.
pub(crate) const STRAY_BYTES: &str = "sends bytes that belong to no reply; skipping them";

/// The outstanding request.
#[derive(Clone, Copy, Debug)]
struct Expected {
    /// The id on the wire.
    id: u16,
    /// The id that tokio-modbus gave it.
    client_id: [u8; 2],
    unit: u8,
    function: u8,
    /// Bytes of the reply, from its header on.
    length: usize,
}

#[derive(Debug)]
pub(crate) struct ReplyFilter {
    next_id: u16,
    /// The request being sent, with its id on the wire.
    outgoing: Vec<u8>,
    sent: usize,
    expected: Option<Expected>,
    received: Vec<u8>,
    /// The found reply and how much of it was handed over.
    reply: Vec<u8>,
    taken: usize,
    /// A reply had the id of its request.
    copies_ids: bool,
    /// The id of all replies.
    constant_id: Option<u16>,
    /// Bytes were skipped since the request was sent.
    has_skipped: bool,
    notes: BTreeSet<&'static str>,
}

/// What the next received bytes are.
enum Found {
    /// More bytes are needed.
    Incomplete,
    /// So many bytes are no reply to the request.
    Stray(usize),
    /// The reply's bytes, to be handed over.
    Reply,
}

impl ReplyFilter {
    pub(crate) fn new() -> Self {
        Self {
            next_id: FIRST_ID,
            outgoing: Vec::new(),
            sent: 0,
            expected: None,
            received: Vec::new(),
            reply: Vec::new(),
            taken: 0,
            copies_ids: false,
            constant_id: None,
            has_skipped: false,
            notes: BTreeSet::new(),
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
        self.outgoing.clear();
        self.outgoing.extend_from_slice(request);
        self.sent = 0;
        self.clear();
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        if let [first, second, _, _, _, _, unit, function, _, _, high, low, ..] = self.outgoing.as_mut_slice() {
            let client_id = [*first, *second];
            let length = reply_length(*function, u16::from_be_bytes([*high, *low]));
            self.expected = Some(Expected { id, client_id, unit: *unit, function: *function, length });
            [*first, *second] = id.to_be_bytes();
        }
    }

    /// Forgets the request and what has arrived.
    pub(crate) fn clear(&mut self) {
        self.expected = None;
        self.received.clear();
        self.reply.clear();
        self.taken = 0;
        self.has_skipped = false;
    }

    /// Whether a reply is awaited, or not yet taken to its end.
    pub(crate) fn is_waiting(&self) -> bool {
        self.expected.is_some() || self.taken < self.reply.len()
    }

    /// Whether the stream can be used after a request without a reply: nothing of a frame has arrived, and a late reply can
    /// be told by its id.
    pub(crate) fn survives_timeout(&self) -> bool {
        self.copies_ids && self.received.is_empty() && !self.has_skipped && self.sent == self.outgoing.len()
    }

    /// Whether replies have had the ids of their requests.
    pub(crate) fn copies_ids(&self) -> bool {
        self.copies_ids
    }

    /// The device copied ids on an earlier connection.
    pub(crate) fn trust_ids(&mut self) {
        self.copies_ids = true;
    }

    /// What was noticed since the last call.
    pub(crate) fn take_notes(&mut self) -> BTreeSet<&'static str> {
        std::mem::take(&mut self.notes)
    }

    /// Takes bytes that have arrived.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
        while let Some(expected) = self.expected {
            match self.find(expected) {
                Found::Incomplete => return,
                Found::Stray(count) => {
                    self.received.drain(..count.clamp(1, self.received.len()));
                    self.has_skipped = true;
                }
                // With one request outstanding, whatever follows belongs to no reply.
                Found::Reply => {
                    self.received.clear();
                    self.expected = None;
                }
            }
        }
    }

    /// What is left of the found reply, at most that many bytes.
    pub(crate) fn take(&mut self, most: usize) -> &[u8] {
        let from = self.taken;
        self.taken = self.reply.len().min(from + most);
        self.reply.get(from..self.taken).unwrap_or_default()
    }

    fn find(&mut self, expected: Expected) -> Found {
        let [id_high, id_low, protocol_high, protocol_low, high, low, unit, function, third, ..] =
            *self.received.as_slice()
        else {
            return Found::Incomplete;
        };
        let stated = usize::from(u16::from_be_bytes([high, low]));
        if (protocol_high, protocol_low) != (0, 0) || !(2..=MAX_LENGTH).contains(&stated) {
            self.notes.insert(STRAY_BYTES);
            return Found::Stray(1);
        }
        let is_same_function = function & !EXCEPTION_BIT == expected.function;
        let is_exception = is_same_function && function != expected.function;
        let whole = HEADER - 1 + stated;
        let length = if is_exception { EXCEPTION } else { expected.length };
        let has_expected_content = unit == expected.unit
            && (is_exception
                || is_same_function && (expected.function > 4 || usize::from(third) + EXCEPTION == length));
        let id = u16::from_be_bytes([id_high, id_low]);
        if !self.accepts(id, expected.id, has_expected_content) {
            return if self.received.len() < whole { Found::Incomplete } else { Found::Stray(whole) };
        }
        // A reply with contradictory content is handed over as it is, to be refused with its reason.
        let used = if has_expected_content { length } else { whole };
        let Some(frame) = self.received.get(..used) else { return Found::Incomplete };
        self.reply.clear();
        self.reply.extend_from_slice(frame);
        if let [first, second, _, _, high, low, ..] = self.reply.as_mut_slice() {
            [*first, *second] = expected.client_id;
            let length = u16::try_from(used - (HEADER - 1)).unwrap_or(u16::MAX);
            [*high, *low] = length.to_be_bytes();
        }
        if whole != used {
            self.notes.insert(WRONG_LENGTH);
        }
        Found::Reply
    }

    /// Whether a frame with this id can be the reply.
    fn accepts(&mut self, id: u16, expected: u16, has_expected_content: bool) -> bool {
        if id == expected {
            self.copies_ids = true;
            return true;
        }
        let is_of_earlier_request = (FIRST_ID..expected).contains(&id);
        let is_constant = self.constant_id.is_none_or(|constant| constant == id);
        if self.copies_ids || is_of_earlier_request || !is_constant || !has_expected_content {
            return false;
        }
        self.constant_id = Some(id);
        self.notes.insert(CONSTANT_ID);
        true
    }
}

/// Bytes of the reply to a request of so many registers or bits.
fn reply_length(function: u8, count: u16) -> usize {
    match function {
        1 | 2 => EXCEPTION + usize::from(count).div_ceil(8),
        3 | 4 => EXCEPTION + usize::from(count) * 2,
        _ => CONFIRMATION,
    }
}
