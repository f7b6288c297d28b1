//! Checks that a device still has the chain of models that was discovered: the marker, each header, and the end.
//!
//! A model can grow, move, appear or disappear while the connection stands: some inverters have other models by day than by
//! night. Everything behind such a model then means something else.

use std::collections::VecDeque;

use super::discovery::MARKER;
use super::found::DeviceDescription;
use super::models::HEADER;
use super::read::{ReadError, RegisterRange};
use crate::register::MAX_READ;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainState {
    /// The chain is the one that was discovered.
    Same,
    /// It is not: the device has to be discovered again.
    Changed,
    /// The device did not answer every read.
    Unknown,
}

/// A check in progress.
///
/// ```text
/// while let Some(read) = check.next() { check.answer(device.read_holding(read.start, read.count)) }
/// let state = check.state();
/// ```
#[derive(Clone, Debug)]
pub struct ChainCheck {
    /// The reads that are left.
    reads: VecDeque<CheckedRead>,
    state: ChainState,
}

/// A read and the registers in it whose content is known.
#[derive(Clone, Debug)]
struct CheckedRead {
    range: RegisterRange,
    expected: Vec<(u16, Expected)>,
}

/// What a register must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Word(u16),
    /// The device refused the read, or did not answer it.
    Nothing,
}

impl ChainCheck {
    /// A check for this description of a device that returns at most `block` registers at once.
    pub fn new(found: &DeviceDescription, block: u16) -> Self {
        let mut words: Vec<(u16, Expected)> = Vec::new();
        let mut expect = |address: u16, content: &[u16]| {
            words.extend((address..=u16::MAX).zip(content.iter().map(|word| Expected::Word(*word))));
        };
        expect(found.base, &MARKER);
        found.models.iter().for_each(|model| expect(model.address, &[model.id, model.length]));
        if let (Some(address), Some(id)) = (found.end.address, found.end.id) {
            expect(address, &[id]);
        }
        let mut reads = pack(&words, block.clamp(1, MAX_READ));
        if let (Some(start), None) = (found.end.address, found.end.id) {
            let range = RegisterRange { start, count: 1 };
            reads.push_back(CheckedRead { range, expected: vec![(start, Expected::Nothing)] });
        }
        Self { reads, state: ChainState::Same }
    }

    /// The registers to read now; none when the check has ended.
    pub fn next(&self) -> Option<RegisterRange> {
        if self.state == ChainState::Changed { None } else { self.reads.front().map(|read| read.range) }
    }

    /// Takes the response to [`next`](Self::next).
    pub fn answer(&mut self, answer: Result<&[u16], ReadError>) {
        let Some(read) = self.reads.pop_front() else { return };
        let is_end = read.expected.iter().any(|(_, expected)| *expected == Expected::Nothing);
        match answer {
            Ok(registers) if registers.len() == usize::from(read.range.count) => {
                let word = |address: u16| registers.get(usize::from(address.saturating_sub(read.range.start))).copied();
                let holds = |(address, expected): &(u16, Expected)| match expected {
                    Expected::Word(expected) => word(*address) == Some(*expected),
                    Expected::Nothing => false,
                };
                if !read.expected.iter().all(holds) {
                    self.state = ChainState::Changed;
                }
            }
            // Where nothing was, nothing is.
            Err(ReadError::Exception(_) | ReadError::Timeout) if is_end => {}
            Err(ReadError::Exception(1..=3)) => self.refused(&read),
            Ok(_) | Err(_) => self.state = ChainState::Unknown,
        }
    }

    /// The result so far.
    pub fn state(&self) -> ChainState {
        self.state
    }

    /// A refused read is repeated header by header; a header that is refused alone is gone.
    fn refused(&mut self, read: &CheckedRead) {
        if read.range.count <= u16::try_from(HEADER).unwrap_or(u16::MAX) {
            self.state = ChainState::Changed;
            return;
        }
        let alone = pack(&read.expected, 1);
        alone.into_iter().rev().for_each(|read| self.reads.push_front(read));
    }
}

/// Packs ascending registers into as few reads as possible; adjacent ones, such as the two of a header, stay together.
fn pack(words: &[(u16, Expected)], block: u16) -> VecDeque<CheckedRead> {
    let mut reads: VecDeque<CheckedRead> = VecDeque::new();
    for &(address, expected) in words {
        if let Some(last) = reads.back_mut() {
            let end = last.range.start.saturating_add(last.range.count);
            let count = address.saturating_sub(last.range.start).saturating_add(1);
            if count <= block || (address == end && last.range.count == 1) {
                last.range.count = count;
                last.expected.push((address, expected));
                continue;
            }
        }
        let range = RegisterRange { start: address, count: 1 };
        reads.push_back(CheckedRead { range, expected: vec![(address, expected)] });
    }
    reads
}
