//! Any registers as the chain of SunSpec models of a device, and any refusals of it.

use bessai_domain::plan::Plan;
use bessai_domain::sunspec::{Discovery, ReadError, RegisterRange};

use super::within_limits;

/// The registers at which a chain may begin.
const BASES: [u16; 3] = [40_000, 0, 50_000];
/// More reads than one discovery may take.
const MAX_READS: usize = 1_100;
/// Bytes in front of the registers: the block limit, the base, and which reads are refused in which way.
const HEAD_BYTES: usize = 8;

/// A device whose registers begin at a base with these bytes.
struct ByteDevice<'a> {
    base: u16,
    block: u16,
    /// Bit n: each read whose number is n modulo 16 is refused.
    refused: u16,
    refusal: ReadError,
    registers: &'a [u8],
}

impl ByteDevice<'_> {
    fn read(&self, range: RegisterRange, number: usize) -> Result<Vec<u16>, ReadError> {
        if self.refused >> (number % 16) & 1 == 1 {
            return Err(self.refusal);
        }
        if range.count > self.block {
            return Err(ReadError::Exception(3));
        }
        let start = usize::from(range.start.checked_sub(self.base).ok_or(ReadError::Exception(2))?);
        let words = self.registers.chunks_exact(2).skip(start).take(usize::from(range.count));
        let words: Vec<_> = words.map(|word| u16::from_be_bytes([word[0], word[1]])).collect();
        if words.is_empty() { Err(ReadError::Exception(2)) } else { Ok(words) }
    }
}

/// A discovery ends, stays within the registers, and what it finds can be read.
pub fn discovery(data: &[u8]) {
    let Some((head, registers)) = data.split_at_checked(HEAD_BYTES) else { return };
    let refusal = match head[4] {
        0 => ReadError::Timeout,
        1 => ReadError::WrongLength,
        code => ReadError::Exception(code),
    };
    let device = ByteDevice {
        base: BASES[usize::from(head[1]) % BASES.len()],
        block: u16::from(head[0]),
        refused: u16::from_be_bytes([head[2], head[3]]),
        refusal,
        registers,
    };
    let mut discovery = Discovery::new(u16::from(head[5]));
    for number in 0.. {
        let Some(range) = discovery.next() else { break };
        assert!(number < MAX_READS, "the discovery does not end");
        assert!((1..=125).contains(&range.count), "{range:?}");
        assert!(u32::from(range.start) + u32::from(range.count) <= 65_536, "{range:?}");
        discovery.answer(device.read(range, number).as_deref().map_err(|refusal| *refusal));
    }
    let Ok(found) = discovery.finish() else { return };
    for point in &found.points {
        let end = u32::from(point.address) + u32::from(point.definition.size);
        let is_within = found.models.iter().any(|model| {
            let start = u32::from(model.address) + 2;
            (start..=start + u32::from(model.length)).contains(&end) && u32::from(point.address) >= start
        });
        assert!(is_within, "{point:?} is outside of every model");
    }
    let profile = found.profile(None);
    let plan = Plan::new(profile.points.iter(), profile.unit, profile.read_limits);
    plan.requests().for_each(within_limits);
}
