//! What `/health` shows of a feed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// The state of a feed, kept up by it.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// Signed in now.
    pub connected: bool,
    /// Sign-ins that the broker granted.
    pub sign_ins: u64,
    /// Sign-ins that failed: the plugin gave no login, or the broker was not there or refused.
    pub failed_sign_ins: u64,
    /// Messages acknowledged since the start.
    pub delivered: u64,
    /// Events set aside because the plugin cannot handle them, and messages because the broker does not take them.
    pub set_aside: u64,
    /// Messages refused by the checks or the broker.
    pub refused: u64,
    /// Events passed over because they were older than the feed wants them.
    pub too_old: u64,
    /// Which version of its component runs.
    pub version: String,
    /// Calls that ended well.
    pub calls: u64,
    /// Of them those that took longer than a call should.
    pub slow_calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Instances started.
    pub starts: u64,
    /// The longest call.
    pub longest_call: Duration,
    /// Why the newest version of it does not run.
    pub not_taken: Option<String>,
    /// Why it is off, until its file changes.
    pub off: Option<String>,
}

/// Shared with whoever shows it.
pub type SharedHealth = Rc<RefCell<Health>>;

impl Health {
    /// A call that ended well.
    pub(super) fn note_call(&mut self, took: Duration, slow: Duration) {
        self.calls += 1;
        self.slow_calls += u64::from(took > slow);
        self.longest_call = self.longest_call.max(took);
    }
}
