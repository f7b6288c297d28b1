//! `[journal]`: where and how long events are kept.

use std::path::Path;
use std::time::Duration;

use bessai_domain::journal::SyncPolicy;
use bessai_domain::settings::SettingsTable;
use bessai_domain::time::parse_duration;
use bessai_journal::JournalSettings;

use super::size::{self, MIB};

/// `dir`: a folder in the data folder.
const DEFAULT_DIR: &str = "journal";
/// `sync`: a power failure loses at most the events of one second.
const DEFAULT_SYNC: SyncPolicy = SyncPolicy::Interval(Duration::from_secs(1));
/// `sync`: the shortest interval.
const SHORTEST_SYNC_INTERVAL: Duration = Duration::from_millis(1);
/// `sync`: the longest interval.
const LONGEST_SYNC_INTERVAL: Duration = Duration::from_hours(1);
/// `max_size`: 1 GiB.
const DEFAULT_MAX_BYTES: u64 = 1024 * MIB;
/// The smallest `max_size`.
const SMALLEST_MAX_BYTES: u64 = MIB;
/// The largest `max_size`, 1 TiB.
const LARGEST_MAX_BYTES: u64 = 1024 * 1024 * MIB;
/// `max_age`: a long weekend without a connection.
const DEFAULT_MAX_AGE: Duration = Duration::from_hours(72);
/// The shortest `max_age`.
const SHORTEST_MAX_AGE: Duration = Duration::from_mins(1);
/// The longest `max_age`, ten years.
const LONGEST_MAX_AGE: Duration = Duration::from_hours(24 * 3650);

/// Reads the section. `dir` is relative to `folder`, the default to `data_dir`.
pub(super) fn read(table: &SettingsTable<'_>, folder: &Path, data_dir: &Path) -> JournalSettings {
    let mut journal = JournalSettings {
        folder: data_dir.join(DEFAULT_DIR),
        sync: DEFAULT_SYNC,
        max_bytes: DEFAULT_MAX_BYTES,
        max_age: DEFAULT_MAX_AGE,
    };
    let Some(table) = table.table("journal") else { return journal };
    if let Some(dir) = table.text("dir") {
        journal.folder = folder.join(dir);
    }
    journal.sync = read_sync(&table).unwrap_or(journal.sync);
    journal.max_bytes =
        size::read(&table, "max_size", SMALLEST_MAX_BYTES..=LARGEST_MAX_BYTES).unwrap_or(journal.max_bytes);
    journal.max_age = table.duration("max_age", SHORTEST_MAX_AGE..=LONGEST_MAX_AGE).unwrap_or(journal.max_age);
    table.report_unknown_keys();
    journal
}

fn read_sync(table: &SettingsTable<'_>) -> Option<SyncPolicy> {
    let interval = |text: &str| {
        let interval = parse_duration(text)?;
        (SHORTEST_SYNC_INTERVAL..=LONGEST_SYNC_INTERVAL).contains(&interval).then_some(SyncPolicy::Interval(interval))
    };
    let sync = match table.value("sync")?.as_str() {
        Some("every-event") => Some(SyncPolicy::EveryEvent),
        Some("memory") => Some(SyncPolicy::Memory),
        text => text.and_then(interval),
    };
    if sync.is_none() {
        table.add_mistake("sync", "write a time from 1ms to 1h, such as \"1s\", or \"every-event\" or \"memory\"");
    }
    sync
}
