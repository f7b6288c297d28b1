//! Where events and messages go that cannot be delivered.
//!
//! A feed waits for each of its entries until it is stored, so that its position never passes what is neither delivered nor
//! on the disk. The rate of its entries is limited: a feed that quarantines more slows down itself alone.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, Sequence};
use bessai_domain::message::Message;
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use crate::context::TaskContext;

/// Entries that a feed stores in a second, on average; further ones wait. Each is synced to the disk, and a memory card
/// manages about a hundred syncs a second for the whole gateway.
pub(crate) const ENTRIES_PER_S: u32 = 20;
/// Pause after an entry could not be stored: the disk is full or fails, and a person has to act.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// An entry that is being stored; ends with the reason why it is not stored, if it is not.
pub type Storing = Pin<Box<dyn Future<Output = Result<StoredEntry, String>>>>;
/// The oldest requeued entry that is being read; none if there is none, or if it cannot be read now.
pub type ReadingRequeued = Pin<Box<dyn Future<Output = Option<RequeuedEntry>>>>;
/// A requeued entry that is being deleted.
pub type Deleting = Pin<Box<dyn Future<Output = ()>>>;

/// Stores what a feed cannot deliver, away from the feed's thread.
pub trait Quarantine {
    /// Stores an entry. It is on the disk when the future ends without an error.
    fn store(&self, entry: QuarantineEntry) -> Storing;
    /// Notified when entries of this feed were requeued: a person wants them to be delivered after all.
    fn requeued(&self, feed: &str) -> Rc<Notify>;
    /// Reads the oldest requeued entry of a feed.
    fn read_requeued(&self, feed: &str) -> ReadingRequeued;
    /// Deletes a requeued entry, which is delivered or stored again.
    fn delete_requeued(&self, feed: &str, name: &str) -> Deleting;
}

/// An entry on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEntry {
    /// For the log.
    pub location: String,
    /// Older entries that were deleted for it.
    pub deleted: u64,
}

/// An entry of the quarantine that is to be delivered after all.
pub struct RequeuedEntry {
    /// Identifies it.
    pub name: String,
    /// The event or message.
    pub content: RequeuedContent,
}

/// An event or a message.
pub enum RequeuedContent {
    /// An event for the plugin.
    Event {
        /// The site description that the event refers to.
        site: Option<Arc<Site>>,
        /// The event.
        event: Arc<Event>,
        /// The plugin's state before it, if that was kept.
        state: Option<PluginState>,
    },
    /// A message for the broker.
    Message {
        /// See [`QuarantinedMessage`].
        through: Sequence,
        /// See [`QuarantinedMessage`].
        index: usize,
        /// The message.
        message: Message,
    },
}

/// What a feed stores.
pub struct QuarantineEntry {
    /// The feed's name.
    pub feed: String,
    /// The most bytes that the feed's entries may have together; the oldest are deleted.
    pub quota_bytes: u64,
    /// The event or message.
    pub content: QuarantineContent,
}

/// An event or a message.
#[derive(Clone)]
pub enum QuarantineContent {
    /// An event that the plugin cannot process.
    Event(QuarantinedEvent),
    /// A message that the broker does not accept.
    Message(QuarantinedMessage),
}

/// An event that the plugin cannot process.
#[derive(Clone)]
pub struct QuarantinedEvent {
    /// The site description that the event refers to, as far as the feed may see it.
    pub site: Option<Arc<Site>>,
    /// The event, as far as the feed may see it.
    pub event: Arc<Event>,
    /// How the plugin failed.
    pub reason: String,
    /// The version of the plugin.
    pub version: String,
    /// The plugin's state before the event.
    pub state: PluginState,
}

/// A message that the broker does not accept.
#[derive(Clone)]
pub struct QuarantinedMessage {
    /// The last event of the batch that it belongs to; for a message of a sign-in, the last event that was delivered.
    pub through: Sequence,
    /// Its index in the batch.
    pub index: usize,
    /// The message.
    pub message: Message,
    /// Its size in bytes, as the broker counts it.
    pub size: usize,
    /// The most bytes that the broker accepts, if it says so.
    pub limit: Option<usize>,
    /// Why the broker does not accept it.
    pub reason: String,
}

impl TaskContext {
    /// What could not be stored may not have to be stored any more: another session or another version begins.
    pub(crate) fn forget_quarantine_fault(&self) {
        self.health.borrow_mut().quarantine_fault = None;
    }

    /// Whether the feed may store an entry now, or when it may.
    pub(crate) fn may_quarantine(&self) -> Result<(), Instant> {
        self.quarantine_rate.borrow_mut().take(Some(ENTRIES_PER_S), Instant::now())
    }

    /// Stores an entry once; `/health` and the log show why it is not stored.
    pub(crate) async fn try_quarantine(&self, content: QuarantineContent) -> Result<String, String> {
        let (feed, quota_bytes) = (self.name().to_owned(), self.quarantine_bytes.get());
        let stored = self.settings.quarantine.store(QuarantineEntry { feed, quota_bytes, content }).await;
        let mut health = self.health.borrow_mut();
        match &stored {
            Ok(StoredEntry { deleted, .. }) => {
                health.quarantined += 1;
                if *deleted > 0 {
                    if health.deleted == 0 {
                        let feed = self.name();
                        tracing::error!(%feed, "the quarantine is full; its oldest entries are lost, `lost` counts them");
                    }
                    health.deleted += deleted;
                }
                health.quarantine_fault = None;
                if self.logged_quarantine_fault.take().is_some() {
                    tracing::info!(feed = %self.name(), "the quarantine is written again; the feed goes on");
                }
            }
            Err(reason) => {
                health.quarantine_fault = Some(reason.clone());
                let logged = self.logged_quarantine_fault.replace(Some(reason.clone()));
                if logged.as_ref() != Some(reason) {
                    tracing::error!(
                        feed = %self.name(),
                        "failed to write to the quarantine: {reason}; the feed waits and retries every {RETRY_PAUSE:?}"
                    );
                }
            }
        }
        stored.map(|entry| entry.location)
    }

    /// Stores an entry, however long that takes; ends with its location.
    pub(crate) async fn store(&self, content: QuarantineContent) -> String {
        loop {
            while let Err(available) = self.may_quarantine() {
                sleep_until(available).await;
            }
            if let Ok(location) = self.try_quarantine(content.clone()).await {
                return location;
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

/// Stores a message, however long that takes; ends with its location.
pub(crate) fn store_message(
    context: Rc<TaskContext>,
    message: QuarantinedMessage,
) -> Pin<Box<dyn Future<Output = String>>> {
    Box::pin(async move { context.store(QuarantineContent::Message(message)).await })
}
