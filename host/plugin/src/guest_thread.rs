//! Runs a guest's call on the caller's thread until it yields for the first time, then on the guest thread.
//!
//! Nearly every call ends within microseconds, and changing threads would cost more than the call. A call that reaches its
//! epoch deadline moves, so that a busy guest delays the other tasks of the caller's thread by no more than that.

#![allow(clippy::disallowed_methods, reason = "a guest runs in real time, also where a test pauses Tokio's clock")]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Priority below that of the I/O threads: on one processor a busy guest gets the time that they leave.
const NICENESS: i32 = 10;
/// Task polls between two looks at timers and new calls. A poll may take a whole epoch tick; with Tokio's default of 61,
/// a call's limit and the start of the next guest would be half a second late.
const POLLS_PER_EVENT_CHECK: u32 = 1;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread for calls that take long; it ends when this is dropped.
pub(crate) struct GuestThread(mpsc::UnboundedSender<Job>);

/// The thread on which a call starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartOn {
    CallerThread,
    /// For a guest whose calls have taken long.
    GuestThread,
}

/// How a guest's call ended.
pub(crate) struct GuestRun<T> {
    /// None if the call exceeded its limit and was dropped.
    pub(crate) result: Option<T>,
    /// Whether the call ran on the guest thread.
    pub(crate) was_moved: bool,
    /// Duration of the call.
    pub(crate) took: Duration,
    /// `took` without the time that the call waited for the guest thread.
    pub(crate) worked: Duration,
}

impl GuestThread {
    /// Starts the thread.
    pub(crate) fn start() -> Result<Arc<Self>, String> {
        let failed = |error: std::io::Error| format!("failed to start the guest thread: {error}");
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().event_interval(POLLS_PER_EVENT_CHECK).build().map_err(failed)?;
        let (jobs, mut received) = mpsc::unbounded_channel::<Job>();
        let work = move || {
            // Without the permission to lower its priority the thread runs at the normal one.
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

    /// Runs a guest's call for at most `limit`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
        limit: Duration,
        start_on: StartOn,
    ) -> GuestRun<T> {
        let begin = Instant::now();
        let mut call = Box::pin(call);
        if start_on == StartOn::CallerThread {
            let polled = poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await;
            if let Poll::Ready(result) = polled {
                let took = begin.elapsed();
                return GuestRun { result: Some(result), was_moved: false, took, worked: took };
            }
        }
        let before = begin.elapsed();
        let (sender, receiver) = oneshot::channel();
        let left = limit.saturating_sub(before);
        let job = async move {
            let begin = Instant::now();
            let result = timeout(left, call).await.ok();
            // A caller that was cancelled drops the instance together with the result.
            let _ = sender.send((result, begin.elapsed()));
        };
        // Cannot fail: the receiving thread lives as long as `self`.
        let _ = self.0.send(Box::pin(job));
        let (result, after) = receiver.await.unwrap_or_default();
        let worked = match start_on {
            StartOn::CallerThread => before + after,
            StartOn::GuestThread => after,
        };
        GuestRun { result, was_moved: true, took: begin.elapsed(), worked }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    /// Longer than any call that ends by itself.
    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn short_calls_stay_and_long_calls_move() {
        let guests = GuestThread::start().unwrap();
        let here = thread::current().id();
        let short = guests.run(async { thread::current().id() }, LIMIT, StartOn::CallerThread).await;
        assert_eq!((short.result, short.was_moved), (Some(here), false));
        let long = guests.run(
            async {
                let begun = thread::current().id();
                tokio::task::yield_now().await;
                (begun, thread::current().id())
            },
            LIMIT,
            StartOn::CallerThread,
        );
        let (begun, ended) = long.await.result.unwrap();
        assert_eq!(begun, here);
        assert_ne!(ended, here);
        let known = guests.run(async { thread::current().id() }, LIMIT, StartOn::GuestThread).await;
        assert_eq!(known.result, Some(ended));
    }

    #[tokio::test]
    async fn the_next_guest_starts_when_a_busy_one_yields() {
        let guests = GuestThread::start().unwrap();
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
            // Sent to the guest thread before the busy guest yields for the first time.
            let (run, ()) = tokio::join!(guests.run(turns, LIMIT, StartOn::GuestThread), async {
                go_on.send(()).unwrap();
            });
            run
        };
        let busy = guests.run::<()>(busy, Duration::from_millis(20), StartOn::GuestThread);
        let (_, next) = tokio::join!(busy, next);
        assert!(next.result.is_some_and(|turns| turns <= 2), "{:?} turns", next.result);
        assert!(next.worked < next.took);
    }

    #[tokio::test]
    async fn a_call_beyond_its_limit_is_dropped() {
        let guests = GuestThread::start().unwrap();
        let (held, mut dropped) = oneshot::channel::<()>();
        let endless = async move {
            let _held = held;
            loop {
                tokio::task::yield_now().await;
            }
        };
        let run = guests.run::<()>(endless, Duration::from_millis(20), StartOn::CallerThread).await;
        assert!(run.result.is_none() && run.was_moved);
        assert!(run.took >= Duration::from_millis(20));
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
