//! Batches whose messages are not all acknowledged, oldest first.

use std::collections::VecDeque;

use bessai_domain::event::Sequence;
use bessai_domain::message::Message;
use bessai_domain::state::{PluginState, StateChanges};
use bessai_domain::time::Timestamp;

/// What the plugin made of consecutive events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The last of the events.
    pub(crate) through: Sequence,
    /// When that event happened.
    pub(crate) at: Timestamp,
    pub(crate) messages: Vec<Message>,
    /// The plugin's state after that event.
    pub(crate) state: PluginState,
    /// What a fresh instance returned from `connected`, before it got these events.
    pub(crate) session_messages: Option<SessionMessages>,
}

/// What a plugin returned at the start or end of a session; it belongs to no event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SessionMessages {
    pub(crate) messages: Vec<Message>,
    /// Saved before the messages are sent.
    pub(crate) changes: StateChanges,
}

/// Which of a feed's events a batch was made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Those at the feed's position.
    #[default]
    Live,
    /// Those that it left to a backlog.
    Backlog,
    /// Those of the quarantine that were requeued.
    Requeued,
}

/// Identifies a message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MessageId {
    pub(crate) lane: Lane,
    /// Counted in its lane over the whole run.
    batch: u64,
    /// Index in the batch.
    pub(crate) index: usize,
}

/// A batch and its messages that are not acknowledged.
struct OpenBatch {
    number: u64,
    through: Sequence,
    at: Timestamp,
    state: PluginState,
    messages: Vec<Option<Message>>,
    remaining: usize,
}

/// The batches that are not delivered, and those behind them that are complete.
#[derive(Default)]
pub(crate) struct OpenBatches {
    lane: Lane,
    /// By number. Of complete batches that follow each other only the last is kept.
    batches: VecDeque<OpenBatch>,
    next: u64,
}

/// The position after the delivered batches: the last event, when it happened, and the plugin's state after it.
pub(crate) type Delivered = (Sequence, Timestamp, PluginState);

impl OpenBatches {
    /// Batches with messages that are not complete.
    pub(crate) fn open(&self) -> usize {
        self.batches.iter().filter(|batch| batch.remaining > 0).count()
    }

    /// Adds a batch; returns the ids of its messages in order.
    pub(crate) fn push(&mut self, batch: Batch) -> impl Iterator<Item = MessageId> + use<> {
        let (lane, number) = (self.lane, self.next);
        self.next += 1;
        let Batch { through, at, messages, state, session_messages: _ } = batch;
        let remaining = messages.len();
        let messages = messages.into_iter().map(Some).collect();
        self.batches.push_back(OpenBatch { number, through, at, state, messages, remaining });
        if remaining == 0 {
            self.merge(self.batches.len() - 1);
        }
        (0..remaining).map(move |index| MessageId { lane, batch: number, index })
    }

    /// A message, while it is not complete.
    pub(crate) fn message(&self, id: MessageId) -> Option<&Message> {
        self.batches.get(self.index_of(id)?)?.messages.get(id.index)?.as_ref()
    }

    /// The last event of a message's batch.
    pub(crate) fn through(&self, id: MessageId) -> Option<Sequence> {
        self.batches.get(self.index_of(id)?).map(|batch| batch.through)
    }

    fn index_of(&self, id: MessageId) -> Option<usize> {
        // Nearly always it is one of the oldest.
        self.batches
            .iter()
            .take(4)
            .position(|batch| batch.number == id.batch)
            .or_else(|| self.batches.binary_search_by_key(&id.batch, |batch| batch.number).ok())
    }

    /// Adds what the plugin changed outside of a batch to the states of all batches.
    pub(crate) fn overlay(&mut self, changes: &StateChanges) {
        for batch in &mut self.batches {
            batch.state.apply(changes);
        }
    }

    /// A message is acknowledged, or is not sent any more.
    pub(crate) fn complete(&mut self, id: MessageId) {
        let Some(index) = self.index_of(id) else { return };
        let Some(batch) = self.batches.get_mut(index) else { return };
        if batch.messages.get_mut(id.index).and_then(Option::take).is_some() {
            batch.remaining -= 1;
            if batch.remaining == 0 {
                self.merge(index);
            }
        }
    }

    /// Drops what a complete batch has beside its position, and the complete batches next to it that come to nothing more.
    fn merge(&mut self, index: usize) {
        let is_complete = |index: usize| self.batches.get(index).is_some_and(|batch| batch.remaining == 0);
        if is_complete(index + 1) {
            self.batches.remove(index);
        } else if let Some(batch) = self.batches.get_mut(index) {
            batch.messages = Vec::new();
        }
        let before = index.checked_sub(1);
        if let Some(before) =
            before.filter(|before| self.batches.get(*before).is_some_and(|batch| batch.remaining == 0))
        {
            self.batches.remove(before);
        }
    }

    /// Removes the delivered batches at the front; returns the position after them if there were any.
    pub(crate) fn take_delivered(&mut self) -> Option<Delivered> {
        let mut delivered = None;
        while self.batches.front().is_some_and(|batch| batch.remaining == 0) {
            delivered = self.batches.pop_front().map(|batch| (batch.through, batch.at, batch.state));
        }
        delivered
    }

    /// Every message that is not acknowledged, in order, for a new session.
    pub(crate) fn unacknowledged(&self) -> VecDeque<MessageId> {
        let lane = self.lane;
        let ids = self.batches.iter().flat_map(|batch| {
            let remaining = batch.messages.iter().enumerate().filter(|(_, message)| message.is_some());
            remaining.map(move |(index, _)| MessageId { lane, batch: batch.number, index })
        });
        ids.collect()
    }

    /// Forgets all batches; their events are processed again.
    pub(crate) fn clear(&mut self) {
        self.batches.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// The batches of all lanes.
pub(crate) struct Lanes {
    pub(crate) live: OpenBatches,
    pub(crate) backlog: OpenBatches,
    pub(crate) requeued: OpenBatches,
}

impl Default for Lanes {
    fn default() -> Self {
        let of = |lane| OpenBatches { lane, ..OpenBatches::default() };
        Self { live: of(Lane::Live), backlog: of(Lane::Backlog), requeued: of(Lane::Requeued) }
    }
}

impl Lanes {
    /// A message, while it is not complete.
    pub(crate) fn message(&self, id: MessageId) -> Option<&Message> {
        self.of(id.lane).message(id)
    }

    /// The last event of a message's batch.
    pub(crate) fn through(&self, id: MessageId) -> Option<Sequence> {
        self.of(id.lane).through(id)
    }

    /// A message is acknowledged, or is not sent any more.
    pub(crate) fn complete(&mut self, id: MessageId) {
        match id.lane {
            Lane::Live => self.live.complete(id),
            Lane::Backlog => self.backlog.complete(id),
            Lane::Requeued => self.requeued.complete(id),
        }
    }

    fn of(&self, lane: Lane) -> &OpenBatches {
        match lane {
            Lane::Live => &self.live,
            Lane::Backlog => &self.backlog,
            Lane::Requeued => &self.requeued,
        }
    }
}

#[cfg(test)]
mod tests {
    use bessai_domain::message::Qos;

    use super::*;

    fn batch(through: u64, count: usize) -> Batch {
        let mut state = PluginState::default();
        state.set("through".into(), vec![u8::try_from(through).unwrap()]).unwrap();
        let (at, messages) = (Timestamp::default(), messages(count));
        Batch { through: Sequence(through), at, messages, state, session_messages: None }
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
    fn a_batch_is_delivered_when_all_earlier_ones_are() {
        let mut batches = OpenBatches::default();
        let first: Vec<_> = batches.push(batch(3, 2)).collect();
        let second: Vec<_> = batches.push(batch(5, 1)).collect();
        batches.push(batch(6, 0)).for_each(drop);
        batches.complete(second[0]);
        batches.complete(first[1]);
        assert_eq!(batches.take_delivered(), None);
        assert_eq!(batches.unacknowledged(), [first[0]]);
        batches.complete(first[0]);
        batches.complete(first[0]);
        let (through, _, state) = batches.take_delivered().unwrap();
        assert_eq!((through, state.get("through")), (Sequence(6), Some(&[6][..])));
        assert_eq!(batches.open(), 0);
        assert_eq!(batches.message(first[0]), None);
        let third: Vec<_> = batches.push(batch(9, 1)).collect();
        assert_eq!(batches.message(third[0]).unwrap().topic, "t/0");
    }

    #[test]
    fn what_is_complete_behind_a_waiting_message_is_kept_as_one_position() {
        let mut batches = OpenBatches::default();
        let waiting = batches.push(batch(1, 1)).next().unwrap();
        let ids: Vec<_> = (2..100).flat_map(|through| batches.push(batch(through, 2)).collect::<Vec<_>>()).collect();
        let (even, odd): (Vec<_>, Vec<_>) = ids.iter().partition(|id| id.batch % 2 == 0);
        even.into_iter().chain(odd).for_each(|id| batches.complete(id));
        batches.push(batch(100, 0)).for_each(drop);
        assert_eq!(batches.batches.len(), 2);
        assert_eq!(batches.unacknowledged(), [waiting]);
        assert_eq!(batches.open(), 1);
        assert_eq!(batches.take_delivered(), None);
        let next = batches.push(batch(101, 1)).next().unwrap();
        batches.complete(waiting);
        assert_eq!(batches.take_delivered().map(|(through, ..)| through), Some(Sequence(100)));
        assert_eq!(batches.unacknowledged(), [next]);
    }

    #[test]
    fn changes_outside_of_a_batch_stay_when_an_older_batch_is_delivered() {
        let mut batches = OpenBatches::default();
        let first: Vec<_> = batches.push(batch(3, 1)).collect();
        batches.push(batch(5, 1)).for_each(drop);
        assert_eq!(batches.through(first[0]), Some(Sequence(3)));
        let mut newest = PluginState::default();
        newest.set("sign-ins".into(), vec![7]).unwrap();
        batches.overlay(&newest.changes_since(&PluginState::default()));
        batches.complete(first[0]);
        let (through, _, state) = batches.take_delivered().unwrap();
        assert_eq!(
            (through, state.get("sign-ins"), state.get("through")),
            (Sequence(3), Some(&[7][..]), Some(&[3][..]))
        );
        assert_eq!(batches.through(first[0]), None);
    }
}
