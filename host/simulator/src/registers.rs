//! The memory of a Modbus server: 16-bit words and single bits by unit, table and address, shared between the server and
//! the code that controls it.

mod behaviour;
#[cfg(test)]
mod tests;
mod write_log;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};

pub use bessai_domain::register::Table;

use tokio::time::Instant;

use self::behaviour::{DelayedWords, Timer};
pub use self::behaviour::{Interference, RevertPeriod, RevertTimer, WriteEffect};
use self::write_log::WriteLog;
pub use self::write_log::{Origin, WriteRecord};
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
    /// The device's own timers.
    timers: Vec<Timer>,
    /// Another master's writes, each with the time of the next one.
    interferences: Vec<(Instant, Interference)>,
    /// What the device has after a reboot, if it forgets what was written.
    defaults: Option<BTreeMap<(u8, Table), BTreeMap<u16, u16>>>,
    log: WriteLog,
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
        let mut memory = self.lock();
        memory.settle();
        memory.get(unit, table, address, count)
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

    /// Lets a device release itself when nothing renews what was written; see [`RevertTimer`].
    pub fn add_revert_timer(&self, timer: RevertTimer) {
        self.lock().timers.push(Timer::new(timer));
    }

    /// Lets another master write from now on, first when its time has passed once; none stops them all.
    pub fn interfere(&self, interference: Option<Interference>) {
        let interferences = &mut self.lock().interferences;
        match interference {
            Some(interference) => interferences.push((Instant::now() + interference.every, interference)),
            None => interferences.clear(),
        }
    }

    /// Makes the words of now those of a device that has just started: [`reboot`](Self::reboot) brings them back.
    pub fn keep_defaults(&self) {
        let memory = &mut *self.lock();
        memory.defaults = Some(memory.tables.clone());
    }

    /// What a restart does to the memory: the defaults that were [kept](Self::keep_defaults) are back, timers stand still,
    /// and what would have taken effect later does not.
    pub fn reboot(&self) {
        self.lock().reboot();
    }

    /// The last 65,536 changes that clients asked for and that the device itself or another master made, oldest first.
    #[must_use]
    pub fn write_log(&self) -> Vec<WriteRecord> {
        let mut memory = self.lock();
        memory.settle();
        memory.log.records().cloned().collect()
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
