//! redb: a copy-on-write B-tree; a commit either syncs or stays in this process's memory.
//!
//! A database that other processes may read takes only commits that sync: so do groups. Events one by one cannot wait for
//! that, so they are closed to readers.

use std::path::Path;

use anyhow::{Result, bail};
use redb::{
    Builder, ConcurrencyMode, Database, Durability, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition,
};

use super::{Access, Journal};

const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
const CACHE_BYTES: usize = 8 << 20;

/// Opens with commits that sync at once, or at [`Journal::sync`].
pub(super) fn open(folder: &Path, access: Access, at_once: bool) -> Result<Box<dyn Journal>> {
    let path = folder.join("journal.redb");
    let mut builder = Builder::new();
    let mode = if at_once { ConcurrencyMode::SingleWriter } else { ConcurrencyMode::ExclusiveWriter };
    builder.set_cache_size(CACHE_BYTES).set_concurrency_mode(mode);
    if access == Access::Read {
        return Ok(Box::new(Reader(builder.open_read_only(path)?)));
    }
    let database = builder.create(path)?;
    let writing = database.begin_write()?;
    writing.open_table(EVENTS)?;
    writing.commit()?;
    Ok(Box::new(Pages { database, at_once }))
}

struct Pages {
    database: Database,
    at_once: bool,
}

struct Reader(ReadOnlyDatabase);

fn newest(reading: &ReadTransaction) -> Result<Option<(u64, Vec<u8>)>> {
    let table = reading.open_table(EVENTS)?;
    let found = table.last()?.map(|(sequence, body)| (sequence.value(), body.value().to_vec()));
    Ok(found)
}

fn read(reading: &ReadTransaction, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
    for found in reading.open_table(EVENTS)?.iter()? {
        let (sequence, body) = found?;
        seen(sequence.value(), body.value());
    }
    Ok(())
}

impl Journal for Pages {
    fn append(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        let mut writing = self.database.begin_write()?;
        writing.set_durability(if self.at_once { Durability::Immediate } else { Durability::None })?;
        writing.open_table(EVENTS)?.insert(sequence, body)?;
        Ok(writing.commit()?)
    }

    fn sync(&mut self) -> Result<()> {
        if !self.at_once {
            self.database.begin_write()?.commit()?;
        }
        Ok(())
    }

    fn newest(&self) -> Result<Option<(u64, Vec<u8>)>> {
        newest(&self.database.begin_read()?)
    }

    fn read(&self, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        read(&self.database.begin_read()?, seen)
    }

    fn drop_below(&mut self, sequence: u64) -> Result<()> {
        let writing = self.database.begin_write()?;
        writing.open_table(EVENTS)?.retain_in(..sequence, |_, _| false)?;
        Ok(writing.commit()?)
    }
}

impl Journal for Reader {
    fn append(&mut self, _: u64, _: &[u8]) -> Result<()> {
        bail!("opened for reading")
    }

    fn sync(&mut self) -> Result<()> {
        bail!("opened for reading")
    }

    fn newest(&self) -> Result<Option<(u64, Vec<u8>)>> {
        newest(&self.0.begin_read()?)
    }

    fn read(&self, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        read(&self.0.begin_read()?, seen)
    }

    fn drop_below(&mut self, _: u64) -> Result<()> {
        bail!("opened for reading")
    }
}
