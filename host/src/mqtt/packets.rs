//! Which packet id is which message. The library numbers packets in a circle and checks no id that an unfinished message
//! of quality of service 2 still has, so nothing is handed to it whose id would not be free.

use std::collections::VecDeque;

use super::line::Step;

/// Packet ids above the window, at most: a late acknowledgement holds up nothing until so many others came before it. Each
/// takes 230 bytes in the library.
const SPARE: u16 = 24;

/// Packets that were handed to the library and are not done.
pub(super) struct Packets {
    /// The message's number by packet id; the first place is never used.
    waiting: Vec<Option<u64>>,
    /// Handed over and not written yet: the packet id that each will get, 0 for none.
    handed: VecDeque<(u16, u64)>,
    next: u16,
    under_way: usize,
    // Done, but counted by the library as under way.
    stuck: usize,
    window: u16,
}

/// A message that is done: its number, and what the broker held against it.
pub(super) type Done = (u64, Option<String>);

impl Packets {
    pub(super) fn new(window: u16) -> Self {
        let places = usize::from(Self::ids(window)) + 1;
        Self { waiting: vec![None; places], handed: VecDeque::new(), next: 1, under_way: 0, stuck: 0, window }
    }

    /// How many packet ids the library is to use.
    pub(super) fn ids(window: u16) -> u16 {
        window.saturating_add(window.min(SPARE))
    }

    /// Whether a message can be handed over; one of quality of service 0 takes no packet id.
    pub(super) fn has_room(&self, takes_id: bool) -> bool {
        // A place beside the window for what is published on top of it, as the status is.
        let is_queued = self.handed.len() > usize::from(self.window) + 1;
        !is_queued && (!takes_id || self.next_is_free() && !self.is_stuck())
    }

    fn next_is_free(&self) -> bool {
        self.waiting.get(usize::from(self.next)).is_some_and(Option::is_none)
    }

    /// So many are stuck that the library would soon stop sending.
    fn is_stuck(&self) -> bool {
        self.stuck > 0 && self.stuck >= usize::from(Self::ids(self.window) - self.window)
    }

    /// A message was handed over.
    pub(super) fn hand_over(&mut self, number: u64, takes_id: bool) {
        if !takes_id {
            self.handed.push_back((0, number));
            return;
        }
        let packet = self.next;
        self.next = if packet >= Self::ids(self.window) { 1 } else { packet + 1 };
        if let Some(place) = self.waiting.get_mut(usize::from(packet)) {
            *place = Some(number);
        }
        self.under_way += 1;
        self.handed.push_back((packet, number));
    }

    /// What a step on the line means for a message. The error: the library counts in another way than this does.
    pub(super) fn note(&mut self, step: Step) -> Result<Option<Done>, String> {
        match step {
            Step::Goodbye | Step::Other => Ok(None),
            Step::Sent(packet) => match self.handed.pop_front() {
                Some((0, number)) if packet == 0 => Ok(Some((number, None))),
                Some((expected, _)) if expected == packet => Ok(None),
                _ => Err(format!("packet id {packet} came out of turn; this is a mistake of the gateway's")),
            },
            Step::Done(packet, complaint) => Ok(self.done(packet, complaint)),
            Step::Stuck(packet, complaint) => {
                self.stuck += 1;
                Ok(self.done(packet, complaint))
            }
        }
    }

    fn done(&mut self, packet: u16, complaint: Option<String>) -> Option<Done> {
        let number = self.waiting.get_mut(usize::from(packet))?.take()?;
        self.under_way -= 1;
        Some((number, complaint))
    }

    /// Whether the library is to start counting anew, which it may while nothing is under way.
    pub(super) fn take_recount(&mut self) -> bool {
        let is_due = self.stuck > 0 && self.under_way == 0;
        if is_due {
            self.stuck = 0;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_find_their_messages_in_any_order() {
        let mut packets = Packets::new(3);
        for (number, takes_id) in [(0, true), (1, false), (2, true)] {
            assert!(packets.has_room(takes_id));
            packets.hand_over(number, takes_id);
        }
        assert_eq!(packets.note(Step::Sent(1)), Ok(None));
        assert_eq!(packets.note(Step::Sent(0)), Ok(Some((1, None))));
        assert_eq!(packets.note(Step::Sent(2)), Ok(None));
        assert_eq!(packets.note(Step::Done(2, Some("quota".into()))), Ok(Some((2, Some("quota".into())))));
        assert_eq!(packets.note(Step::Done(2, None)), Ok(None));
        assert_eq!(packets.note(Step::Done(7, None)), Ok(None));
        assert_eq!(packets.note(Step::Done(1, None)), Ok(Some((0, None))));
        assert!(packets.note(Step::Sent(1)).is_err());
    }

    #[test]
    fn no_packet_id_is_used_twice() {
        let mut packets = Packets::new(2);
        packets.hand_over(0, true);
        packets.note(Step::Sent(1)).unwrap();
        for packet in 2..=4 {
            assert!(packets.has_room(true));
            packets.hand_over(u64::from(packet), true);
            packets.note(Step::Sent(packet)).unwrap();
            assert_eq!(packets.note(Step::Done(packet, None)), Ok(Some((u64::from(packet), None))));
        }
        // The circle is round, and the first message still has its id.
        assert!(!packets.has_room(true) && packets.has_room(false));
        packets.note(Step::Done(1, None)).unwrap();
        assert!(packets.has_room(true));
    }

    #[test]
    fn what_is_stuck_is_counted_anew_in_a_pause() {
        let mut packets = Packets::new(2);
        packets.hand_over(0, true);
        packets.hand_over(1, true);
        packets.note(Step::Sent(1)).unwrap();
        packets.note(Step::Sent(2)).unwrap();
        packets.note(Step::Stuck(1, Some("not authorized".into()))).unwrap();
        assert!(packets.has_room(true) && !packets.take_recount());
        packets.note(Step::Stuck(2, None)).unwrap();
        assert!(!packets.has_room(true));
        assert!(packets.take_recount() && packets.has_room(true) && !packets.take_recount());
    }
}
