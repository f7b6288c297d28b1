//! Batches that are being filled. They are kept in the state, so that a restart neither loses nor repeats a reading.

use bessai_plugin::{Failure, Timestamp, state};

/// What ends a batch's payload.
pub(crate) const END: &[u8] = b"]}";
/// The state's key with the ids of the open batches.
const INDEX: &str = "batches";
/// Bytes of all open batches; beyond it the oldest is sent, as the state has 1 MiB.
const MOST_OPEN_BYTES: usize = 600_000;
/// Nanoseconds.
const SECOND: u64 = 1_000_000_000;

struct Open {
    id: u32,
    /// The time of its first reading.
    since: Timestamp,
    /// Without [`END`].
    payload: Vec<u8>,
    is_stored: bool,
}

/// The batches of all sources.
#[derive(Default)]
pub(crate) struct Batches {
    open: Vec<Open>,
    /// Batches of late readings, which are sent when the call ends.
    late: Vec<Open>,
    closed: Vec<u32>,
}

impl Batches {
    /// What an earlier call left.
    pub(crate) fn load() -> Self {
        let index = state::get(INDEX).and_then(|ids| String::from_utf8(ids).ok()).unwrap_or_default();
        let open = index.split(',').filter_map(|id| {
            let id = id.parse().ok()?;
            let stored = state::get(&key(id))?;
            let (since, payload) = stored.split_first_chunk::<8>()?;
            Some(Open { id, since: u64::from_be_bytes(*since), payload: payload.to_vec(), is_stored: true })
        });
        Self { open: open.collect(), ..Self::default() }
    }

    /// Adds a reading's row to the batch that begins with `header`. Returns the payload of one that it does not fit into.
    pub(crate) fn add(
        &mut self,
        at: Timestamp,
        header: &[u8],
        row: &[u8],
        limit: usize,
        is_late: bool,
    ) -> Vec<Vec<u8>> {
        let mut full = Vec::new();
        let list = if is_late { &mut self.late } else { &mut self.open };
        let found = list.iter().position(|batch| batch.payload.starts_with(header));
        if let Some(batch) = found.and_then(|found| list.get_mut(found)) {
            if batch.payload.len() + 1 + row.len() + END.len() <= limit {
                batch.payload.push(b',');
                batch.payload.extend_from_slice(row);
                batch.is_stored = false;
                return full;
            }
        }
        if let Some(found) = found {
            let batch = list.remove(found);
            if !is_late {
                self.closed.push(batch.id);
            }
            full.push(complete(batch));
        }
        let list = if is_late { &mut self.late } else { &mut self.open };
        let id = (0..).find(|id| list.iter().all(|batch| batch.id != *id)).unwrap_or_default();
        let mut payload = Vec::with_capacity(limit.min(header.len() + row.len() * 8));
        payload.extend_from_slice(header);
        payload.extend_from_slice(row);
        list.push(Open { id, since: at, payload, is_stored: false });
        if !is_late && self.open.iter().map(|batch| batch.payload.len()).sum::<usize>() > MOST_OPEN_BYTES {
            full.extend(self.take(|batches| !batches.is_empty()));
        }
        full
    }

    /// The payloads of batches that were begun this long ago.
    pub(crate) fn aged(&mut self, at: Timestamp, age_s: u64) -> Vec<Vec<u8>> {
        let is_due = |batch: &Open| at.saturating_sub(batch.since) >= age_s.saturating_mul(SECOND);
        let mut due = Vec::new();
        while let Some(payload) = self.take(|open| open.first().is_some_and(is_due)) {
            due.push(payload);
        }
        due
    }

    /// Takes the oldest batch if this is true. Batches are in the order in which they were begun.
    fn take(&mut self, condition: impl Fn(&[Open]) -> bool) -> Option<Vec<u8>> {
        if self.open.is_empty() || !condition(&self.open) {
            return None;
        }
        let batch = self.open.remove(0);
        self.closed.push(batch.id);
        Some(complete(batch))
    }

    /// Stores what changed, and returns the payloads of late readings.
    pub(crate) fn call_ended(&mut self) -> Result<Vec<Vec<u8>>, Failure> {
        let is_index_changed = !self.closed.is_empty() || self.open.iter().any(|batch| !batch.is_stored);
        for id in self.closed.drain(..) {
            state::delete(&key(id));
        }
        for batch in self.open.iter_mut().filter(|batch| !batch.is_stored) {
            let stored = [&batch.since.to_be_bytes()[..], &batch.payload].concat();
            state::set(&key(batch.id), &stored)?;
            batch.is_stored = true;
        }
        if is_index_changed {
            let ids: Vec<String> = self.open.iter().map(|batch| batch.id.to_string()).collect();
            state::set(INDEX, ids.join(",").as_bytes())?;
        }
        Ok(self.late.drain(..).map(complete).collect())
    }
}

fn key(id: u32) -> String {
    format!("batch/{id}")
}

fn complete(mut batch: Open) -> Vec<u8> {
    batch.payload.extend_from_slice(END);
    batch.payload
}
