//! The calls of a plugin that receives messages from its broker.
//!
//! A message that the plugin fails on does not switch the plugin off: anybody who may publish to its topics could do that.
//! It is tried again in a fresh instance, then dropped.

use std::time::Duration;

use bessai_domain::command::{Action, InboundMessage, Subscription};
use bessai_domain::ports::{CallError, Plugin, Received};
use bessai_domain::proposal::DEFAULT_LEASE;
use bessai_domain::state::{PluginState, StateChanges};
use tokio::time::Instant;

use super::Transformer;
use crate::batches::{Lane, SessionMessages};
use crate::health::SubscriptionState;
use crate::inbox::Tries;

/// How often a message is tried on which the plugin traps, each time in a fresh instance.
const MAX_BROKEN: u32 = 3;
/// How often a plugin may ask for a message again.
const MAX_LATER: u32 = 60;
/// Pause before a plugin gets a message again.
const PAUSE: Duration = Duration::from_secs(1);
/// A message that was handled later than this has waited.
const WAITED: Duration = Duration::from_secs(1);
/// Actions that one call may return, as many as messages.
const MAX_ACTIONS: usize = 1000;

/// Why a message was not received.
enum Failure {
    /// No instance could be started, for which the message is not at fault.
    NotStarted(CallError),
    /// The plugin failed on it.
    OnMessage(CallError),
}

impl<P: Plugin> Transformer<P> {
    /// Whether the plugin receives messages from the broker.
    pub(crate) fn has_commands(&self) -> bool {
        self.plugin.has_commands()
    }

    /// What the plugin subscribes to in this session, as far as it may, and what it changed in its state for that. The
    /// error ends the session.
    pub(crate) async fn subscriptions(&mut self) -> Result<(Vec<Subscription>, StateChanges), String> {
        let before = self.plugin.state().clone();
        let wanted = match self.start_if_stopped().await {
            Ok(()) => self.plugin.subscriptions(self.context.now().wall).await,
            Err(error) => Err(error),
        };
        let wanted = wanted.map_err(|error| {
            if let CallError::Broken(_) | CallError::Refused(_) = error {
                self.failed(&error);
            }
            format!("the plugin failed in `subscriptions`: {error}")
        })?;
        let (admitted, refusals) = self.policy.admit_subscriptions(wanted);
        for (filter, reason) in &refusals {
            tracing::error!(feed = %self.context.name(), %filter, "not subscribed to {filter}: {reason}");
        }
        let mut states: Vec<_> =
            admitted.iter().map(|subscription| (subscription.filter.clone(), SubscriptionState::Requested)).collect();
        states.extend(refusals.into_iter().map(|(filter, reason)| (filter, SubscriptionState::Refused(reason))));
        self.context.health.borrow_mut().commands.subscriptions = states;
        Ok((admitted, self.changes_since(&before)))
    }

    /// Whether the plugin may get messages now.
    pub(super) fn can_receive(&self) -> bool {
        self.lane == Lane::Live && self.plugin.has_commands() && !self.is_off()
    }

    /// Hands the next outcome or message to the plugin; what it made of it is in the inbox then.
    pub(super) async fn receive(&mut self) {
        self.end_probe();
        let (before, busy_before) = (self.plugin.state().clone(), self.plugin.processor_time());
        let share = self.policy.processor;
        if let Some((proposal, outcome)) = self.context.inbox.first_outcome() {
            let messages = self.tell_outcome(&proposal, &outcome).await;
            let messages = SessionMessages { messages, changes: self.changes_since(&before) };
            self.context.inbox.finish_outcome(messages);
        } else if let Some((message, tries)) = self.context.inbox.first() {
            match self.call_receive(&message).await {
                Ok(received) => self.received(received.actions, &before, tries, &message).await,
                Err(failure) => self.not_received(failure, tries, &message.topic),
            }
        }
        let (busy, now) = (self.plugin.processor_time().saturating_sub(busy_before), Instant::now());
        self.context.processor.borrow_mut().charge(busy, 1, share, now);
        self.context.health.borrow_mut().processor.add(busy, now);
    }

    async fn call_receive(&mut self, message: &InboundMessage) -> Result<Received, Failure> {
        self.start_if_stopped().await.map_err(Failure::NotStarted)?;
        self.announce_session().await.map_err(Failure::NotStarted)?;
        let received = self.plugin.receive(message).await.map_err(Failure::OnMessage)?;
        self.context.health.borrow_mut().count_call(received.took, self.context.settings.slow_call);
        Ok(received)
    }

    /// Carries the actions out. Several that sign in again are one.
    async fn received(&mut self, actions: Vec<Action>, before: &PluginState, tries: Tries, message: &InboundMessage) {
        let count = actions.len();
        let (mut messages, mut proposals, mut signs_in_again) = (Vec::new(), Vec::new(), false);
        for action in actions {
            match action {
                Action::Publish(message) => messages.push(message),
                Action::Write(proposal) => proposals.push(proposal),
                Action::SignInAgain => signs_in_again = true,
            }
        }
        let too_many = format!("returned {count} actions; a call may return {MAX_ACTIONS}");
        let admitted = if count > MAX_ACTIONS { Err(too_many) } else { self.policy.admit(messages) };
        let mut messages = match admitted {
            Ok(admitted) => {
                self.context.count_refusals(&admitted.refusals);
                admitted.messages
            }
            Err(error) => {
                self.plugin.restore(before.clone());
                let error = Failure::OnMessage(CallError::Broken(error));
                return self.not_received(error, tries, "");
            }
        };
        for mut proposal in proposals {
            // A set-point without end counts from the message on, which may have waited.
            if proposal.value.is_some() && self.context.now().wall.since(message.at) > WAITED {
                proposal.until.get_or_insert(message.at.plus(DEFAULT_LEASE));
            }
            messages.extend(self.propose_write(proposal, message.historical).await);
        }
        self.context.health.borrow_mut().commands.received += 1;
        let messages = SessionMessages { messages, changes: self.changes_since(before) };
        self.context.inbox.finish(messages, signs_in_again);
    }

    fn not_received(&mut self, failure: Failure, mut tries: Tries, topic: &str) {
        let error = match failure {
            // Events that the plugin gets meanwhile show why it does not start.
            Failure::NotStarted(error) | Failure::OnMessage(error @ CallError::Host(_)) => {
                tracing::debug!(feed = %self.context.name(), %topic, "a message waits for the plugin: {error}");
                return self.context.inbox.again(tries, PAUSE);
            }
            Failure::OnMessage(error) => error,
        };
        let (feed, pause) = (
            self.context.name().to_owned(),
            match &error {
                CallError::Retry(_) => PAUSE,
                _ => Duration::ZERO,
            },
        );
        match &error {
            CallError::Retry(_) => tries.later += 1,
            CallError::Broken(_) => {
                tries.broken += 1;
                self.context.health.borrow_mut().failures += 1;
                tracing::warn!(%feed, %topic, "the plugin failed on a message to {topic}: {error}");
            }
            CallError::Reject(_) | CallError::Refused(_) | CallError::Host(_) => {}
        }
        let is_final = matches!(error, CallError::Reject(_)) || tries.broken >= MAX_BROKEN || tries.later >= MAX_LATER;
        if !is_final {
            return self.context.inbox.again(tries, pause);
        }
        let count = tries.broken + tries.later;
        let reason = if count == 0 { error.to_string() } else { format!("{error} ({count} tries)") };
        tracing::error!(%feed, %topic, "dropped a message to {topic}: the plugin {reason}");
        self.context.health.borrow_mut().commands.drop_message(topic, format!("the plugin {reason}"));
        self.context.inbox.finish(SessionMessages::default(), false);
    }
}
