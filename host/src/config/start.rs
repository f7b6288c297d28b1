//! `start`: the position in the journal from which a new feed reads.

use bessai_domain::journal::StartAt;
use bessai_domain::settings::SettingsTable;
use bessai_domain::time::parse_utc;

/// Where a new feed starts if its settings do not say.
const DEFAULT_START: StartAt = StartAt::Now;

/// Reads `"now"`, `"oldest"`, or a time in UTC, written as a text or as a TOML date-time.
pub(super) fn read(table: &SettingsTable<'_>, key: &'static str) -> StartAt {
    let Some(value) = table.value(key) else { return DEFAULT_START };
    let start = match value {
        toml::Value::String(text) if text == "now" => Some(StartAt::Now),
        toml::Value::String(text) if text == "oldest" => Some(StartAt::Oldest),
        toml::Value::String(text) => parse_utc(text).map(StartAt::At),
        toml::Value::Datetime(time) => parse_utc(&time.to_string()).map(StartAt::At),
        _ => None,
    };
    start.unwrap_or_else(|| {
        table.add_mistake(key, "write \"now\", \"oldest\" or a time in UTC, such as \"2026-01-02T03:04:05Z\"");
        DEFAULT_START
    })
}
