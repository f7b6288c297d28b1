//! The connected clients and their subscriptions; puts each message into the queues of its subscribers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bessai_domain::topic;

use super::message::{QueuedMessage, RoutedMessage};
use super::outbox::Outbox;
use super::retained::Retained;
use super::session_end::SessionEnd;
use crate::lock;
use crate::packet::{RetainHandling, Subscription, reason};

/// Clients at once; further ones are refused.
pub(super) const CLIENTS_MAX: usize = 256;
/// Subscriptions of one client; further ones are refused.
pub(super) const SUBSCRIPTIONS_MAX: usize = 64;
/// The highest QoS of a subscription.
const SUBSCRIPTION_QOS_MAX: u8 = 1;
/// How the filter of a shared subscription begins [4.8.2].
const SHARED_PREFIX: &str = "$share/";

/// The router of one broker.
#[derive(Debug, Default)]
pub(super) struct Router(Mutex<Routes>);

/// One connection of a client id: a later one of the same id has another number.
#[derive(Clone, Debug)]
pub(super) struct ClientKey {
    pub(super) client_id: String,
    pub(super) connection: u64,
}

#[derive(Debug, Default)]
struct Routes {
    clients: BTreeMap<String, RegisteredClient>,
    retained: Retained,
}

#[derive(Debug)]
struct RegisteredClient {
    connection: u64,
    outbox: Arc<Outbox>,
    subscriptions: BTreeMap<String, Subscription>,
    will: Option<RoutedMessage>,
}

impl Router {
    /// Adds a client and returns its queue; a connected client of the same id is taken over [3.1.4]. None where there are
    /// too many clients.
    pub(super) fn connect(&self, key: &ClientKey, will: Option<RoutedMessage>) -> Option<Arc<Outbox>> {
        let mut routes = lock(&self.0);
        if let Some(former) = routes.clients.remove(&key.client_id) {
            former.outbox.close(SessionEnd::TakenOver);
            // Now rather than at the former session's end: its will must not arrive after messages of the new session.
            routes.publish_will(&key.client_id, former.will);
        }
        if routes.clients.len() >= CLIENTS_MAX {
            return None;
        }
        let outbox = Arc::new(Outbox::default());
        let (connection, subscriptions) = (key.connection, BTreeMap::new());
        let client = RegisteredClient { connection, outbox: Arc::clone(&outbox), subscriptions, will };
        routes.clients.insert(key.client_id.clone(), client);
        Some(outbox)
    }

    /// Removes a client, and publishes its will unless the end of its session discards it.
    pub(super) fn disconnect(&self, key: &ClientKey, end: &SessionEnd) {
        let mut routes = lock(&self.0);
        if routes.client(key).is_none() {
            return;
        }
        let will = routes.clients.remove(&key.client_id).and_then(|client| client.will);
        if !end.discards_will() {
            routes.publish_will(&key.client_id, will);
        }
    }

    /// Subscribes a client and queues the retained messages for it; the granted QoS, or the reason of a refusal.
    pub(super) fn subscribe(&self, key: &ClientKey, subscription: Subscription) -> u8 {
        if subscription.filter.starts_with(SHARED_PREFIX) {
            return reason::SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
        }
        if !is_valid_filter(&subscription.filter) {
            return reason::TOPIC_FILTER_INVALID;
        }
        let qos = subscription.qos.min(SUBSCRIPTION_QOS_MAX);
        let mut routes = lock(&self.0);
        let Routes { clients, retained } = &mut *routes;
        let Some(client) = clients.get_mut(&key.client_id).filter(|client| client.connection == key.connection) else {
            // Taken over a moment ago: the reply is not sent any more.
            return qos;
        };
        let is_new = !client.subscriptions.contains_key(&subscription.filter);
        if is_new && client.subscriptions.len() >= SUBSCRIPTIONS_MAX {
            return reason::QUOTA_EXCEEDED;
        }
        let wants_retained = match subscription.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::OnlyIfNew => is_new,
            RetainHandling::Never => false,
        };
        if wants_retained {
            for message in retained.matching(&subscription.filter) {
                let (message, qos) = (Arc::clone(message), message.qos.min(qos));
                client.outbox.push(QueuedMessage { message, qos, retain: true });
            }
        }
        client.subscriptions.insert(subscription.filter.clone(), Subscription { qos, ..subscription });
        qos
    }

    /// Ends a subscription; whether there was one.
    pub(super) fn unsubscribe(&self, key: &ClientKey, filter: &str) -> bool {
        lock(&self.0).client(key).is_some_and(|client| client.subscriptions.remove(filter).is_some())
    }

    /// Queues a message for each of its subscribers, and retains it if its flag is set.
    pub(super) fn publish(&self, publisher: &str, message: RoutedMessage) {
        lock(&self.0).publish(publisher, message);
    }
}

impl Routes {
    fn client(&mut self, key: &ClientKey) -> Option<&mut RegisteredClient> {
        self.clients.get_mut(&key.client_id).filter(|client| client.connection == key.connection)
    }

    fn publish_will(&mut self, client_id: &str, will: Option<RoutedMessage>) {
        if let Some(will) = will {
            self.publish(client_id, will);
        }
    }

    fn publish(&mut self, publisher: &str, message: RoutedMessage) {
        let message = Arc::new(message);
        if message.retain && !self.retained.store(&message) {
            let topic = message.topic.as_str();
            tracing::debug!(topic, "broker has no room for another retained message; delivering it once");
        }
        for (client_id, client) in &self.clients {
            if let Some(queued) = client.queued_message(&message, client_id == publisher) {
                client.outbox.push(queued);
            }
        }
    }
}

impl RegisteredClient {
    /// One copy for all subscriptions that match [3.3.4]: with the highest of their QoS, and with the message's retain flag
    /// if one of them keeps it.
    fn queued_message(&self, message: &Arc<RoutedMessage>, is_own: bool) -> Option<QueuedMessage> {
        let matches = |subscription: &&Subscription| {
            topic::matches(&subscription.filter, &message.topic) && !(is_own && subscription.no_local)
        };
        let matching = || self.subscriptions.values().filter(matches);
        let qos = matching().map(|subscription| subscription.qos).max()?.min(message.qos);
        let retain = message.retain && matching().any(|subscription| subscription.retain_as_published);
        Some(QueuedMessage { message: Arc::clone(message), qos, retain })
    }
}

/// Whether wildcards stand where they may: each alone in its level, `#` only in the last [4.7.1].
fn is_valid_filter(filter: &str) -> bool {
    let mut levels = filter.split('/').rev();
    let is_valid = |level: &str| level == "+" || !level.contains(['+', '#']);
    levels.next().is_some_and(|last| !filter.is_empty() && (last == "#" || is_valid(last))) && levels.all(is_valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_alone_and_the_multi_level_one_last() {
        for filter in ["#", "+", "a", "/", "a/#", "+/b/+", "a//b", "$SYS/#", "a/+/#"] {
            assert!(is_valid_filter(filter), "{filter}");
        }
        for filter in ["", "a#", "a/#/b", "#/", "a+", "+a/b", "a/b+/c", "##"] {
            assert!(!is_valid_filter(filter), "{filter}");
        }
    }
}
