//! Messages out, acknowledgements in.

use std::rc::Rc;

use bessai_domain::message::Qos;
use bessai_domain::ports::{Cursor, Notice, Session};
use tokio::time::Instant;

use super::Delivery;
use super::active_session::{ActiveSession, InFlightMessage, SessionEvent, StoringMessage, UnsentMessage};
use crate::batches::MessageId;
use crate::quarantine::{self, QuarantinedMessage};

impl<C: Cursor> Delivery<C> {
    /// Publishes as many messages as the window and the rate allow.
    pub(super) fn fill_window<S: Session>(&mut self, session: &mut ActiveSession<S>) -> Result<(), String> {
        session.held_until = None;
        while session.storing.is_none() && session.in_flight.len() < session.window() {
            let Some(next) = session.queue.pop_front() else { break };
            let Some(message) = next.message(&self.batches) else { continue };
            if let Err(available) = self.rate.take(self.context.rate_per_s.get(), Instant::now()) {
                session.queue.push_front(next);
                session.held_until = Some(available);
                break;
            }
            let (size, limit) = (session.size(message), session.largest());
            if size > limit {
                session.storing = self.quarantine(next, size, limit);
                break;
            }
            session.publish(message)?;
            session.note_in_flight(match next {
                UnsentMessage::OfSession(_) => InFlightMessage::OfSession,
                UnsentMessage::OfBatch(id) => InFlightMessage::OfBatch(id),
            });
        }
        Ok(())
    }

    /// Starts to store a message that is too large: the broker would end the session over it each time.
    fn quarantine(&self, queued: UnsentMessage, size: usize, limit: usize) -> Option<StoringMessage> {
        let delivered = self.context.delivered_through.get();
        let (through, index) = match &queued {
            UnsentMessage::OfSession(_) => (delivered, 0),
            UnsentMessage::OfBatch(id) => (self.batches.through(*id).unwrap_or(delivered), id.index),
        };
        let message = queued.message(&self.batches)?.clone();
        let message = QuarantinedMessage { through, index, message, size, limit };
        let stored = quarantine::store_message(Rc::clone(&self.context), message);
        Some(StoringMessage { message: queued, size, limit, stored })
    }

    /// A message is in the quarantine, so the feed's position may pass it.
    fn quarantined(&mut self, storing: &StoringMessage, location: &str) {
        let StoringMessage { message: queued, size, limit, .. } = storing;
        if let Some(message) = queued.message(&self.batches).filter(|_| self.logged_limit != Some(*limit)) {
            let (feed, topic) = (self.context.name(), &message.topic);
            tracing::error!(
                %feed, %topic,
                "quarantined a message of {size} bytes in {location}: the broker accepts at most {limit} bytes"
            );
        }
        self.logged_limit = Some(*limit);
        if let UnsentMessage::OfBatch(id) = queued {
            self.batches.complete(*id);
        }
    }

    /// Handles all notices that are available, so that one turn of the loop covers a burst. The error: the session ended.
    pub(super) async fn handle_events<S: Session>(
        &mut self,
        session: &mut ActiveSession<S>,
        first: SessionEvent,
    ) -> Result<(), String> {
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
    ) -> Result<(), String> {
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
    ) -> Result<(), String> {
        let (number, refusal) = match notice {
            Notice::Closed(reason) => return Err(reason),
            Notice::Acknowledged { number, refusal } => (number, refusal),
        };
        // Brokers nearly always acknowledge in order, so the search ends at once.
        let Some(index) = session.in_flight.iter().position(|(sent, _)| *sent == number) else { return Ok(()) };
        let message = session.in_flight.remove(index);
        session.restart_deadline();
        if let Some((_, InFlightMessage::OfBatch(id))) = message {
            // QoS 0 is never acknowledged, so its notice does not show that the broker works.
            session.has_acknowledged |= self.batches.message(id).is_some_and(|message| message.qos > Qos::AtMostOnce);
            self.acknowledged(id, refusal);
        }
        Ok(())
    }

    fn acknowledged(&mut self, id: MessageId, refusal: Option<String>) {
        let mut health = self.context.health.borrow_mut();
        match refusal {
            None => health.delivered += 1,
            Some(refusal) => {
                if health.refused == 0 {
                    let topic = self.batches.message(id).map_or("", |message| message.topic.as_str());
                    tracing::error!(feed = %self.context.name(), %topic, "the broker refused a message: {refusal}");
                }
                health.refused += 1;
            }
        }
        drop(health);
        self.batches.complete(id);
    }
}
