//! New versions of a running feed.

use tokio::sync::{mpsc, oneshot};

use crate::policy::Policy;

/// A new version of a feed: its component, its settings, or both.
pub struct Replacement<P, B> {
    /// The new rights and limits.
    pub policy: Policy,
    /// Replaces the running version if it starts and processes an event on a copy of that one's state.
    pub plugin: P,
    /// The broker to sign in to instead, if it is another one.
    pub broker: Option<B>,
    /// Gets whether the new version runs, or why the old one was kept.
    pub reply: oneshot::Sender<Result<(), String>>,
}

/// New versions. Boxed because a channel reserves memory for 32 elements.
pub type Replacements<P, B> = mpsc::Receiver<Box<Replacement<P, B>>>;
