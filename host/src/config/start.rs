//! Where a feed begins in the journal when it is seen for the first time.

use bessai_domain::settings::Table;
use bessai_domain::time::{Timestamp, parse_utc};

/// Where a feed begins; counts only for a name never seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// With the oldest event that is kept.
    Oldest,
    /// With the first event at or after this.
    At(Timestamp),
}

/// `"now"`, `"oldest"`, or a time of day in UTC, as a text or as TOML's own.
pub(super) fn read(table: &Table<'_>, key: &'static str) -> Start {
    let Some(value) = table.value(key) else { return Start::Now };
    let start = match value {
        toml::Value::String(text) if text == "now" => Some(Start::Now),
        toml::Value::String(text) if text == "oldest" => Some(Start::Oldest),
        toml::Value::String(text) => parse_utc(text).map(Start::At),
        toml::Value::Datetime(time) => parse_utc(&time.to_string()).map(Start::At),
        _ => None,
    };
    start.unwrap_or_else(|| {
        table.wrong(key, "write \"now\", \"oldest\" or a time in UTC, such as \"2026-01-02T03:04:05Z\"");
        Start::Now
    })
}
