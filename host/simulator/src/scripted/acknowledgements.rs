//! When acknowledgements are sent, and in which order.

use super::script::Acknowledgements;
use crate::packet::{PacketKind, Version, acknowledgement, reason};

/// A packet id that no client of the tests reaches.
const UNKNOWN_PACKET_ID: u16 = 0xfffe;

/// Acknowledgements that are held back.
#[derive(Default)]
pub(super) struct Held {
    queue: Vec<(PacketKind, u16)>,
    /// That of the first message, held back until enough others have arrived.
    first: Option<(PacketKind, u16)>,
    messages: usize,
}

/// Acknowledgements to send now.
#[derive(Default)]
pub(super) struct Due {
    pub(super) bytes: Vec<u8>,
    /// The packet ids that they answer, each with the type of its acknowledgement.
    pub(super) answered: Vec<(PacketKind, u16)>,
}

impl Held {
    /// Adds the acknowledgement of a message; returns what is to be sent now.
    pub(super) fn add(&mut self, kind: PacketKind, packet_id: u16, how: Acknowledgements, version: Version) -> Due {
        let mut due = Due::default();
        match how {
            Acknowledgements::Never => {}
            Acknowledgements::Immediate => due.add(kind, packet_id, reason::SUCCESS),
            Acknowledgements::WithReason(reason) => {
                let has_reason = version == Version::V5 && kind != PacketKind::Pubcomp;
                due.add(kind, packet_id, if has_reason { reason } else { reason::SUCCESS });
            }
            Acknowledgements::Qos2WithReason(reason) => {
                let has_reason = version == Version::V5 && kind == PacketKind::Pubrec;
                due.add(kind, packet_id, if has_reason { reason } else { reason::SUCCESS });
            }
            Acknowledgements::FirstAfter(_) if kind == PacketKind::Pubcomp => {
                due.add(kind, packet_id, reason::SUCCESS);
            }
            Acknowledgements::FirstAfter(others) => {
                self.messages += 1;
                if self.messages == 1 {
                    self.first = Some((kind, packet_id));
                    return due;
                }
                if let Some((kind, packet_id)) = self.first.take_if(|_| self.messages > others) {
                    due.add(kind, packet_id, reason::SUCCESS);
                }
                due.add(kind, packet_id, reason::SUCCESS);
            }
            Acknowledgements::Twice => {
                due.add(kind, packet_id, reason::SUCCESS);
                due.bytes.extend(acknowledgement(kind, packet_id, reason::SUCCESS));
            }
            Acknowledgements::WithUnknownIds => {
                due.bytes.extend(acknowledgement(kind, UNKNOWN_PACKET_ID, reason::SUCCESS));
                due.add(kind, packet_id, reason::SUCCESS);
            }
            Acknowledgements::Held(count, _) => {
                self.queue.push((kind, packet_id));
                if self.queue.len() >= count {
                    return self.release(how);
                }
            }
        }
        due
    }

    /// The queue, in the order that the script has now.
    pub(super) fn release(&mut self, how: Acknowledgements) -> Due {
        let mut held = std::mem::take(&mut self.queue);
        if let Acknowledgements::Held(_, order) = how {
            order.apply(&mut held);
        }
        let mut due = Due::default();
        for (kind, packet_id) in held {
            due.add(kind, packet_id, reason::SUCCESS);
        }
        due
    }

    /// Whether acknowledgements wait that a pause between messages releases.
    pub(super) fn has_queue(&self) -> bool {
        !self.queue.is_empty()
    }
}

impl Due {
    fn add(&mut self, kind: PacketKind, packet_id: u16, reason: u8) {
        self.bytes.extend(acknowledgement(kind, packet_id, reason));
        // A PUBREC that refuses the message completes its exchange (§4.3.3).
        let is_final = kind == PacketKind::Pubrec && reason >= reason::FAILURES;
        self.answered.push((if is_final { PacketKind::Pubcomp } else { kind }, packet_id));
    }
}
