//! Packs the points of a source into requests.

use std::sync::Arc;

use super::factors::Rereads;
use super::latest::LatestNumbers;
use super::learned::Learned;
use super::reading::scaled_by;
use crate::profile::{Item, Point, Profile, ReadLimits, RegisterMap, Role};
use crate::register::{Table, UnitId};

/// One read request and the items that its response contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    /// The unit to read from.
    pub unit: UnitId,
    /// The table, and with it the function.
    pub table: Table,
    /// First register, or bit.
    pub start: u16,
    /// Number of registers, 1 to 125, or bits, 1 to 2000.
    pub count: u16,
    pub(super) items: Vec<usize>,
}

impl ReadRequest {
    /// A request that belongs to no plan.
    pub fn new(unit: UnitId, table: Table, start: u16, count: u16) -> Self {
        Self { unit, table, start, count, items: Vec::new() }
    }

    /// The first item of the plan that it reads, which identifies its block; none if it belongs to no plan.
    pub fn first_item(&self) -> Option<usize> {
        self.items.first().copied()
    }

    /// Adds an item that [fits](Plan::fits).
    pub(super) fn add(&mut self, index: usize, item: Item) {
        let end = item.end().max(u32::from(self.start) + u32::from(self.count));
        self.count = u16::try_from(end - u32::from(self.start)).unwrap_or(u16::MAX);
        self.items.push(index);
    }
}

/// All requests of one source of one device.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) map: Arc<RegisterMap>,
    unit: UnitId,
    read_limits: ReadLimits,
    pub(super) learned: Learned,
    requests: Vec<Arc<ReadRequest>>,
    /// Scale factors that are read before and after their values.
    pub(super) rereads: Rereads,
    pub(super) latest: LatestNumbers,
}

impl Profile {
    /// The plan of one of its sources, named as in [`source`](Self::source), for a device of this model.
    pub fn plan(&self, source: Option<&str>, unit: UnitId, read_limits: ReadLimits) -> Plan {
        Plan::with_map(self.register_map(source, unit), unit, read_limits)
    }
}

impl Plan {
    /// A plan for these points, in the order of a frame's values, of a device with this unit id.
    pub fn new<'a>(points: impl Iterator<Item = &'a Point>, unit: UnitId, read_limits: ReadLimits) -> Self {
        Self::with_map(Arc::new(RegisterMap::new(points, Some(unit))), unit, read_limits)
    }

    fn with_map(map: Arc<RegisterMap>, unit: UnitId, read_limits: ReadLimits) -> Self {
        let (learned, rereads) = (Learned::default(), Rereads::default());
        let latest = LatestNumbers::new(&map.decoders);
        let mut plan = Self { map, unit, read_limits, learned, requests: Vec::new(), rereads, latest };
        plan.repack();
        plan
    }

    pub(super) fn item(&self, index: usize) -> Option<&Item> {
        self.map.items.get(index)
    }

    pub(super) fn unit(&self, item: &Item) -> UnitId {
        item.unit.unwrap_or(self.unit)
    }

    /// In the order in which they are sent.
    pub fn requests(&self) -> impl ExactSizeIterator<Item = &ReadRequest> {
        self.requests.iter().map(AsRef::as_ref)
    }

    /// The same, independent of the plan.
    pub fn shared_requests(&self) -> Vec<Arc<ReadRequest>> {
        self.requests.clone()
    }

    /// The positions of the channels whose values a request reads.
    pub fn channels<'a>(&'a self, request: &'a ReadRequest) -> impl Iterator<Item = usize> + 'a {
        let roles = request.items.iter().filter_map(|&item| self.item(item)).map(|item| item.role);
        roles.filter_map(|role| if let Role::Value(channel) = role { Some(channel) } else { None })
    }

    /// The positions of the channels that have no value if a request brings none: also those whose scale factor it reads.
    pub fn dependent_channels(&self, request: &ReadRequest) -> Vec<usize> {
        let mut channels: Vec<usize> = self.channels(request).collect();
        let roles = request.items.iter().filter_map(|&item| self.item(item)).map(|item| item.role);
        let factors = roles.filter_map(|role| if let Role::Factor(factor) = role { Some(factor) } else { None });
        factors.for_each(|factor| channels.extend(scaled_by(&self.map, factor)));
        channels
    }

    /// Number of values in a frame.
    pub fn channel_count(&self) -> usize {
        self.map.decoders.len()
    }

    /// How many registers or bits one request to a unit may read.
    pub(super) fn limit(&self, unit: UnitId, table: Table) -> u16 {
        let learned = self.learned.limits.get(&(unit, table.is_bits())).copied();
        let configured = self.read_limits.limit(table).min(table.max_read());
        learned.map_or(configured, |learned| learned.min(configured)).max(1)
    }

    /// Rebuilds the requests from what was learned.
    pub(super) fn repack(&mut self) {
        let items: Vec<usize> = (0..self.map.items.len()).filter(|&item| !self.learned.leaves_out(item)).collect();
        let (requests, rereads) = self.pack_with_factors(&items);
        self.rereads = rereads;
        self.requests = requests.into_iter().map(Arc::new).collect();
    }

    /// Packs items in their order, each into the current request if it fits: no other packing takes fewer requests.
    pub(super) fn pack(&self, items: impl Iterator<Item = usize>) -> Vec<ReadRequest> {
        let mut requests: Vec<ReadRequest> = Vec::new();
        for index in items {
            let Some(&item) = self.item(index) else { continue };
            match requests.last_mut() {
                Some(last) if self.fits(last, index, item) => last.add(index, item),
                _ => requests.push(self.one_item(index, item)),
            }
        }
        requests
    }

    /// A request for one item.
    pub(super) fn one_item(&self, index: usize, item: Item) -> ReadRequest {
        let (unit, table) = (self.unit(&item), item.table);
        ReadRequest { unit, table, start: item.address, count: item.width, items: vec![index] }
    }

    /// Whether an item can be added to a request whose items all begin before it.
    pub(super) fn fits(&self, request: &ReadRequest, index: usize, item: Item) -> bool {
        let unit = self.unit(&item);
        if (request.unit, request.table) != (unit, item.table) || self.is_split(request, index) {
            return false;
        }
        let end = u32::from(request.start) + u32::from(request.count);
        let span = item.end().saturating_sub(u32::from(request.start));
        let address = u32::from(item.address);
        // Points that overlap contradict each other and get separate requests; bits of one register do not.
        let is_separate = address >= end || self.shares(request, item);
        let limit = u32::from(self.limit(unit, item.table)).max(u32::from(request.count));
        span <= limit && is_separate && address <= end + self.read_limits.bridged(item.table)
    }

    /// Whether the gap between a request and an item is not readable.
    fn is_split(&self, request: &ReadRequest, index: usize) -> bool {
        let after = request.items.last().map_or(index, |last| last + 1).min(index);
        self.learned.split_points.contains(&index) || self.learned.leaves_out_between(after, index)
    }

    /// Whether the last item of a request has the same registers.
    fn shares(&self, request: &ReadRequest, item: Item) -> bool {
        let last = request.items.last().and_then(|&index| self.item(index));
        last.is_some_and(|last| last.same_registers(item))
    }

    /// One request for these adjacent items.
    pub(super) fn request(&self, items: &[usize]) -> Option<ReadRequest> {
        let first = *self.item(*items.first()?)?;
        let end = items.iter().filter_map(|&index| self.item(index)).map(|item| item.end()).max()?;
        let count = u16::try_from(end.saturating_sub(u32::from(first.address))).ok()?;
        Some(ReadRequest {
            unit: self.unit(&first),
            table: first.table,
            start: first.address,
            count,
            items: items.to_vec(),
        })
    }
}
