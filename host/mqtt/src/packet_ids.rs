//! Matches packet ids to messages.
//!
//! rumqttc assigns packet ids in a circle without checking whether an unfinished QoS 2 message still uses one, so a message
//! is handed over only when the id that it will get is free.

use std::collections::VecDeque;

use bessai_domain::refusal::Refusal;

use crate::client::ClientEvent;

/// Packet ids beyond the window, at most: a late acknowledgement blocks nothing until this many other messages were sent.
/// Each takes 230 bytes in rumqttc.
const SPARE_IDS: u16 = 24;

/// How many packet ids rumqttc may use with this window.
pub(crate) fn id_count(window: u16) -> u16 {
    window.saturating_add(window.min(SPARE_IDS))
}

/// A message that is complete: its number, and the broker's reason if it refused the message.
pub(crate) type Acknowledgement = (u64, Option<Refusal>);

/// The messages that were handed to rumqttc and are not complete.
pub(crate) struct PacketIds {
    /// Message numbers by packet id; index 0 is never used.
    in_use: Vec<Option<u64>>,
    /// Messages that are not written yet, with the packet id that each will get: 0 for QoS 0.
    queued: VecDeque<(u16, u64)>,
    next: u16,
    in_flight: usize,
    // Complete, but counted by rumqttc as in flight.
    still_counted: usize,
    window: u16,
}

impl PacketIds {
    pub(crate) fn new(window: u16) -> Self {
        let in_use = vec![None; usize::from(id_count(window)) + 1];
        Self { in_use, queued: VecDeque::new(), next: 1, in_flight: 0, still_counted: 0, window }
    }

    /// Whether a message can be handed over; one with QoS 0 takes no packet id.
    pub(crate) fn has_room(&self, takes_id: bool) -> bool {
        // The window, and one for a status message beside it.
        let is_queue_full = self.queued.len() > usize::from(self.window) + 1;
        !is_queue_full && (!takes_id || self.next_is_free() && !self.is_exhausted())
    }

    fn next_is_free(&self) -> bool {
        self.in_use.get(usize::from(self.next)).is_some_and(Option::is_none)
    }

    /// Whether rumqttc counts so many completed messages that it would stop sending.
    fn is_exhausted(&self) -> bool {
        self.still_counted > 0 && self.still_counted >= usize::from(id_count(self.window) - self.window)
    }

    /// Records that a message was handed over.
    pub(crate) fn assign(&mut self, number: u64, takes_id: bool) {
        if !takes_id {
            self.queued.push_back((0, number));
            return;
        }
        let id = self.next;
        self.next = if id >= id_count(self.window) { 1 } else { id + 1 };
        if let Some(slot) = self.in_use.get_mut(usize::from(id)) {
            *slot = Some(number);
        }
        self.in_flight += 1;
        self.queued.push_back((id, number));
    }

    /// What an event means for a message. The error: rumqttc assigns ids in another order than this does.
    pub(crate) fn note(&mut self, event: ClientEvent) -> Result<Option<Acknowledgement>, String> {
        match event {
            ClientEvent::Arrived(..)
            | ClientEvent::Subscribed(..)
            | ClientEvent::DisconnectSent
            | ClientEvent::Other => Ok(None),
            ClientEvent::Sent(id) => match self.queued.pop_front() {
                Some((0, number)) if id == 0 => Ok(Some((number, None))),
                Some((expected, _)) if expected == id => Ok(None),
                _ => Err(format!("internal error: packet id {id} was sent out of order")),
            },
            ClientEvent::Completed(id, refusal) => Ok(self.complete(id, refusal)),
            ClientEvent::CompletedStillCounted(id, refusal) => {
                self.still_counted += 1;
                Ok(self.complete(id, refusal))
            }
        }
    }

    fn complete(&mut self, id: u16, refusal: Option<Refusal>) -> Option<Acknowledgement> {
        let number = self.in_use.get_mut(usize::from(id))?.take()?;
        self.in_flight -= 1;
        Some((number, refusal))
    }

    /// Whether rumqttc's count is wrong and can be reset now, which requires that nothing is in flight. Assumes that the
    /// caller resets it.
    pub(crate) fn take_reset(&mut self) -> bool {
        let is_due = self.still_counted > 0 && self.in_flight == 0;
        if is_due {
            self.still_counted = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use bessai_domain::refusal::Objection;

    use super::*;

    #[test]
    fn acknowledgements_find_their_messages_in_any_order() {
        let mut ids = PacketIds::new(3);
        for (number, takes_id) in [(0, true), (1, false), (2, true)] {
            assert!(ids.has_room(takes_id));
            ids.assign(number, takes_id);
        }
        assert_eq!(ids.note(ClientEvent::Sent(1)), Ok(None));
        assert_eq!(ids.note(ClientEvent::Sent(0)), Ok(Some((1, None))));
        assert_eq!(ids.note(ClientEvent::Sent(2)), Ok(None));
        assert_eq!(
            ids.note(ClientEvent::Completed(2, Some(Refusal::temporary("quota")))),
            Ok(Some((2, Some(Refusal::temporary("quota")))))
        );
        assert_eq!(ids.note(ClientEvent::Completed(2, None)), Ok(None));
        assert_eq!(ids.note(ClientEvent::Completed(7, None)), Ok(None));
        assert_eq!(ids.note(ClientEvent::Completed(1, None)), Ok(Some((0, None))));
        assert!(ids.note(ClientEvent::Sent(1)).is_err());
    }

    #[test]
    fn no_packet_id_is_used_twice_at_once() {
        let mut ids = PacketIds::new(2);
        ids.assign(0, true);
        ids.note(ClientEvent::Sent(1)).unwrap();
        for id in 2..=4 {
            assert!(ids.has_room(true));
            ids.assign(u64::from(id), true);
            ids.note(ClientEvent::Sent(id)).unwrap();
            assert_eq!(ids.note(ClientEvent::Completed(id, None)), Ok(Some((u64::from(id), None))));
        }
        // The circle is complete, and the first message still uses its id.
        assert!(!ids.has_room(true) && ids.has_room(false));
        ids.note(ClientEvent::Completed(1, None)).unwrap();
        assert!(ids.has_room(true));
    }

    #[test]
    fn the_count_is_reset_while_nothing_is_in_flight() {
        let mut ids = PacketIds::new(2);
        ids.assign(0, true);
        ids.assign(1, true);
        ids.note(ClientEvent::Sent(1)).unwrap();
        ids.note(ClientEvent::Sent(2)).unwrap();
        ids.note(ClientEvent::CompletedStillCounted(1, Some(Refusal::of(Objection::Topic, "not authorized")))).unwrap();
        assert!(ids.has_room(true) && !ids.take_reset());
        ids.note(ClientEvent::CompletedStillCounted(2, None)).unwrap();
        assert!(!ids.has_room(true));
        assert!(ids.take_reset() && ids.has_room(true) && !ids.take_reset());
    }
}
