//! fjall: a log-structured merge tree behind a log, which goes to the operating system with every event.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use fjall::compaction::Fifo;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::Journal;

/// The least that fjall advises, since the gateway is small.
const MEMTABLE_BYTES: u64 = 8 << 20;
/// The gateway looks at an event a few times soon after it came, and never again.
const CACHE_BYTES: u64 = 2 << 20;
/// The fewest: a worker alone waits for ever when the queue that it alone empties is full.
const WORKERS: usize = 2;
/// Above anything stored here, so that nothing is dropped unasked.
const LIMIT_BYTES: u64 = 16 << 30;

pub(super) struct Tree {
    database: Database,
    events: Keyspace,
}

impl Tree {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let database =
            Database::builder(folder.join("fjall")).worker_threads(WORKERS).cache_size(CACHE_BYTES).open()?;
        let events = database.keyspace("events", || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .compaction_strategy(Arc::new(Fifo::new(LIMIT_BYTES, None)))
        })?;
        Ok(Self { database, events })
    }
}

fn sequence_of(key: &[u8]) -> Result<u64> {
    Ok(u64::from_be_bytes(key.try_into()?))
}

impl Journal for Tree {
    fn append(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        Ok(self.events.insert(sequence.to_be_bytes(), body)?)
    }

    fn sync(&mut self) -> Result<()> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    fn newest(&self) -> Result<Option<(u64, Vec<u8>)>> {
        let Some(found) = self.events.last_key_value() else { return Ok(None) };
        let (key, body) = found.into_inner()?;
        Ok(Some((sequence_of(&key)?, body.to_vec())))
    }

    fn read(&self, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        for found in self.events.iter() {
            let (key, body) = found.into_inner()?;
            seen(sequence_of(&key)?, &body);
        }
        Ok(())
    }

    /// Whole tables, by a call that fjall does not document: its own ways are one tombstone for each event, or a limit
    /// that is set when the keyspace is made.
    fn drop_below(&mut self, sequence: u64) -> Result<()> {
        self.events.tree.drop_range(..sequence.to_be_bytes())?;
        self.sync()
    }
}
