//! Log lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::config::LogLevel;

/// Logs to standard error from now on: the program's own lines at `level`, libraries' lines only from WARN.
pub(crate) fn log_to_stderr(level: LogLevel) {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let filter = Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // The prefix of all crates of the program.
        .with_target("bessai_", level)
        // tokio-modbus warns about each damaged frame, which a noisy bus repeats; the device's own line covers it.
        .with_target("tokio_modbus", LevelFilter::ERROR);
    let colours = std::io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false).with_ansi(colours);
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}
