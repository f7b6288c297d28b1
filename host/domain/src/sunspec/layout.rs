//! Places the points of a model in the registers of a device, from the published order and the device's length and
//! counts.

use super::found::{DevicePoint, GroupRepetition, Scale};
use super::models::{GroupDefinition, HEADER, ModelDefinition, Repetition, ScaleFactor};

/// The points of a model whose id is at `address`, and the length that follows from the published model and the
/// device's counts.
///
/// `count` returns the value of one of the model's own points by name; none if the device does not give it. Points
/// beyond the device's length are left out, and so are points whose scale factor is, because a value of unknown
/// magnitude is worse than none.
pub fn lay_out(
    model: &'static ModelDefinition,
    instance: u16,
    address: u16,
    length: u16,
    count: &dyn Fn(&str) -> Option<u16>,
) -> (Vec<DevicePoint>, u32) {
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
    points: Vec<DevicePoint>,
}

/// A group around a point, and the offset of its first register.
type Scope = (&'static GroupDefinition, u32);

/// Offsets are counted from the first register after the model's id and length.
impl Walk<'_> {
    /// Places one repetition of a group and returns the offset after it.
    fn group(
        &mut self,
        group: &'static GroupDefinition,
        start: u32,
        path: &mut Vec<GroupRepetition>,
        scopes: &mut Vec<Scope>,
    ) -> u32 {
        scopes.push((group, start));
        let mut offset = start;
        for point in &group.points {
            let end = offset.saturating_add(u32::from(point.size));
            if point.kind.is_value()
                && end <= self.length
                && let Some(address) = self.address_of(offset)
                && let Some(scale) = self.scale(point.scale, scopes)
            {
                let (model, instance, path) = (self.model, self.instance, path.clone());
                let definition = point;
                self.points.push(DevicePoint { model, instance, path, address, scale, implemented: None, definition });
            }
            offset = end;
        }
        for inner in &group.groups {
            offset = self.repetitions(inner, offset, path, scopes);
        }
        scopes.pop();
        offset
    }

    /// Places all repetitions of a group and returns the offset after the last one.
    fn repetitions(
        &mut self,
        group: &'static GroupDefinition,
        start: u32,
        path: &mut Vec<GroupRepetition>,
        scopes: &mut Vec<Scope>,
    ) -> u32 {
        if group.count == Repetition::Once {
            path.push(GroupRepetition { group: group.name, index: None });
            let end = self.group(group, start, path, scopes);
            path.pop();
            return end;
        }
        let size = group.registers(&|count| self.times(count).unwrap_or(0));
        let room = self.length.saturating_sub(start).checked_div(size).unwrap_or(0);
        // Without a count the group fills the model's length, which is defined for the outermost groups only.
        let repetitions = self.times(group.count).unwrap_or(if path.is_empty() { room } else { 0 });
        let mut offset = start;
        for index in (1..=u16::MAX).take(usize::try_from(repetitions.min(room)).unwrap_or(usize::MAX)) {
            path.push(GroupRepetition { group: group.name, index: Some(index) });
            offset = self.group(group, offset, path, scopes);
            path.pop();
        }
        start.saturating_add(repetitions.saturating_mul(size))
    }

    /// How often a group repeats; none if that follows from the model's length.
    fn times(&self, count: Repetition) -> Option<u32> {
        match count {
            Repetition::Once => Some(1),
            Repetition::Fixed(times) => Some(u32::from(times)),
            Repetition::FillsModel => None,
            Repetition::Point(name) => (self.count)(name).map(u32::from),
        }
    }

    /// The scale of a point; none if the point that holds its scale factor is missing.
    fn scale(&self, scale: ScaleFactor, scopes: &[Scope]) -> Option<Scale> {
        let name = match scale {
            ScaleFactor::None => return Some(Scale::None),
            ScaleFactor::Fixed(power) => return Some(Scale::Fixed(power)),
            ScaleFactor::Point(name) => name,
        };
        let find = |(group, start): &Scope| {
            group.point(name).map(|(offset, point)| (start.saturating_add(offset), point.size))
        };
        let (offset, size) = scopes.iter().rev().find_map(find)?;
        if offset.saturating_add(u32::from(size)) > self.length {
            return None;
        }
        self.address_of(offset).map(Scale::Register)
    }

    fn address_of(&self, offset: u32) -> Option<u16> {
        u16::try_from(u32::from(self.address).saturating_add(HEADER).saturating_add(offset)).ok()
    }
}
