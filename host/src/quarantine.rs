//! Stores quarantined events and messages in a thread of its own, so that no disk delays the main loop.
//!
//! The thread starts with the first entry. Each feed waits for its own entries; the queue is bounded, and a feed has one event
//! and one message in it at most. The thread does not list a feed's folder again after the first entry: it counts.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bessai_feed::{Quarantine, QuarantineEntry, Storing};
use tokio::sync::{mpsc, oneshot};

mod entry;
mod folder;

use folder::FeedFolder;

/// Entries that may wait for the thread; a feed with a further one waits until there is room.
const QUEUE: usize = 64;
/// Why an entry is not stored when the thread ends before it has answered.
const ENDED: &str = "the quarantine's thread ended";

/// Writes the quarantine of all feeds.
pub(crate) struct QuarantineWriter {
    folder: PathBuf,
    jobs: RefCell<Option<mpsc::Sender<Job>>>,
}

struct Job {
    entry: QuarantineEntry,
    reply: oneshot::Sender<Result<String, String>>,
}

impl QuarantineWriter {
    /// Writes to a folder for each feed below this one.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), jobs: RefCell::default() }
    }

    /// The running thread's queue; starts the thread if there is none, or if the last one panicked.
    fn jobs(&self) -> Result<mpsc::Sender<Job>, String> {
        let mut jobs = self.jobs.borrow_mut();
        if let Some(jobs) = jobs.as_ref().filter(|jobs| !jobs.is_closed()) {
            return Ok(jobs.clone());
        }
        let (sender, received) = mpsc::channel(QUEUE);
        let worker = Worker { folder: self.folder.clone(), feeds: HashMap::new() };
        let thread = std::thread::Builder::new().name("quarantine".into()).spawn(move || worker.run(received));
        thread.map_err(|error| format!("failed to start the quarantine's thread: {error}"))?;
        Ok(jobs.insert(sender).clone())
    }
}

impl Quarantine for QuarantineWriter {
    fn store(&self, entry: QuarantineEntry) -> Storing {
        let jobs = self.jobs();
        Box::pin(async move {
            let (reply, replied) = oneshot::channel();
            jobs?.send(Job { entry, reply }).await.map_err(|_| ENDED.to_owned())?;
            replied.await.unwrap_or_else(|_| Err(ENDED.into()))
        })
    }
}

/// The thread's part.
struct Worker {
    folder: PathBuf,
    feeds: HashMap<String, FeedFolder>,
}

impl Worker {
    #[allow(clippy::disallowed_methods, reason = "it runs in a thread of its own")]
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(Job { entry, reply }) = jobs.blocking_recv() {
            // A feed that has ended does not wait any more; the entry is stored all the same.
            let _ = reply.send(self.store(&entry));
        }
    }

    fn store(&mut self, entry: &QuarantineEntry) -> Result<String, String> {
        let path = self.folder.join(&entry.feed);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let folder = match self.feeds.get_mut(&entry.feed) {
            Some(folder) => folder,
            None => {
                let opened = FeedFolder::open(&path).map_err(failed)?;
                self.feeds.entry(entry.feed.clone()).or_insert(opened)
            }
        };
        let (name, content) = entry::file(&entry.content);
        let stored = folder.write(&name, &content, entry.quota_bytes)?;
        Ok(stored.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bessai_domain::event::{Event, EventBody, Sequence};
    use bessai_domain::time::Timestamp;
    use bessai_feed::{QuarantineContent, QuarantinedEvent};

    use super::*;

    fn entry(feed: &str, sequence: u64) -> QuarantineEntry {
        let event = Event { sequence: Sequence(sequence), at: Timestamp::default(), body: EventBody::Heartbeat };
        let event = QuarantinedEvent { site: None, event: Arc::new(event), reason: "trapped".into() };
        QuarantineEntry { feed: feed.into(), quota_bytes: 1 << 20, content: QuarantineContent::Event(event) }
    }

    #[tokio::test]
    async fn feeds_write_to_their_own_folders_and_a_failed_write_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let writer = QuarantineWriter::new(&folder.path().join("quarantine"));
        for feed in ["acme", "other"] {
            let location = writer.store(entry(feed, 7)).await.unwrap();
            assert!(location.ends_with(&format!("quarantine/{feed}/00000000000000000007.jsonl")), "{location}");
            assert!(Path::new(&location).exists());
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = QuarantineWriter::new(&file).store(entry("acme", 7)).await.unwrap_err();
        assert!(error.contains("file/acme: "), "{error}");
    }

    #[tokio::test]
    async fn the_thread_is_started_again_when_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let writer = QuarantineWriter::new(folder.path());
        writer.store(entry("acme", 1)).await.unwrap();
        let (ended, receiver) = mpsc::channel(1);
        drop(receiver);
        writer.jobs.replace(Some(ended));
        writer.store(entry("acme", 2)).await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("acme")).unwrap().count(), 2);
    }
}
