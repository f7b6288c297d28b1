//! A feed's settings, apart from plugin, broker and policy.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::event::Sequence;
use bessai_domain::proposal::{Proposal, WriteOutcome, WriteStep};
use bessai_domain::time::{Clock, Moment};

use crate::gates::BrokerGates;
use crate::quarantine::Quarantine;

/// Appends a step of a proposal to the events of the site; returns the event's number.
pub type RecordWrite = Rc<dyn Fn(Moment, WriteStep) -> Sequence>;

/// Makes a proposal of the feed's plugin, given the unit of its channel and the right that the feed lacks, if it does; its result
/// is the first outcome.
pub type Propose = Rc<dyn Fn(Proposal, String, Result<(), String>) -> Pin<Box<dyn Future<Output = WriteOutcome>>>>;

/// A feed's settings, apart from plugin, broker and policy.
pub struct FeedSettings {
    /// For logs.
    pub name: String,
    /// Where `online` and `offline` are published, retained; not for a plugin that decides how its feed signs in.
    pub status_topic: Option<String>,
    /// Both clocks.
    pub clock: Clock,
    /// The earliest moment at which a message that is read now may have arrived: earlier than now after the process did not
    /// run for a while.
    pub arrival: Clock,
    /// Calls that take longer are counted as slow.
    pub slow_call: Duration,
    /// Stores what cannot be delivered.
    pub quarantine: Rc<dyn Quarantine>,
    /// Shared by all feeds.
    pub gates: BrokerGates,
    /// Where the plugin's proposals become events.
    pub record_write: RecordWrite,
    /// Carries the proposals out; none if the gateway writes nothing.
    pub propose: Option<Propose>,
}
