//! Plugins that receive messages from the broker.

use crate::guest::Slot;
use crate::session::UNCONFIGURED;
use crate::{Action, Failure, Inbound, Message, Messages, Outcome, Plugin, Proposal, Qos, Subscription, Timestamp};

/// A plugin that receives messages from the broker. Export it with `bessai_plugin::export!(Acme, commands)`, or with
/// `bessai_plugin::export!(Acme, session, commands)` if it also signs in itself.
///
/// The feed needs the right to what it subscribes to, `[rights] subscribe`. A message is acknowledged to the broker after
/// [`receive`](Commands::receive) returned. What these methods write to [`state`](crate::state) is synced to disk before
/// that, and is never reverted.
pub trait Commands: Plugin {
    /// What to subscribe to; called after each sign-in.
    fn subscriptions(&mut self) -> Vec<Subscription>;

    /// A message arrived. After [`Failure::Retry`] it is handed over again after 1 s; after [`Failure::Reject`] it is dropped.
    fn receive(&mut self, message: &Inbound, out: &mut Actions) -> Result<(), Failure>;

    /// What became of the set-point with this reference.
    fn wrote(
        &mut self,
        _at: Timestamp,
        _reference: &str,
        _outcome: &Outcome,
        _out: &mut Messages,
    ) -> Result<(), Failure> {
        Ok(())
    }
}

/// What a plugin wants to happen, in this order.
#[derive(Debug, Default)]
pub struct Actions(Vec<Action>);

impl Actions {
    /// Publishes a message in this session.
    pub fn publish(&mut self, message: Message) {
        self.0.push(Action::Publish(message));
    }

    /// Asks for a set-point; the outcome comes to [`Commands::wrote`].
    pub fn write(&mut self, proposal: Proposal) {
        self.0.push(Action::Write(proposal));
    }

    /// Ends this session and signs in with a fresh login.
    pub fn sign_in_again(&mut self) {
        self.0.push(Action::SignInAgain);
    }
}

impl Subscription {
    /// A topic filter, with QoS 1.
    pub fn new(filter: impl Into<String>) -> Self {
        Self { filter: filter.into(), qos: Qos::AtLeastOnce }
    }
}

/// The component's `subscriptions`.
#[doc(hidden)]
pub fn subscriptions<P: Commands>(slot: &mut Option<Slot<P>>) -> Vec<Subscription> {
    slot.as_mut().map(|slot| slot.plugin.subscriptions()).unwrap_or_default()
}

/// The component's `receive`.
#[doc(hidden)]
pub fn receive<P: Commands>(slot: &mut Option<Slot<P>>, message: &Inbound) -> Result<Vec<Action>, Failure> {
    let slot = slot.as_mut().ok_or_else(|| Failure::Retry(UNCONFIGURED.into()))?;
    let mut out = Actions::default();
    slot.plugin.receive(message, &mut out)?;
    Ok(out.0)
}

/// The component's `wrote`.
#[doc(hidden)]
pub fn wrote<P: Commands>(
    slot: &mut Option<Slot<P>>,
    at: Timestamp,
    reference: &str,
    outcome: &Outcome,
) -> Result<Messages, Failure> {
    let slot = slot.as_mut().ok_or_else(|| Failure::Retry(UNCONFIGURED.into()))?;
    let mut out = Messages::new();
    slot.plugin.wrote(at, reference, outcome, &mut out)?;
    Ok(out)
}
