//! SQLite with a write-ahead log: a commit is with the operating system, every second one is synced.

use std::path::Path;

use anyhow::Result;
use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::{Access, Journal};

/// What SQLite takes unless told.
pub(super) const PAGE_BYTES: u32 = 4_096;

pub(super) struct Sqlite(Connection);

impl Sqlite {
    pub(super) fn open(folder: &Path, access: Access, page_bytes: u32) -> Result<Self> {
        let path = folder.join("journal.sqlite");
        if access == Access::Read {
            return Ok(Self(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?));
        }
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "page_size", page_bytes)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS events (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT;
             CREATE TABLE IF NOT EXISTS cursor (feed INTEGER PRIMARY KEY, syncs INTEGER NOT NULL) STRICT;
             INSERT OR IGNORE INTO cursor VALUES (1, 0);",
        )?;
        Ok(Self(connection))
    }
}

impl Journal for Sqlite {
    fn append(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        let mut statement = self.0.prepare_cached("INSERT INTO events VALUES (?1, ?2)")?;
        statement.execute((i64::try_from(sequence)?, body))?;
        Ok(())
    }

    /// Only a commit syncs the log, and only one that writes: the feeds' cursors, which are saved as often, stand in.
    fn sync(&mut self) -> Result<()> {
        self.0.pragma_update(None, "synchronous", "FULL")?;
        self.0.prepare_cached("UPDATE cursor SET syncs = syncs + 1")?.execute(())?;
        self.0.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(())
    }

    fn append_synced(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        self.0.pragma_update(None, "synchronous", "FULL")?;
        self.append(sequence, body)?;
        self.0.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(())
    }

    fn newest(&self) -> Result<Option<(u64, Vec<u8>)>> {
        let found = self
            .0
            .query_row("SELECT sequence, body FROM events ORDER BY sequence DESC LIMIT 1", (), |row| {
                Ok((row.get::<_, i64>(0)?, row.get(1)?))
            })
            .optional()?;
        found.map(|(sequence, body)| Ok((u64::try_from(sequence)?, body))).transpose()
    }

    fn read(&self, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        let mut statement = self.0.prepare("SELECT sequence, body FROM events ORDER BY sequence")?;
        let mut rows = statement.query(())?;
        while let Some(row) = rows.next()? {
            seen(u64::try_from(row.get::<_, i64>(0)?)?, row.get_ref(1)?.as_blob()?);
        }
        Ok(())
    }

    fn drop_below(&mut self, sequence: u64) -> Result<()> {
        self.0.execute("DELETE FROM events WHERE sequence < ?1", [i64::try_from(sequence)?])?;
        self.sync()
    }
}
