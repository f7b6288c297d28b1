//! The outcome of running events through a plugin.

use std::time::Duration;

use bessai_domain::message::Message;
use serde_json::Value;

/// What a plugin did with some events.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunOutcome {
    /// The messages in the order in which they would be published.
    pub(crate) messages: Vec<Message>,
    /// Logins, subscriptions and set-points, as lines of `expected-session.jsonl`.
    pub(crate) session: Vec<Value>,
    /// Why the run ended early: a rejected configuration, a trap or a rejected event.
    pub(crate) failure: Option<String>,
    /// Fuel that the guest used in all calls; none if it was not counted.
    pub(crate) fuel: Option<u64>,
    /// How the messages differ if events are handed over one by one; empty if they do not.
    pub(crate) grouping: Vec<String>,
    /// Number of calls of `process`.
    pub(crate) calls: u32,
    /// Lines that the guest logged.
    pub(crate) log: Vec<String>,
}

/// What one version of a plugin made of recorded events.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ReplayedVersion {
    /// Number of events passed to `process`, with those that came after a failure.
    pub(crate) events: usize,
    /// What the plugin did.
    pub(crate) outcome: RunOutcome,
    /// How long the run took.
    pub(crate) took: Duration,
}
