//! When to sign in next, and what is logged about it.

use std::rc::Rc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::context::TaskContext;

/// The sign-ins of a feed so far.
pub(crate) struct SignIns {
    context: Rc<TaskContext>,
    backoff: Backoff,
    /// Wait before the next sign-in.
    pub(crate) pause: Duration,
    /// Failed ones since the last session.
    pub(crate) attempt: u32,
    // A failure that repeats is logged once, until it changes or a session lasts.
    logged: Option<String>,
}

impl SignIns {
    pub(crate) fn new(context: Rc<TaskContext>) -> Self {
        Self { context, backoff: Backoff::default(), pause: Duration::ZERO, attempt: 0, logged: None }
    }

    /// A sign-in failed.
    pub(crate) fn failed(&mut self, reason: &str) {
        self.context.health.borrow_mut().failed_sign_ins += 1;
        self.attempt = self.attempt.saturating_add(1);
        self.back_off(reason);
    }

    /// A session begins.
    pub(crate) fn succeeded(&mut self) {
        let feed = self.context.name();
        let mut health = self.context.health.borrow_mut();
        // During a renewal the feed stays connected.
        if !health.connected {
            tracing::info!(%feed, "signed in");
        }
        health.connected = true;
        health.sign_ins += 1;
        (self.attempt, self.pause) = (0, Duration::ZERO);
    }

    /// A session ended unexpectedly. After a stable one the back-off starts again from its shortest pause.
    pub(crate) fn lost(&mut self, reason: &str, was_stable: bool) {
        if was_stable {
            self.logged = None;
            self.backoff.reset();
        }
        self.back_off(reason);
    }

    /// The feed has another plugin or another broker: earlier failures do not count.
    pub(crate) fn restart(&mut self) {
        self.disconnected();
        self.backoff.reset();
        (self.attempt, self.pause, self.logged) = (0, Duration::ZERO, None);
    }

    pub(crate) fn disconnected(&self) {
        self.context.health.borrow_mut().connected = false;
    }

    fn back_off(&mut self, reason: &str) {
        self.disconnected();
        self.pause = self.backoff.next();
        if self.logged.as_deref() != Some(reason) {
            let seconds = self.pause.as_millis().div_ceil(1000);
            tracing::warn!(feed = %self.context.name(), "{reason}; retrying in {seconds} s");
            self.logged = Some(reason.to_owned());
        }
    }
}
