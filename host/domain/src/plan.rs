//! Which requests read the points of a source, and which value lies where in the answers.
//!
//! Points of one unit and table are packed into the fewest requests: neighbours together, small gaps bridged, no value
//! split over two requests. What a device refuses is learnt while it is read ([`Cycle`]): how much it gives at once, which
//! gaps must not be bridged, which points it does not have.

mod cycle;
mod reading;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use cycle::Cycle;
use reading::Decoder;
pub use reading::Reading;

use crate::profile::Point;
use crate::register::{MAX_READ, MAX_READ_BITS, Table, UnitId};

/// How much one request reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks {
    /// Registers at most, 1 to [`MAX_READ`]; a single value may be wider.
    pub registers: u16,
    /// Bits at most, 1 to [`MAX_READ_BITS`].
    pub bits: u16,
    /// Registers between two points that are read along rather than asked for apart; sixteen times as many bits.
    pub bridged_gap: u16,
}

impl Default for Blocks {
    /// The standard's own limits. One more request costs far more than sixteen registers.
    fn default() -> Self {
        Self { registers: MAX_READ, bits: MAX_READ_BITS, bridged_gap: 16 }
    }
}

impl Blocks {
    fn limit(self, table: Table) -> u16 {
        if table.is_bits() { self.bits } else { self.registers }
    }

    fn bridged(self, table: Table) -> u32 {
        u32::from(self.bridged_gap) * if table.is_bits() { 16 } else { 1 }
    }
}

/// One request and the items that its answer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whom to ask.
    pub unit: UnitId,
    /// Which function.
    pub table: Table,
    /// First register, or bit.
    pub start: u16,
    /// Registers, 1 to [`MAX_READ`], or bits, 1 to [`MAX_READ_BITS`].
    pub count: u16,
    items: Vec<usize>,
}

impl Request {
    /// A request for whatever lies there.
    pub fn of(unit: UnitId, table: Table, start: u16, count: u16) -> Self {
        Self { unit, table, start, count, items: Vec::new() }
    }
}

/// A value, or a scale factor, in the registers of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    /// Where it is not the device's own.
    unit: Option<UnitId>,
    table: Table,
    address: u16,
    width: u16,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// The value of a channel, by position.
    Value(usize),
    /// A power of ten that channels share, by its own number.
    Factor(usize),
}

impl Item {
    fn end(self) -> u32 {
        u32::from(self.address) + u32::from(self.width)
    }

    fn same_registers(self, other: Self) -> bool {
        (self.unit, self.table, self.address, self.width) == (other.unit, other.table, other.address, other.width)
    }
}

/// What a device has refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Learnt {
    /// How much a unit gives at once, of registers or of bits.
    limits: BTreeMap<(UnitId, bool), u16>,
    /// Items before which a request must begin: the gap is not to be read.
    walls: BTreeSet<usize>,
    /// Items that it does not have.
    forbidden: BTreeSet<usize>,
}

/// The points of a source, the same for every device of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    decoders: Vec<Decoder>,
    factors: usize,
    /// By unit, table and address.
    items: Vec<Item>,
}

/// All requests of one source of one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    wanted: Arc<Wanted>,
    unit: UnitId,
    blocks: Blocks,
    learnt: Learnt,
    requests: Vec<Arc<Request>>,
}

impl Wanted {
    /// These points, in the order of a frame's values. Where `unit` is the device's own, points that name it are no exception.
    pub fn new<'a>(points: impl Iterator<Item = &'a Point>, unit: Option<UnitId>) -> Self {
        let (mut decoders, mut items) = (Vec::new(), Vec::new());
        let mut factors: BTreeMap<(Option<UnitId>, Table, u16), usize> = BTreeMap::new();
        for (channel, point) in points.enumerate() {
            let own_unit = point.unit_id.filter(|own| Some(*own) != unit);
            let (table, width) = (point.table, point.layout.format.width());
            items.push(Item { unit: own_unit, table, address: point.address, width, role: Role::Value(channel) });
            let factor = point.scale_register.map(|address| {
                let next = factors.len();
                *factors.entry((own_unit, table, address)).or_insert(next)
            });
            decoders.push(Decoder::new(point, factor));
        }
        let factor = |(&(unit, table, address), &number): (&(Option<UnitId>, Table, u16), &usize)| {
            let role = Role::Factor(number);
            Item { unit, table, address, width: 1, role }
        };
        items.extend(factors.iter().map(factor));
        items.sort_by_key(|item| (item.unit, item.table, item.address, item.width));
        Self { decoders, factors: factors.len(), items }
    }
}

impl Plan {
    /// For these points, in the order of a frame's values, of a device with that unit id.
    pub fn new<'a>(points: impl Iterator<Item = &'a Point>, unit: UnitId, blocks: Blocks) -> Self {
        Self::of(Arc::new(Wanted::new(points, Some(unit))), unit, blocks)
    }

    /// The same, where other devices have the same points.
    pub fn of(wanted: Arc<Wanted>, unit: UnitId, blocks: Blocks) -> Self {
        let mut plan = Self { wanted, unit, blocks, learnt: Learnt::default(), requests: Vec::new() };
        plan.settle();
        plan
    }

    fn item(&self, index: usize) -> Option<&Item> {
        self.wanted.items.get(index)
    }

    fn unit(&self, item: &Item) -> UnitId {
        item.unit.unwrap_or(self.unit)
    }

    /// In the order in which they are to be sent.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = &Request> {
        self.requests.iter().map(AsRef::as_ref)
    }

    /// The channels that a request brings, by position.
    pub fn channels<'a>(&'a self, request: &'a Request) -> impl Iterator<Item = usize> + 'a {
        let roles = request.items.iter().filter_map(|&item| self.item(item)).map(|item| item.role);
        roles.filter_map(|role| if let Role::Value(channel) = role { Some(channel) } else { None })
    }

    /// One reading of all of it.
    pub fn cycle(&self) -> Cycle {
        Cycle::new(self.requests.clone())
    }

    /// Asks again for the points that the device did not have: it may have been updated. False where there were none.
    pub fn forgive(&mut self) -> bool {
        let any = !self.learnt.forbidden.is_empty();
        if any {
            self.learnt.forbidden.clear();
            self.settle();
        }
        any
    }

    /// Asks again as if nothing had ever been refused: what was learnt may be old.
    pub fn forget(&mut self) {
        if self.learnt != Learnt::default() {
            self.learnt = Learnt::default();
            self.settle();
        }
    }

    /// How many values a frame has.
    pub fn channel_count(&self) -> usize {
        self.wanted.decoders.len()
    }

    /// Whether the device refuses every point.
    pub fn is_refused(&self) -> bool {
        self.requests.is_empty() && !self.wanted.items.is_empty()
    }

    /// What one request may read of a unit, in registers or bits.
    pub fn limit(&self, unit: UnitId, table: Table) -> u16 {
        let learnt = self.learnt.limits.get(&(unit, table.is_bits())).copied();
        let given = self.blocks.limit(table).min(table.max_read());
        learnt.map_or(given, |learnt| learnt.min(given)).max(1)
    }

    /// The requests after everything learnt so far.
    fn settle(&mut self) {
        let items = (0..self.wanted.items.len()).filter(|item| !self.learnt.forbidden.contains(item));
        self.requests = self.pack(items).into_iter().map(Arc::new).collect();
    }

    /// Items in their order, each taken as long as the request allows it: no other packing takes fewer requests.
    fn pack(&self, items: impl Iterator<Item = usize>) -> Vec<Request> {
        let mut requests: Vec<Request> = Vec::new();
        for index in items {
            let Some(&item) = self.item(index) else { continue };
            match requests.last_mut() {
                Some(last) if self.joins(last, index, item) => {
                    let end = item.end().max(u32::from(last.start) + u32::from(last.count));
                    last.count = u16::try_from(end - u32::from(last.start)).unwrap_or(u16::MAX);
                    last.items.push(index);
                }
                _ => requests.push(Request {
                    unit: self.unit(&item),
                    table: item.table,
                    start: item.address,
                    count: item.width,
                    items: vec![index],
                }),
            }
        }
        requests
    }

    /// Whether an item may be read along with those of a request, all of which begin before it.
    fn joins(&self, request: &Request, index: usize, item: Item) -> bool {
        let unit = self.unit(&item);
        if (request.unit, request.table) != (unit, item.table) || self.is_parted(request, index) {
            return false;
        }
        let end = u32::from(request.start) + u32::from(request.count);
        let span = item.end().saturating_sub(u32::from(request.start));
        let address = u32::from(item.address);
        // Points that share some registers contradict each other: they are asked for apart. Bits of one register do not.
        let apart = address >= end || self.shares(request, item);
        let limit = u32::from(self.limit(unit, item.table)).max(u32::from(request.count));
        span <= limit && apart && address <= end + self.blocks.bridged(item.table)
    }

    /// Whether the device has not what lies between.
    fn is_parted(&self, request: &Request, index: usize) -> bool {
        let after = request.items.last().map_or(index, |last| last + 1).min(index);
        self.learnt.walls.contains(&index) || self.learnt.forbidden.range(after..index).next().is_some()
    }

    fn shares(&self, request: &Request, item: Item) -> bool {
        let known = |&index: &usize| self.item(index).is_some_and(|known| known.same_registers(item));
        request.items.iter().rev().take_while(|index| known(index)).count() > 0
    }

    /// One request for these items, which lie beside each other.
    fn request(&self, items: &[usize]) -> Option<Request> {
        let first = *self.item(*items.first()?)?;
        let end = items.iter().filter_map(|&index| self.item(index)).map(|item| item.end()).max()?;
        let count = u16::try_from(end.saturating_sub(u32::from(first.address))).ok()?;
        Some(Request {
            unit: self.unit(&first),
            table: first.table,
            start: first.address,
            count,
            items: items.to_vec(),
        })
    }
}
