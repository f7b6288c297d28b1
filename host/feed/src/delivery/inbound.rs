//! Messages from the broker: subscriptions, arrivals, and the acknowledgement once the plugin has handled a message.

use std::time::Duration;

use bessai_domain::command::ArrivedMessage;
use bessai_domain::message::Qos;
use bessai_domain::ports::{Cursor, Plugin, Receipt, Session};
use bessai_domain::session::Welcome;

use super::Delivery;
use super::active_session::ActiveSession;
use super::renewal::{Renewal, SHORTEST_SESSION};
use crate::health::SubscriptionState;
use crate::inbox::Handled;
use crate::transform::Transformer;

/// A session that the plugin ends by `sign-in-again` lasts at least this long: a retained message may ask for it each time.
const SHORTEST_BY_MESSAGE: Duration = Duration::from_secs(10);
/// The longest session for provisioning: nothing is delivered in it.
const LONGEST_PROVISIONING: Duration = Duration::from_secs(60);

impl<C: Cursor> Delivery<C> {
    /// Subscribes to what the plugin wants and may. The error ends the session.
    pub(super) async fn subscribe<S: Session, P: Plugin>(
        &mut self,
        session: &mut ActiveSession<S>,
        welcome: &Welcome,
        transformer: &mut Transformer<P>,
    ) -> Result<(), String> {
        self.limit_provisioning(session);
        self.context.inbox.end_session();
        // A plugin that is off gets a new session with its next version.
        if !transformer.has_commands() || transformer.is_off() {
            self.context.health.borrow_mut().commands.subscriptions.clear();
            return Ok(());
        }
        let (subscriptions, changes) = transformer.subscriptions().await?;
        self.save(&changes).await;
        self.context.inbox.begin_session(&subscriptions, welcome.session_present);
        session.subscribe(&subscriptions)
    }

    fn limit_provisioning<S>(&self, session: &mut ActiveSession<S>) {
        if session.is_provisioning {
            self.renew_within(session, LONGEST_PROVISIONING);
        }
    }

    /// Signs in again after this time, or earlier if the plugin's login says so.
    fn renew_within<S>(&self, session: &mut ActiveSession<S>, time: Duration) {
        let clock = self.context.settings.clock;
        let renewal = Renewal::new(clock().wall.plus(time), clock);
        let is_earlier = session.renewal.as_ref().is_none_or(|known| renewal.next_check() < known.next_check());
        if is_earlier {
            session.renewal = Some(renewal);
        }
    }

    /// The broker answered subscriptions.
    pub(super) fn subscribed(&self, answer: Vec<(String, Result<Qos, String>)>) {
        for (filter, granted) in answer {
            let feed = self.context.name();
            let state = match granted {
                Ok(qos) => {
                    let qos = qos.level();
                    tracing::info!(%feed, %filter, "subscribed to {filter} with QoS {qos}");
                    SubscriptionState::Granted(qos)
                }
                Err(reason) => {
                    tracing::error!(%feed, %filter, "the broker refused the subscription to {filter}: {reason}");
                    SubscriptionState::Refused(format!("the broker: {reason}"))
                }
            };
            let mut health = self.context.health.borrow_mut();
            let known = health.commands.subscriptions.iter_mut().find(|(known, _)| *known == filter);
            if let Some((_, known)) = known {
                *known = state;
            }
        }
    }

    /// A message arrived: it waits for the plugin, or is dropped and acknowledged.
    pub(super) fn arrived<S: Session>(
        &self,
        session: &mut ActiveSession<S>,
        message: ArrivedMessage,
        receipt: Option<Receipt>,
    ) {
        let topic = message.topic.clone();
        let arrival = (self.context.settings.arrival)();
        let age = self.context.now().monotonic.since(arrival.monotonic);
        let Err(reason) = self.context.inbox.put(message, receipt, arrival.wall, age) else { return };
        tracing::warn!(feed = %self.context.name(), %topic, "dropped a message from the broker: {reason}");
        self.context.health.borrow_mut().commands.drop_message(&topic, reason);
        if let Some(receipt) = receipt {
            session.acknowledge(receipt);
        }
    }

    /// The plugin has handled a message: saves what it changed in its state, acknowledges the message, sends the plugin's
    /// messages and notes that it wants to sign in again.
    pub(super) async fn handled<S: Session>(&mut self, session: &mut ActiveSession<S>, handled: Handled) {
        let Handled { receipt, messages, signs_in_again } = handled;
        self.queue_session_messages(session, messages).await;
        if let Some(receipt) = receipt {
            session.acknowledge(receipt);
        }
        if signs_in_again {
            let shortest = if session.is_provisioning { SHORTEST_SESSION } else { SHORTEST_BY_MESSAGE };
            self.renew_within(session, shortest.saturating_sub(session.age()));
        }
    }
}
