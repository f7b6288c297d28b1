//! The memory of a Modbus server: 16-bit words and single bits by unit, table and address, shared between the server and
//! the code that controls it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use bessai_domain::register::Table;

use tokio::time::Instant;

use crate::lock;

/// The unit whose memory answers for all units, see [`Registers::any_unit`].
const SHARED_UNIT: u8 = 0;

/// A cheap handle to the memory; clones see the same words.
#[derive(Clone, Debug, Default)]
pub struct Registers {
    memory: Arc<Mutex<Memory>>,
}

/// The words of all units and tables, locked while [`Registers::update`] runs. Addresses count from 0, as on the wire. Sparse:
/// an address that was never set is absent. A bit is a word that is 0 or not, so that every call serves all four tables.
#[derive(Debug, Default)]
pub struct Memory {
    any_unit: bool,
    counters: Vec<(u8, Table, u16)>,
    /// How often clients have written each word.
    writes: BTreeMap<(u8, Table, u16), u64>,
    tables: BTreeMap<(u8, Table), BTreeMap<u16, u16>>,
    /// What becomes of writes whose first word is at an address.
    effects: BTreeMap<(u8, Table, u16), WriteEffect>,
    /// Words that take effect later.
    delayed: Vec<DelayedWords>,
}

/// What becomes of a write that was confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// The words take effect this much later.
    After(Duration),
    /// Nothing changes.
    Ignored,
    /// Each word is limited to this one.
    Clamped(u16),
    /// Each word becomes this one, whatever was written.
    Replaced(u16),
}

#[derive(Debug)]
struct DelayedWords {
    due: Instant,
    unit: u8,
    table: Table,
    address: u16,
    words: Vec<u16>,
}

impl Registers {
    /// Empty memory: every unit is unknown.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets consecutive words, creating those absent; see [`Memory::set`].
    pub fn set(&self, unit: u8, table: Table, address: u16, words: &[u16]) {
        self.lock().set(unit, table, address, words);
    }

    /// `count` consecutive words, or `None` when any of them is absent.
    #[must_use]
    pub fn get(&self, unit: u8, table: Table, address: u16, count: u16) -> Option<Vec<u16>> {
        self.lock().get(unit, table, address, count)
    }

    /// Sets consecutive bits, creating those absent; see [`Memory::set_bits`].
    pub fn set_bits(&self, unit: u8, table: Table, address: u16, bits: &[bool]) {
        self.lock().set_bits(unit, table, address, bits);
    }

    /// `count` consecutive bits, or `None` when any of them is absent.
    #[must_use]
    pub fn get_bits(&self, unit: u8, table: Table, address: u16, count: u16) -> Option<Vec<bool>> {
        self.lock().get_bits(unit, table, address, count)
    }

    /// Sets every word of a range of addresses to one value.
    pub fn fill(&self, unit: u8, table: Table, addresses: RangeInclusive<u16>, value: u16) {
        self.lock().fill(unit, table, addresses, value);
    }

    /// Increments the word at an address with each request that reads it, from 65535 to 0, so that a reader can tell whether
    /// a reading is missing.
    pub fn count_reads(&self, unit: u8, table: Table, address: u16) {
        self.lock().counters.push((unit, table, address));
    }

    /// Gives clients' writes that begin at an address another effect; none for the usual one.
    pub fn on_write(&self, unit: u8, table: Table, address: u16, effect: Option<WriteEffect>) {
        let effects = &mut self.lock().effects;
        match effect {
            Some(effect) => drop(effects.insert((unit, table, address), effect)),
            None => drop(effects.remove(&(unit, table, address))),
        }
    }

    /// How often clients have written the word at an address; [`Registers::set`] does not count.
    #[must_use]
    pub fn writes(&self, unit: u8, table: Table, address: u16) -> u64 {
        self.lock().writes(unit, table, address)
    }

    /// Whether requests to every unit id are answered from the memory of unit 0, as by devices that ignore the id.
    pub fn any_unit(&self, is_enabled: bool) {
        self.lock().any_unit = is_enabled;
    }

    /// Runs several changes as one: no request is answered in between. `change` must not use this handle, which is locked
    /// meanwhile.
    pub fn update<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> T {
        change(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        lock(&self.memory)
    }
}

impl Memory {
    /// Sets consecutive words, creating those absent; words beyond address 65535 are dropped.
    pub fn set(&mut self, unit: u8, table: Table, address: u16, words: &[u16]) {
        let stored = self.tables.entry((unit, table)).or_default();
        stored.extend((address..=u16::MAX).zip(words.iter().copied()));
    }

    /// `count` consecutive words, or `None` when any of them is absent.
    #[must_use]
    pub fn get(&self, unit: u8, table: Table, address: u16, count: u16) -> Option<Vec<u16>> {
        let stored = self.tables.get(&(unit, table))?;
        let Some(last) = count.checked_sub(1) else { return Some(Vec::new()) };
        let words: Vec<u16> = stored.range(address..=address.checked_add(last)?).map(|(_, &word)| word).collect();
        (words.len() == usize::from(count)).then_some(words)
    }

    /// Sets consecutive bits, creating those absent; bits beyond address 65535 are dropped.
    pub fn set_bits(&mut self, unit: u8, table: Table, address: u16, bits: &[bool]) {
        let words: Vec<u16> = bits.iter().copied().map(u16::from).collect();
        self.set(unit, table, address, &words);
    }

    /// `count` consecutive bits, or `None` when any of them is absent.
    #[must_use]
    pub fn get_bits(&self, unit: u8, table: Table, address: u16, count: u16) -> Option<Vec<bool>> {
        Some(self.get(unit, table, address, count)?.into_iter().map(|word| word != 0).collect())
    }

    /// Sets every word of a range of addresses to one value.
    pub fn fill(&mut self, unit: u8, table: Table, addresses: RangeInclusive<u16>, value: u16) {
        let stored = self.tables.entry((unit, table)).or_default();
        stored.extend(addresses.map(|address| (address, value)));
    }

    /// Increments the counters among the words that were read.
    pub(crate) fn count_read(&mut self, unit: u8, table: Table, address: u16, count: u16) {
        let Self { counters, tables, .. } = self;
        let read = |counter: &&(u8, Table, u16)| {
            let &&(owner, of, at) = counter;
            (owner, of) == (unit, table) && at.checked_sub(address).is_some_and(|offset| offset < count)
        };
        for (_, _, address) in counters.iter().filter(read) {
            let word = tables.get_mut(&(unit, table)).and_then(|stored| stored.get_mut(address));
            if let Some(word) = word {
                *word = word.wrapping_add(1);
            }
        }
    }

    /// How often clients have written the word at an address.
    #[must_use]
    pub fn writes(&self, unit: u8, table: Table, address: u16) -> u64 {
        self.writes.get(&(unit, table, address)).copied().unwrap_or(0)
    }

    /// A client's write of words that exist, with the effect that it has here.
    pub(crate) fn write(&mut self, unit: u8, table: Table, address: u16, words: &[u16]) {
        match self.effects.get(&(unit, table, address)) {
            None => self.set(unit, table, address, words),
            Some(WriteEffect::Ignored) => {}
            Some(&WriteEffect::Clamped(limit)) => {
                let words: Vec<u16> = words.iter().map(|word| *word.min(&limit)).collect();
                self.set(unit, table, address, &words);
            }
            Some(&WriteEffect::Replaced(word)) => self.set(unit, table, address, &vec![word; words.len()]),
            Some(&WriteEffect::After(delay)) => {
                let (due, words) = (Instant::now() + delay, words.to_vec());
                self.delayed.push(DelayedWords { due, unit, table, address, words });
            }
        }
    }

    /// Lets the words take effect whose time has come.
    pub(crate) fn settle(&mut self) {
        if self.delayed.is_empty() {
            return;
        }
        let now = Instant::now();
        let (due, later) = std::mem::take(&mut self.delayed).into_iter().partition(|delayed| delayed.due <= now);
        self.delayed = later;
        let due: Vec<DelayedWords> = due;
        due.into_iter().for_each(|words| self.set(words.unit, words.table, words.address, &words.words));
    }

    /// Counts a client's write of each of these words.
    pub(crate) fn count_write(&mut self, unit: u8, table: Table, address: u16, count: u16) {
        for at in (address..=u16::MAX).take(usize::from(count)) {
            let writes = self.writes.entry((unit, table, at)).or_default();
            *writes = writes.saturating_add(1);
        }
    }

    /// The unit whose memory answers requests to `requested`; `None` when no unit does.
    pub(crate) fn serving_unit(&self, requested: u8) -> Option<u8> {
        let unit = if self.any_unit { SHARED_UNIT } else { requested };
        self.units().any(|known| known == unit).then_some(unit)
    }

    /// The units that have any memory, each once or more.
    pub(crate) fn units(&self) -> impl Iterator<Item = u8> {
        self.tables.keys().map(|&(unit, _)| unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_words_are_none() {
        let registers = Registers::new();
        registers.set(1, Table::Holding, 10, &[7, 8]);
        assert_eq!(registers.get(1, Table::Holding, 10, 2), Some(vec![7, 8]));
        assert_eq!(registers.get(1, Table::Holding, 10, 3), None);
        assert_eq!(registers.get(1, Table::Input, 10, 1), None);
        assert_eq!(registers.get(2, Table::Holding, 10, 1), None);
    }

    #[test]
    fn the_last_address_is_the_end() {
        let registers = Registers::new();
        registers.set(1, Table::Input, u16::MAX, &[1, 2]);
        assert_eq!(registers.get(1, Table::Input, u16::MAX, 1), Some(vec![1]));
        assert_eq!(registers.get(1, Table::Input, u16::MAX, 2), None);
        assert_eq!(registers.get(1, Table::Input, 0, 1), None);
    }

    #[test]
    fn fill_makes_a_dense_table() {
        let registers = Registers::new();
        registers.fill(1, Table::Holding, 0..=u16::MAX, 5);
        assert_eq!(registers.get(1, Table::Holding, 65_500, 36), Some(vec![5; 36]));
    }

    #[test]
    fn bits_are_words_that_are_not_0() {
        let registers = Registers::new();
        registers.set_bits(1, Table::Coil, 3, &[true, false]);
        registers.set(1, Table::Coil, 5, &[7]);
        assert_eq!(registers.get_bits(1, Table::Coil, 3, 3), Some(vec![true, false, true]));
        assert_eq!(registers.get_bits(1, Table::Coil, 3, 4), None);
        assert_eq!(registers.get_bits(1, Table::Discrete, 3, 1), None);
    }

    #[test]
    fn clones_share_the_words() {
        let registers = Registers::new();
        registers.clone().update(|memory| {
            memory.set(3, Table::Input, 0, &[1]);
            memory.set(3, Table::Input, 9, &[2]);
        });
        assert_eq!(registers.get(3, Table::Input, 9, 1), Some(vec![2]));
    }

    #[test]
    fn counters_are_incremented_when_they_are_read() {
        let registers = Registers::new();
        registers.set(1, Table::Holding, 9, &[0, u16::MAX, 5]);
        registers.count_reads(1, Table::Holding, 10);
        registers.update(|memory| {
            memory.count_read(1, Table::Holding, 9, 1);
            memory.count_read(1, Table::Input, 9, 3);
            memory.count_read(2, Table::Holding, 9, 3);
        });
        assert_eq!(registers.get(1, Table::Holding, 9, 3), Some(vec![0, u16::MAX, 5]));
        registers.update(|memory| memory.count_read(1, Table::Holding, 9, 2));
        assert_eq!(registers.get(1, Table::Holding, 9, 3), Some(vec![0, 0, 5]));
    }

    #[test]
    fn units_answer_by_id_or_all_from_unit_0() {
        let registers = Registers::new();
        registers.set(0, Table::Input, 0, &[1]);
        registers.set(4, Table::Input, 0, &[1]);
        let serving = |unit| registers.update(|memory| memory.serving_unit(unit));
        assert_eq!((serving(4), serving(5)), (Some(4), None));
        registers.any_unit(true);
        assert_eq!((serving(4), serving(5)), (Some(0), Some(0)));
    }
}
