//! File accesses in threads of their own, each for a limited time.
//!
//! A file system in the network that is gone blocks a thread for hours, and nothing can end that. Each access therefore
//! has an owner, such as a feed, that is refused further ones while an earlier one hangs: threads do not pile up, and
//! nobody else waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Accesses of all owners together that may hang at a time; each occupies a thread.
const MAX_HANGING: usize = 64;

/// A file system has not answered in time, or no thread can be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnswering {
    /// It has not answered within this time.
    #[error("the file system does not answer within {0:?}")]
    Within(Duration),
    /// An earlier access still hangs.
    #[error("the file system does not answer; an earlier access still waits for it")]
    StillHanging,
    /// The thread for the access has failed.
    #[error("no thread can be started for it")]
    NoThread,
}

/// How many accesses of each owner are late and not finished.
static HANGING: Mutex<BTreeMap<String, usize>> = Mutex::new(BTreeMap::new());

fn hanging() -> MutexGuard<'static, BTreeMap<String, usize>> {
    HANGING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far an access is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Late,
    Finished,
}

/// The record of an access, shared by its thread and its waiter.
struct Record {
    owner: String,
    stage: Mutex<Stage>,
}

impl Record {
    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish(&self) {
        let was_late = std::mem::replace(&mut *self.stage(), Stage::Finished) == Stage::Late;
        if was_late {
            let mut hanging = hanging();
            if let Some(count) = hanging.get_mut(&self.owner) {
                *count -= 1;
                if *count == 0 {
                    hanging.remove(&self.owner);
                }
            }
        }
    }

    fn give_up(&self) {
        let mut stage = self.stage();
        if *stage == Stage::Running {
            *stage = Stage::Late;
            *hanging().entry(self.owner.clone()).or_default() += 1;
        }
    }
}

/// Notes the end of an access when it is dropped, also by a panic.
struct Running(Arc<Record>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// An access that runs in its thread.
pub struct Access<T> {
    record: Arc<Record>,
    result: mpsc::Receiver<T>,
}

impl<T: Send + 'static> Access<T> {
    /// Starts an access, unless an earlier one of the same owner still hangs.
    pub fn start(owner: &str, access: impl FnOnce() -> T + Send + 'static) -> Result<Self, NotAnswering> {
        let (sender, result) = mpsc::sync_channel(1);
        // Sending fails only when nobody waits any more.
        let record = start(owner, access, move |result| drop(sender.send(result)))?;
        Ok(Self { record, result })
    }

    /// Waits for the result until the deadline.
    pub fn wait(self, limit: Duration, deadline: Instant) -> Result<T, NotAnswering> {
        let left = deadline.saturating_duration_since(Instant::now());
        match self.result.recv_timeout(left) {
            Ok(result) => Ok(result),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(NotAnswering::NoThread),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.record.give_up();
                Err(NotAnswering::Within(limit))
            }
        }
    }

    /// Runs an access and waits for its result, in code that may block for that long.
    pub fn run(owner: &str, limit: Duration, access: impl FnOnce() -> T + Send + 'static) -> Result<T, NotAnswering> {
        Self::start(owner, access)?.wait(limit, Instant::now() + limit)
    }
}

/// Runs an access and waits for its result without blocking the caller's thread.
pub async fn off_main_loop<T: Send + 'static>(
    owner: &str,
    limit: Duration,
    access: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotAnswering> {
    let (sender, result) = oneshot::channel();
    // Sending fails only when nobody waits any more.
    let record = start(owner, access, move |result| drop(sender.send(result)))?;
    match tokio::time::timeout(limit, result).await {
        Ok(result) => result.map_err(|_| NotAnswering::NoThread),
        Err(_) => {
            record.give_up();
            Err(NotAnswering::Within(limit))
        }
    }
}

fn start<T: Send + 'static>(
    owner: &str,
    access: impl FnOnce() -> T + Send + 'static,
    deliver: impl FnOnce(T) + Send + 'static,
) -> Result<Arc<Record>, NotAnswering> {
    {
        let hanging = hanging();
        if hanging.contains_key(owner) || hanging.values().sum::<usize>() >= MAX_HANGING {
            return Err(NotAnswering::StillHanging);
        }
    }
    let record = Arc::new(Record { owner: owner.to_owned(), stage: Mutex::new(Stage::Running) });
    let running = Running(Arc::clone(&record));
    let run = move || {
        let result = access();
        drop(running);
        deliver(result);
    };
    match std::thread::Builder::new().name("file".into()).spawn(run) {
        Ok(_) => Ok(record),
        Err(_) => Err(NotAnswering::NoThread),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time that is over at once, for accesses that never finish by themselves.
    const SHORT: Duration = Duration::from_millis(1);
    /// A time that is never over.
    const LONG: Duration = Duration::from_secs(60);

    /// An access that hangs until the sender is dropped.
    fn hanging_access() -> (mpsc::Sender<()>, impl FnOnce() + Send + 'static) {
        let (release, wait) = mpsc::channel::<()>();
        (release, move || {
            let _ = wait.recv();
        })
    }

    #[test]
    fn an_owner_whose_access_hangs_is_refused_and_others_are_served() {
        let (release, access) = hanging_access();
        assert_eq!(Access::run("a", SHORT, access), Err(NotAnswering::Within(SHORT)));
        assert_eq!(Access::run("a", LONG, || 1), Err(NotAnswering::StillHanging));
        assert_eq!(Access::run("b", LONG, || 2), Ok(2));
        drop(release);
        while Access::run("a", LONG, || 3) == Err(NotAnswering::StillHanging) {
            std::thread::yield_now();
        }
        assert_eq!(Access::run("a", LONG, || 4), Ok(4));
    }

    #[tokio::test]
    async fn the_main_loop_does_not_wait_for_an_access() {
        let (release, access) = hanging_access();
        let (hangs, answers) = tokio::join!(off_main_loop("c", SHORT, access), off_main_loop("d", LONG, || 1));
        assert_eq!((hangs, answers), (Err(NotAnswering::Within(SHORT)), Ok(1)));
        assert_eq!(off_main_loop("c", LONG, || 2).await, Err(NotAnswering::StillHanging));
        drop(release);
    }
}
