//! The watchdog: a thread that asks the main loop for a sign of life once a second, measures how long the answer takes, and
//! aborts the process if there is none within the limit.
//!
//! The loop is asked, instead of reporting by itself, so that the watchdog knows since when it waits. An idle gateway wakes
//! for it once a second. Stalls between two questions are measured where they happen: each task's polls are timed.

#![allow(
    clippy::disallowed_methods,
    reason = "measures real time in a thread of its own, also while the main loop is blocked"
)]

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use bessai_supervision::{PolledTask, SupervisedThread, fault, longest_poll, polled, spawn_thread};
use tokio::sync::Notify;

use crate::clock;
use crate::service_manager::ServiceManager;

/// Time between two questions; also the step in which a missing answer is waited for.
const PERIOD: Duration = Duration::from_secs(1);
/// Time between two questions after a stall.
const PERIOD_AFTER_STALL: Duration = Duration::from_millis(100);
/// A slower answer is a stall.
const STALL: Duration = Duration::from_millis(20);
/// A longer stall is logged.
const LOGGED_STALL: Duration = Duration::from_secs(2);
/// What one step of waiting counts at most: after the whole process was stopped, or the machine slept, the main loop gets the
/// time to answer that it did not have.
const MAX_COUNTED_STEP: Duration = Duration::from_secs(2);
/// Time for the last line of the log to be written before the process aborts.
const LOG_TIME: Duration = Duration::from_millis(300);
/// Stack of the thread, in bytes; it waits, and writes a line to the log.
const STACK_BYTES: usize = 256 << 10;

/// Whether the main loop responds, shared by it, the watchdog and `/health`.
#[derive(Default)]
pub(crate) struct MainLoop {
    asked: Notify,
    questions: Mutex<Questions>,
    changed: Condvar,
}

#[derive(Default)]
struct Questions {
    /// When the open question was asked; none if it is answered.
    open_since: Option<Instant>,
    /// How long the last answer took.
    last: Duration,
    longest: Duration,
    is_stopping: bool,
}

/// How long the main loop has not responded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stall {
    /// Now.
    pub(crate) current: Duration,
    /// The longest since the start.
    pub(crate) longest: Duration,
}

impl MainLoop {
    /// Answers the watchdog; to be run as a task of the main loop.
    pub(crate) async fn answer_watchdog(&self) {
        loop {
            self.asked.notified().await;
            clock::note_running();
            let mut questions = self.lock();
            if let Some(asked) = questions.open_since.take() {
                questions.last = asked.elapsed();
                questions.longest = questions.longest.max(questions.last);
            }
            drop(questions);
            self.changed.notify_all();
        }
    }

    pub(crate) fn stall(&self) -> Stall {
        let questions = self.lock();
        let current = questions.open_since.map_or(Duration::ZERO, |asked| asked.elapsed());
        Stall { current, longest: questions.longest.max(current).max(longest_poll()) }
    }

    fn ask(&self) {
        self.lock().open_since = Some(Instant::now());
        self.asked.notify_one();
    }

    /// Waits until the question is answered or the watchdog is stopped; returns whether one of them happened.
    fn wait_for_answer(&self, limit: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), limit, |questions| {
            questions.open_since.is_some() && !questions.is_stopping
        });
        let (questions, _) = waited.unwrap_or_else(PoisonError::into_inner);
        questions.open_since.is_none() || questions.is_stopping
    }

    /// Waits for some time; returns whether the watchdog is stopped.
    fn wait_for_stop(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), time, |questions| !questions.is_stopping);
        waited.unwrap_or_else(PoisonError::into_inner).0.is_stopping
    }

    fn lock(&self) -> MutexGuard<'_, Questions> {
        self.questions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running watchdog.
pub(crate) struct Watchdog {
    main_loop: Arc<MainLoop>,
    thread: SupervisedThread,
}

/// What the thread works with.
struct Watching {
    main_loop: Arc<MainLoop>,
    /// None if the process is never aborted.
    abort_after: Option<Duration>,
    service_manager: Arc<ServiceManager>,
    notified: Option<Instant>,
}

impl Watchdog {
    /// Starts the thread, which aborts the process if the main loop does not answer within `abort_after`, and tells the service
    /// manager as long as it does.
    pub(crate) fn start(
        main_loop: &Arc<MainLoop>,
        abort_after: Option<Duration>,
        service_manager: &Arc<ServiceManager>,
    ) -> io::Result<Self> {
        let mut watching = Watching {
            main_loop: Arc::clone(main_loop),
            abort_after,
            service_manager: Arc::clone(service_manager),
            notified: None,
        };
        let thread = spawn_thread("watchdog", Some(STACK_BYTES), move || watching.run())?;
        Ok(Self { main_loop: Arc::clone(main_loop), thread })
    }

    /// Ends the thread.
    pub(crate) fn stop(self) {
        self.main_loop.lock().is_stopping = true;
        self.main_loop.changed.notify_all();
        self.thread.join();
    }
}

impl Watching {
    fn run(&mut self) {
        let period = self.service_manager.watchdog_period().map_or(PERIOD, |period| period.min(PERIOD));
        loop {
            fault::point("watchdog");
            self.main_loop.ask();
            self.wait_for_answer();
            self.notify_service_manager(period);
            let pause = if self.main_loop.lock().last > STALL { PERIOD_AFTER_STALL.min(period) } else { period };
            if self.main_loop.wait_for_stop(pause) {
                return;
            }
        }
    }

    /// Waits until the main loop answers; aborts the process at the limit.
    fn wait_for_answer(&self) {
        let mut waited = Duration::ZERO;
        let mut is_logged = false;
        loop {
            let step = Instant::now();
            if self.main_loop.wait_for_answer(PERIOD) {
                if is_logged {
                    let stalled = self.main_loop.lock().last;
                    tracing::warn!("the main loop responds again after {stalled:.1?}");
                }
                return;
            }
            waited += step.elapsed().min(MAX_COUNTED_STEP);
            if self.abort_after.is_some_and(|limit| waited >= limit) {
                abort(waited);
            }
            if waited >= LOGGED_STALL && !is_logged {
                tracing::error!("the main loop has not responded for {waited:.1?}{}", blocking_task());
                is_logged = true;
            }
        }
    }

    fn notify_service_manager(&mut self, period: Duration) {
        // A question that comes early after a stall is no reason to notify early.
        if self.notified.is_none_or(|notified| notified.elapsed() + PERIOD_AFTER_STALL >= period) {
            self.service_manager.notify_alive();
            self.notified = Some(Instant::now());
        }
    }
}

/// Names the task that blocks the main loop.
fn blocking_task() -> String {
    let polled: Vec<_> = polled().into_iter().map(|PolledTask(name)| name).collect();
    if polled.is_empty() { String::new() } else { format!("; running: {}", polled.join(", ")) }
}

fn abort(waited: Duration) -> ! {
    tracing::error!(
        "the main loop has not responded for {waited:.1?}{}; aborting, so that the service manager restarts the gateway",
        blocking_task()
    );
    thread::sleep(LOG_TIME);
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_is_measured_and_a_missing_one_shows_as_a_stall() {
        let main_loop = Arc::new(MainLoop::default());
        assert_eq!(main_loop.stall().current, Duration::ZERO);
        main_loop.ask();
        assert!(!main_loop.wait_for_answer(Duration::from_millis(10)));
        assert!(main_loop.stall().current >= Duration::from_millis(10));
        let answering = main_loop.answer_watchdog();
        tokio::select! {
            biased;
            () = answering => {}
            () = tokio::task::yield_now() => {}
        }
        assert!(main_loop.wait_for_answer(Duration::from_millis(10)));
        let stall = main_loop.stall();
        assert_eq!(stall.current, Duration::ZERO);
        assert!(stall.longest >= Duration::from_millis(10));
    }

    #[tokio::test]
    async fn the_thread_asks_and_ends_when_it_is_stopped() {
        let main_loop = Arc::new(MainLoop::default());
        let watchdog = Watchdog::start(&main_loop, None, &Arc::default()).unwrap();
        let asked = async {
            while main_loop.lock().open_since.is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.unwrap();
        watchdog.stop();
    }
}
