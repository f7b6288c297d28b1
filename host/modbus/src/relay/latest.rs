//! The registers of the last readings, as the device sent them.

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::register::{Table, UnitId};
use tokio::time::Instant;

/// Blocks of a bus that are kept; beyond that the oldest one goes. A plan has far fewer, but other ones after each change.
const MAX_BLOCKS: usize = 2048;
/// Without an age of its own, a request accepts registers that are younger than so many periods of their source: one reading
/// may fail.
const MAX_PERIODS: u32 = 2;

/// What a request of a reading returned.
struct Block {
    words: Vec<u16>,
    read_at: Instant,
    period: Duration,
}

/// The blocks of a bus by unit, table and first register.
pub(super) struct LatestRegisters {
    blocks: BTreeMap<(UnitId, Table, u16), Block>,
    /// The longest age that a request accepts, unless its source's periods are longer.
    longest_age: Duration,
}

impl Block {
    fn is_young(&self, max_age: Option<Duration>, now: Instant) -> bool {
        now.saturating_duration_since(self.read_at) <= max_age.unwrap_or(self.period * MAX_PERIODS)
    }
}

impl LatestRegisters {
    pub(super) fn new(longest_age: Duration) -> Self {
        Self { blocks: BTreeMap::new(), longest_age }
    }

    pub(super) fn set_longest_age(&mut self, longest_age: Duration) {
        self.longest_age = longest_age;
    }

    /// Keeps what a request returned just now; its source is read again after `period`.
    pub(super) fn record(&mut self, request: &ReadRequest, words: &[u16], period: Duration, now: Instant) {
        let key = (request.unit, request.table, request.start);
        if let Some(block) = self.blocks.get_mut(&key) {
            block.words.clear();
            block.words.extend_from_slice(words);
            (block.read_at, block.period) = (now, period);
            return;
        }
        // The plan has changed: blocks that it no longer reads grow old.
        let longest = self.longest_age;
        self.blocks.retain(|_, block| block.is_young(Some(longest.max(block.period * MAX_PERIODS)), now));
        if self.blocks.len() >= MAX_BLOCKS {
            let oldest = self.blocks.iter().min_by_key(|(_, block)| block.read_at).map(|(key, _)| *key);
            oldest.and_then(|key| self.blocks.remove(&key));
        }
        self.blocks.insert(key, Block { words: words.to_vec(), read_at: now, period });
    }

    /// Appends the registers of a request and returns true, if they are all there and young enough.
    pub(super) fn append(
        &self,
        request: &ReadRequest,
        max_age: Option<Duration>,
        now: Instant,
        words: &mut Vec<u16>,
    ) -> bool {
        let before = words.len();
        let end = u32::from(request.start) + u32::from(request.count);
        let mut next = u32::from(request.start);
        while next < end {
            let Some(part) = self.part(request, next, end, max_age, now) else {
                words.truncate(before);
                return false;
            };
            words.extend_from_slice(part);
            next += u32::try_from(part.len()).unwrap_or(u32::MAX);
        }
        true
    }

    /// The registers from `next` on that the newest block with it has, up to `end`.
    fn part(
        &self,
        request: &ReadRequest,
        next: u32,
        end: u32,
        max_age: Option<Duration>,
        now: Instant,
    ) -> Option<&[u16]> {
        let next = u16::try_from(next).ok()?;
        let (unit, table) = (request.unit, request.table);
        // A block that begins earlier cannot reach so far.
        let earliest = next.saturating_sub(table.max_read() - 1);
        let blocks = self.blocks.range((unit, table, earliest)..=(unit, table, next));
        let parts = blocks.filter_map(|((_, _, start), block)| {
            let part = block.words.get(usize::from(next - start)..)?;
            (!part.is_empty() && block.is_young(max_age, now)).then_some((block.read_at, part))
        });
        let (_, part) = parts.max_by_key(|(read_at, _)| *read_at)?;
        let wanted = usize::try_from(end - u32::from(next)).unwrap_or(usize::MAX);
        Some(part.get(..wanted).unwrap_or(part))
    }

    /// Forgets the blocks with any of these registers: they were written to.
    pub(super) fn forget(&mut self, unit: UnitId, table: Table, start: u16, count: usize) {
        let start = usize::from(start);
        self.blocks.retain(|(block_unit, block_table, block_start), block| {
            let block_start = usize::from(*block_start);
            let is_apart = start + count <= block_start || block_start + block.words.len() <= start;
            *block_unit != unit || *block_table != table || is_apart
        });
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.blocks.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn request(table: Table, start: u16, count: u16) -> ReadRequest {
        ReadRequest::new(UnitId(1), table, start, count)
    }

    struct Registers {
        latest: LatestRegisters,
        start: Instant,
    }

    impl Registers {
        fn new() -> Self {
            Self { latest: LatestRegisters::new(SECOND), start: Instant::now() }
        }

        /// Records registers that hold their own addresses, with a period of one second.
        fn record(&mut self, table: Table, addresses: std::ops::Range<u16>, seconds: u64) {
            let words: Vec<u16> = addresses.clone().collect();
            let request = request(table, addresses.start, u16::try_from(words.len()).unwrap());
            self.latest.record(&request, &words, SECOND, self.start + Duration::from_secs(seconds));
        }

        fn read(&self, table: Table, start: u16, count: u16, max_age: Option<u64>, seconds: u64) -> Option<Vec<u16>> {
            let (mut words, now) = (vec![7], self.start + Duration::from_secs(seconds));
            let max_age = max_age.map(Duration::from_secs);
            let is_known = self.latest.append(&request(table, start, count), max_age, now, &mut words);
            assert_eq!(words.remove(0), 7, "what was there stays");
            assert!(is_known || words.is_empty());
            is_known.then_some(words)
        }
    }

    #[test]
    fn registers_are_known_if_blocks_cover_them_all() {
        let mut registers = Registers::new();
        registers.record(Table::Holding, 100..110, 0);
        registers.record(Table::Holding, 110..120, 0);
        registers.record(Table::Coil, 0..2000, 0);
        let read = |table, start, count| registers.read(table, start, count, None, 0);
        assert_eq!(read(Table::Holding, 100, 10), Some((100..110).collect()));
        assert_eq!(read(Table::Holding, 105, 2), Some(vec![105, 106]));
        assert_eq!(read(Table::Holding, 108, 4), Some((108..112).collect()), "from two blocks");
        assert_eq!(read(Table::Holding, 99, 2), None);
        assert_eq!(read(Table::Holding, 119, 2), None);
        assert_eq!(read(Table::Input, 100, 1), None);
        assert_eq!(read(Table::Coil, 1900, 100), Some((1900..2000).collect()));
        let other = ReadRequest::new(UnitId(2), Table::Holding, 100, 1);
        assert!(!registers.latest.append(&other, None, registers.start, &mut Vec::new()));
    }

    #[test]
    fn the_last_register_of_a_table_is_known_too() {
        let mut registers = Registers::new();
        registers.latest.record(&request(Table::Holding, 65_535, 1), &[9], SECOND, registers.start);
        assert_eq!(registers.read(Table::Holding, 65_535, 1, None, 0), Some(vec![9]));
    }

    #[test]
    fn old_registers_are_not_known() {
        let mut registers = Registers::new();
        registers.record(Table::Holding, 0..10, 0);
        assert!(registers.read(Table::Holding, 0, 1, None, 2).is_some(), "two periods");
        assert_eq!(registers.read(Table::Holding, 0, 1, None, 3), None);
        assert_eq!(registers.read(Table::Holding, 0, 1, Some(1), 2), None);
        assert!(registers.read(Table::Holding, 0, 1, Some(5), 5).is_some());
        // The newest of two blocks counts.
        registers.record(Table::Holding, 5..8, 3);
        assert!(registers.read(Table::Holding, 5, 3, None, 4).is_some());
        assert_eq!(registers.read(Table::Holding, 4, 2, None, 4), None);
        assert_eq!(registers.latest.blocks.len(), 1, "the block that is no longer read is forgotten");
    }

    #[test]
    fn what_was_written_is_forgotten() {
        let mut registers = Registers::new();
        registers.record(Table::Holding, 0..10, 0);
        registers.record(Table::Holding, 10..20, 0);
        registers.record(Table::Coil, 0..10, 0);
        registers.latest.forget(UnitId(1), Table::Holding, 9, 1);
        assert_eq!(registers.read(Table::Holding, 0, 1, None, 0), None);
        assert!(registers.read(Table::Holding, 10, 10, None, 0).is_some());
        assert!(registers.read(Table::Coil, 9, 1, None, 0).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let mut registers = Registers::new();
        for start in 0..5000 {
            registers.record(Table::Holding, start..start + 1, 0);
        }
        assert_eq!(registers.latest.blocks.len(), MAX_BLOCKS);
    }
}
