//! Lines that wait for the thread that writes them, bounded in bytes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Bytes that may wait; further lines are dropped. The thread holds as many again while it writes them.
const CAPACITY: usize = 256 * 1024;
/// Bytes that may wait before a feed's lines are dropped: the rest is kept for the lines of the site itself.
const FEEDS_CAPACITY: usize = CAPACITY / 4 * 3;
/// Time that the end of the process waits for the lines to be written.
const FINISH_LIMIT: Duration = Duration::from_secs(1);

/// The queue. Nobody holds its lock while waiting or writing.
#[derive(Default)]
pub(super) struct LineQueue {
    state: Mutex<QueueState>,
    /// Wakes the thread that writes.
    filled: Condvar,
    /// Wakes who waits for the thread to have finished.
    finished: Condvar,
    /// Lines dropped since the start.
    pub(super) dropped: AtomicU64,
}

#[derive(Default)]
struct QueueState {
    bytes: Vec<u8>,
    /// Lines dropped behind the ones in `bytes`.
    dropped: u64,
    /// When the thread has something to do other than writing lines.
    wake_at: Option<Instant>,
    stage: Stage,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Running,
    /// The process is about to end.
    Finishing,
    Finished,
}

/// What the thread took from the queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// Lines that were dropped behind those taken.
    pub(super) dropped: u64,
    /// This is the last time: the process is about to end.
    pub(super) is_last: bool,
}

impl LineQueue {
    /// Appends a line, or drops and counts it if there is no room.
    pub(super) fn push(&self, line: &[u8], is_of_feed: bool) {
        let capacity = if is_of_feed { FEEDS_CAPACITY } else { CAPACITY };
        let mut state = self.lock();
        if state.bytes.len() + line.len() > capacity {
            state.dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.bytes.is_empty();
        state.bytes.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.filled.notify_one();
        }
    }

    /// Makes [`LineQueue::take`] return at this time at the latest.
    pub(super) fn wake_at(&self, at: Instant) {
        let mut state = self.lock();
        if state.wake_at.is_none_or(|earlier| at < earlier) {
            state.wake_at = Some(at);
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Waits for lines, for the time to wake, or for the end, and exchanges `bytes`, which is empty, for the lines.
    pub(super) fn take(&self, bytes: &mut Vec<u8>) -> Taken {
        let mut state = self.lock();
        loop {
            let is_last = state.stage != Stage::Running;
            let left = state.wake_at.map(|at| at.saturating_duration_since(Instant::now()));
            if is_last || !state.bytes.is_empty() || left == Some(Duration::ZERO) {
                if left == Some(Duration::ZERO) {
                    state.wake_at = None;
                }
                std::mem::swap(&mut state.bytes, bytes);
                return Taken { dropped: std::mem::take(&mut state.dropped), is_last };
            }
            state = match left {
                None => self.filled.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.filled.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
    }

    /// The thread has written everything it took for the last time.
    pub(super) fn set_finished(&self) {
        self.lock().stage = Stage::Finished;
        self.finished.notify_all();
    }

    /// Tells the thread that the process is about to end, and waits for it, for [`FINISH_LIMIT`] at most.
    pub(super) fn finish(&self) {
        let mut state = self.lock();
        if state.stage == Stage::Running {
            state.stage = Stage::Finishing;
            self.filled.notify_one();
        }
        let is_unfinished = |state: &mut QueueState| state.stage != Stage::Finished;
        // After the time limit the process ends without the rest.
        let _ = self.finished.wait_timeout_while(state, FINISH_LIMIT, is_unfinished);
    }

    /// No code panics while holding the lock, so a poisoned lock is still consistent.
    fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_and_keeps_room_for_the_site() {
        let queue = LineQueue::default();
        let line = [b'x'; 1024];
        for _ in 0..1000 {
            queue.push(&line, true);
        }
        let of_feeds = FEEDS_CAPACITY / line.len();
        let dropped = 1000 - u64::try_from(of_feeds).unwrap();
        assert_eq!(queue.dropped.load(Ordering::Relaxed), dropped);
        queue.push(b"of the site\n", false);
        let mut bytes = Vec::new();
        assert_eq!(queue.take(&mut bytes), Taken { dropped, is_last: false });
        assert!(bytes.ends_with(b"of the site\n"));
        assert_eq!(bytes.len(), of_feeds * line.len() + b"of the site\n".len());
        // There is room again.
        queue.push(b"later\n", true);
        bytes.clear();
        assert_eq!(queue.take(&mut bytes), Taken { dropped: 0, is_last: false });
        assert_eq!(bytes, b"later\n");
    }

    #[test]
    fn the_thread_wakes_for_other_work() {
        let queue = LineQueue::default();
        queue.wake_at(Instant::now());
        let mut bytes = Vec::new();
        assert_eq!(queue.take(&mut bytes), Taken { dropped: 0, is_last: false });
        assert_eq!(bytes, b"");
    }

    #[test]
    fn the_end_does_not_wait_for_a_thread_that_hangs() {
        let queue = LineQueue::default();
        queue.push(b"never written\n", false);
        // Nobody takes it.
        queue.finish();
        assert!(queue.take(&mut Vec::new()).is_last);
    }
}
