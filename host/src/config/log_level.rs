//! `LOG_LEVEL`: the least severe level that is logged.

use super::environment::Variables;

/// The least severe level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// The level if `LOG_LEVEL` is not set.
const DEFAULT_LEVEL: LogLevel = LogLevel::Info;
/// The names of the levels, in any case; `CRITICAL` and `WARNING` are the Python gateway's.
const NAMES: [(&str, LogLevel); 7] = [
    ("TRACE", LogLevel::Trace),
    ("DEBUG", LogLevel::Debug),
    ("INFO", LogLevel::Info),
    ("WARNING", LogLevel::Warn),
    ("WARN", LogLevel::Warn),
    ("ERROR", LogLevel::Error),
    ("CRITICAL", LogLevel::Error),
];

pub(super) fn read(variables: &Variables<'_>) -> LogLevel {
    let by_name = |text: &str| NAMES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|&(_, level)| level);
    let level = variables.parsed("LOG_LEVEL", "write ERROR, WARNING, INFO, DEBUG or TRACE", by_name);
    level.unwrap_or(DEFAULT_LEVEL)
}
