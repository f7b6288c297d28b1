//! What `/health` shows of a feed.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::Lesson;
use crate::processor::AverageShare;

/// A broker that refused a message for want of capacity counts as short of it for this long.
const SHORT_OF_CAPACITY_FOR: Duration = Duration::from_mins(1);

/// The state of a feed, updated by it.
#[derive(Clone, Debug, Default)]
pub struct FeedHealth {
    /// Signed in now.
    pub connected: bool,
    /// Why the connection failed last.
    pub last_error: Option<String>,
    /// Since when it fails; none while it does not.
    pub failing_since: Option<Instant>,
    /// When the next attempt begins; none while the connection does not fail.
    pub next_try: Option<Instant>,
    /// Successful sign-ins.
    pub sign_ins: u64,
    /// Failed sign-ins: the plugin returned no login, or the broker was not reachable or refused it.
    pub failed_sign_ins: u64,
    /// Messages acknowledged since the start.
    pub delivered: u64,
    /// Events quarantined because the plugin cannot process them, and messages because the broker does not accept them.
    pub quarantined: u64,
    /// Quarantined events and messages that were deleted, because the quarantine had no room for further ones.
    pub deleted: u64,
    /// Quarantined events and messages that were requeued and handled since the start.
    pub requeued: u64,
    /// Why an event or a message cannot be quarantined now; the feed waits.
    pub quarantine_fault: Option<String>,
    /// Messages refused for good: the feed has no right to publish them, or they are invalid.
    pub refused: u64,
    /// Messages that wait because the broker ended sessions after them, or refused them.
    pub suspects: usize,
    /// What the broker refuses.
    pub lessons: Vec<Lesson>,
    /// Messages per second that the broker takes, while it refuses more.
    pub broker_rate: Option<f64>,
    /// When the broker last had no capacity for a message.
    pub refused_at: Option<Instant>,
    /// Events skipped because they were older than `max_age`.
    pub too_old: u64,
    /// The running version of the component.
    pub version: String,
    /// Successful calls.
    pub calls: u64,
    /// Successful calls that took longer than `slow_call`.
    pub slow_calls: u64,
    /// Failed calls.
    pub failures: u64,
    /// Instances started.
    pub starts: u64,
    /// The longest call.
    pub longest_call: Duration,
    /// Time for which calls waited because the plugin used more than its share of the processor.
    pub throttled: Duration,
    pub(crate) processor: AverageShare,
    /// Messages from the broker.
    pub commands: CommandsHealth,
    /// Why the plugin does not process the backlog, until its file changes.
    pub backlog_off: Option<String>,
    /// Why the newest version does not run.
    pub update_error: Option<String>,
    /// Why the feed is off until its file changes.
    pub off: Option<String>,
}

/// What a plugin receives from its broker.
#[derive(Clone, Debug, Default)]
pub struct CommandsHealth {
    /// The filters that it subscribes to in this session.
    pub subscriptions: Vec<(String, SubscriptionState)>,
    /// Messages that it has handled.
    pub received: u64,
    /// Messages that it did not get, or that it could not handle.
    pub dropped: u64,
    /// Topic and reason of the message that was dropped last.
    pub last_dropped: Option<(String, String)>,
    /// Set-points that it asked for, while the gateway writes none.
    pub refused_writes: u64,
}

/// What became of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubscriptionState {
    /// The broker has not answered yet.
    Requested,
    /// The broker delivers with this quality of service at most.
    Granted(u8),
    /// The feed has no right to it, or the broker refused it.
    Refused(String),
}

impl CommandsHealth {
    /// A message is dropped.
    pub(crate) fn drop_message(&mut self, topic: &str, reason: String) {
        self.dropped += 1;
        self.last_dropped = Some((topic.to_owned(), reason));
    }
}

/// Shared between the feed and `/health`.
pub type SharedFeedHealth = Rc<RefCell<FeedHealth>>;

impl FeedHealth {
    /// The share of a core that the plugin's calls used in the last seconds.
    pub fn processor_share(&self) -> f64 {
        self.processor.at(Instant::now())
    }

    /// Whether the broker had no capacity for a message a moment ago.
    pub fn is_short_of_capacity(&self) -> bool {
        self.refused_at.is_some_and(|at| at.elapsed() < SHORT_OF_CAPACITY_FOR)
    }

    /// The connection failed; the next attempt begins after this pause.
    pub fn connection_failed(&mut self, error: &str, pause: Duration) {
        let now = Instant::now();
        self.connected = false;
        self.last_error = Some(error.to_owned());
        self.failing_since.get_or_insert(now);
        self.next_try = Some(now + pause);
    }

    /// The connection does not fail, or not any more.
    pub(crate) fn forget_failure(&mut self) {
        (self.failing_since, self.next_try) = (None, None);
    }

    /// Counts a successful call.
    pub(crate) fn count_call(&mut self, took: Duration, slow: Duration) {
        self.calls += 1;
        self.slow_calls += u64::from(took > slow);
        self.longest_call = self.longest_call.max(took);
    }
}
