//! What the parts of one feed share.

use std::cell::{Cell, RefCell};

use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::event::Sequence;
use bessai_domain::time::Moment;
use tokio::sync::Notify;

use crate::health::SharedFeedHealth;
use crate::inbox::Inbox;
use crate::policy::{DeliveryOrder, Policy};
use crate::processor::ProcessorBudget;
use crate::rate::RateLimiter;
use crate::requeue::Requeue;
use crate::settings::FeedSettings;
use crate::turn::Turn;

/// Characters of a refusal that are logged: a topic may have a mebibyte.
const LOGGED_CHARACTERS: usize = 300;

/// What the parts of one feed share.
pub(crate) struct TaskContext {
    pub(crate) settings: FeedSettings,
    pub(crate) health: SharedFeedHealth,
    /// The last event that is delivered; set by the delivery, tells the transformer when a new version has proved itself.
    pub(crate) delivered_through: Cell<Sequence>,
    /// Messages per second; set by the transformer with each policy, enforced by the delivery.
    pub(crate) rate_per_s: Cell<Option<u32>>,
    /// What the broker accepts, if its kind is known; set by the transformer with each policy.
    pub(crate) broker_limits: Cell<Option<&'static BrokerLimits>>,
    /// Which events go first after an outage; set like the rate.
    pub(crate) order: Cell<DeliveryOrder>,
    /// The processor time that the plugin's instances have used together.
    pub(crate) processor: RefCell<ProcessorBudget>,
    /// The running version has processed an event at the feed's position since it last failed.
    pub(crate) is_proved: Cell<bool>,
    /// Another version of the plugin runs, or the previous one again.
    pub(crate) version_changed: Notify,
    /// The most bytes of the feed's quarantine; set by the transformer with each policy.
    pub(crate) quarantine_bytes: Cell<u64>,
    /// Limits how many events and messages the feed quarantines in a second.
    pub(crate) quarantine_rate: RefCell<RateLimiter>,
    /// Limits how many proposals of the plugin become events in a second.
    pub(crate) proposal_rate: RefCell<RateLimiter>,
    /// The fault of the quarantine that was logged last, until an entry is stored.
    pub(crate) logged_quarantine_fault: RefCell<Option<String>>,
    /// The entry of the quarantine that is being delivered after all.
    pub(crate) requeue: Requeue,
    /// Messages from the broker: the delivery puts them in, the transformer takes them.
    pub(crate) inbox: Inbox,
    pub(crate) turn: Turn,
}

impl TaskContext {
    pub(crate) fn new(settings: FeedSettings, health: SharedFeedHealth, policy: &Policy) -> Self {
        Self {
            settings,
            health,
            delivered_through: Cell::default(),
            rate_per_s: Cell::new(policy.rate_per_s),
            broker_limits: Cell::new(policy.broker),
            order: Cell::new(policy.order),
            processor: RefCell::default(),
            is_proved: Cell::default(),
            version_changed: Notify::new(),
            quarantine_bytes: Cell::new(policy.quarantine_bytes),
            quarantine_rate: RefCell::default(),
            proposal_rate: RefCell::default(),
            logged_quarantine_fault: RefCell::default(),
            requeue: Requeue::default(),
            inbox: Inbox::default(),
            turn: Turn::new(),
        }
    }

    /// Limits that concern the delivery, of a new version.
    pub(crate) fn apply(&self, policy: &Policy) {
        self.rate_per_s.set(policy.rate_per_s);
        self.broker_limits.set(policy.broker);
        self.order.set(policy.order);
        self.quarantine_bytes.set(policy.quarantine_bytes);
        self.forget_quarantine_fault();
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(crate) fn now(&self) -> Moment {
        (self.settings.clock)()
    }

    /// Counts messages that the feed has no right to publish, and logs the first.
    pub(crate) fn count_refusals(&self, refusals: &[String]) {
        let Some(first) = refusals.first() else { return };
        let mut health = self.health.borrow_mut();
        if health.refused == 0 {
            let first: String = first.chars().take(LOGGED_CHARACTERS).collect();
            tracing::error!(feed = %self.name(), "a message is not published: {first}");
        }
        health.refused += u64::try_from(refusals.len()).unwrap_or(u64::MAX);
    }
}
