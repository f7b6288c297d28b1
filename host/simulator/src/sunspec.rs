//! The memory of a SunSpec device: the marker, and a chain of models, each with its number and length (SunSpec Device
//! Information Model Specification V1.1, 6).

use bessai_domain::profile::Profile;
use bessai_domain::register::TextLayout;
use bessai_domain::sunspec::models::{self, PointType, Repetition};
use bessai_domain::sunspec::{Discovery, DiscoveryError, ReadError};

use crate::registers::{Registers, Table};

/// The address at which the simulated inverter's chain begins.
const BASE: u16 = 40_000;
/// The marker at the beginning of a chain, `SunS`.
const MARKER: [u16; 2] = [0x5375, 0x6e53];
/// The number after the last model, and its length.
const END: [u16; 2] = [0xffff, 0];
/// The number of the first model, the common model.
const COMMON: u16 = 1;
/// The registers of its texts: manufacturer, model, options, version, serial number.
const COMMON_TEXTS: [u16; 5] = [16, 16, 8, 8, 16];
/// The device address 1 and the padding at the end of the common model.
const COMMON_END: [u16; 2] = [1, 0x8000];

/// The models of a battery inverter after the common model: AC measurements, power control, storage, battery, and lithium-ion
/// cells.
const BATTERY_INVERTER: [u16; 5] = [103, 704, 713, 802, 803];

/// One model of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SunSpecModel {
    /// Its number.
    pub id: u16,
    /// The registers after its number and its length.
    pub words: Vec<u16>,
}

impl SunSpecModel {
    /// The common model, which is the first one. Texts that are too long are left out.
    #[must_use]
    pub fn common(manufacturer: &str, model: &str, serial: &str) -> Self {
        let texts = [manufacturer, model, "", "1.0", serial].into_iter().zip(COMMON_TEXTS);
        let empty = |registers: u16| vec![0; usize::from(registers)];
        let text = |(text, registers): (&str, u16)| {
            TextLayout::HighLow.encode(text, registers).unwrap_or_else(|| empty(registers))
        };
        Self { id: COMMON, words: texts.flat_map(text).chain(COMMON_END).collect() }
    }

    /// A published model, all zero; none where the table has no model of this number, or it is too long.
    fn zeroed(id: u16) -> Option<Self> {
        let once = |count: Repetition| match count {
            Repetition::Once => 1,
            Repetition::Fixed(times) => u32::from(times),
            // Groups that the device itself counts do not exist: the counters are zero too.
            Repetition::FillsModel | Repetition::Point(_) => 0,
        };
        let length = usize::try_from(models::model(id)?.group.registers(&once)).ok()?;
        (length < usize::from(u16::MAX)).then(|| Self { id, words: vec![0; length] })
    }
}

/// Lays out a battery inverter, all zero, and returns the profile that a gateway makes of its models: with it a
/// [`Plant`](crate::plant::Plant) fills the registers.
///
/// # Errors
///
/// When discovery does not find the chain that was written.
pub fn battery_inverter(registers: &Registers, unit: u8) -> Result<Profile, DiscoveryError> {
    let common = SunSpecModel::common("bessai", "simulated battery inverter", "BE2600001");
    let models: Vec<_> =
        [common].into_iter().chain(BATTERY_INVERTER.into_iter().filter_map(SunSpecModel::zeroed)).collect();
    lay_out(registers, unit, BASE, &models);
    let mut discovery = Discovery::default();
    while let Some(read) = discovery.next() {
        let words = registers.get(unit, Table::Holding, read.start, read.count);
        discovery.answer(words.as_deref().ok_or(ReadError::Exception(2)));
    }
    let found = discovery.finish()?;
    // A counter of groups must stay zero, for there are no groups.
    let counts: Vec<u16> =
        found.points.iter().filter(|point| point.kind() == PointType::Count).map(|point| point.address).collect();
    let mut profile = found.profile(None);
    profile.points.retain(|point| !counts.contains(&point.address));
    profile.unit.0 = unit;
    Ok(profile)
}

/// Writes a chain of models into the holding registers from an address on, as one change, and returns the address of each
/// model's number. Models that do not fit below register 65536 are left out.
pub fn lay_out(registers: &Registers, unit: u8, base: u16, models: &[SunSpecModel]) -> Vec<u16> {
    registers.update(|memory| {
        memory.set(unit, Table::Holding, base, &MARKER);
        let mut next = base.checked_add(2);
        let mut addresses = Vec::new();
        for model in models {
            let (Some(address), Ok(length)) = (next, u16::try_from(model.words.len())) else { break };
            memory.set(unit, Table::Holding, address, &[&[model.id, length], &model.words[..]].concat());
            addresses.push(address);
            next = address.checked_add(2).and_then(|words| words.checked_add(length));
        }
        if let Some(end) = next {
            memory.set(unit, Table::Holding, end, &END);
        }
        addresses
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_has_a_marker_its_models_and_an_end() {
        let registers = Registers::new();
        let models =
            [SunSpecModel::common("bessai", "box", "7"), SunSpecModel { id: 713, words: vec![1, 2, 3, 4, 5, 6, 7] }];
        assert_eq!(lay_out(&registers, 3, 40_000, &models), [40_002, 40_070]);
        let word = |address| registers.get(3, Table::Holding, address, 1).map(|words| words[0]);
        assert_eq!([word(40_000), word(40_001)], [Some(0x5375), Some(0x6e53)]);
        assert_eq!([word(40_002), word(40_003), word(40_004)], [Some(1), Some(66), Some(0x6265)]);
        assert_eq!([word(40_070), word(40_071), word(40_078)], [Some(713), Some(7), Some(7)]);
        assert_eq!([word(40_079), word(40_080), word(40_081)], [Some(0xffff), Some(0), None]);
    }

    #[test]
    fn models_beyond_the_last_address_are_left_out() {
        let models = [SunSpecModel { id: 1, words: vec![0; 66] }, SunSpecModel { id: 2, words: vec![] }];
        assert_eq!(lay_out(&Registers::new(), 1, 65_500, &models), [65_502]);
        assert_eq!(lay_out(&Registers::new(), 1, u16::MAX, &models), [] as [u16; 0]);
    }
}
