//! `[journal]`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bessai_domain::settings::Table;
use bessai_domain::time::parse_duration;

use super::size::{self, MIB};

const DEFAULT_DIR: &str = "journal";
const DEFAULT_SYNC: Sync = Sync::Interval(Duration::from_secs(1));
const DEFAULT_MAX_SIZE_BYTES: u64 = 1024 * MIB;
const LARGEST_BYTES: u64 = 1024 * 1024 * MIB;
/// A long weekend without a connection.
const DEFAULT_MAX_AGE: Duration = Duration::from_hours(72);
const OLDEST: Duration = Duration::from_hours(24 * 3650);
const LONGEST_INTERVAL: Duration = Duration::from_hours(1);

/// How events are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// The folder that they are kept in.
    pub dir: PathBuf,
    /// When they are brought to the disk.
    pub sync: Sync,
    /// Above this the oldest go.
    pub max_size_bytes: u64,
    /// Older ones go.
    pub max_age: Duration,
}

/// When events are brought to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// All of this time together.
    Interval(Duration),
    /// Each before the next.
    EveryEvent,
    /// Never: they are lost with the process.
    Memory,
}

/// Reads it; a folder that is not named is in `data_dir`.
pub(super) fn read(table: &Table<'_>, folder: &Path, data_dir: &Path) -> Journal {
    let mut journal = Journal {
        dir: data_dir.join(DEFAULT_DIR),
        sync: DEFAULT_SYNC,
        max_size_bytes: DEFAULT_MAX_SIZE_BYTES,
        max_age: DEFAULT_MAX_AGE,
    };
    let Some(table) = table.table("journal") else { return journal };
    if let Some(dir) = table.text("dir") {
        journal.dir = folder.join(dir);
    }
    journal.sync = read_sync(&table).unwrap_or(journal.sync);
    journal.max_size_bytes = size::read(&table, "max_size", MIB..=LARGEST_BYTES).unwrap_or(journal.max_size_bytes);
    journal.max_age = table.duration("max_age", Duration::from_mins(1)..=OLDEST).unwrap_or(journal.max_age);
    table.finish();
    journal
}

fn read_sync(table: &Table<'_>) -> Option<Sync> {
    let interval = |text: &str| {
        let interval = parse_duration(text)?;
        (Duration::from_millis(1)..=LONGEST_INTERVAL).contains(&interval).then_some(Sync::Interval(interval))
    };
    let sync = match table.value("sync")?.as_str() {
        Some("every-event") => Some(Sync::EveryEvent),
        Some("memory") => Some(Sync::Memory),
        text => text.and_then(interval),
    };
    if sync.is_none() {
        table.wrong("sync", "write a time from 1ms to 1h, such as \"1s\", or \"every-event\" or \"memory\"");
    }
    sync
}
