//! Another engine with the events since the last sync in one row: cheap, but they are in this process's memory till then.

use anyhow::{Context, Result};

use super::Journal;

/// Events in one row at most, as many as come in a second.
const GROUP_EVENTS: u64 = 1_000;

pub(super) struct Grouped {
    engine: Box<dyn Journal>,
    first: u64,
    events: u64,
    row: Vec<u8>,
}

impl Grouped {
    pub(super) fn new(engine: Box<dyn Journal>) -> Self {
        Self { engine, first: 0, events: 0, row: Vec::new() }
    }

    fn store(&mut self) -> Result<()> {
        if self.events > 0 {
            self.engine.append(self.first, &self.row)?;
            self.events = 0;
            self.row.clear();
        }
        Ok(())
    }
}

impl Journal for Grouped {
    fn append(&mut self, sequence: u64, body: &[u8]) -> Result<()> {
        if self.events == 0 {
            self.first = sequence;
        }
        self.row.extend_from_slice(&u32::try_from(body.len())?.to_le_bytes());
        self.row.extend_from_slice(body);
        self.events += 1;
        if self.events == GROUP_EVENTS { self.store() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<()> {
        self.store()?;
        self.engine.sync()
    }

    fn newest(&self) -> Result<Option<(u64, Vec<u8>)>> {
        let Some((first, row)) = self.engine.newest()? else { return Ok(None) };
        let mut newest = None;
        each(first, &row, &mut |sequence, body| newest = Some((sequence, body.to_vec())))?;
        Ok(newest)
    }

    fn read(&self, seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
        let mut broken = None;
        self.engine.read(&mut |first, row| {
            if let Err(reason) = each(first, row, seen) {
                broken.get_or_insert(reason);
            }
        })?;
        broken.map_or(Ok(()), Err)
    }

    fn drop_below(&mut self, sequence: u64) -> Result<()> {
        self.engine.drop_below(sequence.saturating_sub(GROUP_EVENTS - 1))
    }
}

fn each(first: u64, mut row: &[u8], seen: &mut dyn FnMut(u64, &[u8])) -> Result<()> {
    let mut sequence = first;
    while !row.is_empty() {
        let (length, rest) = row.split_first_chunk().context("a group ends within a length")?;
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (body, rest) = rest.split_at_checked(length).context("a group ends within an event")?;
        seen(sequence, body);
        sequence += 1;
        row = rest;
    }
    Ok(())
}
