//! Live first: after an outage the feed continues with the newest events, and delivers the backlog beside them.

use bessai_domain::ports::{Cursor, Events, Plugin, Session};
use bessai_domain::session::Welcome;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::active_session::{ActiveSession, UnsentMessage};
use super::learnt::BrokerLessons;
use super::{Delivery, MAX_OPEN_BATCHES};
use crate::batches::{Batch, Lane};
use crate::inbox::HISTORICAL_AFTER;
use crate::policy::DeliveryOrder;
use crate::replacement::Replacements;
use crate::requeue::RequeueProducer;
use crate::transform::Transformer;

/// The part of the window that a backlog may fill, so that a new message need not wait for many acknowledgements.
const WINDOW_DIVISOR: usize = 2;

/// What a feed's batches are made of and by: its events and its plugin, and the same for a backlog.
pub(crate) struct Producers<E, P> {
    pub(crate) events: E,
    pub(crate) transformer: Transformer<P>,
    pub(crate) backlog: Option<BacklogProducer<E, P>>,
    /// While entries of the quarantine are requeued.
    pub(crate) requeue: Option<RequeueProducer<P>>,
}

/// The events of a backlog, and the plugin that processes them.
pub(crate) struct BacklogProducer<E, P> {
    events: E,
    transformer: Transformer<P>,
}

impl<E, P: Plugin> Producers<E, P> {
    /// The backlog continues with the version that runs now, as does what is requeued.
    pub(super) fn update(&mut self, welcome: Welcome) {
        if let Some(backlog) = &mut self.backlog {
            backlog.transformer.follow(&self.transformer);
        }
        if self.requeue.is_some() {
            self.requeue = Some(self.transformer.for_requeue(welcome));
        }
    }
}

impl<E: Events, P: Plugin> BacklogProducer<E, P> {
    /// Produces batches until the end of the backlog.
    pub(super) async fn produce(&mut self, batches: mpsc::Sender<Box<Batch>>) {
        // Another version reaches it by way of the feed's own transformer.
        let (_, mut no_replacements): (_, Replacements<P, ()>) = mpsc::channel(1);
        let _ = self.transformer.produce(&mut self.events, batches, &mut no_replacements).await;
    }
}

impl<C: Cursor> Delivery<C> {
    /// With live first, leaves what is not delivered to a backlog, if it is old; the feed continues with the newest events.
    pub(super) async fn leave_backlog<E: Events, P: Plugin>(&mut self, producers: &mut Producers<E, P>) {
        let (order, now) = (self.context.order.get(), self.context.now().monotonic);
        if order == DeliveryOrder::InOrder
            || producers.transformer.is_off()
            || !producers.events.leave_backlog(HISTORICAL_AFTER, now)
        {
            return;
        }
        let feed = self.context.name();
        tracing::info!(%feed, "delivering the newest events first; the backlog follows");
        // The backlog delivers their events again, with the state that is saved.
        self.batches.live.clear();
        self.suspicion.forget_lane(Lane::Live);
        self.show_broker();
        let Producers { events, transformer, .. } = producers;
        transformer.skip_to_newest(events, &self.saved_state).await;
    }

    /// Opens the oldest backlog, if none is open; the open one takes part in the session and runs the feed's version.
    pub(super) fn open_backlog<E: Events<Cursor = C>, P: Plugin>(
        &mut self,
        producers: &mut Producers<E, P>,
        welcome: Welcome,
    ) {
        if producers.backlog.is_none()
            && let Some((events, state)) = producers.events.backlog()
        {
            self.backlog_cursor = Some(events.cursor());
            let transformer = producers.transformer.for_backlog(state);
            producers.backlog = Some(BacklogProducer { events, transformer });
        }
        if let Some(backlog) = &mut producers.backlog {
            backlog.transformer.begin_session_of_backlog(welcome);
        }
    }

    /// Begins to deliver what a person requeued: perhaps the broker accepts now what it did not.
    pub(super) fn begin_requeue<E, P: Plugin>(&mut self, producers: &mut Producers<E, P>, welcome: Welcome) {
        producers.requeue = Some(producers.transformer.for_requeue(welcome));
        self.lessons = BrokerLessons::default();
        self.show_broker();
    }

    /// The backlog is delivered.
    pub(super) fn finish_backlog<E, P>(&mut self, producers: &mut Producers<E, P>) {
        producers.backlog = None;
        self.context.health.borrow_mut().backlog_off = None;
        if let Some(mut cursor) = self.backlog_cursor.take() {
            cursor.finish_backlog();
            tracing::info!(feed = %self.context.name(), "the backlog is delivered");
        }
    }

    /// Whether another batch of the backlog is received.
    pub(super) fn wants_backlog<S: Session>(&self, session: &ActiveSession<S>) -> bool {
        let open = self.batches.backlog.open();
        session.backlog.len() < session.window() && open < MAX_OPEN_BATCHES + session.aside.len()
    }

    /// What the plugin returned from `connected` is dropped: the feed's other plugin has sent it.
    pub(super) fn queue_backlog<S>(&mut self, session: &mut ActiveSession<S>, batch: Batch) {
        session.backlog.extend(self.batches.backlog.push(batch).map(UnsentMessage::OfBatch));
    }

    /// The next message of the backlog, if the window and the backlog's rate allow one.
    pub(super) fn next_of_backlog<S: Session>(
        &mut self,
        session: &mut ActiveSession<S>,
        now: Instant,
    ) -> Option<UnsentMessage> {
        if session.backlog.is_empty() {
            return None;
        }
        let in_flight = session.in_flight.iter().filter(|sent| sent.message.lane() == Lane::Backlog).count();
        if in_flight >= (session.window() / WINDOW_DIVISOR).max(1) {
            return None;
        }
        let rate = match self.context.order.get() {
            DeliveryOrder::LiveFirst { backlog_rate } => backlog_rate,
            DeliveryOrder::InOrder => None,
        };
        match self.backlog_rate.take(rate, now) {
            Ok(()) => session.backlog.pop_front(),
            Err(available) => {
                session.hold_until(available);
                None
            }
        }
    }

    /// Moves the backlog's position past its delivered batches.
    pub(super) fn advance_backlog(&mut self) {
        let Some(cursor) = &mut self.backlog_cursor else { return };
        if let Some((through, at, state)) = self.batches.backlog.take_delivered() {
            cursor.advance(through, at, &state);
        }
    }
}
