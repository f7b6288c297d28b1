//! The published models, parsed from the text that `scripts/make-sunspec` generates.

use std::iter::Peekable;
use std::str::Lines;
use std::sync::{LazyLock, OnceLock};

pub use super::point_type::PointType;

/// The generated text; its format is described in its first lines.
const TEXT: &str = include_str!("../../sunspec/models.txt");

/// Registers of a model's id and length, which precede its points.
pub(super) const HEADER: u32 = 2;
/// The id of the common model, the first of a chain, which holds the nameplate.
pub(super) const COMMON: u16 = 1;

/// A published model.
#[derive(Debug, PartialEq)]
pub struct ModelDefinition {
    /// Its id.
    pub id: u16,
    /// Its points and groups without id and length.
    pub group: GroupDefinition,
}

/// Points that belong together and may be repeated.
#[derive(Debug, PartialEq)]
pub struct GroupDefinition {
    /// Its name in the model.
    pub(crate) name: &'static str,
    /// Display name.
    pub(crate) label: &'static str,
    /// How often it is repeated.
    pub(crate) count: Repetition,
    /// In the order of their registers.
    pub(crate) points: Vec<PointDefinition>,
    /// The groups after the points.
    pub(crate) groups: Vec<GroupDefinition>,
}

/// How often a group is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repetition {
    /// It does not repeat.
    Once,
    /// Always this often.
    Fixed(u16),
    /// As often as it fits into the model's length.
    FillsModel,
    /// The number is the value of this point of the model.
    Point(&'static str),
}

/// One value, scale factor or padding.
#[derive(Debug, PartialEq)]
pub struct PointDefinition {
    /// Its name in the group.
    pub name: &'static str,
    /// Its type.
    pub(crate) kind: PointType,
    /// Number of registers.
    pub size: u16,
    /// The power of ten to multiply with.
    pub(crate) scale: ScaleFactor,
    /// The unit as the model writes it, such as `Pct` or `Secs`.
    pub(crate) unit: &'static str,
    /// It may be written.
    pub(crate) writable: bool,
    /// It does not change while the device runs.
    pub(crate) fixed: bool,
    /// Display name; the point's name if the model has none.
    pub(crate) label: &'static str,
    /// Names of the values of an enumeration or of the bits of a bit field.
    pub(crate) symbols: Vec<(u32, &'static str)>,
}

/// The scale factor of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleFactor {
    /// There is none.
    None,
    /// This power of ten.
    Fixed(i16),
    /// The power of ten in this point of the same group or of an enclosing one.
    Point(&'static str),
}

impl GroupDefinition {
    /// Number of registers of one repetition, with each inner group repeated as `times` returns.
    pub fn registers(&self, times: &dyn Fn(Repetition) -> u32) -> u32 {
        let inner = |group: &Self| times(group.count).saturating_mul(group.registers(times));
        self.groups.iter().map(inner).fold(self.own_registers(), u32::saturating_add)
    }

    /// Number of registers of its own points.
    fn own_registers(&self) -> u32 {
        self.points.iter().map(|point| u32::from(point.size)).sum()
    }

    /// One of its own points by name, with the offset of its first register in the group.
    pub(super) fn point(&self, name: &str) -> Option<(u32, &PointDefinition)> {
        let index = self.points.iter().position(|point| point.name == name)?;
        let offset = self.points.iter().take(index).map(|point| u32::from(point.size)).sum();
        self.points.get(index).map(|point| (offset, point))
    }
}

impl ModelDefinition {
    /// Names of the model's own points that count its groups at any depth.
    pub(super) fn counts(&self) -> Vec<&'static str> {
        fn collect(group: &GroupDefinition, found: &mut Vec<&'static str>) {
            if let Repetition::Point(name) = group.count
                && !found.contains(&name)
            {
                found.push(name);
            }
            group.groups.iter().for_each(|inner| collect(inner, found));
        }
        let mut found = Vec::new();
        collect(&self.group, &mut found);
        found
    }
}

/// A model's part of the text, parsed on first use.
struct Entry {
    id: u16,
    text: &'static str,
    model: OnceLock<Option<ModelDefinition>>,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let parts = TEXT.split("\nmodel|").skip(1);
    let entry = |text: &'static str| {
        let id = text.split('|').next()?.parse().ok()?;
        Some(Entry { id, text, model: OnceLock::new() })
    };
    parts.filter_map(entry).collect()
});

/// Ids of all published models in ascending order.
pub fn ids() -> impl Iterator<Item = u16> {
    ENTRIES.iter().map(|entry| entry.id)
}

/// The published model with this id.
pub fn model(id: u16) -> Option<&'static ModelDefinition> {
    let index = ENTRIES.binary_search_by_key(&id, |entry| entry.id).ok()?;
    let entry = ENTRIES.get(index)?;
    entry.model.get_or_init(|| parse(entry.id, entry.text)).as_ref()
}

fn parse(id: u16, text: &'static str) -> Option<ModelDefinition> {
    let mut lines = text.lines().peekable();
    let mut head = lines.next()?.split('|').skip(1);
    let (name, label) = (head.next()?, head.next().unwrap_or_default());
    let (points, groups) = body(&mut lines, 1)?;
    // A line that cannot be parsed rejects the whole model, so that none is read in part.
    lines.next().is_none().then_some(())?;
    Some(ModelDefinition {
        id,
        group: GroupDefinition { name, label: or(label, name), count: Repetition::Once, points, groups },
    })
}

/// The points and groups at this depth.
fn body(lines: &mut Peekable<Lines<'static>>, depth: usize) -> Option<(Vec<PointDefinition>, Vec<GroupDefinition>)> {
    let (mut points, mut groups) = (Vec::new(), Vec::new());
    while let Some(line) = lines.next_if(|line| line.len() - line.trim_start().len() == depth) {
        match line.trim_start().strip_prefix('*') {
            None => points.push(point(line.trim_start())?),
            Some(head) => {
                let mut fields = head.split('|');
                let (name, count) = (fields.next()?, fields.next().unwrap_or_default());
                let label = or(fields.next().unwrap_or_default(), name);
                let (points, inner) = body(lines, depth + 1)?;
                groups.push(GroupDefinition { name, label, count: self::count(count), points, groups: inner });
            }
        }
    }
    Some((points, groups))
}

fn count(text: &'static str) -> Repetition {
    match text.parse() {
        Ok(0) => Repetition::FillsModel,
        Ok(times) => Repetition::Fixed(times),
        Err(_) if text.is_empty() => Repetition::Once,
        Err(_) => Repetition::Point(text),
    }
}

fn point(line: &'static str) -> Option<PointDefinition> {
    let mut fields = line.split('|');
    let (name, kind, size) = (fields.next()?, fields.next()?, fields.next()?);
    let mut next = || fields.next().unwrap_or_default();
    let (scale, unit, flags, label, symbols) = (next(), next(), next(), next(), next());
    let scale = match scale.parse() {
        Ok(power) => ScaleFactor::Fixed(power),
        Err(_) if scale.is_empty() => ScaleFactor::None,
        Err(_) => ScaleFactor::Point(scale),
    };
    let symbol = |text: &'static str| {
        let (value, name) = text.split_once('=')?;
        Some((value.parse().ok()?, name))
    };
    Some(PointDefinition {
        name,
        kind: PointType::NAMES.iter().find(|(known, _)| *known == kind)?.1,
        size: size.parse().ok().filter(|size| *size > 0)?,
        scale,
        unit,
        writable: flags.contains('W'),
        fixed: flags.contains('S'),
        label: or(label, name),
        symbols: symbols.split_terminator(';').map(symbol).collect::<Option<_>>()?,
    })
}

fn or(label: &'static str, name: &'static str) -> &'static str {
    if label.is_empty() { name } else { label }
}
