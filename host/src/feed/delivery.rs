//! One session: what the plugin publishes first, un-acknowledged messages again, then new ones, at most a window of them
//! under way; and what it publishes last.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::message::Qos;
use bessai_domain::state::{Changes, State};
use bessai_domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::feed::calls::{Calls, Given, Greeting, Place};
use crate::feed::rate::Rate;
use crate::feed::transform::{Replaced, Transformer};
use crate::feed::{
    AsideMessage, Cursor, DRAIN, Events, Notice, Plugin, Replacements, Session, Settings, Shared, SharedHealth,
};

mod pass;
mod renewal;

use pass::{Handed, Outgoing, Pass};
use renewal::Renewal;

/// A broker that acknowledges nothing for so long is given up and signed in to again.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(60);
/// Calls whose messages may wait at once: enough to fill a window, few enough to stay small.
const CALLS_UNDER_WAY: usize = 32;
/// A session that stood for so long worked, whether anything was acknowledged in it or not.
const STEADY: Duration = Duration::from_secs(60);
/// Time for what is under way before a renewal; the margin before an expiry should be longer.
const RENEWAL_LIMIT: Duration = Duration::from_secs(10);

/// A session, and when the plugin wants the next one.
pub(super) struct SignedIn<S> {
    pub(super) session: S,
    pub(super) renew_at: Option<Timestamp>,
}

/// How a session ended.
pub(super) enum Ended<B> {
    /// On demand, everything handed over.
    Stopped,
    /// The plugin is asked for the next login at once.
    Renewed,
    /// The link is gone. `worked`: something was acknowledged, or it stood for a while.
    Lost { reason: String, worked: bool },
    /// Another version or another broker.
    Anew(Option<B>),
}

/// Why no more is handed over.
enum End<B> {
    Stop,
    Renew,
    Lost(String),
    Anew(Option<B>),
}

/// What outlives a session.
pub(super) struct Delivery<C> {
    settings: Settings,
    calls: Calls,
    cursor: C,
    // What the plugin kept at the feed's place, as it is on disk.
    kept: State,
    rate: Rate,
    shared: Rc<Shared>,
    health: SharedHealth,
    // The broker's limit that messages were said to be above.
    said_too_large: Option<usize>,
    is_renewal_said: bool,
}

impl<C: Cursor> Delivery<C> {
    pub(super) fn new(settings: &Settings, cursor: C, kept: State, shared: Rc<Shared>, health: SharedHealth) -> Self {
        Self {
            settings: settings.clone(),
            calls: Calls::default(),
            cursor,
            kept,
            rate: Rate::default(),
            shared,
            health,
            said_too_large: None,
            is_renewal_said: false,
        }
    }

    /// What the plugin set between two calls is on disk when this returns, and stays whichever call is settled next.
    pub(super) async fn keep(&mut self, changes: &Changes) {
        if changes.is_empty() {
            return;
        }
        self.kept.overlay(changes);
        self.calls.overlay(changes);
        self.cursor.keep(&self.kept).await;
    }

    pub(super) async fn serve<S: Session, E: Events, P: Plugin, B>(
        &mut self,
        signed_in: SignedIn<S>,
        events: &mut E,
        transformer: &mut Transformer<P>,
        replacements: &mut Replacements<P, B>,
        stop: &mut watch::Receiver<bool>,
    ) -> Ended<B> {
        let SignedIn { session, renew_at } = signed_in;
        let renewal = self.renewal(renew_at);
        let mut pass = Pass::new(session, renewal);
        let greeting = match transformer.connected(pass.session.welcome()).await {
            Ok(greeting) => greeting,
            Err(reason) => return Ended::Lost { reason, worked: false },
        };
        if !transformer.has_session() {
            pass.status_topic.clone_from(&self.settings.status_topic);
        }
        self.greet(&mut pass, greeting).await;
        pass.to_send.extend(self.calls.unacknowledged().into_iter().map(Outgoing::Call));
        let (outbox, mut given) = mpsc::channel(1);
        let end = {
            let mut work = std::pin::pin!(transformer.produce(events, outbox, replacements));
            self.pump(&mut pass, &mut given, work.as_mut(), stop).await
        };
        // What was computed but not taken is part of the feed's calls like any other.
        while let Ok(given) = given.try_recv() {
            self.take_given(&mut pass, given).await;
        }
        let ended = match end {
            End::Lost(reason) => Ended::Lost { reason, worked: pass.worked || pass.begun.elapsed() >= STEADY },
            End::Renew => {
                self.let_go(pass).await;
                Ended::Renewed
            }
            End::Stop => {
                Box::pin(self.drain(pass, transformer)).await;
                Ended::Stopped
            }
            End::Anew(broker) => {
                Box::pin(self.drain(pass, transformer)).await;
                Ended::Anew(broker)
            }
        };
        self.settle();
        ended
    }

    fn renewal(&mut self, renew_at: Option<Timestamp>) -> Option<Renewal> {
        let now = (self.settings.clock)();
        let is_past = renew_at.is_some_and(|at| at <= now);
        if is_past && !self.is_renewal_said {
            let feed = &self.settings.name;
            tracing::warn!(%feed, "the plugin wants the next sign-in at a time that is past; it gets it after {:?}", renewal::SOONEST);
        }
        self.is_renewal_said = is_past;
        renew_at.map(|at| Renewal::new(at, self.settings.clock))
    }

    /// What the plugin gave for the session goes out before what waits, once its state is kept.
    async fn greet<S>(&mut self, pass: &mut Pass<S>, greeting: Greeting) {
        self.keep(&greeting.changes).await;
        pass.to_send.extend(greeting.messages.into_iter().map(|message| Outgoing::Own(Box::new(message))));
    }

    async fn take_given<S>(&mut self, pass: &mut Pass<S>, mut given: Box<Given>) {
        if let Some(greeting) = given.greeting.take() {
            self.greet(pass, greeting).await;
        }
        pass.to_send.extend(self.calls.push(*given).map(Outgoing::Call));
    }

    async fn pump<S: Session, B>(
        &mut self,
        pass: &mut Pass<S>,
        given: &mut mpsc::Receiver<Box<Given>>,
        mut work: Pin<&mut impl Future<Output = Replaced<B>>>,
        stop: &mut watch::Receiver<bool>,
    ) -> End<B> {
        if let Err(error) = pass.say("online") {
            return End::Lost(error);
        }
        loop {
            if let Err(error) = self.send(pass) {
                return End::Lost(error);
            }
            self.settle();
            // The next call is at hand before the window runs dry.
            let wants_more = pass.to_send.len() < pass.session.window() && self.calls.len() < CALLS_UNDER_WAY;
            let deadline = pass.deadline.unwrap_or_else(Instant::now);
            let held_until = pass.held_until.unwrap_or(deadline);
            let renewal = pass.renewal.as_ref().map(Renewal::next_look);
            tokio::select! {
                biased;
                notice = pass.session.notice() => if let Err(reason) = self.take_all(pass, notice).await {
                    return End::Lost(reason);
                },
                _ = stop.wait_for(|stop| *stop) => return End::Stop,
                Some(given) = given.recv(), if wants_more => self.take_given(pass, given).await,
                replaced = &mut work => return End::Anew(replaced.broker),
                () = sleep_until(held_until), if pass.held_until.is_some() => {}
                () = sleep_until(renewal.unwrap_or(deadline)), if renewal.is_some() => {
                    if pass.renewal.as_ref().is_some_and(Renewal::is_due) {
                        return End::Renew;
                    }
                }
                () = sleep_until(deadline), if pass.deadline.is_some() => {
                    return End::Lost(format!("no acknowledgement for {ACKNOWLEDGED_WITHIN:?}"));
                }
            }
        }
    }

    fn settle(&mut self) {
        if let Some((through, at, state)) = self.calls.settle() {
            self.cursor.passed(through, at, &state);
            self.shared.passed.set(through);
            self.kept = state;
        }
    }

    /// Hands over what the window has room for.
    fn send<S: Session>(&mut self, pass: &mut Pass<S>) -> Result<(), String> {
        pass.held_until = None;
        while pass.handed.len() < pass.session.window() {
            let Some(next) = pass.to_send.front() else { break };
            let message = match next {
                Outgoing::Own(message) => message.as_ref(),
                Outgoing::Call(place) => match self.calls.message(*place) {
                    Some(message) => message,
                    None => {
                        pass.to_send.pop_front();
                        continue;
                    }
                },
            };
            if let Err(next) = self.rate.take(self.shared.rate_per_s.get(), Instant::now()) {
                pass.held_until = Some(next);
                break;
            }
            let largest = pass.session.largest();
            let size = pass.size(message);
            if size > largest {
                let next = pass.to_send.pop_front();
                self.set_aside(next, size, largest);
                continue;
            }
            pass.session.publish(message)?;
            let handed = match next {
                Outgoing::Own(_) => Handed::Own,
                Outgoing::Call(place) => Handed::Call(*place),
            };
            pass.to_send.pop_front();
            pass.note(handed);
        }
        Ok(())
    }

    /// A message that the broker would end the session over, every time.
    fn set_aside(&mut self, outgoing: Option<Outgoing>, size: usize, largest: usize) {
        let passed = self.shared.passed.get();
        let (message, through, index) = match &outgoing {
            None => return,
            Some(Outgoing::Own(message)) => (Some(message.as_ref()), passed, 0),
            Some(Outgoing::Call(place)) => {
                (self.calls.message(*place), self.calls.through(*place).unwrap_or(passed), place.message)
            }
        };
        if let Some(message) = message {
            let feed = &self.settings.name;
            let aside = AsideMessage { feed, through, index, message, size, largest };
            let kept = (self.settings.set_message_aside)(&aside);
            let kept = kept.unwrap_or_else(|error| format!("nowhere, as that failed: {error}"));
            self.health.borrow_mut().set_aside += 1;
            if self.said_too_large.replace(largest) != Some(largest) {
                let topic = &message.topic;
                tracing::error!(%feed, %topic, "a message of {size} bytes is set aside, kept in {kept}: the broker takes {largest}");
            }
        }
        if let Some(Outgoing::Call(place)) = outgoing {
            self.calls.done(place);
        }
    }

    /// All notices that are there: one turn of the loop serves a burst of them.
    async fn take_all<S: Session>(&mut self, pass: &mut Pass<S>, first: Notice) -> Result<(), String> {
        self.take(pass, first)?;
        while let Some(notice) = pass.notice_now().await {
            self.take(pass, notice)?;
        }
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
            // What is QoS 0 nobody acknowledges: it says nothing of the broker.
            pass.worked |= self.calls.message(place).is_some_and(|message| message.qos > Qos::AtMostOnce);
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
                    tracing::error!(feed = %self.settings.name, %topic, "the broker refuses a message: {complaint}");
                }
                health.refused += 1;
            }
        }
        drop(health);
        self.calls.done(place);
    }

    /// Before a renewal: nothing more is handed over, what is under way is waited for.
    async fn let_go<S: Session>(&mut self, mut pass: Pass<S>) {
        let finish = self.finish_handed(&mut pass);
        if !matches!(timeout(RENEWAL_LIMIT, finish).await, Ok(Ok(()))) {
            tracing::warn!(feed = %self.settings.name, "signs in again with messages unacknowledged: they are sent again");
        }
        pass.session.close().await;
    }

    async fn finish_handed<S: Session>(&mut self, pass: &mut Pass<S>) -> Result<(), String> {
        while !pass.handed.is_empty() {
            let notice = pass.session.notice().await;
            self.take(pass, notice)?;
        }
        Ok(())
    }

    async fn finish<S: Session>(&mut self, pass: &mut Pass<S>) -> Result<(), String> {
        self.send(pass)?;
        while !pass.handed.is_empty() || !pass.to_send.is_empty() {
            let held_until = pass.held_until.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                notice = pass.session.notice() => self.take(pass, notice)?,
                () = sleep_until(held_until), if pass.held_until.is_some() => {}
            }
            self.send(pass)?;
        }
        Ok(())
    }

    /// Finishes what is under way, lets the plugin take its leave, signs off.
    async fn drain<S: Session, P: Plugin>(&mut self, mut pass: Pass<S>, transformer: &mut Transformer<P>) {
        let feed = self.settings.name.clone();
        let finish = async {
            self.finish(&mut pass).await?;
            let farewell = transformer.farewell((self.settings.clock)()).await;
            self.greet(&mut pass, farewell).await;
            self.finish(&mut pass).await?;
            pass.say("offline")?;
            self.finish_handed(&mut pass).await?;
            pass.session.close().await;
            Ok::<(), String>(())
        };
        match timeout(DRAIN, finish).await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => tracing::warn!(%feed, "stopped while not signed in: {reason}"),
            Err(_) => tracing::warn!(%feed, "stopped with messages unacknowledged after {DRAIN:?}"),
        }
        self.settle();
        let undelivered = self.calls.unacknowledged().len();
        if undelivered > 0 {
            tracing::warn!(%feed, undelivered, "{undelivered} messages were not acknowledged");
        }
    }
}
