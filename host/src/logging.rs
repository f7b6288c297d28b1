//! The log on standard error: it never blocks who writes a line, and no source of lines can fill it.
//!
//! A line passes the level filter, the [`limiter`] and the [`line`] format, and goes into a bounded [`queue`], from which a
//! thread of its own, the [`writer`], writes it. When nobody reads standard error, the thread waits and the gateway does not:
//! further lines are dropped and counted.
//!
//! The queue is bounded in bytes, because lines differ in length by a factor of a hundred. `tracing-appender` bounds its
//! queue in lines only and would add the `time` crate with its dependencies.

use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

use anyhow::Context as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, reload};

use crate::config::LogLevel;

mod attribution;
mod layer;
mod libraries;
mod limiter;
mod line;
mod queue;
mod writer;

use limiter::Limiter;
use queue::LineQueue;

pub(crate) use attribution::of_feed;

/// What the threads of the program share about the log; none before it is set up.
static LOG: OnceLock<Arc<Log>> = OnceLock::new();

struct Log {
    limiter: Limiter,
    queue: LineQueue,
}

/// Selects the lines; set once logging has begun.
static FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// The program's own lines at `level`, libraries' lines only from WARN.
fn filter(level: LogLevel) -> Targets {
    let level = level_filter(level);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // The prefix of all crates of the program.
        .with_target("bessai_", level)
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// Logs to standard error from now on, panics as well: the default message of a panic would be written directly, which blocks
/// if nobody reads it.
pub(crate) fn log_to_stderr(level: LogLevel) -> anyhow::Result<()> {
    let log = Arc::new(Log { limiter: Limiter::default(), queue: LineQueue::default() });
    let has_colours = std::io::stderr().is_terminal();
    writer::start(Arc::clone(&log), has_colours).context("failed to start the log's thread")?;
    let lines = layer::LogLayer::new(Arc::clone(&log), has_colours);
    let (filter, handle) = reload::Layer::new(filter(level));
    // Setting the log up twice changes nothing.
    if LOG.set(log).is_ok() && tracing_subscriber::registry().with(filter).with(lines).try_init().is_ok() {
        let _ = FILTER.set(handle);
        libraries::forward(level_filter(level));
        bessai_supervision::log_panics();
    }
    Ok(())
}

/// Logs at another level from now on.
pub(crate) fn set_level(level: LogLevel) {
    if let Some(handle) = FILTER.get()
        && let Err(error) = handle.reload(filter(level))
    {
        tracing::warn!(%error, "failed to change the level of the log");
    }
}

/// Lines that were not written since the start, because nobody read standard error in time or it could not be written.
pub(crate) fn dropped_lines() -> u64 {
    LOG.get().map_or(0, |log| log.queue.dropped.load(Ordering::Relaxed))
}

/// Writes what is queued and what was suppressed, for a second at most: the process is about to end, and a reader that does
/// not read must not keep it.
pub(crate) fn finish() {
    if let Some(log) = LOG.get() {
        log.queue.finish();
    }
}

/// Calls [`finish`] when it is dropped, after a panic as well.
pub(crate) struct FinishAtExit;

impl Drop for FinishAtExit {
    fn drop(&mut self) {
        finish();
    }
}
