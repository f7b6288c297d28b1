//! Tasks and threads of the program: named, measured, restarted after a panic, and reported for `/health`.
//!
//! A task or thread that can begin anew is restarted with back-off. One whose state cannot be rebuilt ends the process:
//! [`failure`] resolves, the program stops as far as it still can and exits non-zero, and the service manager or container
//! engine starts it again. Nothing ends unnoticed.
//!
//! The reports are of the process, as its panic hook is: crates that start a thread need no handle for them.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::expect_used,
        clippy::disallowed_methods
    )
)]

mod backoff;
mod blocking;
pub mod fault;
mod guard;
mod panics;
mod registry;
mod task;
#[cfg(test)]
mod tests;
mod thread;

pub use blocking::{KEEP_ALIVE, keep_a_thread, run_blocking};
pub use panics::{catch_quietly, log_panics};
pub use registry::{PolledTask, Supervised, TaskReport, failure, longest_poll, polled, reports};
pub use task::{OnFailure, spawn};
pub use thread::{SupervisedThread, spawn_thread, spawn_vital_thread};
