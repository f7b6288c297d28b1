//! A SunSpec device in memory, built from the table, for the tests.

use std::collections::BTreeMap;

use super::table::{self, Count, HEADER};
use super::{Discovery, DiscoveryError, END, Found, Read, Refused};

/// Registers, and what the device refuses.
pub(super) struct Device {
    pub(super) registers: BTreeMap<u16, u16>,
    pub(super) base: u16,
    pub(super) next: u32,
    /// Most registers that it answers at once.
    pub(super) block: u16,
    /// What it says to any other read.
    pub(super) refusal: Refused,
}

impl Device {
    pub(super) fn at(base: u16) -> Self {
        let registers = BTreeMap::from([(base, 0x5375), (base + 1, 0x6e53)]);
        Self { registers, base, next: u32::from(base) + 2, block: 125, refusal: Refused::Exception(2) }
    }

    /// A model as the table has it, with the counts given and groups without a count `times` times.
    pub(super) fn with(self, id: u16, counts: &[(&str, u16)], times: u32) -> Self {
        let group = &table::model(id).unwrap().group;
        let length = group.registers(&|count| match count {
            Count::Once => 1,
            Count::Times(fixed) => u32::from(fixed),
            Count::Room => times,
            Count::Point(name) => u32::from(counts.iter().find(|(count, _)| *count == name).unwrap().1),
        });
        let start = self.next;
        let mut device = self.with_length(id, u16::try_from(length).unwrap());
        for (name, value) in counts {
            let (place, _) = group.point(name).unwrap();
            device.set(start + HEADER + place, &[*value]);
        }
        device
    }

    /// A model of this length, all zeros.
    pub(super) fn with_length(mut self, id: u16, length: u16) -> Self {
        self.set(self.next, &[id, length]);
        (0..u32::from(length)).for_each(|place| self.set(self.next + HEADER + place, &[0]));
        self.next += HEADER + u32::from(length);
        self
    }

    /// The marker that ends the chain, and nothing behind it.
    pub(super) fn ended(mut self) -> Self {
        self.set(self.next, &[END, 0]);
        self
    }

    /// A text at a place of the common model.
    pub(super) fn text(mut self, place: u32, text: &str) -> Self {
        for (index, pair) in (0..).zip(text.as_bytes().chunks(2)) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            self.set(u32::from(self.base) + 2 + place + index, &[word]);
        }
        self
    }

    fn set(&mut self, address: u32, words: &[u16]) {
        for (address, word) in (address..).zip(words) {
            self.registers.insert(u16::try_from(address).unwrap(), *word);
        }
    }

    pub(super) fn read(&self, read: Read) -> Result<Vec<u16>, Refused> {
        if read.count > self.block {
            return Err(Refused::Exception(3));
        }
        let places = (read.start..=u16::MAX).take(usize::from(read.count));
        let words: Vec<_> = places.filter_map(|place| self.registers.get(&place).copied()).collect();
        if words.len() == usize::from(read.count) { Ok(words) } else { Err(self.refusal) }
    }

    /// A discovery of it, and the reads that it took.
    pub(super) fn discover(&self) -> (Result<Found, DiscoveryError>, Vec<Read>) {
        let (mut discovery, mut reads) = (Discovery::default(), Vec::new());
        while let Some(read) = discovery.next() {
            reads.push(read);
            discovery.answer(self.read(read).as_deref().map_err(|refused| *refused));
        }
        (discovery.found(), reads)
    }

    pub(super) fn found(&self) -> Found {
        self.discover().0.unwrap()
    }

    pub(super) fn error(&self) -> String {
        self.discover().0.unwrap_err().to_string()
    }
}
