//! Stores quarantined events and messages in a thread of its own, so that no disk delays the main loop.
//!
//! The thread starts with the first entry. Each feed waits for its own entries; the queue is bounded, and a feed has a few
//! jobs in it at most. The thread does not list a feed's folder again after the first entry: it counts.
//!
//! `feed requeue` moves files to the folder `requeued/<feed>`, also while the gateway runs. It is looked at every few
//! seconds; a feed that finds its files there delivers them and deletes them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bessai_feed::{Deleting, Quarantine, QuarantineEntry, ReadingRequeued, RequeuedEntry, StoredEntry, Storing};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

mod entry;
mod folder;
mod requeued;

pub(crate) use entry::state_before;
pub(crate) use requeued::{QuarantinedFile, feeds, list, requeue};

use folder::FeedFolder;
use requeued::RequeuedFolder;

/// Jobs that may wait for the thread; a feed with a further one waits until there is room.
const QUEUE: usize = 64;
/// Why an entry is not stored when the thread ends before it has answered.
const ENDED: &str = "the quarantine's thread ended";
/// How often requeued files are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// The folder of the quarantine in the data folder.
const QUARANTINE: &str = "quarantine";

/// Writes the quarantine of all feeds, and reads what is requeued.
pub(crate) struct QuarantineWriter {
    data: PathBuf,
    jobs: RefCell<Option<mpsc::Sender<Job>>>,
    requeued: RefCell<HashMap<String, Rc<Notify>>>,
}

enum Job {
    Store { entry: Box<QuarantineEntry>, reply: oneshot::Sender<Result<StoredEntry, String>> },
    ReadRequeued { feed: String, reply: oneshot::Sender<Option<RequeuedEntry>> },
    DeleteRequeued { feed: String, name: String, reply: oneshot::Sender<()> },
}

impl QuarantineWriter {
    /// Writes to a folder for each feed in the data folder.
    pub(crate) fn new(data: &Path) -> Self {
        Self { data: data.to_owned(), jobs: RefCell::default(), requeued: RefCell::default() }
    }

    /// The running thread's queue; starts the thread if there is none, or if the last one panicked.
    fn jobs(&self) -> Result<mpsc::Sender<Job>, String> {
        let mut jobs = self.jobs.borrow_mut();
        if let Some(jobs) = jobs.as_ref().filter(|jobs| !jobs.is_closed()) {
            return Ok(jobs.clone());
        }
        let (sender, received) = mpsc::channel(QUEUE);
        let worker = Worker { data: self.data.clone(), feeds: HashMap::new() };
        let thread = std::thread::Builder::new().name("quarantine".into()).spawn(move || worker.run(received));
        thread.map_err(|error| format!("failed to start the quarantine's thread: {error}"))?;
        Ok(jobs.insert(sender).clone())
    }

    /// Tells the feeds of requeued files, for ever.
    pub(crate) async fn watch_requeued(&self) {
        loop {
            sleep(LOOK_EVERY).await;
            let data = self.data.clone();
            let feeds = spawn_blocking(move || requeued::requeued_feeds(&data)).await.unwrap_or_default();
            for feed in feeds {
                if let Some(requeued) = self.requeued.borrow().get(&feed) {
                    requeued.notify_one();
                }
            }
        }
    }

    /// Gives a job to the thread and waits for its answer; none if there is no thread.
    async fn ask<T>(jobs: Result<mpsc::Sender<Job>, String>, job: impl FnOnce(oneshot::Sender<T>) -> Job) -> Option<T> {
        let (reply, replied) = oneshot::channel();
        jobs.ok()?.send(job(reply)).await.ok()?;
        replied.await.ok()
    }
}

impl Quarantine for QuarantineWriter {
    fn store(&self, entry: QuarantineEntry) -> Storing {
        let jobs = self.jobs();
        Box::pin(async move {
            let (reply, replied) = oneshot::channel();
            jobs?.send(Job::Store { entry: Box::new(entry), reply }).await.map_err(|_| ENDED.to_owned())?;
            replied.await.unwrap_or_else(|_| Err(ENDED.into()))
        })
    }

    fn requeued(&self, feed: &str) -> Rc<Notify> {
        Rc::clone(self.requeued.borrow_mut().entry(feed.to_owned()).or_default())
    }

    fn read_requeued(&self, feed: &str) -> ReadingRequeued {
        let (jobs, feed) = (self.jobs(), feed.to_owned());
        Box::pin(async move { Self::ask(jobs, |reply| Job::ReadRequeued { feed, reply }).await.flatten() })
    }

    fn delete_requeued(&self, feed: &str, name: &str) -> Deleting {
        let (jobs, feed, name) = (self.jobs(), feed.to_owned(), name.to_owned());
        // A file that stays is delivered again: better twice than never.
        Box::pin(async move { Self::ask(jobs, |reply| Job::DeleteRequeued { feed, name, reply }).await.unwrap_or(()) })
    }
}

/// The thread's part.
struct Worker {
    data: PathBuf,
    feeds: HashMap<String, FeedFolder>,
}

impl Worker {
    #[allow(clippy::disallowed_methods, reason = "it runs in a thread of its own")]
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            // A feed that has ended does not wait any more; what it asked for is done all the same.
            match job {
                Job::Store { entry, reply } => {
                    let _ = reply.send(self.store(&entry));
                }
                Job::ReadRequeued { feed, reply } => {
                    let _ = reply.send(RequeuedFolder::new(&self.data, &feed).read());
                }
                Job::DeleteRequeued { feed, name, reply } => {
                    RequeuedFolder::new(&self.data, &feed).delete(&name);
                    let _ = reply.send(());
                }
            }
        }
    }

    fn store(&mut self, entry: &QuarantineEntry) -> Result<StoredEntry, String> {
        let path = self.data.join(QUARANTINE).join(&entry.feed);
        let failed = |error: std::io::Error| format!("{}: {error}", path.display());
        let folder = match self.feeds.get_mut(&entry.feed) {
            Some(folder) => folder,
            None => {
                let opened = FeedFolder::open(&path).map_err(failed)?;
                self.feeds.entry(entry.feed.clone()).or_insert(opened)
            }
        };
        let (name, content) = entry::file(&entry.content);
        let (stored, deleted) = folder.write(&name, &content, entry.quota_bytes)?;
        Ok(StoredEntry { location: stored.display().to_string(), deleted })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bessai_domain::event::{Event, EventBody, Sequence};
    use bessai_domain::state::PluginState;
    use bessai_domain::time::Timestamp;
    use bessai_feed::{QuarantineContent, QuarantinedEvent};

    use super::*;

    fn entry(feed: &str, sequence: u64) -> QuarantineEntry {
        let event = Event { sequence: Sequence(sequence), at: Timestamp::default(), body: EventBody::Heartbeat };
        let (reason, version, state) = ("trapped".into(), "0f3a".into(), PluginState::default());
        let event = QuarantinedEvent { site: None, event: Arc::new(event), reason, version, state };
        QuarantineEntry { feed: feed.into(), quota_bytes: 1 << 20, content: QuarantineContent::Event(event) }
    }

    #[tokio::test]
    async fn feeds_write_to_their_own_folders_and_a_failed_write_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let writer = QuarantineWriter::new(folder.path());
        for feed in ["acme", "other"] {
            let location = writer.store(entry(feed, 7)).await.unwrap().location;
            assert!(location.ends_with(&format!("quarantine/{feed}/00000000000000000007.jsonl")), "{location}");
            assert!(Path::new(&location).exists());
        }
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = QuarantineWriter::new(&file).store(entry("acme", 7)).await.unwrap_err();
        assert!(error.contains("file/quarantine/acme: "), "{error}");
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
        assert_eq!(std::fs::read_dir(folder.path().join("quarantine/acme")).unwrap().count(), 2);
    }
}
