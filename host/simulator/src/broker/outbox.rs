//! The messages that wait to be sent to one client.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

use super::message::QueuedMessage;
use super::session_end::SessionEnd;
use crate::lock;

/// Messages that may wait for one client; one more ends its session.
pub(super) const QUEUE_MESSAGES_MAX: usize = 4096;
/// Bytes that may wait for one client; a message that exceeds them ends its session.
pub(super) const QUEUE_BYTES_MAX: usize = 8 << 20;

/// The queue of one client, filled by the router and emptied by the client's session.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<QueuedMessage>,
    bytes: usize,
    end: Option<SessionEnd>,
}

impl Outbox {
    /// Adds a message; a full queue ends the session instead.
    pub(super) fn push(&self, queued: QueuedMessage) {
        let mut queue = lock(&self.queue);
        if queue.end.is_some() {
            return;
        }
        queue.bytes += queued.message.size();
        queue.messages.push_back(queued);
        if queue.messages.len() > QUEUE_MESSAGES_MAX || queue.bytes > QUEUE_BYTES_MAX {
            *queue = Queue { end: Some(SessionEnd::QueueFull), ..Queue::default() };
        }
        drop(queue);
        self.changed.notify_one();
    }

    /// Removes the first message; none while the window for messages above QoS 0 is full and the first message is one.
    pub(super) fn pop(&self, has_window: bool) -> Option<QueuedMessage> {
        let mut queue = lock(&self.queue);
        let queued = queue.messages.pop_front_if(|queued| queued.qos == 0 || has_window)?;
        queue.bytes -= queued.message.size();
        Some(queued)
    }

    /// Requests the end of the session; the first reason counts.
    pub(super) fn close(&self, end: SessionEnd) {
        lock(&self.queue).end.get_or_insert(end);
        self.changed.notify_one();
    }

    /// The reason for which the session is to end, if it is.
    pub(super) fn end(&self) -> Option<SessionEnd> {
        lock(&self.queue).end.clone()
    }

    /// Waits for the next message or the end of the session; one that happened since the last call counts.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}
