//! Delivers in one session: first the plugin's messages for the session, then unacknowledged ones again, then new ones, with
//! at most a window of them in flight; last the plugin's messages for the end.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::ports::{Cursor, Events, Plugin, Session};
use bessai_domain::refusal::Closing;
use bessai_domain::session::Welcome;
use bessai_domain::state::{PluginState, StateChanges};
use bessai_domain::time::Timestamp;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::batches::{Batch, Lanes, SessionMessages};
use crate::context::TaskContext;
use crate::rate::RateLimiter;
use crate::replacement::Replacements;
use crate::transform::Replaced;

mod active_session;
mod backlog;
mod capacity;
mod closing;
mod inbound;
mod learnt;
mod preset;
mod renewal;
mod sending;
mod suspicion;

pub use learnt::{Lesson, RefusedByBroker};

pub(crate) use backlog::Producers;

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

/// Why the delivery stops.
enum DeliveryEnd<B> {
    Session(SessionEnd<B>),
    /// The backlog is delivered; the session goes on.
    BacklogDelivered,
    /// The backlog and what is requeued are to be processed by another version.
    VersionChanged,
    /// Entries of the quarantine were requeued.
    Requeued,
    /// None of them is left.
    RequeueHandled,
}

impl<B> From<SessionEnd<B>> for DeliveryEnd<B> {
    fn from(end: SessionEnd<B>) -> Self {
        Self::Session(end)
    }
}

/// The batches of a lane, and the work that makes them.
struct Produced<'a, F> {
    /// None if the lane has nothing to deliver: a channel has room for 32 batches, whatever its bound.
    batches: Option<&'a mut mpsc::Receiver<Box<Batch>>>,
    /// None when it has ended.
    work: Option<Pin<&'a mut F>>,
}

/// Works until the end; then it never ends again. May be cancelled.
async fn finished<F: Future>(work: &mut Option<Pin<&mut F>>) -> F::Output {
    let Some(current) = work else { return std::future::pending().await };
    let output = current.as_mut().await;
    *work = None;
    output
}

impl<F> Produced<'_, F> {
    /// Whether everything that was produced is received.
    fn is_received(&self) -> bool {
        self.work.is_none() && self.batches.as_ref().is_none_or(|batches| batches.is_empty())
    }
}

/// The next batch; never any if the lane has no channel.
async fn received(batches: &mut Option<&mut mpsc::Receiver<Box<Batch>>>) -> Option<Box<Batch>> {
    match batches {
        Some(batches) => batches.recv().await,
        None => std::future::pending().await,
    }
}

/// A channel, if a lane needs one.
fn channel_if<T>(is_needed: bool) -> (Option<mpsc::Sender<T>>, Option<mpsc::Receiver<T>>) {
    is_needed.then(|| mpsc::channel(1)).unzip()
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
    batches: Lanes,
    cursor: C,
    // Of the backlog that is being delivered.
    backlog_cursor: Option<C>,
    backlog_rate: RateLimiter,
    // Notified when entries of the quarantine were requeued.
    requeued: Rc<Notify>,
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
        let requeued = context.settings.quarantine.requeued(context.name());
        Self {
            context,
            batches: Lanes::default(),
            cursor,
            backlog_cursor: None,
            backlog_rate: RateLimiter::default(),
            requeued,
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
        self.batches.live.overlay(changes);
        self.cursor.save_state(&self.saved_state).await;
    }

    /// Serves one session until it ends.
    pub(crate) async fn serve<S: Session, E: Events<Cursor = C>, P: Plugin, B>(
        &mut self,
        signed_in: SignedIn<S>,
        producers: &mut Producers<E, P>,
        replacements: &mut Replacements<P, B>,
        stop: &mut watch::Receiver<bool>,
    ) -> SessionEnd<B> {
        let SignedIn { session, renew_at, is_provisioning } = signed_in;
        self.context.forget_quarantine_fault();
        self.suspicion.session_begins();
        let welcome = session.welcome(self.context.now().wall);
        let mut session = ActiveSession::new(session, welcome.protocol, self.renewal(renew_at));
        session.is_provisioning = is_provisioning;
        if !is_provisioning {
            Box::pin(self.leave_backlog(producers)).await;
        }
        let transformer = &mut producers.transformer;
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
        if !is_provisioning {
            session.queue.extend(self.batches.live.unacknowledged().into_iter().map(UnsentMessage::OfBatch));
            session.queue.extend(self.batches.requeued.unacknowledged().into_iter().map(UnsentMessage::OfBatch));
            session.backlog.extend(self.batches.backlog.unacknowledged().into_iter().map(UnsentMessage::OfBatch));
        }
        if let Some(status) = session.status("online") {
            session.queue.push_front(UnsentMessage::Status(Box::new(status)));
        }
        let end = self.deliver_lanes(&mut session, producers, welcome, replacements, stop).await;
        let transformer = &mut producers.transformer;
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

    /// Delivers what the plugin makes of the newest events, and of a backlog if there is one, until the session ends.
    async fn deliver_lanes<S: Session, E: Events<Cursor = C>, P: Plugin, B>(
        &mut self,
        session: &mut ActiveSession<S>,
        producers: &mut Producers<E, P>,
        welcome: Welcome,
        replacements: &mut Replacements<P, B>,
        stop: &mut watch::Receiver<bool>,
    ) -> SessionEnd<B> {
        loop {
            if !session.is_provisioning {
                self.open_backlog(producers, welcome);
                if self.context.requeue.is_open() && producers.requeue.is_none() {
                    self.begin_requeue(producers, welcome);
                }
            }
            let Producers { events, transformer, backlog, requeue } = &mut *producers;
            let (has_backlog, has_requeued) = (backlog.is_some(), requeue.is_some());
            let (sender, mut batches) = mpsc::channel(1);
            let (backlog_sender, mut backlog_batches) = channel_if(has_backlog);
            let (requeue_sender, mut requeued) = channel_if(has_requeued);
            let end = {
                let work = pin!(transformer.produce(events, sender, replacements));
                let backlog_work = pin!(async {
                    if let Some((backlog, sender)) = backlog.as_mut().zip(backlog_sender) {
                        Box::pin(backlog.produce(sender)).await;
                    }
                });
                let requeue_work = pin!(async {
                    if let Some((requeue, sender)) = requeue.as_mut().zip(requeue_sender) {
                        Box::pin(requeue.produce(sender)).await;
                    }
                });
                let requeue_work = has_requeued.then_some(requeue_work);
                let mut requeued = Produced { batches: requeued.as_mut(), work: requeue_work };
                let mut live = Produced { batches: Some(&mut batches), work: Some(work) };
                let backlog_work = has_backlog.then_some(backlog_work);
                let mut backlog = Produced { batches: backlog_batches.as_mut(), work: backlog_work };
                self.deliver(session, &mut live, &mut backlog, &mut requeued, stop).await
            };
            // A batch that was computed but not received yet is open like any other.
            while let Ok(batch) = batches.try_recv() {
                self.queue_batch(session, batch).await;
            }
            while let Some(batch) = backlog_batches.as_mut().and_then(|batches| batches.try_recv().ok()) {
                self.queue_backlog(session, *batch);
            }
            while let Some(batch) = requeued.as_mut().and_then(|batches| batches.try_recv().ok()) {
                self.queue_requeued(session, *batch);
            }
            match end {
                DeliveryEnd::Session(end) => return end,
                DeliveryEnd::BacklogDelivered => self.finish_backlog(producers),
                DeliveryEnd::VersionChanged => producers.update(welcome),
                DeliveryEnd::Requeued => self.begin_requeue(producers, welcome),
                DeliveryEnd::RequeueHandled => producers.requeue = None,
            }
        }
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

    fn queue_requeued<S>(&mut self, session: &mut ActiveSession<S>, batch: Batch) {
        session.queue.extend(self.batches.requeued.push(batch).map(UnsentMessage::OfBatch));
    }

    async fn queue_batch<S>(&mut self, session: &mut ActiveSession<S>, mut batch: Box<Batch>) {
        if let Some(messages) = batch.session_messages.take() {
            self.queue_session_messages(session, messages).await;
        }
        session.queue.extend(self.batches.live.push(*batch).map(UnsentMessage::OfBatch));
    }

    /// Sends batches and handles acknowledgements until there is a reason to stop.
    async fn deliver<S: Session, B>(
        &mut self,
        session: &mut ActiveSession<S>,
        live: &mut Produced<'_, impl Future<Output = Option<Replaced<B>>>>,
        backlog: &mut Produced<'_, impl Future<Output = ()>>,
        requeued: &mut Produced<'_, impl Future<Output = ()>>,
        stop: &mut watch::Receiver<bool>,
    ) -> DeliveryEnd<B> {
        let (has_backlog, has_requeued) = (backlog.work.is_some(), requeued.work.is_some());
        loop {
            if let Err(closing) = self.fill_window(session) {
                return lost(session, closing).into();
            }
            self.advance();
            if has_backlog && backlog.is_received() && self.batches.backlog.is_empty() {
                return DeliveryEnd::BacklogDelivered;
            }
            self.context.give_way().await;
            // The next batch is received before the window runs empty.
            let wants_batch = session.queue.len() < session.window()
                && self.batches.live.open() < MAX_OPEN_BATCHES + session.aside.len();
            let wants_backlog = has_backlog && self.wants_backlog(session);
            let deadline = session.deadline.unwrap_or_else(Instant::now);
            let held_until = session.held_until.unwrap_or(deadline);
            let (renewal, unanswered) = (session.renewal.as_ref().map(Renewal::next_check), session.unanswered_at());
            tokio::select! {
                biased;
                event = session.event() => if let Err(closing) = self.handle_events(session, event).await {
                    return lost(session, closing).into();
                },
                _ = stop.wait_for(|stop| *stop) => return SessionEnd::Stopped.into(),
                handled = self.context.inbox.handled() => Box::pin(self.handled(session, handled)).await,
                Some(batch) = received(&mut live.batches), if wants_batch => self.queue_batch(session, batch).await,
                replaced = finished(&mut live.work) => {
                    return SessionEnd::Replaced(replaced.and_then(|replaced| replaced.broker)).into();
                }
                () = self.context.version_changed.notified(), if has_backlog || has_requeued => {
                    return DeliveryEnd::VersionChanged;
                }
                () = self.requeued.notified(), if !has_requeued && !session.is_provisioning => {
                    return DeliveryEnd::Requeued;
                }
                Some(batch) = received(&mut requeued.batches), if has_requeued => self.queue_requeued(session, *batch),
                () = finished(&mut requeued.work), if has_requeued => return DeliveryEnd::RequeueHandled,
                Some(batch) = received(&mut backlog.batches), if wants_backlog => self.queue_backlog(session, *batch),
                () = finished(&mut backlog.work), if has_backlog => {}
                () = sleep_until(held_until), if session.held_until.is_some() => {}
                () = sleep_until(renewal.unwrap_or(deadline)), if renewal.is_some() => {
                    if session.renewal.as_ref().is_some_and(Renewal::is_due) {
                        return SessionEnd::Renewed.into();
                    }
                }
                () = sleep_until(unanswered.unwrap_or(deadline)), if unanswered.is_some() => {
                    return lost(session, self.unanswered(session)).into();
                }
                () = sleep_until(deadline), if session.deadline.is_some() => {
                    let reason = format!("the broker acknowledged nothing for {ACKNOWLEDGED_WITHIN:?}");
                    return lost(session, Closing::other(reason)).into();
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
        self.advance_backlog();
        if self.batches.requeued.take_delivered().is_some() {
            self.context.requeue.note_handled();
        }
        if let Some((through, at, state)) = self.batches.live.take_delivered() {
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
