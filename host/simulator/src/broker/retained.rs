//! The last retained message of each topic [3.3.1.3].

use std::collections::BTreeMap;
use std::sync::Arc;

use bessai_domain::topic;

use super::message::RoutedMessage;

/// Topics with a retained message; messages of further ones are delivered, but not retained.
pub(super) const RETAINED_MAX: usize = 1024;
/// Bytes of all retained messages: half of what may wait for one client, so that a subscription to all of them fits.
pub(super) const RETAINED_BYTES_MAX: usize = super::outbox::QUEUE_BYTES_MAX / 2;

/// Retained messages by topic.
#[derive(Debug, Default)]
pub(super) struct Retained {
    messages: BTreeMap<String, Arc<RoutedMessage>>,
    bytes: usize,
}

impl Retained {
    /// Retains a message instead of its topic's last one; an empty one only removes that. Whether there was room for it.
    pub(super) fn store(&mut self, message: &Arc<RoutedMessage>) -> bool {
        self.remove(&message.topic);
        if message.payload.is_empty() {
            return true;
        }
        if !self.has_room(message) {
            self.remove_expired();
        }
        if !self.has_room(message) {
            return false;
        }
        self.bytes += message.size();
        self.messages.insert(message.topic.clone(), Arc::clone(message));
        true
    }

    /// Those whose topics a filter matches.
    pub(super) fn matching(&self, filter: &str) -> impl Iterator<Item = &Arc<RoutedMessage>> {
        let is_wanted =
            move |message: &&Arc<RoutedMessage>| topic::matches(filter, &message.topic) && !message.is_expired();
        self.messages.values().filter(is_wanted)
    }

    fn has_room(&self, message: &RoutedMessage) -> bool {
        self.messages.len() < RETAINED_MAX && self.bytes + message.size() <= RETAINED_BYTES_MAX
    }

    fn remove(&mut self, topic: &str) {
        if let Some(message) = self.messages.remove(topic) {
            self.bytes -= message.size();
        }
    }

    fn remove_expired(&mut self) {
        self.messages.retain(|_, message| !message.is_expired());
        self.bytes = self.messages.values().map(|message| message.size()).sum();
    }
}
