//! Combines the registers that a discovery has read into the device's description.

use std::collections::BTreeMap;

use super::found::{ChainEnd, DeviceDescription, DeviceModel, DevicePoint, Nameplate};
use super::layout::lay_out;
use super::models::{self, COMMON, HEADER};

/// Number of registers of `SunS`.
const MARKER_REGISTERS: u32 = 2;

/// The register at an offset from an address, if it was read.
pub(super) fn register(registers: &BTreeMap<u16, u16>, address: u16, offset: u16) -> Option<u16> {
    registers.get(&address.checked_add(offset)?).copied()
}

/// Combines the registers that were read with the published models.
pub(super) fn describe(base: u16, mut models: Vec<DeviceModel>, registers: &BTreeMap<u16, u16>) -> DeviceDescription {
    let end = end(base, &models, registers);
    let mut points = Vec::new();
    for found in &mut models {
        let Some(model) = models::model(found.id) else { continue };
        let count = |name: &str| {
            let (offset, _) = model.group.point(name)?;
            let offset = u16::try_from(HEADER + offset).ok()?;
            register(registers, found.address, offset).filter(|count| *count != u16::MAX)
        };
        let (placed, expected) = lay_out(model, found.instance, found.address, found.length, &count);
        found.expected = Some(expected);
        points.extend(placed);
    }
    for point in &mut points {
        let size = point.definition.size;
        let read: Option<Vec<_>> = (0..size).map(|offset| register(registers, point.address, offset)).collect();
        point.implemented = read.map(|registers| point.kind().is_implemented(&registers));
    }
    let text = |name: &str| {
        let of_name = |point: &&DevicePoint| point.model == COMMON && point.definition.name == name;
        points
            .iter()
            .find(of_name)
            .map_or_else(String::new, |point| text(registers, point.address, point.definition.size))
    };
    let nameplate = Nameplate {
        manufacturer: text("Mn"),
        model: text("Md"),
        options: text("Opt"),
        version: text("Vr"),
        serial: text("SN"),
    };
    DeviceDescription { base, models, end, note: None, nameplate, points }
}

/// What follows the last model.
fn end(base: u16, models: &[DeviceModel], registers: &BTreeMap<u16, u16>) -> ChainEnd {
    let after = |model: &DeviceModel| u32::from(model.address) + HEADER + u32::from(model.length);
    let address = models.last().map_or(u32::from(base) + MARKER_REGISTERS, after);
    let address = u16::try_from(address).ok();
    ChainEnd { address, id: address.and_then(|address| register(registers, address, 0)) }
}

/// The printable characters of a text up to the first NUL.
fn text(registers: &BTreeMap<u16, u16>, address: u16, size: u16) -> String {
    let bytes = (0..size).filter_map(|offset| register(registers, address, offset)).flat_map(u16::to_be_bytes);
    let bytes: Vec<u8> = bytes.take_while(|byte| *byte != 0).collect();
    let is_printable = |character: &char| !character.is_control() && *character != char::REPLACEMENT_CHARACTER;
    String::from_utf8_lossy(&bytes).chars().filter(is_printable).collect::<String>().trim().to_owned()
}
