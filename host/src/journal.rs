//! The ordered, durable list of events that every feed reads at its own pace.
//!
//! An event is in memory at once, with the operating system moments later, and on the disk within the sync interval.
//! Numbers rise by one and are never used twice; where they jump, or events fell off the old end before a feed had read
//! them, it is told so by a gap. A feed's place, and what its plugin kept there, stay known under its name when the feed
//! goes.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{EventBody, Sequence};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use tokio::time::timeout;

mod bytes;
pub mod look;
mod numbers;
mod places;
mod reader;
mod record;
mod segment;
mod shared;
mod store;
#[cfg(test)]
mod tests;
mod threads;
mod values;

pub use reader::{Cursor, Reader};
pub use store::OpenError;

use shared::{Kept, Shared};
use threads::{EventWriter, Syncer};

/// How events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The folder that they are kept in.
    pub folder: PathBuf,
    /// When they are brought to the disk.
    pub sync: Sync,
    /// Above this the oldest go.
    pub max_bytes: u64,
    /// Older ones go.
    pub max_age: Duration,
}

/// When events are brought to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// All of this time together.
    Interval(Duration),
    /// Each before a feed sees it.
    EveryEvent,
    /// Never: they are lost with the process.
    Memory,
}

/// The end that appends. The last copy to go ends the threads beside.
#[derive(Clone)]
pub struct Journal(Rc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    site: Option<Arc<Site>>,
}

/// Where a feed begins that was never seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// With the oldest event that is kept.
    Oldest,
    /// With the first event at or after this.
    At(Timestamp),
}

/// How many events a call may get, and how many values in all.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    /// Events.
    pub events: usize,
    /// Values of all frames together.
    pub values: usize,
}

/// What one call of a plugin gets at most: 64 KiB of values, and a fair share of time.
pub const CALL: Limit = Limit { events: 64, values: 8192 };

/// Time that the disk has for the rest when the gateway ends.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

impl Journal {
    /// Takes the folder, or makes it, and goes on behind its last event. `now` serves where no number can be kept.
    pub fn open(settings: &Settings, now: Timestamp) -> Result<Self, OpenError> {
        let opened = match store::open(&settings.folder, settings.max_bytes, now) {
            Err(error @ OpenError::Io { .. }) if settings.sync == Sync::Memory => {
                tracing::warn!("{error}; numbers are made of the clock, and feeds' places are lost with the process");
                return Ok(Self::without_folder(settings, now));
            }
            opened => opened?,
        };
        let io = |error| OpenError::Io { path: settings.folder.clone(), error };
        let places = places::Writer::open(&settings.folder, &opened.places);
        let folder = Some(opened.store.folder().map_err(io)?);
        let has_events = settings.sync != Sync::Memory;
        let kept = Kept {
            next: opened.next,
            segments: opened.segments,
            places: opened.places.places,
            places_are_damaged: opened.places.is_damaged || opened.places.unsound > 0,
            sites: opened.site.iter().map(|site| (Sequence(0), Arc::clone(site))).collect(),
            written: opened.next,
            synced: opened.next,
            waits_for_sync: settings.sync == Sync::EveryEvent,
            unsynced_end: opened.next,
            reserved: opened.reserved,
            writer_ended: !has_events,
            damaged_bytes: opened.cut_bytes,
            files_set_aside: opened.set_aside,
            max_bytes: settings.max_bytes,
            max_age: settings.max_age,
            ..Kept::default()
        };
        let shared = Arc::new(Shared::new(kept));
        let syncer = Syncer {
            shared: Arc::clone(&shared),
            sync: settings.sync,
            folder,
            places,
            numbers: opened.numbers,
            lock: opened.lock,
        };
        threads::start("journal-sync", move || syncer.run()).map_err(io)?;
        if has_events {
            let syncs = settings.sync == Sync::EveryEvent;
            let writer = EventWriter { shared: Arc::clone(&shared), store: opened.store, syncs };
            threads::start("journal-write", move || writer.run()).map_err(io)?;
        }
        Ok(Self(Rc::new(Handle { shared, site: opened.site })))
    }

    fn without_folder(settings: &Settings, now: Timestamp) -> Self {
        let next = store::number_of_clock(now).max(Sequence(1));
        let kept = Kept {
            next,
            written: next,
            synced: next,
            reserved: Sequence(u64::MAX),
            writer_ended: true,
            syncer_ended: true,
            max_bytes: settings.max_bytes,
            max_age: settings.max_age,
            ..Kept::default()
        };
        Self(Rc::new(Handle { shared: Arc::new(Shared::new(kept)), site: None }))
    }

    /// The description in force when the journal was opened.
    pub fn site(&self) -> Option<&Arc<Site>> {
        self.0.site.as_ref()
    }

    /// Numbers an event and keeps it. Never waits.
    pub fn append(&self, at: Timestamp, body: EventBody) -> Sequence {
        let shared = &self.0.shared;
        let mut kept = shared.lock();
        let sequence = kept.append(at, body);
        let (wakes_writer, wakes_readers) = (kept.writer_waits, !kept.waits_for_sync);
        kept.writer_waits = false;
        let wakes_syncer = kept.needs_numbers();
        drop(kept);
        if wakes_writer {
            shared.to_write.notify_one();
        }
        if wakes_syncer {
            shared.to_sync.notify_one();
        }
        if wakes_readers {
            shared.progress.notify_waiters();
        }
        sequence
    }

    /// The feed of that name reads from its place on, or begins, and what its plugin kept there. While there is a reader
    /// the place is kept, and what falls off the end before it is counted.
    pub fn reader(&self, feed: &str, start: Start) -> (Reader, State) {
        Reader::new(&self.0.shared, feed, start)
    }

    /// Whether a feed of that name has a place.
    pub fn knows(&self, feed: &str) -> bool {
        self.0.shared.lock().places.contains_key(feed)
    }

    /// How far a feed is behind.
    pub fn lag(&self, feed: &str) -> Lag {
        self.0.shared.lock().lag(feed)
    }

    /// How it is.
    pub fn health(&self) -> Health {
        self.0.shared.lock().health()
    }

    /// Brings everything to the disk and ends the threads beside.
    pub async fn close(&self) {
        let shared = &self.0.shared;
        end(shared);
        let ended = async {
            loop {
                let saved = shared.saved.notified();
                if shared.lock().syncer_ended {
                    return;
                }
                saved.await;
            }
        };
        if timeout(CLOSED_WITHIN, ended).await.is_err() {
            tracing::error!("the journal was not brought to the disk within {CLOSED_WITHIN:?}");
        }
    }
}

fn end(shared: &Shared) {
    shared.lock().is_closing = true;
    shared.to_write.notify_all();
    shared.to_sync.notify_all();
}

impl Drop for Handle {
    fn drop(&mut self) {
        end(&self.shared);
    }
}

/// How far a feed is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Lag {
    /// Events that it has not passed.
    pub events: u64,
    /// How much older the last event that it passed is than the newest.
    pub seconds: f64,
    /// Events that were lost before it had passed them.
    pub lost: u64,
}

/// How the journal is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Number of the oldest event.
    pub oldest: u64,
    /// Number of the newest.
    pub newest: u64,
    /// On the disk.
    pub bytes: u64,
    /// Events that were lost before every feed had passed them.
    pub lost: u64,
    /// Events in damaged parts of files.
    pub damaged: u64,
    /// Bytes that were cut from damaged ends at the start.
    pub cut_bytes: u64,
    /// Files that were set aside at the start.
    pub set_aside: u64,
    /// Why it is not written now.
    pub trouble: Option<String>,
}
