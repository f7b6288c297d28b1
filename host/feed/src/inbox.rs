//! Messages from the broker on their way to the plugin, and what it made of them on its way to the delivery.
//!
//! The delivery puts messages in as they arrive, the transformer takes them one by one, and the delivery takes the results.
//! A message leaves when the plugin has handled it or it is dropped, so nothing is lost while a call is cancelled.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use bessai_domain::command::{ArrivedMessage, InboundMessage, MAX_INBOUND_BYTES, Subscription};
use bessai_domain::message::Qos;
use bessai_domain::ports::Receipt;
use bessai_domain::proposal::{Proposal, WriteOutcome};
use bessai_domain::time::Timestamp;
use bessai_domain::topic;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::batches::SessionMessages;
use crate::rate::RateLimiter;

/// Messages that may wait for the plugin; more of them with QoS 0 are dropped, the others wait at the broker.
const MAX_WAITING: usize = 256;
/// Bytes of topics and payloads that may wait for the plugin.
const MAX_WAITING_BYTES: usize = 1 << 20;
/// Messages that a plugin gets in a second, on average: each call may take as long as the processing of a batch of events, and a
/// command costs the journal, which all feeds share, about a kilobyte.
const RECEIVED_PER_S: u32 = 50;
/// The same of messages that are historical: what follows from them is refused, so that they cost little, and newer ones wait.
const OLD_RECEIVED_PER_S: u32 = 100;
/// A plugin gets as many messages at once as come in this time at that rate: single commands, and one to each of many devices, do
/// not wait for their turn.
const RECEIVED_BURST: Duration = Duration::from_secs(2);
/// A message that has waited this long is historical, as an event is, if a newer one of its topic waits.
pub(crate) const HISTORICAL_AFTER: Duration = Duration::from_secs(10);
/// The same of the newest message of its topic: longer than the 256 messages before it take.
const NEWEST_HISTORICAL_AFTER: Duration = Duration::from_mins(1);
/// In a resumed session, messages are taken for the broker's backlog until none arrived for this long.
const BACKLOG_GAP: Duration = Duration::from_secs(2);
/// Time after which a message that finds none waiting is no backlog, although they never paused: a backlog arrives faster than
/// the plugin takes it, and a customer who repeats a command each second must be heard again.
const BACKLOG_LIMIT: Duration = Duration::from_mins(1);

/// A feed's messages from the broker.
#[derive(Default)]
pub(crate) struct Inbox {
    waiting: RefCell<VecDeque<Waiting>>,
    bytes: Cell<usize>,
    /// First outcomes of the plugin's proposals, of which none was known when the message was handled.
    outcomes: RefCell<VecDeque<(Proposal, WriteOutcome)>>,
    handled: RefCell<Option<Handled>>,
    changed: Notify,
    results: Notify,
    rate: RefCell<RateLimiter>,
    paused_until: Cell<Option<Instant>>,
    session: RefCell<InboundSession>,
}

/// A message that waits for the plugin.
struct Waiting {
    message: InboundMessage,
    receipt: Option<Receipt>,
    since: Instant,
    tries: Tries,
}

/// How often the plugin failed to handle a message.
#[derive(Clone, Copy, Default)]
pub(crate) struct Tries {
    /// It trapped, exceeded a limit or returned invalid data.
    pub(crate) broken: u32,
    /// It asked for the message again later.
    pub(crate) later: u32,
}

/// What is known of the session in which messages arrive.
#[derive(Default)]
struct InboundSession {
    filters: Vec<String>,
    /// While the broker may still send what it kept for a resumed session.
    backlog: Option<Backlog>,
}

#[derive(Clone, Copy)]
struct Backlog {
    /// When the session began.
    begun: Instant,
    /// When the last message arrived.
    last_arrival: Instant,
}

/// What the plugin made of a message, for the delivery.
pub(crate) struct Handled {
    /// What the broker gets acknowledged.
    pub(crate) receipt: Option<Receipt>,
    /// Messages, and changes of the state that are saved before the acknowledgement.
    pub(crate) messages: SessionMessages,
    /// The plugin wants to sign in again.
    pub(crate) signs_in_again: bool,
}

impl Inbox {
    /// A session begins in which messages of these subscriptions arrive; `resumed`: the broker kept an earlier one.
    pub(crate) fn begin_session(&self, subscriptions: &[Subscription], resumed: bool) {
        let filters = subscriptions.iter().map(|subscription| subscription.filter.clone()).collect();
        let now = Instant::now();
        let backlog = resumed.then_some(Backlog { begun: now, last_arrival: now });
        self.session.replace(InboundSession { filters, backlog });
    }

    /// The session is over: the broker sends again what it did not get acknowledged.
    pub(crate) fn end_session(&self) {
        self.handled.replace(None);
        self.session.take();
        let mut waiting = self.waiting.borrow_mut();
        waiting.retain(|waiting| waiting.receipt.is_none());
        self.bytes.set(waiting.iter().map(|waiting| size(&waiting.message)).sum());
    }

    /// Takes a message in, with its time and the greatest age that it may have already. The error: why it is dropped; it is to
    /// be acknowledged all the same.
    pub(crate) fn put(
        &self,
        message: ArrivedMessage,
        receipt: Option<Receipt>,
        at: Timestamp,
        age: Duration,
    ) -> Result<(), String> {
        let is_old = age > HISTORICAL_AFTER;
        let historical = message.retained || message.repeated || self.is_backlog() || is_old;
        let ArrivedMessage { topic, payload, qos, retained, properties, .. } = message;
        if !self.session.borrow().filters.iter().any(|filter| topic::matches(plain_filter(filter), &topic)) {
            return Err(format!("no subscription of the plugin matches its topic {}", shown(&topic)));
        }
        if payload.len() > MAX_INBOUND_BYTES {
            let bytes = payload.len();
            return Err(format!("its payload has {bytes} bytes, and a plugin receives at most {MAX_INBOUND_BYTES}"));
        }
        let message = InboundMessage { at, topic, payload, qos, retained, historical, properties };
        let (mut waiting, bytes) = (self.waiting.borrow_mut(), self.bytes.get() + size(&message));
        let is_full = waiting.len() >= MAX_WAITING || bytes > MAX_WAITING_BYTES;
        if is_full && message.qos == Qos::AtMostOnce {
            return Err(format!("{} messages wait for the plugin already", waiting.len()));
        }
        self.bytes.set(bytes);
        waiting.push_back(Waiting { message, receipt, since: Instant::now(), tries: Tries::default() });
        self.changed.notify_one();
        Ok(())
    }

    /// Whether a resumed session still delivers what the broker kept.
    fn is_backlog(&self) -> bool {
        let mut session = self.session.borrow_mut();
        let Some(Backlog { begun, last_arrival }) = session.backlog else { return false };
        let now = Instant::now();
        let is_over = self.waiting.borrow().is_empty()
            && (now.duration_since(last_arrival) >= BACKLOG_GAP || now.duration_since(begun) >= BACKLOG_LIMIT);
        session.backlog = (!is_over).then_some(Backlog { begun, last_arrival: now });
        !is_over
    }

    /// Waits until the plugin may get the next message. Cancelling the future loses nothing.
    pub(crate) async fn ready(&self) {
        loop {
            let changed = self.changed.notified();
            let has_outcome = !self.outcomes.borrow().is_empty();
            if self.handled.borrow().is_some() || (self.waiting.borrow().is_empty() && !has_outcome) {
                changed.await;
                continue;
            }
            if has_outcome {
                return;
            }
            let now = Instant::now();
            let pause = self.paused_until.get().filter(|until| *until > now);
            let next = match pause {
                Some(until) => Err(until),
                None => {
                    let is_old = is_historical(&self.waiting.borrow());
                    let rate = if is_old { OLD_RECEIVED_PER_S } else { RECEIVED_PER_S };
                    self.rate.borrow_mut().take_in_bursts(rate, RECEIVED_BURST, now)
                }
            };
            match next {
                Ok(()) => return,
                Err(next) => sleep_until(next).await,
            }
        }
    }

    /// The next message, and how often it failed; it stays.
    pub(crate) fn first(&self) -> Option<(InboundMessage, Tries)> {
        let waiting = self.waiting.borrow();
        let first = waiting.front()?;
        Some((InboundMessage { historical: is_historical(&waiting), ..first.message.clone() }, first.tries))
    }

    /// The plugin failed on the first message, which it gets again after this pause.
    pub(crate) fn again(&self, tries: Tries, pause: Duration) {
        if let Some(first) = self.waiting.borrow_mut().front_mut() {
            first.tries = tries;
        }
        self.paused_until.set(Some(Instant::now() + pause));
    }

    /// The first message is handled or dropped.
    pub(crate) fn finish(&self, messages: SessionMessages, signs_in_again: bool) {
        let Some(first) = self.waiting.borrow_mut().pop_front() else { return };
        self.bytes.set(self.bytes.get().saturating_sub(size(&first.message)));
        self.paused_until.set(None);
        self.handled.replace(Some(Handled { receipt: first.receipt, messages, signs_in_again }));
        self.results.notify_one();
    }

    /// A proposal of the plugin has its first outcome.
    pub(crate) fn put_outcome(&self, proposal: Proposal, outcome: WriteOutcome) {
        self.outcomes.borrow_mut().push_back((proposal, outcome));
        self.changed.notify_one();
    }

    /// The next outcome; it stays.
    pub(crate) fn first_outcome(&self) -> Option<(Proposal, WriteOutcome)> {
        self.outcomes.borrow().front().cloned()
    }

    /// The plugin knows the first outcome.
    pub(crate) fn finish_outcome(&self, messages: SessionMessages) {
        self.outcomes.borrow_mut().pop_front();
        self.handled.replace(Some(Handled { receipt: None, messages, signs_in_again: false }));
        self.results.notify_one();
    }

    /// Waits for what the plugin made of a message. Cancelling the future loses nothing.
    pub(crate) async fn handled(&self) -> Handled {
        loop {
            let result = self.results.notified();
            if let Some(handled) = self.take_handled() {
                return handled;
            }
            result.await;
        }
    }

    /// The same, if there is one.
    pub(crate) fn take_handled(&self) -> Option<Handled> {
        let handled = self.handled.borrow_mut().take();
        if handled.is_some() {
            self.changed.notify_one();
        }
        handled
    }
}

/// Whether the first message may be of another time. In a burst the newest of each topic counts, although those before it have
/// kept it waiting.
fn is_historical(waiting: &VecDeque<Waiting>) -> bool {
    let Some(first) = waiting.front() else { return false };
    let is_overtaken = waiting.iter().skip(1).any(|later| later.message.topic == first.message.topic);
    let limit = if is_overtaken { HISTORICAL_AFTER } else { NEWEST_HISTORICAL_AFTER };
    first.message.historical || first.since.elapsed() > limit
}

fn size(message: &InboundMessage) -> usize {
    message.topic.len() + message.payload.len()
}

/// A shared subscription, `$share/<group>/<filter>`, gets messages of its filter (5.0 §4.8.2).
pub(crate) fn plain_filter(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, filter)| filter)
}

/// Characters of a topic that an error shows.
const SHOWN_CHARACTERS: usize = 100;

fn shown(topic: &str) -> String {
    format!("{:?}", topic.chars().take(SHOWN_CHARACTERS).collect::<String>())
}

#[cfg(test)]
mod tests;
