//! The published models: what each is made of, out of the text that scripts/make-sunspec makes.

use std::iter::Peekable;
use std::str::Lines;
use std::sync::{LazyLock, OnceLock};

/// See its first lines for its form.
const TEXT: &str = include_str!("../../sunspec/models.txt");

/// Registers of a model's own id and length, which come before its points.
pub const HEADER: u32 = 2;

/// A published model.
#[derive(Debug, PartialEq)]
pub struct Model {
    /// Its number.
    pub id: u16,
    /// Its points and groups, id and length left out.
    pub group: Group,
}

/// Points that belong together, and may be there more than once.
#[derive(Debug, PartialEq)]
pub struct Group {
    /// Its name in the model.
    pub name: &'static str,
    /// For people.
    pub label: &'static str,
    /// How often it is there.
    pub count: Count,
    /// One after the other.
    pub points: Vec<Point>,
    /// Behind the points.
    pub groups: Vec<Group>,
}

/// How often a group is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// It does not repeat.
    Once,
    /// Always so often.
    Times(u16),
    /// As often as the model's length leaves room for.
    Room,
    /// As this point of the model says.
    Point(&'static str),
}

/// One value, or what scales or pads others.
#[derive(Debug, PartialEq)]
pub struct Point {
    /// Its name in the group.
    pub name: &'static str,
    /// What its bits mean.
    pub kind: PointType,
    /// Registers.
    pub size: u16,
    /// The power of ten that it is multiplied with.
    pub scale: ScaleFactor,
    /// As the model has it, such as `Pct` or `Secs`.
    pub unit: &'static str,
    /// It may be written.
    pub writable: bool,
    /// Every device with the model has it.
    pub mandatory: bool,
    /// It does not change while the device runs.
    pub fixed: bool,
    /// For people; its name where the model has none.
    pub label: &'static str,
    /// Names of an enumeration's values or of a bit field's bits.
    pub symbols: Vec<(u32, &'static str)>,
}

/// What a point is multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleFactor {
    /// Nothing.
    None,
    /// This power of ten.
    Fixed(i16),
    /// The power of ten in this point of the same group, or of one around it.
    Point(&'static str),
}

/// What the bits of a point mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum PointType {
    Int16,
    UInt16,
    Acc16,
    Enum16,
    Bitfield16,
    Count,
    ScaleFactor,
    Pad,
    Int32,
    UInt32,
    Acc32,
    Enum32,
    Bitfield32,
    Float32,
    IpAddress,
    Int64,
    UInt64,
    Acc64,
    Float64,
    Eui48,
    Ipv6Address,
    Text,
}

impl PointType {
    /// Every type with the name that the models use.
    pub const NAMES: [(&'static str, Self); 22] = [
        ("int16", Self::Int16),
        ("uint16", Self::UInt16),
        ("acc16", Self::Acc16),
        ("enum16", Self::Enum16),
        ("bitfield16", Self::Bitfield16),
        ("count", Self::Count),
        ("sunssf", Self::ScaleFactor),
        ("pad", Self::Pad),
        ("int32", Self::Int32),
        ("uint32", Self::UInt32),
        ("acc32", Self::Acc32),
        ("enum32", Self::Enum32),
        ("bitfield32", Self::Bitfield32),
        ("float32", Self::Float32),
        ("ipaddr", Self::IpAddress),
        ("int64", Self::Int64),
        ("uint64", Self::UInt64),
        ("acc64", Self::Acc64),
        ("float64", Self::Float64),
        ("eui48", Self::Eui48),
        ("ipv6addr", Self::Ipv6Address),
        ("string", Self::Text),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, kind)| *kind == self).map_or("", |&(name, _)| name)
    }

    /// The bits that say "not implemented"; none where another rule holds: NaN, and a text without a letter.
    pub fn unavailable(self) -> Option<u64> {
        match self {
            Self::Int16 | Self::ScaleFactor => Some(0x8000),
            Self::UInt16 | Self::Enum16 | Self::Bitfield16 | Self::Count => Some(0xffff),
            Self::Int32 => Some(0x8000_0000),
            Self::UInt32 | Self::Enum32 | Self::Bitfield32 => Some(0xffff_ffff),
            Self::Int64 => Some(0x8000_0000_0000_0000),
            Self::UInt64 => Some(u64::MAX),
            Self::Acc16 | Self::Acc32 | Self::Acc64 | Self::IpAddress => Some(0),
            Self::Eui48 => Some(0xffff_ffff_ffff),
            Self::Float32 | Self::Float64 | Self::Ipv6Address | Self::Text | Self::Pad => None,
        }
    }

    /// Whether these registers hold a value rather than the mark of its absence.
    pub fn is_implemented(self, registers: &[u16]) -> bool {
        let bits = registers.iter().fold(0, |bits: u64, register| bits << 16 | u64::from(*register));
        match self {
            Self::Float32 => !f32::from_bits(u32::try_from(bits).unwrap_or_default()).is_nan(),
            Self::Float64 => !f64::from_bits(bits).is_nan(),
            Self::Text | Self::Ipv6Address => registers.iter().any(|register| *register != 0),
            other => other.unavailable() != Some(bits),
        }
    }

    /// Whether it is a value of its own, and not what scales or pads others.
    pub fn is_value(self) -> bool {
        !matches!(self, Self::ScaleFactor | Self::Pad)
    }
}

impl Group {
    /// Registers of one of it, with each inner group as often as `times` says.
    pub fn registers(&self, times: &dyn Fn(Count) -> u32) -> u32 {
        let inner = |group: &Self| times(group.count).saturating_mul(group.registers(times));
        self.groups.iter().map(inner).fold(self.own_registers(), u32::saturating_add)
    }

    /// Registers of its own points.
    fn own_registers(&self) -> u32 {
        self.points.iter().map(|point| u32::from(point.size)).sum()
    }

    /// A point of its own by name, with its first register counted from the group's.
    pub fn point(&self, name: &str) -> Option<(u32, &Point)> {
        let place = self.points.iter().position(|point| point.name == name)?;
        let before = self.points.iter().take(place).map(|point| u32::from(point.size)).sum();
        self.points.get(place).map(|point| (before, point))
    }
}

impl Model {
    /// Names of the model's own points that count its groups, at any depth.
    pub fn counts(&self) -> Vec<&'static str> {
        fn collect(group: &Group, found: &mut Vec<&'static str>) {
            if let Count::Point(name) = group.count
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

/// A model's part of the text; read when first asked for.
struct Entry {
    id: u16,
    text: &'static str,
    model: OnceLock<Option<Model>>,
}

static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let parts = TEXT.split("\nmodel|").skip(1);
    let entry = |text: &'static str| {
        let id = text.split('|').next()?.parse().ok()?;
        Some(Entry { id, text, model: OnceLock::new() })
    };
    parts.filter_map(entry).collect()
});

/// Numbers of all published models, in rising order.
pub fn ids() -> impl Iterator<Item = u16> {
    ENTRIES.iter().map(|entry| entry.id)
}

/// A published model.
pub fn model(id: u16) -> Option<&'static Model> {
    let place = ENTRIES.binary_search_by_key(&id, |entry| entry.id).ok()?;
    let entry = ENTRIES.get(place)?;
    entry.model.get_or_init(|| parse(entry.id, entry.text)).as_ref()
}

fn parse(id: u16, text: &'static str) -> Option<Model> {
    let mut lines = text.lines().peekable();
    let mut head = lines.next()?.split('|').skip(1);
    let (name, label) = (head.next()?, head.next().unwrap_or_default());
    let (points, groups) = body(&mut lines, 1)?;
    // What cannot be read is not passed over in silence: no model rather than a part of one.
    lines.next().is_none().then_some(())?;
    Some(Model { id, group: Group { name, label: or(label, name), count: Count::Once, points, groups } })
}

/// The points and groups that lie this deep.
fn body(lines: &mut Peekable<Lines<'static>>, depth: usize) -> Option<(Vec<Point>, Vec<Group>)> {
    let (mut points, mut groups) = (Vec::new(), Vec::new());
    while let Some(line) = lines.next_if(|line| line.len() - line.trim_start().len() == depth) {
        match line.trim_start().strip_prefix('*') {
            None => points.push(point(line.trim_start())?),
            Some(head) => {
                let mut fields = head.split('|');
                let (name, count) = (fields.next()?, fields.next().unwrap_or_default());
                let label = or(fields.next().unwrap_or_default(), name);
                let (points, inner) = body(lines, depth + 1)?;
                groups.push(Group { name, label, count: self::count(count), points, groups: inner });
            }
        }
    }
    Some((points, groups))
}

fn count(text: &'static str) -> Count {
    match text.parse() {
        Ok(0) => Count::Room,
        Ok(times) => Count::Times(times),
        Err(_) if text.is_empty() => Count::Once,
        Err(_) => Count::Point(text),
    }
}

fn point(line: &'static str) -> Option<Point> {
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
    Some(Point {
        name,
        kind: PointType::NAMES.iter().find(|(known, _)| *known == kind)?.1,
        size: size.parse().ok().filter(|size| *size > 0)?,
        scale,
        unit,
        writable: flags.contains('W'),
        mandatory: flags.contains('M'),
        fixed: flags.contains('S'),
        label: or(label, name),
        symbols: symbols.split_terminator(';').map(symbol).collect::<Option<_>>()?,
    })
}

fn or(label: &'static str, name: &'static str) -> &'static str {
    if label.is_empty() { name } else { label }
}
