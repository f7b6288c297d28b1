//! When to sign in next, and what is said of it.

use std::time::Duration;

use super::backoff::Backoff;
use super::{Settings, SharedHealth};

/// What is known of the sign-ins so far.
pub(super) struct Signing {
    pub(super) settings: Settings,
    pub(super) health: SharedHealth,
    backoff: Backoff,
    /// Before the next sign-in.
    pub(super) pause: Duration,
    /// Failed ones since the last session.
    pub(super) attempt: u32,
    // What goes wrong again and again is said once, until it changes or heals.
    said: Option<String>,
}

impl Signing {
    pub(super) fn new(settings: Settings, health: SharedHealth) -> Self {
        Self { settings, health, backoff: Backoff::default(), pause: Duration::ZERO, attempt: 0, said: None }
    }

    /// There is no session.
    pub(super) fn failed(&mut self, reason: &str) {
        self.health.borrow_mut().failed_sign_ins += 1;
        self.attempt = self.attempt.saturating_add(1);
        self.wait(reason);
    }

    /// A session begins.
    pub(super) fn succeeded(&mut self) {
        let feed = &self.settings.name;
        let mut health = self.health.borrow_mut();
        // After a renewal it never was away.
        if !health.connected {
            tracing::info!(%feed, "signed in");
        }
        health.connected = true;
        health.sign_ins += 1;
        (self.attempt, self.pause) = (0, Duration::ZERO);
    }

    /// A session is over that should not be; one that `worked` makes the next trouble a new one.
    pub(super) fn lost(&mut self, reason: &str, worked: bool) {
        if worked {
            self.said = None;
            self.backoff.reset();
        }
        self.wait(reason);
    }

    /// Another plugin or another broker: whatever was wrong with the one before.
    pub(super) fn begin_anew(&mut self) {
        self.health.borrow_mut().connected = false;
        self.backoff.reset();
        (self.attempt, self.pause, self.said) = (0, Duration::ZERO, None);
    }

    fn wait(&mut self, reason: &str) {
        self.health.borrow_mut().connected = false;
        if self.said.as_deref() != Some(reason) {
            tracing::warn!(feed = %self.settings.name, "not signed in: {reason}; trying on");
            self.said = Some(reason.to_owned());
        }
        self.pause = self.backoff.next();
    }
}
