//! Raw numbers by which a device says that it has no value now.
//!
//! A point's own `unavailable` comes first, then its profile's table by type; on top of either are the numbers that no
//! device means as a value.

use super::point::Point;
use crate::register::Format;
use crate::settings::SettingsTable;
use crate::site::ChannelKind;

/// The largest and the smallest 32-bit float, which several manufacturers use instead of NaN.
const EXTREME_SINGLES: [u64; 2] = [0x7f7f_ffff, 0xff7f_ffff];

/// The marks of a profile for points without their own, by type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct NoValueMarks(Vec<(Format, Vec<u64>)>);

impl NoValueMarks {
    /// Reads `unavailable = { uint16 = 0xffff, int16 = 0x8000 }`.
    pub(super) fn read(table: &SettingsTable<'_>) -> Self {
        let Some(entries) = table.table("unavailable") else { return Self::default() };
        let read = |&(name, format): &(&'static str, Format)| {
            (entries.value(name).is_some()).then(|| (format, read_marks(&entries, name, format)))
        };
        let numbers = Format::NAMES.iter().filter(|(_, format)| *format != Format::Bool);
        let marks = Self(numbers.filter_map(read).collect());
        entries.report_unknown_keys();
        marks
    }

    /// Those of a manufacturer's devices; none if they are not known.
    pub(super) fn of_manufacturer(manufacturer: &str) -> Self {
        let first = manufacturer.split_whitespace().next().unwrap_or_default();
        let known = FAMILIES.iter().find(|(name, _)| first.eq_ignore_ascii_case(name));
        Self(
            known
                .map(|(_, marks)| marks.iter().map(|&(format, mark)| (format, vec![mark])).collect())
                .unwrap_or_default(),
        )
    }

    /// The marks of a type.
    pub(super) fn of(&self, format: Format) -> &[u64] {
        self.0.iter().find(|(known, _)| *known == format).map_or(&[], |(_, marks)| marks)
    }
}

/// Marks of the manufacturers whose register lists define them for all their registers (Huawei: "Modbus Interface
/// Definitions", invalid values; SMA: "NaN" of each type; Sungrow: "Communication Protocol of Residential Hybrid Inverter",
/// 0xFFFF and 0x7FFF; SolarEdge and Fronius: those of SunSpec).
const FAMILIES: [(&str, [(Format, u64); 4]); 5] = [
    ("huawei", LARGEST_SIGNED),
    ("sungrow", LARGEST_SIGNED),
    ("sma", SMALLEST_SIGNED),
    ("solaredge", SMALLEST_SIGNED),
    ("fronius", SMALLEST_SIGNED),
];
/// Signed numbers are marked by their largest value.
const LARGEST_SIGNED: [(Format, u64); 4] =
    [(Format::UInt16, 0xffff), (Format::Int16, 0x7fff), (Format::UInt32, 0xffff_ffff), (Format::Int32, 0x7fff_ffff)];
/// Signed numbers are marked by their smallest value.
const SMALLEST_SIGNED: [(Format, u64); 4] =
    [(Format::UInt16, 0xffff), (Format::Int16, 0x8000), (Format::UInt32, 0xffff_ffff), (Format::Int32, 0x8000_0000)];

/// Raw numbers such as 0x8000 at a key, negative ones in two's complement of the type's width.
pub(super) fn read_marks(table: &SettingsTable<'_>, key: &'static str, format: Format) -> Vec<u64> {
    let width = 16 * u32::from(format.width().clamp(1, 4));
    let unused = 64 - width;
    let values = table.integers(key, i64::MIN..=i64::MAX);
    let fits = |value: i64| unused == 0 || (-(1_i64 << (width - 1))..1_i64 << width).contains(&value);
    if let Some(value) = values.iter().find(|value| !fits(**value)) {
        table.add_mistake(key, format!("{value} has more than the {width} bits of {}", format.name()));
    }
    values.into_iter().map(|value| value.cast_unsigned() << unused >> unused).collect()
}

/// All marks of a point: its own, and those that hold for every device. A counter of 32 bits or more does not reach the end
/// of its range.
pub(super) fn marks(point: &Point) -> Vec<u64> {
    let is_counter = point.kind == ChannelKind::Counter && point.layout.bits.is_none();
    let universal: &[u64] = match point.layout.format {
        Format::Float32 => &EXTREME_SINGLES,
        Format::UInt32 if is_counter => &[0xffff_ffff],
        Format::UInt48 if is_counter => &[0xffff_ffff_ffff],
        Format::UInt64 if is_counter => &[u64::MAX],
        Format::Int32 if is_counter => &[0x7fff_ffff, 0x8000_0000, 0xffff_ffff],
        Format::Int64 if is_counter => &[0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, u64::MAX],
        _ => &[],
    };
    let mut marks = point.unavailable.clone();
    marks.extend(universal.iter().filter(|mark| !point.unavailable.contains(mark)));
    marks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::toml;
    use crate::register::{Layout, Table};

    fn point(kind: ChannelKind, format: Format) -> Point {
        Point { kind, ..Point::new("p", Table::Holding, 0, Layout::plain(format)) }
    }

    #[test]
    fn a_counter_never_reaches_its_end() {
        assert_eq!(marks(&point(ChannelKind::Counter, Format::UInt32)), [0xffff_ffff]);
        assert_eq!(marks(&point(ChannelKind::Counter, Format::UInt16)), [] as [u64; 0]);
        assert_eq!(marks(&point(ChannelKind::Gauge, Format::UInt32)), [] as [u64; 0]);
        assert_eq!(marks(&point(ChannelKind::Gauge, Format::Float32)), EXTREME_SINGLES);
        let own = Point { unavailable: vec![0, 0xffff_ffff], ..point(ChannelKind::Counter, Format::UInt32) };
        assert_eq!(marks(&own), [0, 0xffff_ffff]);
    }

    #[test]
    fn a_profile_has_marks_for_points_without_their_own() {
        let text = "unavailable = { uint16 = 0xffff, int16 = [-32768, 0x7fff] }
            [points]
            a = { address = 1, type = \"uint16\", scale = 1 }
            b = { address = 2, type = \"int16\", scale = 1 }
            c = { address = 3, type = \"int16\", scale = 1, unavailable = [] }
            d = { address = 4, type = \"int32\", scale = 1 }";
        let profile = toml::read("box", text).unwrap();
        let marks: Vec<_> = profile.points.iter().map(|point| point.unavailable.clone()).collect();
        assert_eq!(marks, [vec![0xffff], vec![0x8000, 0x7fff], vec![], vec![]]);
        let wrong = |marks: &str| {
            let text = format!("unavailable = {marks}\n[points]\na = {{ address = 1, type = \"uint16\", scale = 1 }}");
            toml::read("box", &text).unwrap_err()[0].to_string()
        };
        assert_eq!(
            wrong("{ uint16 = 0x1ffff }"),
            "box.unavailable.uint16 = 131071: 131071 has more than the 16 bits of uint16"
        );
        assert!(wrong("{ uint17 = 1 }").starts_with("box.unavailable.uint17: is unknown; did you mean `uint16`?"));
    }

    #[test]
    fn a_manufacturer_has_marks_for_its_devices() {
        assert_eq!(NoValueMarks::of_manufacturer("HUAWEI Technologies").of(Format::Int16), [0x7fff]);
        assert_eq!(NoValueMarks::of_manufacturer("SMA Solar").of(Format::Int16), [0x8000]);
        assert_eq!(NoValueMarks::of_manufacturer("Acme").of(Format::Int16), [] as [u64; 0]);
    }
}
