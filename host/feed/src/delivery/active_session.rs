//! The session that goes on: what is queued, what is in flight, and the deadlines.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bessai_domain::command::Subscription;
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{Notice, Receipt, Session};
use bessai_domain::session::Protocol;
use tokio::time::Instant;

use super::renewal::Renewal;
use super::suspicion::{MessageKey, SOON};
use crate::batches::{Lane, Lanes, MessageId};

/// A session in which the broker acknowledges nothing for this long is abandoned.
pub(super) const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// Bytes that the properties of a packet take beside their values (5.0 §3.3.2.3).
const PROPERTIES_OVERHEAD: usize = 32;
/// Bytes that each user property takes beside name and value (5.0 §3.3.2.3).
const USER_PROPERTY_OVERHEAD: usize = 5;

pub(super) struct ActiveSession<S> {
    session: S,
    protocol: Protocol,
    /// Where `online` and `offline` are published.
    pub(super) status_topic: Option<String>,
    /// The last message without an acknowledgement: by topic, since it is complete once it is written.
    pub(super) last_unacknowledged: Option<(MessageKey, Instant)>,
    /// When the first message without an acknowledgement was sent.
    pub(super) first_unacknowledged: Option<Instant>,
    /// When the broker last refused a message.
    pub(super) refused: Option<Instant>,
    /// Not sent yet.
    pub(super) queue: VecDeque<UnsentMessage>,
    /// Messages of a backlog, which are sent when none of the queue wait.
    pub(super) backlog: VecDeque<UnsentMessage>,
    /// Messages that wait because of the broker, in order; those behind them go first.
    pub(super) aside: Vec<UnsentMessage>,
    /// Sent and not acknowledged, by number.
    pub(super) in_flight: VecDeque<InFlightMessage>,
    /// Nothing else is sent while this message is in flight.
    pub(super) is_alone: bool,
    /// A message that was sent later than the oldest one in flight is acknowledged.
    pub(super) is_overtaken: bool,
    next_number: u64,
    /// For the next acknowledgement.
    pub(super) deadline: Option<Instant>,
    /// A message that the broker does not accept, while it is being quarantined; those behind it wait.
    pub(super) storing: Option<StoringMessage>,
    /// When to look for messages to send again, though nothing has happened.
    pub(super) held_until: Option<Instant>,
    pub(super) renewal: Option<Renewal>,
    /// It is for provisioning only.
    pub(super) is_provisioning: bool,
    pub(super) started: Instant,
    /// The broker has acknowledged a message.
    pub(super) has_acknowledged: bool,
}

/// A message on its way to the quarantine.
pub(super) struct StoringMessage {
    pub(super) message: UnsentMessage,
    /// The broker's limit, if it is too large.
    pub(super) limit: Option<usize>,
    /// Why, for people.
    pub(super) reason: String,
    /// Ends with the location.
    pub(super) stored: Pin<Box<dyn Future<Output = String>>>,
}

/// What a feed waits for in a session.
pub(super) enum SessionEvent {
    Notice(Notice),
    /// A message is in the quarantine, at this location.
    Stored(StoringMessage, String),
}

/// Ends when the message is stored; never while there is none.
async fn stored(storing: &mut Option<StoringMessage>) -> SessionEvent {
    if let Some(current) = storing {
        let location = current.stored.as_mut().await;
        if let Some(stored) = storing.take() {
            return SessionEvent::Stored(stored, location);
        }
    }
    std::future::pending().await
}

/// A message to be sent.
pub(super) enum UnsentMessage {
    OfBatch(MessageId),
    /// Of the session itself: it is dropped when the session ends.
    OfSession(Box<Message>),
    /// `online`: where it is not accepted, the session goes without it.
    Status(Box<Message>),
}

impl UnsentMessage {
    /// Which of the feed's events it was made of; messages of the session are live.
    pub(super) fn lane(&self) -> Lane {
        match self {
            Self::OfBatch(id) => id.lane,
            Self::OfSession(_) | Self::Status(_) => Lane::Live,
        }
    }

    /// The message itself; none if it is complete.
    pub(super) fn message<'a>(&'a self, batches: &'a Lanes) -> Option<&'a Message> {
        match self {
            Self::OfBatch(id) => batches.message(*id),
            Self::OfSession(message) | Self::Status(message) => Some(message),
        }
    }

    /// Identifies it over sessions. A message that is never acknowledged is complete when it is written, so that what is
    /// known about it is known about its topic.
    pub(super) fn key(&self, message: &Message) -> MessageKey {
        match self {
            Self::OfBatch(id) if message.qos > Qos::AtMostOnce => MessageKey::OfBatch(*id),
            _ => MessageKey::OfTopic(message.topic.as_str().into()),
        }
    }
}

/// A message that was sent.
pub(super) struct InFlightMessage {
    pub(super) number: u64,
    pub(super) message: UnsentMessage,
    pub(super) sent: Instant,
    /// Bytes, as the broker counts them.
    pub(super) size: usize,
    /// It was sent without its retain flag, to see whether the broker objects to that.
    pub(super) is_unretained: bool,
}

impl<S> ActiveSession<S> {
    pub(super) fn new(session: S, protocol: Protocol, renewal: Option<Renewal>) -> Self {
        Self {
            session,
            protocol,
            status_topic: None,
            queue: VecDeque::new(),
            backlog: VecDeque::new(),
            aside: Vec::new(),
            is_alone: false,
            is_overtaken: false,
            last_unacknowledged: None,
            first_unacknowledged: None,
            refused: None,
            in_flight: VecDeque::new(),
            next_number: 0,
            deadline: None,
            storing: None,
            held_until: None,
            renewal,
            is_provisioning: false,
            started: Instant::now(),
            has_acknowledged: false,
        }
    }

    /// How long it has lasted.
    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether the broker has taken a message: it has acknowledged one, or the session has outlasted one that it does not
    /// acknowledge.
    pub(super) fn has_passed_others(&self, now: Instant) -> bool {
        let has_outlasted = |sent: Instant| now.duration_since(sent) >= SOON;
        self.has_acknowledged || self.first_unacknowledged.is_some_and(has_outlasted)
    }

    /// Looks for messages to send at this time at the latest.
    pub(super) fn hold_until(&mut self, at: Instant) {
        self.held_until = Some(self.held_until.map_or(at, |held| held.min(at)));
    }

    /// Restarts the deadline for the next acknowledgement.
    pub(super) fn restart_deadline(&mut self) {
        self.deadline = (!self.in_flight.is_empty()).then(|| Instant::now() + ACKNOWLEDGED_WITHIN);
    }

    /// Puts a message of a batch back in its order.
    pub(super) fn requeue(&mut self, message: UnsentMessage) {
        let UnsentMessage::OfBatch(id) = message else { return self.queue.push_front(message) };
        let is_behind = |other: &UnsentMessage| matches!(other, UnsentMessage::OfBatch(other) if *other > id);
        let queue = self.queue_of(id.lane);
        let index = queue.iter().position(is_behind).unwrap_or(queue.len());
        queue.insert(index, message);
    }

    /// Puts a message back that was to be sent next.
    pub(super) fn put_back(&mut self, message: UnsentMessage) {
        self.queue_of(message.lane()).push_front(message);
    }

    fn queue_of(&mut self, lane: Lane) -> &mut VecDeque<UnsentMessage> {
        match lane {
            Lane::Live | Lane::Requeued => &mut self.queue,
            Lane::Backlog => &mut self.backlog,
        }
    }

    /// Bytes of a message as the broker counts them, or a few more.
    pub(super) fn size(&self, message: &Message) -> usize {
        match &message.properties {
            Some(properties) if self.protocol == Protocol::V5 => {
                message.size() + PROPERTIES_OVERHEAD + USER_PROPERTY_OVERHEAD * properties.user.len()
            }
            _ => message.topic.len() + message.payload.len(),
        }
    }
}

impl<S: Session> ActiveSession<S> {
    pub(super) fn publish(&mut self, message: &Message) -> Result<(), String> {
        self.session.publish(message)
    }

    pub(super) fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), String> {
        self.session.subscribe(subscriptions)
    }

    pub(super) fn acknowledge(&mut self, receipt: Receipt) {
        self.session.acknowledge(receipt);
    }

    /// Records that the message that was published last is in flight.
    pub(super) fn note_in_flight(&mut self, message: UnsentMessage, sent: Instant, size: usize, is_unretained: bool) {
        let number = self.next_number;
        self.in_flight.push_back(InFlightMessage { number, message, sent, size, is_unretained });
        self.next_number += 1;
        if self.deadline.is_none() {
            self.restart_deadline();
        }
    }

    /// When the oldest message counts as not acknowledged although later ones are.
    pub(super) fn unanswered_at(&self) -> Option<Instant> {
        let oldest = self.in_flight.front().filter(|_| self.is_overtaken)?;
        Some(oldest.sent + ACKNOWLEDGED_WITHIN)
    }

    /// `online` or `offline` on the status topic, if there is one.
    pub(super) fn status(&self, status: &str) -> Option<Message> {
        let topic = self.status_topic.clone()?;
        let payload = status.as_bytes().to_vec();
        Some(Message { topic, payload, qos: Qos::AtLeastOnce, retain: true, properties: None })
    }

    /// Waits for a notice, or for the message that is being quarantined. Cancelling the future loses nothing.
    pub(super) async fn event(&mut self) -> SessionEvent {
        let Self { session, storing, .. } = self;
        tokio::select! {
            biased;
            notice = session.notice() => SessionEvent::Notice(notice),
            event = stored(storing) => event,
        }
    }

    pub(super) async fn notice(&mut self) -> Notice {
        self.session.notice().await
    }

    /// The next notice, if there is one without waiting.
    pub(super) async fn notice_now(&mut self) -> Option<Notice> {
        let mut notice = pin!(self.session.notice());
        let ready = |context: &mut std::task::Context<'_>| match notice.as_mut().poll(context) {
            Poll::Ready(notice) => Poll::Ready(Some(notice)),
            Poll::Pending => Poll::Ready(None),
        };
        poll_fn(ready).await
    }

    pub(super) fn window(&self) -> usize {
        self.session.window()
    }

    pub(super) fn largest(&self) -> usize {
        self.session.largest()
    }

    pub(super) async fn close(self) {
        self.session.close().await;
    }
}
