//! A feed's settings, apart from plugin, broker and policy.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::time::Clock;

use crate::gates::BrokerGates;
use crate::quarantine::Quarantine;

/// A feed's settings, apart from plugin, broker and policy.
pub struct FeedSettings {
    /// For logs.
    pub name: String,
    /// Where `online` and `offline` are published, retained; not for a plugin that decides how its feed signs in.
    pub status_topic: Option<String>,
    /// Both clocks.
    pub clock: Clock,
    /// Calls that take longer are counted as slow.
    pub slow_call: Duration,
    /// Stores what cannot be delivered.
    pub quarantine: Rc<dyn Quarantine>,
    /// Shared by all feeds.
    pub gates: BrokerGates,
}
