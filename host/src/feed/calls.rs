//! Calls of the plugin whose messages are not all acknowledged, oldest first.

use std::collections::VecDeque;

use bessai_domain::event::Sequence;
use bessai_domain::message::Message;
use bessai_domain::state::{Changes, State};
use bessai_domain::time::Timestamp;

/// What one or more calls of the plugin gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Given {
    /// The last event that was processed.
    pub(super) through: Sequence,
    /// When that event happened.
    pub(super) at: Timestamp,
    pub(super) messages: Vec<Message>,
    /// What the plugin keeps after that event.
    pub(super) state: State,
    /// Of a fresh instance that was told of the session before it got these events.
    pub(super) greeting: Option<Greeting>,
}

/// What a plugin gave at a session's begin or end: it belongs to no event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) messages: Vec<Message>,
    /// On disk before the messages go out.
    pub(super) changes: Changes,
}

/// One call: where it ends in the journal, and what is left to deliver of it.
struct Call {
    through: Sequence,
    at: Timestamp,
    state: State,
    messages: Vec<Option<Message>>,
    left: usize,
}

/// Where a message is: its call, counted over the whole run, and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    call: u64,
    pub(super) message: usize,
}

/// The calls under way.
#[derive(Default)]
pub(super) struct Calls {
    calls: VecDeque<Call>,
    first: u64,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// A new call; the places of its messages in order.
    pub(super) fn push(&mut self, given: Given) -> impl Iterator<Item = Place> + use<> {
        let call = self.first + u64::try_from(self.calls.len()).unwrap_or(u64::MAX);
        let Given { through, at, messages, state, greeting: _ } = given;
        let left = messages.len();
        self.calls.push_back(Call { through, at, state, messages: messages.into_iter().map(Some).collect(), left });
        (0..left).map(move |message| Place { call, message })
    }

    /// The message at a place, while it is not acknowledged.
    pub(super) fn message(&self, place: Place) -> Option<&Message> {
        let index = usize::try_from(place.call.checked_sub(self.first)?).ok()?;
        self.calls.get(index)?.messages.get(place.message)?.as_ref()
    }

    /// The last event of a place's call.
    pub(super) fn through(&self, place: Place) -> Option<Sequence> {
        let index = usize::try_from(place.call.checked_sub(self.first)?).ok()?;
        self.calls.get(index).map(|call| call.through)
    }

    /// What the plugin set between two calls stays, whichever call is settled next.
    pub(super) fn overlay(&mut self, changes: &Changes) {
        for call in &mut self.calls {
            call.state.overlay(changes);
        }
    }

    /// A message needs no more care.
    pub(super) fn done(&mut self, place: Place) {
        let index = place.call.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(call) = index.and_then(|index| self.calls.get_mut(index)) else { return };
        if call.messages.get_mut(place.message).and_then(Option::take).is_some() {
            call.left -= 1;
        }
    }

    /// Drops the finished calls at the front; where the feed is now and what its plugin kept there, if that changed.
    pub(super) fn settle(&mut self) -> Option<(Sequence, Timestamp, State)> {
        let mut passed = None;
        while self.calls.front().is_some_and(|call| call.left == 0) {
            passed = self.calls.pop_front().map(|call| (call.through, call.at, call.state));
            self.first += 1;
        }
        passed
    }

    /// Every message that is not acknowledged, in order, for a new session.
    pub(super) fn unacknowledged(&self) -> VecDeque<Place> {
        let calls = (self.first..).zip(&self.calls);
        let open = calls.flat_map(|(call, entry)| {
            let left = entry.messages.iter().enumerate().filter(|(_, message)| message.is_some());
            left.map(move |(message, _)| Place { call, message })
        });
        open.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::message::Qos;

    fn given(through: u64, count: usize) -> Given {
        let mut state = State::default();
        state.set("through".into(), vec![u8::try_from(through).unwrap()]).unwrap();
        Given { through: Sequence(through), at: Timestamp::default(), messages: messages(count), state, greeting: None }
    }

    fn messages(count: usize) -> Vec<Message> {
        let message = |i| Message {
            topic: format!("t/{i}"),
            payload: Vec::new(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: None,
        };
        (0..count).map(message).collect()
    }

    #[test]
    fn the_place_moves_when_all_earlier_calls_are_done() {
        let mut calls = Calls::default();
        let first: Vec<_> = calls.push(given(3, 2)).collect();
        let second: Vec<_> = calls.push(given(5, 1)).collect();
        calls.push(given(6, 0)).for_each(drop);
        calls.done(second[0]);
        calls.done(first[1]);
        assert_eq!(calls.settle(), None);
        assert_eq!(calls.unacknowledged(), [first[0]]);
        calls.done(first[0]);
        calls.done(first[0]);
        let (through, _, state) = calls.settle().unwrap();
        assert_eq!((through, state.get("through")), (Sequence(6), Some(&[6][..])));
        assert_eq!(calls.len(), 0);
        assert_eq!(calls.message(first[0]), None);
        let third: Vec<_> = calls.push(given(9, 1)).collect();
        assert_eq!(calls.message(third[0]).unwrap().topic, "t/0");
    }

    #[test]
    fn what_was_set_between_calls_stays_when_an_older_one_is_settled() {
        let mut calls = Calls::default();
        let first: Vec<_> = calls.push(given(3, 1)).collect();
        calls.push(given(5, 1)).for_each(drop);
        assert_eq!(calls.through(first[0]), Some(Sequence(3)));
        let mut newest = State::default();
        newest.set("sign-ins".into(), vec![7]).unwrap();
        calls.overlay(&newest.changes_since(&State::default()));
        calls.done(first[0]);
        let (through, _, state) = calls.settle().unwrap();
        assert_eq!(
            (through, state.get("sign-ins"), state.get("through")),
            (Sequence(3), Some(&[7][..]), Some(&[3][..]))
        );
        assert_eq!(calls.through(first[0]), None);
    }
}
