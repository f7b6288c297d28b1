//! Advances the epoch while a guest runs, so that a busy one lets other tasks run; sleeps while none does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use wasmtime::Engine;

/// Time between two ticks.
const TICK: Duration = Duration::from_millis(5);
/// Ticks after which a call yields for the first time; then it yields at each. A short call may meet one tick, of a ticker
/// that runs because of another guest, but not two: it is not taken for a busy one.
pub(super) const TICKS_TO_YIELD: u64 = 2;

pub(super) struct Ticker {
    running: AtomicUsize,
    asleep: AtomicBool,
    thread: Thread,
}

/// A guest is running until this is dropped.
pub(super) struct Running(Arc<Ticker>);

impl Ticker {
    pub(super) fn start(engine: Engine) -> Result<Arc<Self>, String> {
        let (sender, receiver) = std::sync::mpsc::channel::<Arc<Self>>();
        let spawned = thread::Builder::new().name("epoch".into()).stack_size(64 << 10).spawn(move || {
            if let Ok(ticker) = receiver.recv() {
                ticker.tick(&engine);
            }
        });
        let thread = spawned.map_err(|error| format!("failed to start the epoch's thread: {error}"))?.thread().clone();
        let ticker = Arc::new(Self { running: AtomicUsize::new(0), asleep: AtomicBool::new(false), thread });
        let _ = sender.send(Arc::clone(&ticker));
        Ok(ticker)
    }

    fn tick(&self, engine: &Engine) {
        loop {
            if self.running.load(Ordering::SeqCst) == 0 {
                self.asleep.store(true, Ordering::SeqCst);
                if self.running.load(Ordering::SeqCst) == 0 {
                    thread::park();
                }
                self.asleep.store(false, Ordering::SeqCst);
            }
            thread::sleep(TICK);
            engine.increment_epoch();
        }
    }

    /// Says that a guest runs.
    pub(super) fn run(self: &Arc<Self>) -> Running {
        self.running.fetch_add(1, Ordering::SeqCst);
        if self.asleep.load(Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(self))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}
