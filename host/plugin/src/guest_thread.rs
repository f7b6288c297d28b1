//! Runs a guest's call on the caller's thread until it yields for the first time, then on the guest thread.
//!
//! Nearly every call ends within microseconds, and changing threads would cost more than the call. A call that reaches its
//! epoch deadline moves, so that a busy guest delays the other tasks of the caller's thread by no more than that.

#![allow(clippy::disallowed_methods, reason = "a guest runs in real time, also where a test pauses Tokio's clock")]

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bessai_supervision::{SupervisedThread, fault, spawn_thread};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Priority below that of the I/O threads: on one processor a busy guest gets the time that they leave.
const NICENESS: i32 = 10;
/// Task polls between two looks at timers and new calls. A poll may take a whole epoch tick; with Tokio's default of 61,
/// a call's limit and the start of the next guest would be half a second late.
const POLLS_PER_EVENT_CHECK: u32 = 1;

type Job = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The thread for calls that take long; it ends when this is dropped.
pub(crate) struct GuestThread {
    jobs: mpsc::UnboundedSender<Job>,
    _thread: SupervisedThread,
}

/// The thread on which a call starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StartOn {
    CallerThread,
    /// For a guest whose calls have taken long.
    GuestThread,
}

/// Processor time that calls have used on either thread. It also grows while a call runs on that nobody waits for any more.
#[derive(Clone, Debug, Default)]
pub(crate) struct ProcessorTime(Arc<AtomicU64>);

impl ProcessorTime {
    /// The total.
    pub(crate) fn total(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A call whose processor time is counted.
struct Measured<F> {
    call: Pin<Box<F>>,
    time: ProcessorTime,
}

impl<F: Future> Future for Measured<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Not the time on the clock: where the gateway itself gets only a part of a core, that would count the pauses.
        let begin = thread_time();
        let polled = self.call.as_mut().poll(context);
        self.time.add(thread_time().saturating_sub(begin));
        polled
    }
}

/// Processor time that this thread has used.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
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
                // After a panic the calls that have moved here go on.
                while let Some(job) = received.recv().await {
                    tokio::spawn(job);
                    fault::point("guests");
                }
            });
        };
        let thread = spawn_thread("guests", None, work).map_err(failed)?;
        Ok(Arc::new(Self { jobs, _thread: thread }))
    }

    /// Runs a guest's call for at most `limit`.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        call: impl Future<Output = T> + Send + 'static,
        limit: Duration,
        start_on: StartOn,
        time: &ProcessorTime,
    ) -> GuestRun<T> {
        let begin = Instant::now();
        let mut call = Measured { call: Box::pin(call), time: time.clone() };
        if start_on == StartOn::CallerThread {
            let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut call).poll(context))).await;
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
        let _ = self.jobs.send(Box::pin(job));
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
        let short =
            guests.run(async { thread::current().id() }, LIMIT, StartOn::CallerThread, &ProcessorTime::default()).await;
        assert_eq!((short.result, short.was_moved), (Some(here), false));
        let time = ProcessorTime::default();
        let long = guests.run(
            async {
                std::hint::black_box((0..1_000_000_u64).fold(0, u64::wrapping_add));
                let begun = thread::current().id();
                tokio::task::yield_now().await;
                (begun, thread::current().id())
            },
            LIMIT,
            StartOn::CallerThread,
            &time,
        );
        let (begun, ended) = long.await.result.unwrap();
        assert_eq!(begun, here);
        assert_ne!(ended, here);
        assert!(!time.total().is_zero(), "the time on either thread is counted");
        let known =
            guests.run(async { thread::current().id() }, LIMIT, StartOn::GuestThread, &ProcessorTime::default()).await;
        assert_eq!(known.result, Some(ended));
    }

    #[tokio::test]
    async fn the_next_guest_starts_when_a_busy_one_yields() {
        let guests = GuestThread::start().unwrap();
        let turns = Arc::new(AtomicU32::new(0));
        let (begun, is_begun) = oneshot::channel();
        let (go_on, may_go_on) = std::sync::mpsc::channel();
        let (counted, time) = (Arc::clone(&turns), ProcessorTime::default());
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
            let (run, ()) = tokio::join!(guests.run(turns, LIMIT, StartOn::GuestThread, &time), async {
                go_on.send(()).unwrap();
            });
            run
        };
        let busy = guests.run::<()>(busy, Duration::from_millis(20), StartOn::GuestThread, &time);
        let (_, next) = tokio::join!(busy, next);
        assert!(next.result.is_some_and(|turns| turns <= 2), "{:?} turns", next.result);
        assert!(next.worked < next.took);
    }

    #[tokio::test]
    async fn a_call_beyond_its_limit_is_dropped() {
        let guests = GuestThread::start().unwrap();
        let (held, mut dropped) = oneshot::channel::<()>();
        let time = ProcessorTime::default();
        let endless = async move {
            let _held = held;
            loop {
                tokio::task::yield_now().await;
            }
        };
        let run = guests.run::<()>(endless, Duration::from_millis(20), StartOn::CallerThread, &time).await;
        assert!(run.result.is_none() && run.was_moved);
        assert!(run.took >= Duration::from_millis(20));
        assert!(!time.total().is_zero(), "a call that ended at its limit counts too");
        assert_eq!(dropped.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
