//! `[watchdog]`: what happens when the main loop does not respond.

use std::ops::RangeInclusive;
use std::time::Duration;

use bessai_domain::settings::SettingsTable;

/// `abort_after` if it is not set.
const DEFAULT_ABORT_AFTER: Duration = Duration::from_secs(30);
/// `abort_after`: the times that can be configured.
const ABORT_AFTER: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_hours(1);

/// Reads `abort_after`: how long the main loop may not respond before the process is aborted.
pub(super) fn read(table: &SettingsTable<'_>) -> Duration {
    let Some(table) = table.table("watchdog") else { return DEFAULT_ABORT_AFTER };
    let abort_after = table.duration("abort_after", ABORT_AFTER);
    table.report_unknown_keys();
    abort_after.unwrap_or(DEFAULT_ABORT_AFTER)
}
