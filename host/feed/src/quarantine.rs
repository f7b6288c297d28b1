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
use tokio::time::{Instant, sleep, sleep_until};

use crate::context::TaskContext;

/// Entries that a feed stores in a second, on average; further ones wait. Each is synced to the disk, and a memory card
/// manages about a hundred syncs a second for the whole gateway.
pub(crate) const ENTRIES_PER_S: u32 = 20;
/// Pause after an entry could not be stored: the disk is full or fails, and a person has to act.
pub(crate) const RETRY_PAUSE: Duration = Duration::from_secs(5);

/// An entry that is being stored; ends with its location, for the log, or with the reason why it is not stored.
pub type Storing = Pin<Box<dyn Future<Output = Result<String, String>>>>;

/// Stores what a feed cannot deliver, away from the feed's thread.
pub trait Quarantine {
    /// Stores an entry. It is on the disk when the future ends without an error.
    fn store(&self, entry: QuarantineEntry) -> Storing;
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
pub enum QuarantineContent {
    /// An event that the plugin cannot process.
    Event(QuarantinedEvent),
    /// A message that the broker does not accept.
    Message(QuarantinedMessage),
}

/// An event that the plugin cannot process.
pub struct QuarantinedEvent {
    /// The site description that the event refers to, as far as the feed may see it.
    pub site: Option<Arc<Site>>,
    /// The event, as far as the feed may see it.
    pub event: Arc<Event>,
    /// How the plugin failed.
    pub reason: String,
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
            Ok(_) => {
                health.quarantined += 1;
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
        stored
    }
}

/// Stores a message, however long that takes; ends with its location.
pub(crate) fn store_message(
    context: Rc<TaskContext>,
    message: QuarantinedMessage,
) -> Pin<Box<dyn Future<Output = String>>> {
    Box::pin(async move {
        loop {
            while let Err(available) = context.may_quarantine() {
                sleep_until(available).await;
            }
            if let Ok(location) = context.try_quarantine(QuarantineContent::Message(message.clone())).await {
                return location;
            }
            sleep(RETRY_PAUSE).await;
        }
    })
}
