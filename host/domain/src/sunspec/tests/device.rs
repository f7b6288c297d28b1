//! A SunSpec device in memory, built from the published models, for the tests.

use std::collections::BTreeMap;

use crate::sunspec::discovery::{Discovery, END};
use crate::sunspec::found::DeviceDescription;
use crate::sunspec::models::{self, HEADER, Repetition};
use crate::sunspec::read::{DiscoveryError, ReadError, RegisterRange};

/// The device's registers and how it refuses reads.
pub(super) struct MemoryDevice {
    pub(super) registers: BTreeMap<u16, u16>,
    pub(super) base: u16,
    pub(super) next: u32,
    /// The most registers that it returns at once.
    pub(super) block: u16,
    /// How it refuses a read of registers that it does not have.
    pub(super) refusal: ReadError,
}

impl MemoryDevice {
    pub(super) fn at(base: u16) -> Self {
        let registers = BTreeMap::from([(base, 0x5375), (base + 1, 0x6e53)]);
        Self { registers, base, next: u32::from(base) + 2, block: 125, refusal: ReadError::Exception(2) }
    }

    /// Adds a published model with these counts; groups without a count repeat `times` times.
    pub(super) fn with(self, id: u16, counts: &[(&str, u16)], times: u32) -> Self {
        let group = &models::model(id).unwrap().group;
        let length = group.registers(&|count| match count {
            Repetition::Once => 1,
            Repetition::Fixed(fixed) => u32::from(fixed),
            Repetition::FillsModel => times,
            Repetition::Point(name) => u32::from(counts.iter().find(|(count, _)| *count == name).unwrap().1),
        });
        let start = self.next;
        let mut device = self.with_length(id, u16::try_from(length).unwrap());
        for (name, value) in counts {
            let (offset, _) = group.point(name).unwrap();
            device.set(start + HEADER + offset, &[*value]);
        }
        device
    }

    /// Adds a model of this length, all zeros.
    pub(super) fn with_length(mut self, id: u16, length: u16) -> Self {
        self.set(self.next, &[id, length]);
        (0..u32::from(length)).for_each(|offset| self.set(self.next + HEADER + offset, &[0]));
        self.next += HEADER + u32::from(length);
        self
    }

    /// Adds the marker that ends the chain.
    pub(super) fn ended(mut self) -> Self {
        self.set(self.next, &[END, 0]);
        self
    }

    /// Writes a text at an offset of the common model.
    pub(super) fn text(mut self, offset: u32, text: &str) -> Self {
        for (index, pair) in (0..).zip(text.as_bytes().chunks(2)) {
            let word = u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
            self.set(u32::from(self.base) + 2 + offset + index, &[word]);
        }
        self
    }

    fn set(&mut self, address: u32, words: &[u16]) {
        for (address, word) in (address..).zip(words) {
            self.registers.insert(u16::try_from(address).unwrap(), *word);
        }
    }

    pub(super) fn read(&self, read: RegisterRange) -> Result<Vec<u16>, ReadError> {
        if read.count > self.block {
            return Err(ReadError::Exception(3));
        }
        let addresses = (read.start..=u16::MAX).take(usize::from(read.count));
        let words: Vec<_> = addresses.filter_map(|address| self.registers.get(&address).copied()).collect();
        if words.len() == usize::from(read.count) { Ok(words) } else { Err(self.refusal) }
    }

    /// The result of a discovery and the reads that it took.
    pub(super) fn discover(&self) -> (Result<DeviceDescription, DiscoveryError>, Vec<RegisterRange>) {
        let (mut discovery, mut reads) = (Discovery::default(), Vec::new());
        while let Some(read) = discovery.next() {
            reads.push(read);
            discovery.answer(self.read(read).as_deref().map_err(|refused| *refused));
        }
        (discovery.finish(), reads)
    }

    pub(super) fn found(&self) -> DeviceDescription {
        self.discover().0.unwrap()
    }

    pub(super) fn error(&self) -> String {
        self.discover().0.unwrap_err().to_string()
    }
}
