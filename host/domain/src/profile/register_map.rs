//! Which registers hold the points of a source, and how they are decoded.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use super::no_value::marks;
use super::plausible::plausible_range;
use super::point::{ModelHeader, Point};
use crate::register::{Layout, Scaling, Table, UnitId};

/// The id of a SunSpec model and its length.
const HEADER_REGISTERS: u16 = 2;

/// The registers of a source's points, the same for every device of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RegisterMap {
    /// In the order of a frame's values.
    pub(crate) decoders: Vec<Decoder>,
    /// Number of registers that hold a scale factor.
    pub(crate) factors: usize,
    /// The headers of the SunSpec models that the points belong to.
    pub(crate) headers: Vec<ModelHeader>,
    /// Ordered by unit, table and address.
    pub(crate) items: Vec<Item>,
}

/// The registers of a value or of a scale factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// The unit id, if it is not the device's.
    pub(crate) unit: Option<UnitId>,
    pub(crate) table: Table,
    pub(crate) address: u16,
    pub(crate) width: u16,
    pub(crate) role: Role,
}

/// What an item holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The value of the channel at this position.
    Value(usize),
    /// A power of ten that channels share, by its index.
    Factor(usize),
    /// The header of a SunSpec model, by its index.
    Header(usize),
}

/// How a channel's value is computed from its registers.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Decoder {
    pub(crate) layout: Layout,
    pub(crate) scaling: Scaling,
    /// The power of ten to multiply with, by its index.
    pub(crate) factor: Option<usize>,
    /// The header that must be in its place, by its index.
    pub(crate) header: Option<usize>,
    unavailable: Vec<u64>,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The values that the channel can have at all.
    plausible: RangeInclusive<f64>,
}

impl RegisterMap {
    /// The map of these points, in the order of a frame's values; `unit` is the device's unit id, if it is known.
    pub(crate) fn new<'a>(points: impl Iterator<Item = &'a Point>, unit: Option<UnitId>) -> Self {
        let (mut decoders, mut items, mut headers) = (Vec::new(), Vec::new(), Vec::new());
        let mut factors: BTreeMap<(Option<UnitId>, Table, u16), usize> = BTreeMap::new();
        for (channel, point) in points.enumerate() {
            let own_unit = point.unit_id.filter(|own| Some(*own) != unit);
            let (table, width) = (point.table, point.layout.format.width());
            items.push(Item { unit: own_unit, table, address: point.address, width, role: Role::Value(channel) });
            let factor = point.scale_register.map(|address| {
                let next = factors.len();
                *factors.entry((own_unit, table, address)).or_insert(next)
            });
            let header = point.header.map(|header| {
                headers.iter().position(|known| *known == header).unwrap_or_else(|| {
                    items.push(Item::header(own_unit, table, header, headers.len()));
                    headers.push(header);
                    headers.len() - 1
                })
            });
            decoders.push(Decoder { header, ..Decoder::new(point, factor) });
        }
        let factor = |(&(unit, table, address), &index): (&(Option<UnitId>, Table, u16), &usize)| {
            let role = Role::Factor(index);
            Item { unit, table, address, width: 1, role }
        };
        items.extend(factors.iter().map(factor));
        items.sort_by_key(|item| (item.unit, item.table, item.address, item.width));
        Self { decoders, factors: factors.len(), headers, items }
    }
}

impl Item {
    fn header(unit: Option<UnitId>, table: Table, header: ModelHeader, index: usize) -> Self {
        Self { unit, table, address: header.address, width: HEADER_REGISTERS, role: Role::Header(index) }
    }

    pub(crate) fn end(self) -> u32 {
        u32::from(self.address) + u32::from(self.width)
    }

    pub(crate) fn same_registers(self, other: Self) -> bool {
        (self.unit, self.table, self.address, self.width) == (other.unit, other.table, other.address, other.width)
    }
}

impl Decoder {
    fn new(point: &Point, factor: Option<usize>) -> Self {
        Self {
            layout: point.layout,
            scaling: point.scaling,
            factor,
            header: None,
            unavailable: marks(point),
            // A point without limits still excludes a value that its scale makes infinite.
            min: point.min.unwrap_or(f64::MIN),
            max: point.max.unwrap_or(f64::MAX),
            plausible: plausible_range(point),
        }
    }

    pub(crate) fn needs(&self, factor: usize) -> bool {
        self.factor == Some(factor)
    }

    /// Whether the channel can have this value; any other is that of another register, and worse than none.
    pub(crate) fn is_plausible(&self, value: f64) -> bool {
        self.plausible.contains(&value)
    }

    /// The value that these [bits](Layout::raw_bits) are, still without its scale factor; none if the device has no value.
    pub(crate) fn number(&self, bits: u64) -> Option<f64> {
        let raw = if self.unavailable.contains(&bits) { None } else { self.layout.number(bits) }?;
        Some(if self.factor.is_some() { raw } else { self.scaling.to_value(raw) })
    }
}

/// The maps of a profile's sources, built on first use and shared by all devices of the model.
#[derive(Debug, Default)]
pub(crate) struct SharedMaps(OnceLock<Vec<(Option<String>, Arc<RegisterMap>)>>);

impl SharedMaps {
    /// The map of a source; `build` makes those of all sources on first use.
    pub(super) fn get(
        &self,
        source: Option<&str>,
        build: impl FnOnce() -> Vec<(Option<String>, Arc<RegisterMap>)>,
    ) -> Option<Arc<RegisterMap>> {
        let maps = self.0.get_or_init(build);
        maps.iter().find(|(name, _)| name.as_deref() == source).map(|(_, map)| Arc::clone(map))
    }
}

impl Clone for SharedMaps {
    /// Empty, because the copy may be given other points.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for SharedMaps {
    /// Always equal: the maps follow from the points.
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
