//! What the parts of one feed share.

use std::cell::Cell;

use bessai_domain::event::Sequence;
use bessai_domain::time::Moment;

use crate::health::SharedFeedHealth;
use crate::settings::FeedSettings;

/// What the parts of one feed share.
pub(crate) struct TaskContext {
    pub(crate) settings: FeedSettings,
    pub(crate) health: SharedFeedHealth,
    /// The last event that is delivered; set by the delivery, tells the transformer when a new version has proved itself.
    pub(crate) delivered_through: Cell<Sequence>,
    /// Messages per second; set by the transformer with each policy, enforced by the delivery.
    pub(crate) rate_per_s: Cell<Option<u32>>,
}

impl TaskContext {
    pub(crate) fn new(settings: FeedSettings, health: SharedFeedHealth, rate_per_s: Option<u32>) -> Self {
        Self { settings, health, delivered_through: Cell::default(), rate_per_s: Cell::new(rate_per_s) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.settings.name
    }

    pub(crate) fn now(&self) -> Moment {
        (self.settings.clock)()
    }
}
