//! One session: un-acknowledged messages again, then new ones, at most a window of them under way.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::feed::backoff::Backoff;
use crate::feed::calls::{Calls, Given, Place};
use crate::feed::rate::Rate;
use crate::feed::transform::Transformer;
use crate::feed::{Cursor, DRAIN, Events, Notice, Plugin, Replacements, Session, Settings, Shared, SharedHealth};

/// A broker that acknowledges nothing for so long is given up and signed in to again.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// Calls whose messages may wait at once: enough to fill a window, few enough to stay small.
const CALLS_UNDER_WAY: usize = 32;

/// How a session ended.
pub(super) enum Ended<B> {
    /// On demand, everything handed over.
    Stopped,
    /// The link is gone.
    Lost(String),
    /// The feed's settings name another broker now.
    NewBroker(B),
}

/// What outlives a session.
pub(super) struct Delivery<C> {
    feed: String,
    status_topic: Option<String>,
    calls: Calls,
    cursor: C,
    rate: Rate,
    shared: Rc<Shared>,
    health: SharedHealth,
}

/// Who a handed-over message was.
enum Handed {
    Call(Place),
    Status,
}

/// One session's book-keeping.
struct Pass<S> {
    session: S,
    to_send: VecDeque<Place>,
    handed: VecDeque<(u64, Handed)>,
    next_number: u64,
    deadline: Option<Instant>,
    // The feed's rate lets the next message go then.
    held_until: Option<Instant>,
}

impl<C: Cursor> Delivery<C> {
    pub(super) fn new(settings: &Settings, cursor: C, shared: Rc<Shared>, health: SharedHealth) -> Self {
        let (feed, status_topic) = (settings.name.clone(), settings.status_topic.clone());
        Self { feed, status_topic, calls: Calls::default(), cursor, rate: Rate::default(), shared, health }
    }

    pub(super) async fn serve<S: Session, E: Events, P: Plugin, B>(
        &mut self,
        session: S,
        events: &mut E,
        transformer: &mut Transformer<P>,
        replacements: &mut Replacements<P, B>,
        stop: &mut watch::Receiver<bool>,
        backoff: &mut Backoff,
    ) -> Ended<B> {
        let mut pass = Pass::new(session, self.calls.unacknowledged());
        let (outbox, mut given) = mpsc::channel(1);
        let ended = {
            let mut work = std::pin::pin!(transformer.produce(events, outbox, replacements));
            self.pump(&mut pass, &mut given, work.as_mut(), stop, backoff).await
        };
        // What was computed but not taken is part of the feed's calls like any other.
        while let Ok(given) = given.try_recv() {
            pass.to_send.extend(self.calls.push(given));
        }
        match &ended {
            Ended::Lost(_) => {}
            Ended::Stopped | Ended::NewBroker(_) => self.drain(pass).await,
        }
        ended
    }

    async fn pump<S: Session, B>(
        &mut self,
        pass: &mut Pass<S>,
        given: &mut mpsc::Receiver<Given>,
        mut work: std::pin::Pin<&mut impl Future<Output = B>>,
        stop: &mut watch::Receiver<bool>,
        backoff: &mut Backoff,
    ) -> Ended<B> {
        if let Err(error) = self.say(pass, "online") {
            return Ended::Lost(error);
        }
        loop {
            if let Err(error) = self.send(pass) {
                return Ended::Lost(error);
            }
            let wants_more = pass.to_send.is_empty() && self.calls.len() < CALLS_UNDER_WAY;
            let deadline = pass.deadline.unwrap_or_else(|| Instant::now() + ACKNOWLEDGED_WITHIN);
            let held_until = pass.held_until.unwrap_or(deadline);
            tokio::select! {
                biased;
                notice = pass.session.notice() => match self.take(pass, notice) {
                    Ok(()) => backoff.reset(),
                    Err(reason) => return Ended::Lost(reason),
                },
                _ = stop.wait_for(|stop| *stop) => return Ended::Stopped,
                Some(given) = given.recv(), if wants_more => pass.to_send.extend(self.calls.push(given)),
                broker = &mut work => return Ended::NewBroker(broker),
                () = sleep_until(held_until), if pass.held_until.is_some() => {}
                () = sleep_until(deadline), if pass.deadline.is_some() => {
                    return Ended::Lost(format!("no acknowledgement for {ACKNOWLEDGED_WITHIN:?}"));
                }
            }
            self.settle();
        }
    }

    fn settle(&mut self) {
        if let Some((through, at, state)) = self.calls.settle() {
            self.cursor.passed(through, at, &state);
            self.shared.passed.set(through);
        }
    }

    /// Hands over what the window has room for.
    fn send<S: Session>(&mut self, pass: &mut Pass<S>) -> Result<(), String> {
        pass.held_until = None;
        while pass.handed.len() < pass.session.window() {
            let Some(place) = pass.to_send.front().copied() else { break };
            let Some(message) = self.calls.message(place) else {
                pass.to_send.pop_front();
                continue;
            };
            if let Err(next) = self.rate.take(self.shared.rate_per_s.get(), Instant::now()) {
                pass.held_until = Some(next);
                break;
            }
            pass.to_send.pop_front();
            let size = message.topic.len() + message.payload.len();
            if size > pass.session.largest() {
                let largest = pass.session.largest();
                let mut health = self.health.borrow_mut();
                if health.refused == 0 {
                    tracing::error!(feed = %self.feed, topic = %message.topic, "a message of {size} bytes is dropped: the broker takes {largest}");
                }
                health.refused += 1;
                drop(health);
                self.calls.done(place);
                continue;
            }
            pass.session.publish(message)?;
            pass.note(Handed::Call(place));
        }
        Ok(())
    }

    /// `online` and `offline` for whoever watches the site.
    fn say<S: Session>(&self, pass: &mut Pass<S>, state: &str) -> Result<(), String> {
        let Some(topic) = self.status_topic.clone() else { return Ok(()) };
        let payload = state.as_bytes().to_vec();
        let message = Message { topic, payload, qos: Qos::AtLeastOnce, retain: true, properties: None };
        pass.session.publish(&message)?;
        pass.note(Handed::Status);
        Ok(())
    }

    fn take<S: Session>(&mut self, pass: &mut Pass<S>, notice: Notice) -> Result<(), String> {
        let (number, complaint) = match notice {
            Notice::Closed(reason) => return Err(reason),
            Notice::Acknowledged(number, complaint) => (number, complaint),
        };
        // Brokers acknowledge in order, nearly always: the search ends at once.
        let Some(index) = pass.handed.iter().position(|(handed, _)| *handed == number) else { return Ok(()) };
        let handed = pass.handed.remove(index);
        pass.deadline = (!pass.handed.is_empty()).then(|| Instant::now() + ACKNOWLEDGED_WITHIN);
        if let Some((_, Handed::Call(place))) = handed {
            self.acknowledged(place, complaint);
        }
        Ok(())
    }

    fn acknowledged(&mut self, place: Place, complaint: Option<String>) {
        let mut health = self.health.borrow_mut();
        match complaint {
            None => health.delivered += 1,
            Some(complaint) => {
                if health.refused == 0 {
                    let topic = self.calls.message(place).map_or("", |message| message.topic.as_str());
                    tracing::error!(feed = %self.feed, %topic, "the broker refuses a message: {complaint}");
                }
                health.refused += 1;
            }
        }
        drop(health);
        self.calls.done(place);
    }

    /// Finishes what is under way, says goodbye, signs off.
    async fn drain<S: Session>(&mut self, mut pass: Pass<S>) {
        let finish = async {
            self.send(&mut pass)?;
            while !pass.handed.is_empty() || !pass.to_send.is_empty() {
                let held_until = pass.held_until.unwrap_or_else(Instant::now);
                tokio::select! {
                    biased;
                    notice = pass.session.notice() => self.take(&mut pass, notice)?,
                    () = sleep_until(held_until), if pass.held_until.is_some() => {}
                }
                self.send(&mut pass)?;
            }
            self.say(&mut pass, "offline")?;
            while !pass.handed.is_empty() {
                let notice = pass.session.notice().await;
                self.take(&mut pass, notice)?;
            }
            pass.session.close().await;
            Ok::<(), String>(())
        };
        match timeout(DRAIN, finish).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => tracing::warn!(feed = %self.feed, "stopped while not signed in: {reason}"),
            Err(_) => tracing::warn!(feed = %self.feed, "stopped with messages unacknowledged after {DRAIN:?}"),
        }
        self.settle();
        let undelivered = self.calls.unacknowledged().len();
        if undelivered > 0 {
            tracing::warn!(feed = %self.feed, undelivered, "{undelivered} messages were not acknowledged");
        }
    }
}

impl<S> Pass<S> {
    fn new(session: S, to_send: VecDeque<Place>) -> Self {
        Self { session, to_send, handed: VecDeque::new(), next_number: 0, deadline: None, held_until: None }
    }

    fn note(&mut self, handed: Handed) {
        if self.handed.is_empty() {
            self.deadline = Some(Instant::now() + ACKNOWLEDGED_WITHIN);
        }
        self.handed.push_back((self.next_number, handed));
        self.next_number += 1;
    }
}
