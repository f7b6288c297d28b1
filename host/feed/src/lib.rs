//! One customer's feed: events from the journal go through the customer's plugin to the customer's broker.
//!
//! The unit of delivery is the batch: the events of one call of the plugin and the messages made of them. The feed's
//! position in the journal moves past a batch, together with the plugin's state after it, when the messages of that batch
//! and of all earlier ones are acknowledged. Journal, plugin and broker are known only as the traits of
//! [`bessai_domain::ports`].

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::float_cmp, clippy::panic, clippy::expect_used)
)]

mod backoff;
mod batches;
mod context;
mod delivery;
mod feed;
mod gates;
mod health;
mod inbox;
mod policy;
mod processor;
mod quarantine;
mod rate;
mod replacement;
mod requeue;
mod settings;
mod sign_ins;
#[cfg(test)]
mod tests;
mod transform;
mod turn;

pub use delivery::{Lesson, RefusedByBroker};
pub use feed::Feed;
pub use gates::BrokerGates;
pub use health::{CommandsHealth, FeedHealth, SharedFeedHealth, SubscriptionState};
pub use policy::{Admitted, DeliveryOrder, Policy};
pub use processor::ProcessorShare;
pub use quarantine::{
    Deleting, Quarantine, QuarantineContent, QuarantineEntry, QuarantinedEvent, QuarantinedMessage, ReadingRequeued,
    RequeuedContent, RequeuedEntry, StoredEntry, Storing,
};
pub use replacement::{Replacement, Replacements};
pub use settings::{FeedSettings, Propose, RecordWrite};
