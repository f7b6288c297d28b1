//! One session's book-keeping.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bessai_domain::message::{Message, Qos};
use bessai_domain::session::Protocol;
use tokio::time::Instant;

use super::renewal::Renewal;
use super::{ACKNOWLEDGED_WITHIN, Place};
use crate::feed::{Notice, Session};

/// Bytes that a packet's properties have beside their values, and those that each pair of the customer's own has (5.0
/// §3.3.2.3).
const PROPERTIES_OVERHEAD: usize = 32;
const PAIR_OVERHEAD: usize = 5;

pub(super) struct Pass<S> {
    pub(super) session: S,
    /// Where `online` and `offline` are published.
    pub(super) status_topic: Option<String>,
    pub(super) to_send: VecDeque<Outgoing>,
    pub(super) handed: VecDeque<(u64, Handed)>,
    next_number: u64,
    pub(super) deadline: Option<Instant>,
    /// The feed's rate lets the next message go then.
    pub(super) held_until: Option<Instant>,
    pub(super) renewal: Option<Renewal>,
    pub(super) begun: Instant,
    /// The broker has acknowledged something.
    pub(super) worked: bool,
}

/// A message to be handed over.
pub(super) enum Outgoing {
    Call(Place),
    /// Of the session itself: it ends with that.
    Own(Box<Message>),
}

/// Who a handed-over message was.
pub(super) enum Handed {
    Call(Place),
    Own,
}

impl<S> Pass<S> {
    pub(super) fn new(session: S, renewal: Option<Renewal>) -> Self {
        Self {
            session,
            status_topic: None,
            to_send: VecDeque::new(),
            handed: VecDeque::new(),
            next_number: 0,
            deadline: None,
            held_until: None,
            renewal,
            begun: Instant::now(),
            worked: false,
        }
    }

    pub(super) fn note(&mut self, handed: Handed) {
        if self.handed.is_empty() {
            self.deadline = Some(Instant::now() + ACKNOWLEDGED_WITHIN);
        }
        self.handed.push_back((self.next_number, handed));
        self.next_number += 1;
    }
}

impl<S: Session> Pass<S> {
    /// `online` and `offline` for whoever watches the site.
    pub(super) fn say(&mut self, state: &str) -> Result<(), String> {
        let Some(topic) = self.status_topic.clone() else { return Ok(()) };
        let payload = state.as_bytes().to_vec();
        let message = Message { topic, payload, qos: Qos::AtLeastOnce, retain: true, properties: None };
        self.session.publish(&message)?;
        self.note(Handed::Own);
        Ok(())
    }

    /// A notice that is there without waiting.
    pub(super) async fn notice_now(&mut self) -> Option<Notice> {
        let mut notice = pin!(self.session.notice());
        let ready = |context: &mut std::task::Context<'_>| match notice.as_mut().poll(context) {
            Poll::Ready(notice) => Poll::Ready(Some(notice)),
            Poll::Pending => Poll::Ready(None),
        };
        poll_fn(ready).await
    }

    /// Bytes of a message as the broker counts them, or a few more.
    pub(super) fn size(&self, message: &Message) -> usize {
        match &message.properties {
            Some(properties) if self.session.welcome().protocol == Protocol::V5 => {
                message.size() + PROPERTIES_OVERHEAD + PAIR_OVERHEAD * properties.user.len()
            }
            _ => message.topic.len() + message.payload.len(),
        }
    }
}
