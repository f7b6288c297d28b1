//! A named thread whose function is called again after a panic, in the same thread: a restart needs no new one.

#![allow(clippy::disallowed_methods, reason = "only the thread that failed waits")]

use std::io;
use std::sync::Arc;
use std::thread::{self, Builder, JoinHandle, Thread};

use crate::guard::caught;
use crate::registry::{Entry, Supervised};

/// A thread of the program.
pub struct SupervisedThread {
    entry: Arc<Entry>,
    handle: JoinHandle<()>,
}

impl SupervisedThread {
    /// For waking it.
    pub fn thread(&self) -> &Thread {
        self.handle.thread()
    }

    /// Whether it has panicked and was not started again.
    pub fn has_failed(&self) -> bool {
        self.entry.has_failed()
    }

    /// Waits for its end.
    pub fn join(self) {
        // A panic was caught and reported inside.
        let _ = self.handle.join();
    }
}

/// Starts a thread. `run` is called again after a panic; when it returns, the thread ends. `stack_bytes` replaces the
/// default size of the stack.
pub fn spawn_thread(
    name: &str,
    stack_bytes: Option<usize>,
    mut run: impl FnMut() + Send + 'static,
) -> io::Result<SupervisedThread> {
    start(name, stack_bytes, move |supervised| {
        while let Err(panic) = caught(&mut run) {
            let pause = supervised.failed(&panic);
            thread::sleep(pause);
            supervised.restarted();
        }
    })
}

/// Starts a thread whose panic ends the process, because its state cannot be rebuilt: see [`failure`](crate::failure).
pub fn spawn_vital_thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<SupervisedThread> {
    start(name, None, move |supervised| {
        if let Err(panic) = caught(run) {
            supervised.failed_for_good(&panic);
        }
    })
}

fn start(
    name: &str,
    stack_bytes: Option<usize>,
    run: impl FnOnce(&mut Supervised) + Send + 'static,
) -> io::Result<SupervisedThread> {
    let mut supervised = Supervised::new(name);
    let entry = Arc::clone(&supervised.entry);
    let builder = Builder::new().name(name.to_owned());
    let builder = match stack_bytes {
        Some(bytes) => builder.stack_size(bytes),
        None => builder,
    };
    let handle = builder.spawn(move || run(&mut supervised))?;
    Ok(SupervisedThread { entry, handle })
}
