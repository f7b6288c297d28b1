//! Panics in the log, and their place in the reports.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;

thread_local! {
    /// The last panic of this thread that nobody has taken yet.
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether this thread runs what may panic on its input.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Logs every panic from now on, instead of printing it.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        if is_quiet() {
            return;
        }
        let description = describe(panic);
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        // Also while the thread ends, when it has no value any more.
        let _ = LAST.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(description.clone())));
        tracing::error!(%thread, "thread {thread} {description}; this is a bug, please report it");
    }));
}

/// Runs a library that panics on some inputs: the panic is neither logged nor printed, and its message is returned.
pub fn catch_quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    // Where panics are not logged, as in a command, they would be printed.
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !is_quiet() {
                hook(panic);
            }
        }));
    });
    let was_quiet = IS_QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(run));
    IS_QUIET.set(was_quiet);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
    })
}

fn is_quiet() -> bool {
    IS_QUIET.try_with(Cell::get).unwrap_or(false)
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
