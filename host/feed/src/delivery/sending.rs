//! Messages out, acknowledgements in.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{Cursor, Notice, Session};
use bessai_domain::refusal::{CloseCause, Closing, Objection, Refusal, RefusalKind};
use tokio::time::Instant;

use super::Delivery;
use super::active_session::{
    ACKNOWLEDGED_WITHIN, ActiveSession, InFlightMessage, SessionEvent, StoringMessage, UnsentMessage,
};
use super::learnt::KnownRefusal;
use super::suspicion::{Admission, Attempt, Conviction, MessageKey};
use crate::batches::Lane;
use crate::quarantine::{self, QuarantinedMessage};

/// A session that ends this soon after a refusal ended because of it.
const SOON_AFTER_REFUSAL: Duration = Duration::from_secs(5);

/// The reason for which messages are sent without their retain flag.
const ONLY_UNRETAINED: &str = "it accepts the message only without its retain flag";

/// A message whose turn it is.
struct NextMessage {
    message: UnsentMessage,
    attempt: Attempt,
}

impl<C: Cursor> Delivery<C> {
    /// Publishes as many messages as the window and the rate allow.
    pub(super) fn fill_window<S: Session>(&mut self, session: &mut ActiveSession<S>) -> Result<(), Closing> {
        let now = Instant::now();
        session.held_until = self.clear_outlasted(now);
        while session.storing.is_none() && session.in_flight.len() < self.window(session) {
            let Some(NextMessage { message: next, attempt }) = self.next_message(session, now) else { break };
            let Some(message) = next.message(&self.batches) else { continue };
            let (size, limit) = (session.size(message), session.largest());
            if let Err(reason) = self.admitted_by_kind(message) {
                session.storing = self.quarantine(next, size, None, reason);
                continue;
            }
            if size > limit {
                let reason = format!("it has {size} bytes, and the broker takes {limit}");
                session.storing = self.quarantine(next, size, Some(limit), reason);
                continue;
            }
            match self.lessons.judge(message, size, now) {
                None => {}
                Some(KnownRefusal::Refused(conviction)) => {
                    session.storing = self.quarantine(next, size, None, conviction.reason);
                    continue;
                }
                Some(KnownRefusal::Doubtful(conviction)) => {
                    self.suspicion.presume(next.key(message), conviction, now);
                    self.show_broker();
                    session.aside.push(next);
                    continue;
                }
            }
            if let Err(available) = self.take_rate(now) {
                session.hold_until(available);
                match attempt {
                    Attempt::Usual => session.put_back(next),
                    Attempt::Alone { .. } => session.aside.insert(0, next),
                }
                break;
            }
            self.publish(session, next, size, attempt, now)?;
        }
        Ok(())
    }

    /// Clears the suspects without acknowledgement that the session has outlasted; returns when to look again.
    fn clear_outlasted(&mut self, now: Instant) -> Option<Instant> {
        if self.suspicion.is_empty() {
            return None;
        }
        if self.suspicion.clear_outlasted(now) {
            self.lessons.refuses_retain(ONLY_UNRETAINED, now);
        }
        if self.suspicion.has_changed() {
            self.show_broker();
        }
        self.suspicion.next_outlasted()
    }

    fn window<S: Session>(&self, session: &ActiveSession<S>) -> usize {
        if session.is_alone || self.suspicion.is_careful() { 1 } else { session.window() }
    }

    fn take_rate(&mut self, now: Instant) -> Result<(), Instant> {
        self.capacity.available(now)?;
        self.rate.take(self.rate_per_s(), now)?;
        self.capacity.take(now);
        Ok(())
    }

    fn publish<S: Session>(
        &mut self,
        session: &mut ActiveSession<S>,
        next: UnsentMessage,
        size: usize,
        attempt: Attempt,
        now: Instant,
    ) -> Result<(), Closing> {
        let Some(message) = next.message(&self.batches) else { return Ok(()) };
        let mut is_unretained = false;
        if self.lessons.is_empty() && attempt == Attempt::Usual && self.may_retain(message) {
            session.publish(message).map_err(Closing::other)?;
        } else {
            let mut message = message.clone();
            self.lessons.adapt(&mut message, now);
            message.retain &= self.may_retain(&message);
            if attempt == (Attempt::Alone { may_unretain: true })
                && let Some(objection) = self.suspicion.objection(&next.key(&message))
                && self.lessons.may_object_to_retain(&message, objection)
            {
                (message.retain, is_unretained) = (false, true);
            }
            session.is_alone = attempt != Attempt::Usual;
            if session.is_alone {
                self.suspicion.begin_trial(&next.key(&message), is_unretained, now);
            }
            session.publish(&message).map_err(Closing::other)?;
        }
        if message.qos == Qos::AtMostOnce {
            session.last_unacknowledged = Some((next.key(message), now));
            session.first_unacknowledged.get_or_insert(now);
        }
        session.note_in_flight(next, now, size, is_unretained);
        Ok(())
    }

    /// The message whose turn it is, if one may be sent now.
    fn next_message<S: Session>(&mut self, session: &mut ActiveSession<S>, now: Instant) -> Option<NextMessage> {
        if !session.aside.is_empty()
            && let Some(next) = self.next_aside(session, now)
        {
            return next;
        }
        loop {
            let next = session.queue.pop_front().or_else(|| self.next_of_backlog(session, now))?;
            let Some(message) = next.message(&self.batches) else { continue };
            match self.suspicion.admit(|| next.key(message), now) {
                Admission::Send if self.waits_for_verdict(session, message) => session.aside.push(next),
                Admission::Send => return Some(NextMessage { message: next, attempt: Attempt::Usual }),
                Admission::Aside => session.aside.push(next),
                Admission::Convicted(conviction) => {
                    let size = session.size(message);
                    self.convict(session, next, size, conviction, now);
                    return None;
                }
            }
        }
    }

    /// Whether a message resembles a suspect.
    fn waits_for_verdict<S>(&self, session: &ActiveSession<S>, message: &Message) -> bool {
        !self.suspicion.is_empty() && self.suspicion.resembles_suspect(message, session.size(message))
    }

    /// The message among those that were put aside whose turn it is. `Some(None)`: one of them waits until nothing is in
    /// flight, and nothing else is sent.
    #[allow(clippy::option_option, reason = "whether there is one, and whether it may be sent")]
    fn next_aside<S: Session>(&mut self, session: &mut ActiveSession<S>, now: Instant) -> Option<Option<NextMessage>> {
        let mut index = 0;
        while let Some(next) = session.aside.get(index) {
            let Some(message) = next.message(&self.batches) else {
                session.aside.remove(index);
                continue;
            };
            let key = next.key(message);
            match self.suspicion.admit(|| key.clone(), now) {
                Admission::Aside => {}
                Admission::Convicted(conviction) => {
                    let size = session.size(message);
                    let next = session.aside.remove(index);
                    self.convict(session, next, size, conviction, now);
                    return Some(None);
                }
                // Its verdict has been passed: the lesson, if one was learnt, decides.
                Admission::Send if !self.waits_for_verdict(session, message) => {
                    let message = session.aside.remove(index);
                    return Some(Some(NextMessage { message, attempt: Attempt::Usual }));
                }
                Admission::Send => {
                    index += 1;
                    continue;
                }
            }
            match self.suspicion.next_try(&key, session.started, session.has_passed_others(now)) {
                Some(at) if at <= now => {
                    let attempt = self.suspicion.attempt(&key);
                    if attempt != Attempt::Usual && !session.in_flight.is_empty() {
                        return Some(None);
                    }
                    return Some(Some(NextMessage { message: session.aside.remove(index), attempt }));
                }
                Some(at) => session.hold_until(at),
                None => {}
            }
            index += 1;
        }
        None
    }

    /// The broker does not accept a message: learns from it, and quarantines it.
    fn convict<S: Session>(
        &mut self,
        session: &mut ActiveSession<S>,
        next: UnsentMessage,
        size: usize,
        conviction: Conviction,
        now: Instant,
    ) {
        if let Some(message) = next.message(&self.batches) {
            self.suspicion.forget(&next.key(message));
            self.lessons.convicted(message, size, &conviction, now);
            self.show_broker();
        }
        session.storing = self.quarantine(next, size, None, conviction.reason);
    }

    /// Starts to store a message that the broker does not accept; none for a status, which is only left out.
    fn quarantine(
        &self,
        queued: UnsentMessage,
        size: usize,
        limit: Option<usize>,
        reason: String,
    ) -> Option<StoringMessage> {
        let delivered = self.context.delivered_through.get();
        let (through, index) = match &queued {
            UnsentMessage::Status(_) => return None,
            UnsentMessage::OfSession(_) => (delivered, 0),
            UnsentMessage::OfBatch(id) => {
                let first = if id.lane == Lane::Requeued { self.context.requeue.first_index.get() } else { 0 };
                (self.batches.through(*id).unwrap_or(delivered), first + id.index)
            }
        };
        let message = queued.message(&self.batches)?.clone();
        let message = QuarantinedMessage { through, index, message, size, limit, reason: reason.clone() };
        let stored = quarantine::store_message(Rc::clone(&self.context), message);
        Some(StoringMessage { message: queued, limit, reason, stored })
    }

    /// A message is in the quarantine, so the feed's position may pass it.
    fn quarantined(&mut self, storing: &StoringMessage, location: &str) {
        let StoringMessage { message: queued, limit, reason, .. } = storing;
        // The sizes of messages differ; the limit is the same.
        let kind = limit.map_or_else(|| reason.clone(), |limit| limit.to_string());
        if let Some(message) = queued.message(&self.batches).filter(|_| self.logged_kind.as_ref() != Some(&kind)) {
            let (feed, topic) = (self.context.name(), &message.topic);
            tracing::error!(%feed, %topic, "quarantined a message in {location}: {reason}");
        }
        self.logged_kind = Some(kind);
        if let UnsentMessage::OfBatch(id) = queued {
            self.batches.complete(*id);
        }
    }

    /// Handles all notices that are available, so that one turn of the loop covers a burst. The error: the session ended.
    pub(super) async fn handle_events<S: Session>(
        &mut self,
        session: &mut ActiveSession<S>,
        first: SessionEvent,
    ) -> Result<(), Closing> {
        self.handle_event(session, first)?;
        while let Some(notice) = session.notice_now().await {
            self.handle_notice(session, notice)?;
            self.context.give_way().await;
        }
        Ok(())
    }

    pub(super) fn handle_event<S: Session>(
        &mut self,
        session: &mut ActiveSession<S>,
        event: SessionEvent,
    ) -> Result<(), Closing> {
        match event {
            SessionEvent::Notice(notice) => self.handle_notice(session, notice),
            SessionEvent::Stored(storing, location) => {
                self.quarantined(&storing, &location);
                Ok(())
            }
        }
    }

    pub(super) fn handle_notice<S: Session>(
        &mut self,
        session: &mut ActiveSession<S>,
        notice: Notice,
    ) -> Result<(), Closing> {
        let (number, refusal) = match notice {
            Notice::Closed(closing) => return Err(closing),
            Notice::Arrived { message, receipt } => {
                self.arrived(session, *message, receipt);
                return Ok(());
            }
            Notice::Subscribed(answer) => {
                self.subscribed(answer);
                return Ok(());
            }
            Notice::Acknowledged { number, refusal } => (number, refusal),
        };
        // Brokers nearly always acknowledge in order, so the search ends at once.
        let Some(index) = session.in_flight.iter().position(|sent| sent.number == number) else { return Ok(()) };
        let Some(sent) = session.in_flight.remove(index) else { return Ok(()) };
        session.is_overtaken = index > 0;
        session.restart_deadline();
        if session.in_flight.is_empty() {
            session.is_alone = false;
        }
        match refusal {
            None => self.acknowledged(session, &sent),
            Some(refusal) => self.refused(session, sent, refusal),
        }
        Ok(())
    }

    fn acknowledged<S>(&mut self, session: &mut ActiveSession<S>, sent: &InFlightMessage) {
        let now = Instant::now();
        self.capacity.acknowledged(now);
        let Some(message) = sent.message.message(&self.batches) else { return };
        // QoS 0 is never acknowledged, so its notice does not show that the broker works.
        if message.qos > Qos::AtMostOnce {
            session.has_acknowledged |= matches!(sent.message, UnsentMessage::OfBatch(_));
            self.suspicion.acknowledged(|| sent.message.key(message), now);
            self.lessons.accepted(message, sent.size, sent.is_unretained);
            if sent.is_unretained {
                self.lessons.refuses_retain(ONLY_UNRETAINED, now);
            }
        }
        if let UnsentMessage::OfBatch(id) = sent.message {
            self.context.health.borrow_mut().delivered += 1;
            self.batches.complete(id);
        }
        if self.suspicion.has_changed() || sent.is_unretained {
            self.show_broker();
        }
    }

    fn refused<S>(&mut self, session: &mut ActiveSession<S>, sent: InFlightMessage, refusal: Refusal) {
        let now = Instant::now();
        let Some(message) = sent.message.message(&self.batches) else { return };
        session.refused = Some(now);
        self.log_refusal(message, &refusal);
        match refusal.kind {
            RefusalKind::Temporary => {
                self.capacity.refused(now);
                session.requeue(sent.message);
            }
            RefusalKind::Final(objection) => {
                let conviction = Conviction { objection, reason: refusal.reason };
                let traits = self.lessons.traits(message, sent.size, objection);
                self.suspicion.refused(&sent.message.key(message), conviction, now);
                self.suspicion.set_traits(&sent.message.key(message), traits);
                session.aside.push(sent.message);
            }
        }
        self.show_broker();
    }

    fn log_refusal(&self, message: &Message, refusal: &Refusal) {
        let (feed, topic, reason) = (self.context.name(), &message.topic, &refusal.reason);
        match refusal.kind {
            RefusalKind::Temporary => tracing::warn!(%feed, %topic, "the broker refused a message: {reason}; retrying"),
            RefusalKind::Final(_) => {
                tracing::warn!(%feed, %topic, "the broker refused a message: {reason}; retrying, later messages go first");
            }
        }
    }

    /// The broker acknowledges later messages, but not the oldest one.
    pub(super) fn unanswered<S>(&mut self, session: &ActiveSession<S>) -> Closing {
        let reason = format!("it acknowledged later messages, and not this one for {ACKNOWLEDGED_WITHIN:?}");
        if let Some(sent) = session.in_flight.front()
            && let Some(message) = sent.message.message(&self.batches)
        {
            let conviction = Conviction { objection: Objection::Content, reason: reason.clone() };
            self.suspicion.unanswered(&sent.message.key(message), conviction, Instant::now());
            self.show_broker();
        }
        Closing::other(format!("signing in again, since a message is not acknowledged: {reason}"))
    }

    /// Finds out which message the broker may have ended a session over.
    pub(super) fn judge_end<S>(&mut self, session: &ActiveSession<S>, closing: &Closing) {
        let now = Instant::now();
        let objection = match closing.cause {
            CloseCause::Message(objection) => objection,
            CloseCause::Overload => {
                self.capacity.refused(now);
                return self.show_broker();
            }
            CloseCause::Other => return,
        };
        let unacknowledged = session.last_unacknowledged.iter().cloned();
        let in_flight = session.in_flight.iter().filter_map(|sent| {
            let message = sent.message.message(&self.batches)?;
            Some((sent.message.key(message), sent.sent))
        });
        let mut candidates: Vec<(MessageKey, Instant)> = in_flight.collect();
        if candidates.is_empty() {
            let is_explained = session.refused.is_some_and(|at| now.duration_since(at) <= SOON_AFTER_REFUSAL);
            if is_explained {
                return;
            }
            candidates.extend(unacknowledged);
        }
        if self.learns_at_once(session, objection, &closing.reason, now) {
            return self.show_broker();
        }
        let conviction = Conviction { objection, reason: closing.reason.clone() };
        self.suspicion.session_ended(&candidates, conviction, now);
        if let Some(sent) = session.in_flight.front()
            && let Some(message) = sent.message.message(&self.batches)
        {
            let traits = self.lessons.traits(message, sent.size, objection);
            self.suspicion.set_traits(&sent.message.key(message), traits);
        }
        self.show_broker();
    }

    /// What the broker says it does not support is not sent again: no message is lost for that.
    fn learns_at_once<S>(
        &mut self,
        session: &ActiveSession<S>,
        objection: Objection,
        reason: &str,
        now: Instant,
    ) -> bool {
        let first = session.in_flight.front().and_then(|sent| sent.message.message(&self.batches));
        match (objection, first) {
            (Objection::Retain, Some(message)) if message.retain => self.lessons.refuses_retain(reason, now),
            (Objection::Qos, Some(message)) if message.qos > Qos::AtMostOnce => {
                self.lessons.refuses_qos(message.qos, reason, now);
            }
            _ => return false,
        }
        true
    }

    /// Shows in `/health` what was learnt about the broker.
    pub(super) fn show_broker(&mut self) {
        let mut health = self.context.health.borrow_mut();
        health.suspects = self.suspicion.waiting();
        health.lessons = self.lessons.current().to_vec();
        health.broker_rate = self.capacity.rate();
        health.refused_at = self.capacity.refused_at();
    }
}
