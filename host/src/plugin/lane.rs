//! Where a guest runs: on the caller's thread until it yields for the first time, then on a thread of its own.
//!
//! Nearly every call ends within microseconds, and changing threads would cost more than the call. One that goes on until
//! its epoch's deadline is moved away, so that a busy guest costs the other tasks of the caller's thread that much at most.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Below the I/O's: where there is one processor, a busy guest gets what the others leave.
const NICENESS: i32 = 10;
/// Turns of guests after which the thread looks at the clock and at what came in. A turn may take a whole tick, so after
/// each: by the runtime's own measure, 61, a call's limit and the next guest's begin would come half a second late.
const TURNS: u32 = 1;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread for guests that take long.
pub(super) struct Lane(mpsc::UnboundedSender<Job>);

/// How a guest's work ended.
pub(super) struct Ran<T> {
    /// None where it took longer than its limit, and was dropped.
    pub(super) result: Option<T>,
    /// It was moved to the guests' thread.
    pub(super) was_moved: bool,
    /// From begin to end.
    pub(super) took: Duration,
    /// The same without the time before its first turn on the guests' thread.
    pub(super) worked: Duration,
}

impl Lane {
    /// Starts the thread; it ends with the value.
    pub(super) fn start() -> Result<Arc<Self>, String> {
        let failed = |error: std::io::Error| format!("failed to start the guests' thread: {error}");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().event_interval(TURNS).build().map_err(failed)?;
        let (jobs, mut received) = mpsc::unbounded_channel::<Job>();
        let work = move || {
            // Without the right to be nicer it runs as it is.
            let _ = rustix::process::setpriority_process(None, NICENESS);
            runtime.block_on(async {
                while let Some(job) = received.recv().await {
                    tokio::spawn(job);
                }
            });
        };
        std::thread::Builder::new().name("guests".into()).spawn(work).map_err(failed)?;
        Ok(Arc::new(Self(jobs)))
    }

    /// Runs a guest for `limit` at most. One that is known to take long does not start on the caller's thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
        limit: Duration,
        takes_long: bool,
    ) -> Ran<T> {
        let begin = Instant::now();
        let mut work = Box::pin(work);
        if !takes_long {
            let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
            if let Poll::Ready(result) = polled {
                let took = begin.elapsed();
                return Ran { result: Some(result), was_moved: false, took, worked: took };
            }
        }
        let before = begin.elapsed();
        let (sender, receiver) = oneshot::channel();
        let left = limit.saturating_sub(before);
        let job = async move {
            let begin = Instant::now();
            let result = timeout(left, work).await.ok();
            // Whoever waited may be gone; the guest's work is dropped with its result.
            let _ = sender.send((result, begin.elapsed()));
        };
        // The thread lives as long as this lane.
        let _ = self.0.send(Box::pin(job));
        let (result, after) = receiver.await.unwrap_or_default();
        let worked = if takes_long { after } else { before + after };
        Ran { result, was_moved: true, took: begin.elapsed(), worked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    #[tokio::test]
    async fn short_work_stays_and_long_work_moves() {
        let lane = Lane::start().unwrap();
        let limit = Duration::from_secs(60);
        let here = thread::current().id();
        let short = lane.run(async { thread::current().id() }, limit, false).await;
        assert_eq!((short.result, short.was_moved), (Some(here), false));
        let long = lane.run(
            async {
                let begun = thread::current().id();
                tokio::task::yield_now().await;
                (begun, thread::current().id())
            },
            limit,
            false,
        );
        let (begun, ended) = long.await.result.unwrap();
        assert_eq!(begun, here);
        assert_ne!(ended, here);
        let known = lane.run(async { thread::current().id() }, limit, true).await;
        assert_eq!(known.result, Some(ended));
    }

    #[tokio::test]
    async fn a_busy_guest_lets_the_next_one_begin_after_its_turn() {
        let lane = Lane::start().unwrap();
        let turns = Arc::new(AtomicU32::new(0));
        let (begun, is_begun) = oneshot::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let counted = Arc::clone(&turns);
        let busy = async move {
            begun.send(()).unwrap();
            may_go_on.recv().unwrap();
            loop {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        };
        let next = async {
            is_begun.await.unwrap();
            let turns = async move { turns.load(Ordering::SeqCst) };
            // Handed over before the busy one ends its first turn.
            let (ran, ()) = tokio::join!(lane.run(turns, Duration::from_secs(60), true), async {
                go_on.send(()).unwrap();
            });
            ran
        };
        let (_, next) = tokio::join!(lane.run::<()>(busy, Duration::from_millis(20), true), next);
        assert!(next.result.is_some_and(|turns| turns <= 2), "{:?} turns", next.result);
        assert!(next.worked < next.took);
    }

    #[tokio::test]
    async fn work_beyond_its_limit_is_dropped() {
        let lane = Lane::start().unwrap();
        let (held, mut dropped) = oneshot::channel::<()>();
        let endless = async move {
            let _held = held;
            loop {
                tokio::task::yield_now().await;
            }
        };
        let ran = lane.run::<()>(endless, Duration::from_millis(20), false).await;
        assert!(ran.result.is_none() && ran.was_moved);
        assert!(ran.took >= Duration::from_millis(20));
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
