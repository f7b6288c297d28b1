//! A SunSpec device's memory: the mark, and a chain of models each with its number and length (SunSpec Device Information
//! Model Specification V1.1, 6).

use bessai_domain::profile::Profile;
use bessai_domain::register::TextLayout;
use bessai_domain::sunspec::table::{self, Count, PointType};
use bessai_domain::sunspec::{Discovery, DiscoveryError, Refused};

use crate::registers::{Registers, Table};

/// Where devices may begin their chain.
pub const BASES: [u16; 3] = [40_000, 0, 50_000];

/// `SunS`.
const MARK: [u16; 2] = [0x5375, 0x6e53];
/// The number that stands after the last model, and its length.
const END: [u16; 2] = [0xffff, 0];
/// The number of the model that comes first, and the registers of its texts: maker, model, options, version, serial number.
const COMMON: u16 = 1;
const COMMON_TEXTS: [u16; 5] = [16, 16, 8, 8, 16];
/// The device address 1 and the pad that end the common model.
const COMMON_END: [u16; 2] = [1, 0x8000];

/// What a battery inverter says of itself behind the common model: its AC side, how its power is set, its storage, its battery
/// and that battery's cells.
const BATTERY_INVERTER: [u16; 5] = [103, 704, 713, 802, 803];

/// One model of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    /// Its number.
    pub id: u16,
    /// The registers after its number and its length.
    pub words: Vec<u16>,
}

impl Model {
    /// The common model, which comes first. Texts that are too long are left out.
    #[must_use]
    pub fn common(maker: &str, model: &str, serial: &str) -> Self {
        let texts = [maker, model, "", "1.0", serial].into_iter().zip(COMMON_TEXTS);
        let empty = |registers: u16| vec![0; usize::from(registers)];
        let text = |(text, registers): (&str, u16)| {
            TextLayout::HighLow.encode(text, registers).unwrap_or_else(|| empty(registers))
        };
        Self { id: COMMON, words: texts.flat_map(text).chain(COMMON_END).collect() }
    }

    /// A published model, all of it zero. None where the table has none of this number, or as it is too long.
    #[must_use]
    pub fn zeroed(id: u16) -> Option<Self> {
        let once = |count: Count| match count {
            Count::Once => 1,
            Count::Times(times) => u32::from(times),
            // What the device itself counts is zero too.
            Count::Room | Count::Point(_) => 0,
        };
        let length = usize::try_from(table::model(id)?.group.registers(&once)).ok()?;
        (length < usize::from(u16::MAX)).then(|| Self { id, words: vec![0; length] })
    }
}

/// Lays out a battery inverter, all zero, and returns the profile that a gateway makes of its models: with it a
/// [`Plant`](crate::plant::Plant) keeps the registers alive.
///
/// # Errors
///
/// When the chain that was written is not found again.
pub fn battery_inverter(registers: &Registers, unit: u8) -> Result<Profile, DiscoveryError> {
    let common = Model::common("bessai", "simulated battery inverter", "BE2600001");
    let models: Vec<_> = [common].into_iter().chain(BATTERY_INVERTER.into_iter().filter_map(Model::zeroed)).collect();
    lay_out(registers, unit, BASES[0], &models);
    let mut discovery = Discovery::default();
    while let Some(read) = discovery.next() {
        let words = registers.get(unit, Table::Holding, read.start, read.count);
        discovery.answer(words.as_deref().ok_or(Refused::Exception(2)));
    }
    let found = discovery.found()?;
    // What counts the groups behind it must stay zero, for there are none.
    let counts: Vec<u16> =
        found.points.iter().filter(|point| point.kind() == PointType::Count).map(|point| point.address).collect();
    let mut profile = found.profile(None);
    profile.points.retain(|point| !counts.contains(&point.address));
    profile.unit.0 = unit;
    Ok(profile)
}

/// Writes a chain of models into the holding registers from an address on, all at once, and returns the address of each
/// model's number. What does not fit below register 65536 is left out.
pub fn lay_out(registers: &Registers, unit: u8, base: u16, models: &[Model]) -> Vec<u16> {
    registers.revise(|memory| {
        memory.set(unit, Table::Holding, base, &MARK);
        let mut at = base.checked_add(2);
        let mut addresses = Vec::new();
        for model in models {
            let (Some(address), Ok(length)) = (at, u16::try_from(model.words.len())) else { break };
            memory.set(unit, Table::Holding, address, &[&[model.id, length], &model.words[..]].concat());
            addresses.push(address);
            at = address.checked_add(2).and_then(|words| words.checked_add(length));
        }
        if let Some(end) = at {
            memory.set(unit, Table::Holding, end, &END);
        }
        addresses
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let registers = Registers::new();
        let models = [Model::common("bessai", "box", "7"), Model { id: 713, words: vec![1, 2, 3, 4, 5, 6, 7] }];
        assert_eq!(lay_out(&registers, 3, 40_000, &models), [40_002, 40_070]);
        let word = |address| registers.get(3, Table::Holding, address, 1).map(|words| words[0]);
        assert_eq!([word(40_000), word(40_001)], [Some(0x5375), Some(0x6e53)]);
        assert_eq!([word(40_002), word(40_003), word(40_004)], [Some(1), Some(66), Some(0x6265)]);
        assert_eq!([word(40_070), word(40_071), word(40_078)], [Some(713), Some(7), Some(7)]);
        assert_eq!([word(40_079), word(40_080), word(40_081)], [Some(0xffff), Some(0), None]);
    }

    #[test]
    fn the_memory_ends_the_chain_too() {
        let models = [Model { id: 1, words: vec![0; 66] }, Model { id: 2, words: vec![] }];
        assert_eq!(lay_out(&Registers::new(), 1, 65_500, &models), [65_502]);
        assert_eq!(lay_out(&Registers::new(), 1, u16::MAX, &models), [] as [u16; 0]);
    }
}
