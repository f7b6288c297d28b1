//! Which requests read the points of a source, and which value lies where in the answers.
//!
//! Points of one table and unit are packed into few requests: neighbours together, small gaps bridged, no value split
//! over two requests. Devices that refuse a block are learnt: [`Plan::split`] cuts it at its widest gap until each
//! point stands alone.

use crate::profile::Point;
use crate::register::{Layout, MAX_READ, Scaling, Table, UnitId};

/// Registers between two points that are read along rather than asked for apart: one more request costs far more.
pub const BRIDGED_GAP: u16 = 16;

/// One request and the items that its answer holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Whom to ask.
    pub unit: UnitId,
    /// Which function.
    pub table: Table,
    /// First register.
    pub start: u16,
    /// Registers, 1 to [`MAX_READ`].
    pub count: u16,
    items: Vec<Item>,
}

/// A value, or a scale factor, in the registers of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Item {
    channel: usize,
    address: u16,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    Value(Layout),
    /// A power of ten for the channel, as `sunssf` has it.
    Exponent,
}

impl Item {
    fn width(self) -> u16 {
        match self.role {
            Role::Value(layout) => layout.format.width(),
            Role::Exponent => 1,
        }
    }

    fn end(self) -> u32 {
        u32::from(self.address) + u32::from(self.width())
    }
}

/// All requests of one source.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    requests: Vec<Request>,
    scalings: Vec<(Scaling, bool)>,
}

impl Plan {
    /// For these points, in the order of a frame's values, of a device with that unit id.
    pub fn new<'a>(points: impl Iterator<Item = &'a Point>, unit: UnitId) -> Self {
        let mut keyed: Vec<((UnitId, Table), Item)> = Vec::new();
        let mut scalings = Vec::new();
        for (channel, point) in points.enumerate() {
            let key = (point.unit_id.unwrap_or(unit), point.table);
            keyed.push((key, Item { channel, address: point.address, role: Role::Value(point.layout) }));
            let exponent = point.scale_register.map(|address| Item { channel, address, role: Role::Exponent });
            keyed.extend(exponent.map(|item| (key, item)));
            scalings.push((point.scaling, exponent.is_some()));
        }
        keyed.sort_by_key(|(key, item)| (*key, item.address, item.end()));
        Self { requests: pack(&keyed), scalings }
    }

    /// In the order in which they are to be sent.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Cuts a request that the device refuses in two, at its widest gap. False when it holds one value alone.
    pub fn split(&mut self, index: usize) -> bool {
        let Some(request) = self.requests.get_mut(index) else { return false };
        let Some(at) = widest_gap(&request.items) else { return false };
        let tail = request.items.split_off(at);
        let (unit, table) = (request.unit, request.table);
        *request = Request::of(unit, table, std::mem::take(&mut request.items));
        self.requests.insert(index + 1, Request::of(unit, table, tail));
        true
    }

    /// Puts what a request brought into a frame's values; what does not decode stays NaN.
    pub fn decode(&self, request: &Request, registers: &[u16], reading: &mut Reading) {
        for item in &request.items {
            let offset = usize::from(item.address.saturating_sub(request.start));
            let Some(registers) = registers.get(offset..offset + usize::from(item.width())) else { continue };
            match item.role {
                Role::Value(layout) => reading.set_raw(item.channel, layout.decode(registers)),
                Role::Exponent => reading.set_exponent(item.channel, registers),
            }
        }
    }

    /// A reading with nothing read yet.
    pub fn reading(&self) -> Reading {
        Reading { raw: vec![f64::NAN; self.scalings.len()], exponents: Vec::new() }
    }

    /// The values in their units, NaN where there is none.
    pub fn finish(&self, reading: Reading) -> Vec<f64> {
        let Reading { mut raw, exponents } = reading;
        for (channel, (value, (scaling, has_exponent))) in raw.iter_mut().zip(&self.scalings).enumerate() {
            let exponent = exponents.iter().find(|(of, _)| *of == channel).map(|&(_, exponent)| exponent);
            *value = match (has_exponent, exponent) {
                (false, _) => scaling.apply(*value),
                (true, Some(exponent)) => scaling.times_ten_to(exponent).apply(*value),
                (true, None) => f64::NAN,
            };
        }
        raw
    }
}

/// Raw numbers of one cycle.
#[derive(Clone, Debug)]
pub struct Reading {
    raw: Vec<f64>,
    exponents: Vec<(usize, i32)>,
}

impl Reading {
    fn set_raw(&mut self, channel: usize, value: Option<f64>) {
        if let (Some(slot), Some(value)) = (self.raw.get_mut(channel), value) {
            *slot = value;
        }
    }

    /// SunSpec allows -10 to 10; 0x8000 and anything else means that there is no value.
    fn set_exponent(&mut self, channel: usize, registers: &[u16]) {
        let exponent = registers.first().map(|register| i32::from(register.cast_signed()));
        self.exponents.extend(exponent.filter(|exponent| (-10..=10).contains(exponent)).map(|e| (channel, e)));
    }
}

impl Request {
    fn of(unit: UnitId, table: Table, items: Vec<Item>) -> Self {
        let start = items.first().map_or(0, |item| item.address);
        let end = items.iter().map(|item| item.end()).max().unwrap_or(0);
        let count = u16::try_from(end.saturating_sub(u32::from(start))).unwrap_or(MAX_READ);
        Self { unit, table, start, count, items }
    }

    /// The channels that it brings, by position.
    pub fn channels(&self) -> impl Iterator<Item = usize> {
        self.items.iter().filter(|item| matches!(item.role, Role::Value(_))).map(|item| item.channel)
    }

    fn takes(&self, item: Item) -> bool {
        let end = u32::from(self.start) + u32::from(self.count);
        let within = item.end() - u32::from(self.start) <= u32::from(MAX_READ);
        // Points that share registers contradict each other: they are asked for apart. A scale factor serves many.
        let apart = u32::from(item.address) >= end || self.items.iter().any(|known| known.same_registers(item));
        within && apart && u32::from(item.address) <= end + u32::from(BRIDGED_GAP)
    }

    fn push(&mut self, item: Item) {
        let end = item.end().max(u32::from(self.start) + u32::from(self.count));
        self.count = u16::try_from(end - u32::from(self.start)).unwrap_or(MAX_READ);
        self.items.push(item);
    }
}

impl Item {
    fn same_registers(self, other: Self) -> bool {
        self.address == other.address && self.width() == other.width()
    }
}

fn pack(keyed: &[((UnitId, Table), Item)]) -> Vec<Request> {
    let mut requests: Vec<Request> = Vec::new();
    for &((unit, table), item) in keyed {
        match requests.last_mut() {
            Some(last) if (last.unit, last.table) == (unit, table) && last.takes(item) => last.push(item),
            _ => requests.push(Request::of(unit, table, vec![item])),
        }
    }
    requests
}

/// Where to cut: behind the item that the widest gap follows, the middlest of equals. None for a value alone.
fn widest_gap(items: &[Item]) -> Option<usize> {
    let middle = items.len() / 2;
    let cuts = items.windows(2).enumerate().filter_map(|(index, pair)| {
        let [left, right] = pair else { return None };
        let gap = i64::from(right.address) - i64::from(left.end());
        let together = left.address == right.address;
        (!together).then_some((gap, std::cmp::Reverse(middle.abs_diff(index + 1)), index + 1))
    });
    cuts.max().map(|(_, _, at)| at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile;

    fn plan(points: &str) -> Plan {
        let text = format!("[points]\n{points}");
        let profile = profile::toml::read("box", &text).unwrap();
        Plan::new(profile.readable(), UnitId(1))
    }

    fn blocks(plan: &Plan) -> Vec<(u8, u16, u16)> {
        plan.requests().iter().map(|request| (request.unit.0, request.start, request.count)).collect()
    }

    fn numbered(addresses: &[u16]) -> String {
        let point = |a: &u16| format!("p{a} = {{ address = {a}, type = \"uint16\", scale = 1 }}\n");
        addresses.iter().map(point).collect()
    }

    #[test]
    fn neighbours_go_together_and_small_gaps_are_bridged() {
        assert_eq!(blocks(&plan(&numbered(&[10, 11, 20, 37, 54, 72]))), [(1, 10, 45), (1, 72, 1)]);
    }

    #[test]
    fn a_request_stays_within_125_registers() {
        let all: Vec<u16> = (0..300).collect();
        assert_eq!(blocks(&plan(&numbered(&all))), [(1, 0, 125), (1, 125, 125), (1, 250, 50)]);
        let wide =
            "a = { address = 123, type = \"float64\", scale = 1 }\nb = { address = 0, type = \"uint16\", scale = 1 }";
        assert_eq!(blocks(&plan(wide)), [(1, 0, 1), (1, 123, 4)]);
    }

    #[test]
    fn tables_and_units_are_asked_apart() {
        let points = "a = { address = 1, type = \"uint16\", scale = 1 }
            b = { address = 2, type = \"uint16\", scale = 1, table = \"input\" }
            c = { address = 3, type = \"uint16\", scale = 1, unit_id = 9 }
            d = { address = 4, type = \"uint16\", scale = 1, access = \"W\" }";
        assert_eq!(blocks(&plan(points)), [(1, 1, 1), (1, 2, 1), (9, 3, 1)]);
    }

    #[test]
    fn overlapping_points_of_a_python_profile_are_read_apart() {
        let text = r#"{"registers": {
            "a": {"address": 40071, "type": "FLOAT32", "scale": 1},
            "b": {"address": 40072, "type": "FLOAT32", "scale": 1},
            "c": {"address": 40074, "type": "FLOAT32", "scale": 1}}}"#;
        let profile = profile::json::read("box", text).unwrap();
        let plan = Plan::new(profile.readable(), UnitId(1));
        assert_eq!(blocks(&plan), [(1, 40071, 2), (1, 40072, 4)]);
    }

    #[test]
    fn a_refused_block_is_cut_at_its_widest_gap_until_each_point_stands_alone() {
        let mut plan = plan(&numbered(&[10, 11, 20]));
        assert!(plan.split(0));
        assert_eq!(blocks(&plan), [(1, 10, 2), (1, 20, 1)]);
        assert!(!plan.split(1));
        assert!(plan.split(0));
        assert_eq!(blocks(&plan), [(1, 10, 1), (1, 11, 1), (1, 20, 1)]);
        assert!(!plan.split(0));
    }

    #[test]
    fn answers_become_values_by_position() {
        let mut plan = plan(
            "b = { address = 11, type = \"int16\", scale = 0.1 }\na = { address = 10, type = \"uint16\", scale = 1 }",
        );
        let mut reading = plan.reading();
        let request = plan.requests()[0].clone();
        plan.decode(&request, &[7, 0xfff6], &mut reading);
        assert_eq!(plan.finish(reading), [-1.0, 7.0]);
        assert!(plan.split(0));
        let mut reading = plan.reading();
        plan.decode(&plan.requests()[0], &[7], &mut reading);
        let values = plan.finish(reading);
        assert!(values[0].is_nan());
        assert_eq!(values[1], 7.0);
    }

    #[test]
    fn a_scale_factor_from_a_register() {
        let points = "a = { address = 1, type = \"int16\", scale_register = 3 }\nb = { address = 2, type = \"int16\", scale_register = 3 }";
        let plan = plan(points);
        assert_eq!(blocks(&plan), [(1, 1, 3)]);
        let read = |factor: u16| {
            let mut reading = plan.reading();
            plan.decode(&plan.requests()[0], &[1234, 5, factor], &mut reading);
            plan.finish(reading)
        };
        assert_eq!(read(0xffff), [123.4, 0.5]);
        assert_eq!(read(2), [123_400.0, 500.0]);
        assert!(read(0x8000).iter().all(|value| value.is_nan()));
    }
}
