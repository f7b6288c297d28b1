//! What every storage engine has to do here, and the engines by name.

mod grouped;
mod nothing;
#[cfg(feature = "redb")]
mod pages;
mod segments;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(feature = "fjall")]
mod tree;

use std::path::Path;

use anyhow::{Result, bail};

use self::grouped::Grouped;

/// The candidates in the order of the table; `group` keeps a second's events in memory and stores them as one row.
pub(crate) const NAMES: &[&str] = &[
    "nothing",
    "segments",
    #[cfg(feature = "sqlite")]
    "sqlite",
    #[cfg(feature = "sqlite")]
    "sqlite-1k",
    #[cfg(feature = "sqlite")]
    "sqlite-group",
    #[cfg(feature = "fjall")]
    "fjall",
    #[cfg(feature = "fjall")]
    "fjall-group",
    #[cfg(feature = "redb")]
    "redb",
    #[cfg(feature = "redb")]
    "redb-group",
];

/// How a journal is opened.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// As the gateway does; what a crash left is mended.
    Write,
    /// As `journal ls` does, beside the gateway.
    Read,
}

/// An ordered list of numbered events.
pub(crate) trait Journal {
    /// Hands an event over as the candidate does it; numbers rise.
    fn append(&mut self, sequence: u64, body: &[u8]) -> Result<()>;
    /// Returns when everything appended is on the disk.
    fn sync(&mut self) -> Result<()>;
    /// Appends and returns when the event is on the disk.
    fn append_synced(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        self.append(sequence, body)?;
        self.sync()
    }
    /// The newest event.
    fn newest(&self) -> Result<Option<(u64, Vec<u8>)>>;
    /// Shows every event in order; an error ends it.
    fn read(&self, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()>;
    /// Drops what is older than `sequence`; more may stay.
    fn drop_below(&mut self, sequence: u64) -> Result<()>;
}

/// Opens the journal of a candidate, and makes it if it is not there.
pub(crate) fn open(name: &str, folder: &Path, access: Access) -> Result<Box<dyn Journal>> {
    let (engine, is_grouped) = match name.strip_suffix("-group") {
        Some(engine) => (engine, true),
        None => (name, false),
    };
    let journal: Box<dyn Journal> = match engine {
        "nothing" => Box::new(nothing::Nothing),
        "segments" => Box::new(segments::Segments::open(folder, access)?),
        #[cfg(feature = "sqlite")]
        "sqlite" => Box::new(sqlite::Sqlite::open(folder, access, sqlite::PAGE_BYTES)?),
        #[cfg(feature = "sqlite")]
        "sqlite-1k" => Box::new(sqlite::Sqlite::open(folder, access, 1_024)?),
        #[cfg(feature = "fjall")]
        "fjall" => Box::new(tree::Tree::open(folder)?),
        #[cfg(feature = "redb")]
        "redb" => pages::open(folder, access, is_grouped)?,
        other => bail!("no candidate is named {other}: there are {}", NAMES.join(", ")),
    };
    Ok(if is_grouped { Box::new(Grouped::new(journal)) } else { journal })
}
