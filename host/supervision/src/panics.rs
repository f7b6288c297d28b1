//! Panics in the log, and their place in the reports.

use std::cell::RefCell;
use std::panic::PanicHookInfo;

thread_local! {
    /// The last panic of this thread that nobody has taken yet.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Logs every panic from now on, instead of printing it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let description = describe(panic);
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        // Also while the thread ends, when it has no value any more.
        let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(description.clone())));
        tracing::error!(%thread, "thread {thread} {description}; this is a bug, please report it");
    }));
}

/// The panic that this thread has just caught.
pub(crate) fn take_last() -> Option<String> {
    LAST.try_with(|last| last.try_borrow_mut().ok()?.take()).ok().flatten()
}

fn describe(panic: &PanicHookInfo<'_>) -> String {
    let message = panic.payload_as_str().unwrap_or("without a message");
    match panic.location() {
        Some(location) => format!("panicked: {message} ({}:{})", location.file(), location.line()),
        None => format!("panicked: {message}"),
    }
}
