//! Lines on standard error while a component is compiled, which takes long for one that contains a language runtime.

#![allow(clippy::disallowed_methods, reason = "only commands report progress, without the gateway's runtime")]

use std::cell::RefCell;
use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::output::print_error;

/// Components of at least this size are reported at once; smaller ones compile in less than a second.
const LARGE_BYTES: usize = 1 << 20;
/// Pause between two lines.
const PERIOD: Duration = Duration::from_secs(5);

/// The progress of one command.
pub(super) struct Progress {
    what: String,
    is_large: bool,
    running: RefCell<Option<Running>>,
}

struct Running {
    start: Instant,
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Nothing is printed yet.
    pub(super) fn new(file: &Path, bytes: usize) -> Self {
        let what = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self { what, is_large: bytes >= LARGE_BYTES, running: RefCell::default() }
    }

    /// The component is compiled from now on.
    pub(super) fn begin(&self) {
        if self.is_large {
            print_error(format_args!("compiling {}; the result is kept for the next time", self.what));
        }
        let (stop, stopped) = mpsc::channel::<()>();
        let (what, start) = (self.what.clone(), Instant::now());
        let run = move || {
            while stopped.recv_timeout(PERIOD) == Err(mpsc::RecvTimeoutError::Timeout) {
                print_error(format_args!("compiling {what} for {} s", start.elapsed().as_secs()));
            }
        };
        // Without the thread there is less to see.
        let thread = std::thread::Builder::new().name("progress".into()).spawn(run).ok();
        *self.running.borrow_mut() = Some(Running { start, stop, thread });
    }

    /// The component is compiled, or was in the cache.
    pub(super) fn end(&self) {
        let Some(Running { start, stop, thread }) = self.running.take() else { return };
        drop(stop);
        // A panic of the thread was logged.
        let _ = thread.map(JoinHandle::join);
        if self.is_large {
            print_error(format_args!("compiled {} in {:.1} s", self.what, start.elapsed().as_secs_f64()));
        }
    }
}
