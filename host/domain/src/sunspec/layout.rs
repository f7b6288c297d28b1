//! Where the points of a model lie in one device: the table's order, the device's length and counts.

use super::table::{Count, Group, HEADER, Model, ScaleFactor};
use super::{FoundPoint, Place, Scale};

/// The points of a model whose id is at `address`, and the length that the table and the device's counts ask for.
///
/// `count` reads one of the model's own points by name; none where the device does not say. What lies beyond the device's length is
/// left out, and so is a point whose scale factor does: a number of unknown size is worse than none.
pub fn lay_out(
    model: &'static Model,
    instance: u16,
    address: u16,
    length: u16,
    count: &dyn Fn(&str) -> Option<u16>,
) -> (Vec<FoundPoint>, u32) {
    let mut walk = Walk { model: model.id, instance, address, length: u32::from(length), count, points: Vec::new() };
    let end = walk.group(&model.group, 0, &mut Vec::new(), &mut Vec::new());
    (walk.points, end)
}

struct Walk<'a> {
    model: u16,
    instance: u16,
    address: u16,
    length: u32,
    count: &'a dyn Fn(&str) -> Option<u16>,
    points: Vec<FoundPoint>,
}

/// A group around a point, and its first register counted from the model's first point.
type Scope = (&'static Group, u32);

impl Walk<'_> {
    /// Lays out one of a group and gives the place after it. Places count from the model's first point.
    fn group(&mut self, group: &'static Group, start: u32, path: &mut Vec<Place>, scopes: &mut Vec<Scope>) -> u32 {
        scopes.push((group, start));
        let mut place = start;
        for point in &group.points {
            let end = place.saturating_add(u32::from(point.size));
            if point.kind.is_value()
                && end <= self.length
                && let Some(address) = self.address_of(place)
                && let Some(scale) = self.scale(point.scale, scopes)
            {
                let (model, instance, path) = (self.model, self.instance, path.clone());
                let definition = point;
                self.points.push(FoundPoint { model, instance, path, address, scale, implemented: None, definition });
            }
            place = end;
        }
        for inner in &group.groups {
            place = self.repetitions(inner, place, path, scopes);
        }
        scopes.pop();
        place
    }

    fn repetitions(
        &mut self,
        group: &'static Group,
        start: u32,
        path: &mut Vec<Place>,
        scopes: &mut Vec<Scope>,
    ) -> u32 {
        if group.count == Count::Once {
            path.push(Place { group: group.name, index: None });
            let end = self.group(group, start, path, scopes);
            path.pop();
            return end;
        }
        let size = group.registers(&|count| self.times(count).unwrap_or(0));
        let room = self.length.saturating_sub(start).checked_div(size).unwrap_or(0);
        // A count that the device does not say is answered by its length, which only the outermost groups can be told from.
        let asked = self.times(group.count).unwrap_or(if path.is_empty() { room } else { 0 });
        let mut place = start;
        for index in (1..=u16::MAX).take(usize::try_from(asked.min(room)).unwrap_or(usize::MAX)) {
            path.push(Place { group: group.name, index: Some(index) });
            place = self.group(group, place, path, scopes);
            path.pop();
        }
        start.saturating_add(asked.saturating_mul(size))
    }

    /// How often a group is there; none where the model's length has to say.
    fn times(&self, count: Count) -> Option<u32> {
        match count {
            Count::Once => Some(1),
            Count::Times(times) => Some(u32::from(times)),
            Count::Room => None,
            Count::Point(name) => (self.count)(name).map(u32::from),
        }
    }

    /// None where the point that holds it is not there.
    fn scale(&self, scale: ScaleFactor, scopes: &[Scope]) -> Option<Scale> {
        let name = match scale {
            ScaleFactor::None => return Some(Scale::One),
            ScaleFactor::Fixed(power) => return Some(Scale::Fixed(power)),
            ScaleFactor::Point(name) => name,
        };
        let find =
            |(group, start): &Scope| group.point(name).map(|(place, point)| (start.saturating_add(place), point.size));
        let (place, size) = scopes.iter().rev().find_map(find)?;
        if place.saturating_add(u32::from(size)) > self.length {
            return None;
        }
        self.address_of(place).map(Scale::Register)
    }

    fn address_of(&self, place: u32) -> Option<u16> {
        u16::try_from(u32::from(self.address).saturating_add(HEADER).saturating_add(place)).ok()
    }
}
