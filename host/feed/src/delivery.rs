//! Delivers in one session: first the plugin's messages for the session, then unacknowledged ones again, then new ones, with
//! at most a window of them in flight; last the plugin's messages for the end.

use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::ports::{Cursor, Events, Plugin, Session};
use bessai_domain::refusal::Closing;
use bessai_domain::state::{PluginState, StateChanges};
use bessai_domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::batches::{Batch, OpenBatches, SessionMessages};
use crate::context::TaskContext;
use crate::rate::RateLimiter;
use crate::replacement::Replacements;
use crate::transform::{Replaced, Transformer};

mod active_session;
mod capacity;
mod closing;
mod inbound;
mod learnt;
mod preset;
mod renewal;
mod sending;
mod suspicion;

pub use learnt::{Lesson, RefusedByBroker};

use active_session::{ACKNOWLEDGED_WITHIN, ActiveSession, UnsentMessage};
use capacity::BrokerCapacity;
use learnt::BrokerLessons;
use renewal::{Renewal, SHORTEST_SESSION};
use suspicion::Suspicion;

/// Batches that may be open at once: enough to fill a window, few enough to stay small.
const MAX_OPEN_BATCHES: usize = 32;

/// A session, and when the plugin wants the next one.
pub(crate) struct SignedIn<S> {
    pub(crate) session: S,
    pub(crate) renew_at: Option<Timestamp>,
    /// It is for provisioning only.
    pub(crate) is_provisioning: bool,
}

/// How a session ended.
pub(crate) enum SessionEnd<B> {
    /// The feed was stopped.
    Stopped,
    /// The plugin wanted another session, which begins at once.
    Renewed,
    /// The connection is gone.
    Lost(LostSession),
    /// Another version or another broker takes over.
    Replaced(Option<B>),
}

/// A session whose connection is gone.
pub(crate) struct LostSession {
    pub(crate) closing: Closing,
    /// How long it lasted.
    pub(crate) lasted: Duration,
    /// A message was acknowledged in it.
    pub(crate) has_acknowledged: bool,
}

/// What outlives a session.
pub(crate) struct Delivery<C> {
    context: Rc<TaskContext>,
    batches: OpenBatches,
    cursor: C,
    // The plugin's state at the feed's position, as it is saved.
    saved_state: PluginState,
    rate: RateLimiter,
    capacity: BrokerCapacity,
    suspicion: Suspicion,
    lessons: BrokerLessons,
    // The kind of quarantined messages that was logged last.
    logged_kind: Option<String>,
    logged_past_renewal: bool,
}

impl<C: Cursor> Delivery<C> {
    pub(crate) fn new(context: Rc<TaskContext>, cursor: C, saved_state: PluginState) -> Self {
        Self {
            context,
            batches: OpenBatches::default(),
            cursor,
            saved_state,
            rate: RateLimiter::default(),
            capacity: BrokerCapacity::default(),
            suspicion: Suspicion::default(),
            lessons: BrokerLessons::default(),
            logged_kind: None,
            logged_past_renewal: false,
        }
    }

    /// Saves what the plugin changed outside of a batch. It is durable when this returns, whichever batch is delivered next.
    pub(crate) async fn save(&mut self, changes: &StateChanges) {
        if changes.is_empty() {
            return;
        }
        self.saved_state.apply(changes);
        self.batches.overlay(changes);
        self.cursor.save_state(&self.saved_state).await;
    }

    /// Serves one session until it ends.
    pub(crate) async fn serve<S: Session, E: Events, P: Plugin, B>(
        &mut self,
        signed_in: SignedIn<S>,
        events: &mut E,
        transformer: &mut Transformer<P>,
        replacements: &mut Replacements<P, B>,
        stop: &mut watch::Receiver<bool>,
    ) -> SessionEnd<B> {
        let SignedIn { session, renew_at, is_provisioning } = signed_in;
        self.context.forget_quarantine_fault();
        self.suspicion.session_begins();
        let welcome = session.welcome(self.context.now().wall);
        let mut session = ActiveSession::new(session, welcome.protocol, self.renewal(renew_at));
        session.is_provisioning = is_provisioning;
        if let Err(reason) = self.subscribe(&mut session, &welcome, transformer).await {
            return lost(&session, Closing::other(reason));
        }
        let first_messages = match transformer.connected(welcome).await {
            Ok(messages) => messages,
            Err(reason) => return lost(&session, Closing::other(reason)),
        };
        if !transformer.has_session() {
            session.status_topic.clone_from(&self.context.settings.status_topic);
        }
        self.queue_session_messages(&mut session, first_messages).await;
        let unacknowledged = if is_provisioning { VecDeque::new() } else { self.batches.unacknowledged() };
        session.queue.extend(unacknowledged.into_iter().map(UnsentMessage::OfBatch));
        let (sender, mut batches) = mpsc::channel(1);
        let end = {
            let mut work = std::pin::pin!(transformer.produce(events, sender, replacements));
            self.deliver(&mut session, &mut batches, work.as_mut(), stop).await
        };
        // A batch that was computed but not received yet is open like any other.
        while let Ok(batch) = batches.try_recv() {
            self.queue_batch(&mut session, batch).await;
        }
        if let Some(handled) = self.context.inbox.take_handled() {
            self.handled(&mut session, handled).await;
        }
        match &end {
            SessionEnd::Lost(lost) => self.judge_end(&session, &lost.closing),
            SessionEnd::Renewed => self.close_for_renewal(session).await,
            SessionEnd::Stopped | SessionEnd::Replaced(_) => Box::pin(self.drain(session, transformer)).await,
        }
        self.advance();
        end
    }

    fn renewal(&mut self, renew_at: Option<Timestamp>) -> Option<Renewal> {
        let is_past = renew_at.is_some_and(|at| at <= self.context.now().wall);
        if is_past && !self.logged_past_renewal {
            let feed = self.context.name();
            tracing::warn!(%feed, "the plugin's renew-at is in the past; signing in again after {SHORTEST_SESSION:?}");
        }
        self.logged_past_renewal = is_past;
        renew_at.map(|at| Renewal::new(at, self.context.settings.clock))
    }

    /// Saves the state that belongs to the plugin's messages for the session, then queues them.
    async fn queue_session_messages<S>(&mut self, session: &mut ActiveSession<S>, messages: SessionMessages) {
        self.save(&messages.changes).await;
        let messages = messages.messages.into_iter().map(Box::new);
        session.queue.extend(messages.map(UnsentMessage::OfSession));
    }

    async fn queue_batch<S>(&mut self, session: &mut ActiveSession<S>, mut batch: Box<Batch>) {
        if let Some(messages) = batch.session_messages.take() {
            self.queue_session_messages(session, messages).await;
        }
        session.queue.extend(self.batches.push(*batch).map(UnsentMessage::OfBatch));
    }

    /// Sends batches and handles acknowledgements until there is a reason to end the session.
    async fn deliver<S: Session, B>(
        &mut self,
        session: &mut ActiveSession<S>,
        batches: &mut mpsc::Receiver<Box<Batch>>,
        mut work: Pin<&mut impl Future<Output = Replaced<B>>>,
        stop: &mut watch::Receiver<bool>,
    ) -> SessionEnd<B> {
        if let Some(status) = session.status("online") {
            session.queue.push_front(UnsentMessage::Status(Box::new(status)));
        }
        loop {
            if let Err(closing) = self.fill_window(session) {
                return lost(session, closing);
            }
            self.advance();
            self.context.give_way().await;
            // The next batch is received before the window runs empty.
            let wants_batch =
                session.queue.len() < session.window() && self.batches.open() < MAX_OPEN_BATCHES + session.aside.len();
            let deadline = session.deadline.unwrap_or_else(Instant::now);
            let held_until = session.held_until.unwrap_or(deadline);
            let (renewal, unanswered) = (session.renewal.as_ref().map(Renewal::next_check), session.unanswered_at());
            tokio::select! {
                biased;
                event = session.event() => if let Err(closing) = self.handle_events(session, event).await {
                    return lost(session, closing);
                },
                _ = stop.wait_for(|stop| *stop) => return SessionEnd::Stopped,
                handled = self.context.inbox.handled() => Box::pin(self.handled(session, handled)).await,
                Some(batch) = batches.recv(), if wants_batch => self.queue_batch(session, batch).await,
                replaced = &mut work => return SessionEnd::Replaced(replaced.broker),
                () = sleep_until(held_until), if session.held_until.is_some() => {}
                () = sleep_until(renewal.unwrap_or(deadline)), if renewal.is_some() => {
                    if session.renewal.as_ref().is_some_and(Renewal::is_due) {
                        return SessionEnd::Renewed;
                    }
                }
                () = sleep_until(unanswered.unwrap_or(deadline)), if unanswered.is_some() => {
                    return lost(session, self.unanswered(session));
                }
                () = sleep_until(deadline), if session.deadline.is_some() => {
                    let reason = format!("the broker acknowledged nothing for {ACKNOWLEDGED_WITHIN:?}");
                    return lost(session, Closing::other(reason));
                }
            }
        }
    }

    /// Another broker or another login: what was learnt does not hold for it.
    pub(crate) fn forget_broker(&mut self) {
        self.capacity = BrokerCapacity::default();
        self.suspicion = Suspicion::default();
        self.lessons = BrokerLessons::default();
        self.show_broker();
    }

    /// Moves the feed's position past the delivered batches.
    fn advance(&mut self) {
        if let Some((through, at, state)) = self.batches.take_delivered() {
            tracing::debug!(feed = %self.context.name(), through = through.0, "delivered up to event {}", through.0);
            self.cursor.advance(through, at, &state);
            self.context.delivered_through.set(through);
            self.saved_state = state;
        }
    }
}

fn lost<S, B>(session: &ActiveSession<S>, closing: Closing) -> SessionEnd<B> {
    let (lasted, has_acknowledged) = (session.started.elapsed(), session.has_acknowledged);
    SessionEnd::Lost(LostSession { closing, lasted, has_acknowledged })
}
