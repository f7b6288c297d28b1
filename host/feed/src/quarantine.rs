//! Where events and messages go that cannot be delivered.

use bessai_domain::event::{Event, Sequence};
use bessai_domain::message::Message;
use bessai_domain::site::Site;

/// Stores what a feed cannot deliver. Both return the location, for the log.
pub trait Quarantine {
    /// Stores an event that the plugin cannot process.
    fn store_event(&self, event: &QuarantinedEvent<'_>) -> Result<String, String>;
    /// Stores a message that the broker does not accept.
    fn store_message(&self, message: &QuarantinedMessage<'_>) -> Result<String, String>;
}

/// An event that the plugin cannot process.
pub struct QuarantinedEvent<'a> {
    /// The feed's name.
    pub feed: &'a str,
    /// The site description that the event refers to, as far as the feed may see it.
    pub site: Option<&'a Site>,
    /// The event, as far as the feed may see it.
    pub event: &'a Event,
    /// How the plugin failed.
    pub reason: &'a str,
}

/// A message that the broker does not accept.
pub struct QuarantinedMessage<'a> {
    /// The feed's name.
    pub feed: &'a str,
    /// The last event of the batch that it belongs to; for a message of a sign-in, the last event that was delivered.
    pub through: Sequence,
    /// Its index in the batch.
    pub index: usize,
    /// The message.
    pub message: &'a Message,
    /// Its size in bytes, as the broker counts it.
    pub size: usize,
    /// The most bytes that the broker accepts.
    pub limit: usize,
}
