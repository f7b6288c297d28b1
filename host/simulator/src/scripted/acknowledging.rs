//! When acknowledgements go out, and in which order.

use crate::packet::{Kind, Version, acknowledgement};
use crate::scripted::Acknowledging;

/// A packet id that no client here ever gets to.
const STRANGER: u16 = 0xfffe;

/// Acknowledgements that wait.
#[derive(Default)]
pub(super) struct Held(Vec<(Kind, u16)>);

/// Packets to send, and the publishes that are done with them.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    pub(super) answered: Vec<(Kind, u16)>,
}

impl Held {
    /// One is due.
    pub(super) fn due(&mut self, kind: Kind, packet_id: u16, how: Acknowledging, version: Version) -> Outgoing {
        let mut outgoing = Outgoing::default();
        match how {
            Acknowledging::Never => {}
            Acknowledging::InOrder => outgoing.add(kind, packet_id, 0),
            Acknowledging::WithReason(reason) => {
                let reason = if version == Version::V5 && kind != Kind::Pubcomp { reason } else { 0 };
                outgoing.add(kind, packet_id, reason);
            }
            Acknowledging::Twice => {
                outgoing.add(kind, packet_id, 0);
                outgoing.bytes.extend(acknowledgement(kind, packet_id, 0));
            }
            Acknowledging::WithStrangers => {
                outgoing.bytes.extend(acknowledgement(kind, STRANGER, 0));
                outgoing.add(kind, packet_id, 0);
            }
            Acknowledging::Held(count, _) => {
                self.0.push((kind, packet_id));
                if self.0.len() >= count {
                    return self.release(how);
                }
            }
        }
        outgoing
    }

    /// All that wait, in the order that is wanted now.
    pub(super) fn release(&mut self, how: Acknowledging) -> Outgoing {
        let mut waiting = std::mem::take(&mut self.0);
        if let Acknowledging::Held(_, order) = how {
            order.apply(&mut waiting);
        }
        let mut outgoing = Outgoing::default();
        for (kind, packet_id) in waiting {
            outgoing.add(kind, packet_id, 0);
        }
        outgoing
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Outgoing {
    fn add(&mut self, kind: Kind, packet_id: u16, reason: u8) {
        self.bytes.extend(acknowledgement(kind, packet_id, reason));
        // A refused PUBREC ends the exchange (MQTT 5.0 §4.3.3).
        let kind = if kind == Kind::Pubrec && reason >= 0x80 { Kind::Pubcomp } else { kind };
        self.answered.push((kind, packet_id));
    }
}
