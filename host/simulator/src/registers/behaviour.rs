//! What a device makes of writes, and what it does to its registers by itself.

#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::time::Instant;

use super::{Memory, Origin, Table, WriteRecord};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteEffect {
    /// It is confirmed, and the words take effect this much later.
    After(Duration),
    /// It is confirmed, and nothing changes.
    Ignored,
    /// It is confirmed, and each word is limited to this one.
    Clamped(u16),
    /// It is confirmed, and each word becomes this one, whatever was written.
    Replaced(u16),
    /// It is refused with this exception code.
    Refused(u8),
}

#[derive(Debug)]
pub(super) struct DelayedWords {
    due: Instant,
    unit: u8,
    table: Table,
    address: u16,
    words: Vec<u16>,
}

/// A device that controls itself again when nobody has renewed what was written, as with SunSpec's reversion timers or the
/// period of a forced charge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevertTimer {
    /// The unit of all its registers.
    pub unit: u8,
    /// Their table.
    pub table: Table,
    /// A client's write of one of these registers starts the time anew.
    pub renewed_by: Vec<u16>,
    /// How long it runs.
    pub period: RevertPeriod,
    /// What registers become when it ends, by their first addresses.
    pub restores: Vec<(u16, Vec<u16>)>,
}

/// How long a timer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevertPeriod {
    /// Always as long.
    Fixed(Duration),
    /// As a register says; 0 is no timer.
    Register {
        /// The address of the register, or the first of two.
        address: u16,
        /// Whether the number has two registers, the more significant one first.
        is_long: bool,
        /// The time of each count.
        per_count: Duration,
    },
}

#[derive(Debug)]
pub(super) struct Timer {
    settings: RevertTimer,
    due: Option<Instant>,
}

/// Another master that writes the same words again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interference {
    /// The unit it writes to.
    pub unit: u8,
    /// The table.
    pub table: Table,
    /// The first register.
    pub address: u16,
    /// What it writes.
    pub words: Vec<u16>,
    /// The time between two of its writes.
    pub every: Duration,
}

impl RevertTimer {
    /// A SUN2000 that ends a forced charge or discharge (47100) when the period in minutes (47083) is over.
    #[must_use]
    pub fn huawei(unit: u8) -> Self {
        let period = RevertPeriod::Register { address: 47_083, is_long: false, per_count: Duration::from_mins(1) };
        let (renewed_by, restores) = (vec![47_083, 47_100], vec![(47_100, vec![0])]);
        Self { unit, table: Table::Holding, renewed_by, period, restores }
    }

    /// A SunSpec device whose values of model 704 begin at an address: `WSetRvrtTms` in seconds, after which `WSetEna` is 0.
    #[must_use]
    pub fn sunspec_704(unit: u8, values: u16) -> Self {
        let [enable, power, time] = [20, 22, 29].map(|offset| values.saturating_add(offset));
        let period = RevertPeriod::Register { address: time, is_long: true, per_count: Duration::from_secs(1) };
        let (renewed_by, restores) = (vec![enable, power, time], vec![(enable, vec![0])]);
        Self { unit, table: Table::Holding, renewed_by, period, restores }
    }
}

impl Timer {
    pub(super) fn new(settings: RevertTimer) -> Self {
        Self { settings, due: None }
    }
}

impl Memory {
    /// A client's write of words that exist, with the effect that it has here; the error is an exception code.
    pub(crate) fn write(&mut self, unit: u8, table: Table, address: u16, words: &[u16]) -> Result<(), u8> {
        let at = Instant::now();
        let effect = self.effects.get(&(unit, table, address)).copied();
        let origin = Origin::Client;
        self.log.add(WriteRecord { at, origin, unit, table, address, words: words.to_vec(), effect });
        match effect {
            None => self.set(unit, table, address, words),
            Some(WriteEffect::Ignored) => {}
            Some(WriteEffect::Clamped(limit)) => {
                let words: Vec<u16> = words.iter().map(|word| *word.min(&limit)).collect();
                self.set(unit, table, address, &words);
            }
            Some(WriteEffect::Replaced(word)) => self.set(unit, table, address, &vec![word; words.len()]),
            Some(WriteEffect::After(delay)) => {
                let (due, words) = (at + delay, words.to_vec());
                self.delayed.push(DelayedWords { due, unit, table, address, words });
            }
            Some(WriteEffect::Refused(exception)) => return Err(exception),
        }
        self.renew_timers((unit, table, address), words.len(), at);
        Ok(())
    }

    fn renew_timers(&mut self, (unit, table, first): (u8, Table, u16), count: usize, now: Instant) {
        let mut timers = std::mem::take(&mut self.timers);
        for timer in &mut timers {
            let RevertTimer { unit: owner, table: of, renewed_by, period, .. } = &timer.settings;
            let is_written = |at: &u16| at.checked_sub(first).is_some_and(|offset| usize::from(offset) < count);
            if (*owner, *of) == (unit, table) && renewed_by.iter().any(is_written) {
                timer.due = self.period(unit, table, *period).map(|period| now + period);
            }
        }
        self.timers = timers;
    }

    /// How long a timer runs from now on; none if it does not run.
    fn period(&self, unit: u8, table: Table, period: RevertPeriod) -> Option<Duration> {
        let RevertPeriod::Register { address, is_long, per_count } = period else {
            let RevertPeriod::Fixed(time) = period else { return None };
            return Some(time);
        };
        let words = self.get(unit, table, address, if is_long { 2 } else { 1 })?;
        let count = words.iter().fold(0_u32, |count, word| count << 16 | u32::from(*word));
        (count > 0).then(|| per_count.saturating_mul(count))
    }

    /// Lets take effect what is due: delayed words, the ends of timers and another master's writes.
    pub(crate) fn settle(&mut self) {
        if self.delayed.is_empty() && self.timers.is_empty() && self.interferences.is_empty() {
            return;
        }
        let now = Instant::now();
        let due: Vec<DelayedWords> = self.delayed.extract_if(.., |delayed| delayed.due <= now).collect();
        due.into_iter().for_each(|words| self.set(words.unit, words.table, words.address, &words.words));
        self.end_timers(now);
        self.interfere(now);
    }

    fn end_timers(&mut self, now: Instant) {
        let mut timers = std::mem::take(&mut self.timers);
        for timer in &mut timers {
            let Some(at) = timer.due.take_if(|due| *due <= now) else { continue };
            let RevertTimer { unit, table, restores, .. } = &timer.settings;
            for (address, words) in restores {
                self.change(Origin::Timer, at, (*unit, *table, *address), words);
            }
        }
        self.timers = timers;
    }

    /// A master that was late writes once.
    fn interfere(&mut self, now: Instant) {
        let mut interferences = std::mem::take(&mut self.interferences);
        for (due, interference) in interferences.iter_mut().filter(|(due, _)| *due <= now) {
            let Interference { unit, table, address, words, every } = interference;
            self.change(Origin::OtherMaster, *due, (*unit, *table, *address), words);
            *due = now + *every;
        }
        self.interferences = interferences;
    }

    fn change(&mut self, origin: Origin, at: Instant, (unit, table, address): (u8, Table, u16), words: &[u16]) {
        self.set(unit, table, address, words);
        self.log.add(WriteRecord { at, origin, unit, table, address, words: words.to_vec(), effect: None });
    }

    pub(super) fn reboot(&mut self) {
        if let Some(defaults) = &self.defaults {
            self.tables.clone_from(defaults);
        }
        self.delayed.clear();
        self.timers.iter_mut().for_each(|timer| timer.due = None);
        let (unit, table) = (super::SHARED_UNIT, Table::Holding);
        let (at, origin, words) = (Instant::now(), Origin::Reboot, Vec::new());
        self.log.add(WriteRecord { at, origin, unit, table, address: 0, words, effect: None });
    }
}
