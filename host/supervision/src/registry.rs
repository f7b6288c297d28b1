//! The tasks and threads that are running, what became of them so far, and the failure that ends the process.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;

use crate::backoff::Backoff;

/// Longest error that is kept of a task, in bytes: a panic's message may hold whatever a peer has sent.
const MAX_ERROR_BYTES: usize = 300;

/// The longest poll of any task so far, in nanoseconds.
static LONGEST_POLL_NS: AtomicU64 = AtomicU64::new(0);
/// All tasks and threads that have not ended.
static ENTRIES: Mutex<Vec<Weak<Entry>>> = Mutex::new(Vec::new());
/// Why the process must end.
static FAILURE: LazyLock<watch::Sender<Option<String>>> = LazyLock::new(|| watch::Sender::new(None));

/// What `/health` shows of a task or thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskReport {
    /// Its name.
    pub name: String,
    /// Times that it was restarted after a panic or an unexpected end.
    pub restarts: u64,
    /// Why it was restarted last.
    pub last_error: Option<String>,
    /// The longest time that it kept its thread's event loop in one go; zero for a thread of its own.
    pub longest_poll: Duration,
}

/// A task whose poll has not returned yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolledTask(pub String);

/// A task's or thread's state, shared with the reports.
pub(crate) struct Entry {
    pub(crate) name: String,
    restarts: AtomicU64,
    last_error: Mutex<Option<String>>,
    longest_poll_ns: AtomicU64,
    is_polled: AtomicBool,
    has_failed: AtomicBool,
}

/// A named task or thread, reported until this is dropped.
pub struct Supervised {
    pub(crate) entry: Arc<Entry>,
    backoff: Backoff,
}

impl Supervised {
    /// Registers it.
    pub fn new(name: impl Into<String>) -> Self {
        let entry = Arc::new(Entry {
            name: name.into(),
            restarts: AtomicU64::new(0),
            last_error: Mutex::new(None),
            longest_poll_ns: AtomicU64::new(0),
            is_polled: AtomicBool::new(false),
            has_failed: AtomicBool::new(false),
        });
        let mut entries = lock(&ENTRIES);
        entries.retain(|entry| entry.strong_count() > 0);
        entries.push(Arc::downgrade(&entry));
        drop(entries);
        Self { entry, backoff: Backoff::new() }
    }

    /// It failed and will be restarted: counts and logs that, and returns the pause before the restart.
    pub fn failed(&mut self, error: &str) -> Duration {
        let pause = self.backoff.next();
        self.entry.restarts.fetch_add(1, Ordering::Relaxed);
        self.entry.note_error(error);
        let task = &self.entry.name;
        tracing::error!(%task, "{task} failed: {error}; restarting in {pause:?}");
        pause
    }

    /// It was restarted.
    pub fn restarted(&mut self) {
        self.backoff.restarted();
    }

    /// It failed and cannot be restarted: [`failure`] resolves.
    pub(crate) fn failed_for_good(&self, error: &str) {
        self.entry.note_error(error);
        self.entry.has_failed.store(true, Ordering::Release);
        let task = &self.entry.name;
        tracing::error!(%task, "{task} failed: {error}; it cannot be restarted alone, so the process ends");
        FAILURE.send_if_modified(|failure| {
            let is_first = failure.is_none();
            failure.get_or_insert_with(|| format!("{task} failed: {error}"));
            is_first
        });
    }
}

impl Entry {
    fn note_error(&self, error: &str) {
        let end = error.floor_char_boundary(MAX_ERROR_BYTES);
        *lock(&self.last_error) = Some(error.get(..end).unwrap_or_default().to_owned());
    }

    /// Whether it failed for good.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub(crate) fn begin_poll(&self) {
        self.is_polled.store(true, Ordering::Relaxed);
    }

    pub(crate) fn end_poll(&self, took: Duration) {
        self.is_polled.store(false, Ordering::Relaxed);
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Only one thread polls the task, so that nothing is lost between the two.
        if took > self.longest_poll_ns.load(Ordering::Relaxed) {
            self.longest_poll_ns.store(took, Ordering::Relaxed);
            LONGEST_POLL_NS.fetch_max(took, Ordering::Relaxed);
        }
    }
}

/// Waits until a task or thread has failed that cannot be restarted; returns the reason.
pub async fn failure() -> String {
    let mut failure = FAILURE.subscribe();
    match failure.wait_for(Option::is_some).await {
        Ok(reason) => reason.clone().unwrap_or_default(),
        // The sender is static.
        Err(_) => std::future::pending().await,
    }
}

/// All tasks and threads that have not ended, by name.
pub fn reports() -> Vec<TaskReport> {
    let report = |entry: Arc<Entry>| TaskReport {
        name: entry.name.clone(),
        restarts: entry.restarts.load(Ordering::Relaxed),
        last_error: lock(&entry.last_error).clone(),
        longest_poll: Duration::from_nanos(entry.longest_poll_ns.load(Ordering::Relaxed)),
    };
    let mut reports: Vec<_> = lock(&ENTRIES).iter().filter_map(Weak::upgrade).map(report).collect();
    reports.sort_by(|a, b| a.name.cmp(&b.name));
    reports
}

/// The longest time that a task, which may have ended since, kept its event loop in one go.
pub fn longest_poll() -> Duration {
    Duration::from_nanos(LONGEST_POLL_NS.load(Ordering::Relaxed))
}

/// The tasks that are being polled now: on a single-threaded event loop that does not respond, the one that blocks it.
pub fn polled() -> Vec<PolledTask> {
    let entries = lock(&ENTRIES);
    let polled = entries.iter().filter_map(Weak::upgrade).filter(|entry| entry.is_polled.load(Ordering::Relaxed));
    polled.map(|entry| PolledTask(entry.name.clone())).collect()
}

/// No panic while a lock is held can leave these values half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
