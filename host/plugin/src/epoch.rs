//! Advances wasmtime's epoch while a guest runs, so that a busy guest yields to other tasks; sleeps while none runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bessai_supervision::{SupervisedThread, fault, spawn_thread};
use wasmtime::Engine;

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(5);
/// Ticks after which a call yields for the first time; from then on it yields at each tick. A short call may see one tick
/// of a ticker that already runs for another guest, but not two.
pub(crate) const TICKS_TO_YIELD: u64 = 2;
/// Stack of the ticker's thread, in bytes; it only sleeps and increments a counter, and logs if it panics.
const STACK_BYTES: usize = 128 << 10;

/// Owns the thread that ticks, which ends when this is dropped.
pub(crate) struct EpochTicker {
    state: Arc<TickerState>,
    thread: SupervisedThread,
}

#[derive(Default)]
struct TickerState {
    running_guests: AtomicUsize,
    is_parked: AtomicBool,
    is_stopped: AtomicBool,
}

/// Keeps the ticker awake until it is dropped.
pub(crate) struct RunningGuest(Arc<EpochTicker>);

impl EpochTicker {
    /// Starts the thread.
    pub(crate) fn start(engine: Engine) -> Result<Arc<Self>, String> {
        let state = Arc::new(TickerState::default());
        let ticking = Arc::clone(&state);
        let thread = spawn_thread("epoch", Some(STACK_BYTES), move || ticking.tick(&engine));
        let thread = thread.map_err(|error| format!("failed to start the epoch thread: {error}"))?;
        Ok(Arc::new(Self { state, thread }))
    }

    /// Registers a running guest.
    pub(crate) fn run(self: &Arc<Self>) -> RunningGuest {
        self.state.running_guests.fetch_add(1, Ordering::SeqCst);
        if self.state.is_parked.load(Ordering::SeqCst) {
            self.thread.thread().unpark();
        }
        RunningGuest(Arc::clone(self))
    }
}

impl TickerState {
    #[allow(clippy::disallowed_methods, reason = "it runs in a thread of its own")]
    fn tick(&self, engine: &Engine) {
        while !self.is_stopped.load(Ordering::SeqCst) {
            if self.running_guests.load(Ordering::SeqCst) == 0 {
                self.is_parked.store(true, Ordering::SeqCst);
                // A guest that started before `is_parked` was set did not wake this thread; a stop wakes it in any case.
                if self.running_guests.load(Ordering::SeqCst) == 0 {
                    thread::park();
                }
                self.is_parked.store(false, Ordering::SeqCst);
            }
            fault::point("epoch");
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }
}

impl Drop for EpochTicker {
    fn drop(&mut self) {
        self.state.is_stopped.store(true, Ordering::SeqCst);
        self.thread.thread().unpark();
    }
}

impl Drop for RunningGuest {
    fn drop(&mut self) {
        self.0.state.running_guests.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_thread_ends_with_its_ticker() {
        let ticker = EpochTicker::start(Engine::default()).unwrap();
        let state = Arc::downgrade(&ticker.state);
        let guest = ticker.run();
        drop(ticker);
        assert!(state.strong_count() > 0, "a guest still needs it");
        drop(guest);
        let deadline = Instant::now() + Duration::from_secs(10);
        while state.strong_count() > 0 {
            assert!(Instant::now() < deadline, "the thread is still running");
            thread::yield_now();
        }
    }
}
