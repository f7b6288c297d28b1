//! One entry of `[points]`.

use std::time::Duration;

use super::keys::read_report_rule;
use crate::profile::no_value::{NoValueMarks, read_marks};
use crate::profile::point::{Access, Point};
use crate::profile::unit::unit_and_kind;
use crate::register::{
    BitRange, Format, Layout, MAX_READ, Order, Scaling, Table as Registers, TextLayout, UnitId, WriteFunction,
};
use crate::settings::{Mistake, SettingsTable, unknown_name_hint};
use crate::site::ChannelKind;

/// Values of `access`.
const ACCESS: [(&str, Access); 3] = [("R", Access::Read), ("RW", Access::ReadWrite), ("W", Access::Write)];

/// The longest `settle`: a device that takes longer to show a value is not read back usefully.
const LONGEST_SETTLE: Duration = Duration::from_mins(10);

/// Defaults of the profile for its points.
#[derive(Clone)]
pub(super) struct Defaults {
    pub(super) bytes: Order,
    pub(super) words: Order,
    pub(super) table: Registers,
    pub(super) unavailable: NoValueMarks,
}

/// Reads a point; the flag is true if it may share registers with others.
pub(super) fn read(
    name: &str,
    table: &SettingsTable<'_>,
    defaults: &Defaults,
    sources: &[(String, Duration)],
) -> Option<(Point, bool)> {
    let before = table.mistakes().count();
    let registers = table.choice("table", &Registers::NAMES).unwrap_or(defaults.table);
    let layout = read_layout(table, registers, defaults);
    let is_valid = table.mistakes().count() == before;
    let address = required(table, "address", table.integer("address", 0..=u16::MAX));
    let plain = Point::new(name, registers, address.unwrap_or_default(), layout);
    let names = read_names(table);
    let (unit, kind) = unit_and_kind(table.text("unit").unwrap_or_default());
    let kind = match kind {
        _ if layout.format.is_text() => ChannelKind::Text,
        ChannelKind::Gauge if !names.is_empty() => ChannelKind::State,
        ChannelKind::Gauge if is_single_bit(layout) => ChannelKind::Flag,
        kind => kind,
    };
    let point = Point {
        channel: table.text("channel").unwrap_or(name).into(),
        scaling: read_scaling(table, layout, is_valid),
        scale_register: table.integer("scale_register", 0..=u16::MAX),
        unavailable: read_unavailable(table, layout.format, defaults),
        min: table.number("min"),
        max: table.number("max"),
        names,
        unit: unit.into(),
        kind: table.choice("kind", &ChannelKind::NAMES).unwrap_or(kind),
        access: table.choice("access", &ACCESS).unwrap_or(Access::Read),
        unverified: table.boolean("unverified").unwrap_or(false),
        settle: table.duration("settle", Duration::ZERO..=LONGEST_SETTLE),
        dangerous: table.boolean("dangerous").unwrap_or(false),
        persistent: table.boolean("persistent").unwrap_or(false),
        write_function: table.integer("write_function", 5..=16).and_then(WriteFunction::from_code),
        unit_id: table.integer("unit_id", 0..=255).map(UnitId),
        source: read_source(table, sources),
        report: read_report_rule(table),
        description: table.text("description").unwrap_or_default().into(),
        ..plain
    };
    let may_overlap = table.boolean("overlaps").unwrap_or(false);
    check(table, &point);
    table.report_unknown_keys();
    (table.mistakes().count() == before).then_some((point, may_overlap))
}

fn required<T>(table: &SettingsTable<'_>, key: &'static str, value: Option<T>) -> Option<T> {
    if value.is_none() && table.value(key).is_none() {
        table.mistakes().add(Mistake::without_value(table.key(key), "is missing"));
    }
    value
}

fn is_single_bit(layout: Layout) -> bool {
    layout.format == Format::Bool || layout.bits.is_some_and(|bits| bits.count == 1)
}

fn read_layout(table: &SettingsTable<'_>, registers: Registers, defaults: &Defaults) -> Layout {
    let format = read_format(table, registers).unwrap_or(Format::UInt16);
    let layout = Layout {
        bytes: table.choice("byte_order", &Order::NAMES).unwrap_or(defaults.bytes),
        words: table.choice("word_order", &Order::NAMES).unwrap_or(defaults.words),
        bits: read_bits(table, format),
        ..Layout::plain(format)
    };
    let Some(letters) = table.text("order") else { return layout };
    if table.value("byte_order").is_some() || table.value("word_order").is_some() {
        table.add_mistake("order", "means the same as byte_order and word_order; remove one or the other");
    }
    layout.with_byte_order(letters).unwrap_or_else(|| {
        let plain = Layout::plain(format).byte_order();
        let reversed: String = plain.chars().rev().collect();
        table.add_mistake(
            "order",
            format!("write the bytes of {} in the device's order, such as {plain} or {reversed}", format.name()),
        );
        layout
    })
}

fn read_format(table: &SettingsTable<'_>, registers: Registers) -> Option<Format> {
    let count = table.integer("count", 1..=MAX_READ);
    let layout = table.choice("string_layout", &TextLayout::NAMES);
    let is_string = table.value("type").and_then(toml::Value::as_str) == Some("string");
    if layout.is_some() && !is_string {
        table.add_mistake("string_layout", "applies to strings only; remove it, or write type = \"string\"");
    }
    if registers.is_bits() {
        if count.is_some_and(|count| count != 1) {
            table.add_mistake("count", format!("a {} is one bit; give each its own point", registers.name()));
        }
        return match table.text("type") {
            None | Some("bool") => Some(Format::Bool),
            Some(_) => {
                table.add_mistake("type", format!("a {} is a bool; remove the type", registers.name()));
                None
            }
        };
    }
    if is_string {
        let count = required(table, "count", count)?;
        return Some(Format::Text(count, layout.unwrap_or(TextLayout::HighLow)));
    }
    let mut names: Vec<_> = Format::NAMES.into_iter().filter(|(_, format)| *format != Format::Bool).collect();
    names.push(("string", Format::UInt16));
    let has_bits = table.value("bit").is_some() || table.value("bits").is_some();
    let format = match table.choice("type", &names) {
        None if has_bits && table.value("type").is_none() => Format::UInt16,
        format => required(table, "type", format)?,
    };
    if let Some(count) = count.filter(|&count| count != format.width()) {
        let (name, width) = (format.name(), format.width());
        table.add_mistake(
            "count",
            format!("{name} takes {width} registers, not {count}; remove the count or change the type"),
        );
    }
    Some(format)
}

/// `bit = 3`, or `bits = [4, 7]` with the last one included.
fn read_bits(table: &SettingsTable<'_>, format: Format) -> Option<BitRange> {
    let last = i64::from(format.width().min(4)) * 16 - 1;
    let one = table.integers("bit", 0..=last);
    let range = table.integers("bits", 0..=last);
    let (first, end) = match (one.as_slice(), range.as_slice()) {
        ([], []) => return None,
        ([bit], []) => (*bit, *bit),
        ([], [first, end]) if first <= end => (*first, *end),
        (_, []) => {
            table.add_mistake("bit", "write one number; for several bits write bits = [first, last]");
            return None;
        }
        _ => {
            table.add_mistake("bits", "write the first and the last bit, such as [4, 7], and remove `bit`");
            return None;
        }
    };
    if !format.has_bits() {
        table.add_mistake("type", "bits can only be read from integers; write uint16, uint32 or uint64");
    }
    let (first, count) = (u8::try_from(first).ok()?, u8::try_from(end - first + 1).ok()?);
    Some(BitRange { first, count })
}

/// A missing scale is a mistake only if the layout is valid and encodes a number.
fn read_scaling(table: &SettingsTable<'_>, layout: Layout, is_valid: bool) -> Scaling {
    let needs_none = !is_valid || layout.format.is_text() || layout.format == Format::Bool || layout.bits.is_some();
    let scale = match table.number("scale") {
        None if needs_none || table.value("scale_register").is_some() => Some(1.0),
        None if table.value("scale").is_none() => {
            let hint = "is missing; write scale = 1 if the raw number is the value";
            table.mistakes().add(Mistake::without_value(table.key("scale"), hint));
            None
        }
        scale => scale,
    };
    let offset = table.number("offset").unwrap_or(0.0);
    if layout.format.is_text() && (table.value("scale").is_some() || table.value("scale_register").is_some()) {
        table.add_mistake("scale", "a string has no scale; remove it");
    }
    let Some(scale) = scale else { return Scaling::NONE };
    Scaling::new(scale, offset).unwrap_or_else(|| {
        table.add_mistake("scale", "write a number other than 0");
        Scaling::NONE
    })
}

/// The point's own marks for "no value", or else those of the profile for its type.
fn read_unavailable(table: &SettingsTable<'_>, format: Format, defaults: &Defaults) -> Vec<u64> {
    match table.value("unavailable") {
        Some(_) => read_marks(table, "unavailable", format),
        None => defaults.unavailable.of(format).to_vec(),
    }
}

fn read_names(table: &SettingsTable<'_>) -> Vec<(u64, String)> {
    let hint = "write the number and its name in quotes, such as 2 = \"running\"";
    let read = |number: &str, name: &toml::Value| Some((number.parse().ok()?, name.as_str()?.to_owned()));
    table.named_entries("names", read, hint).into_iter().map(|(_, entry)| entry).collect()
}

fn read_source(table: &SettingsTable<'_>, sources: &[(String, Duration)]) -> Option<String> {
    let name = table.text("source")?;
    if !sources.iter().any(|(known, _)| known == name) {
        let hint = unknown_name_hint(name, sources.iter().map(|(name, _)| name.as_str()));
        table.add_mistake("source", format!("{hint}; they are listed in the profile's sources = {{ name = \"60s\" }}"));
    }
    Some(name.into())
}

/// Reports combinations of keys that make no sense together.
fn check(table: &SettingsTable<'_>, point: &Point) {
    let writes = point.access != Access::Read;
    let no_effect = "has no effect on a read-only point; write access = \"RW\", or remove it";
    if point.end() > 65_536 {
        table.add_mistake("address", "the value would end after register 65535");
    }
    if let (Some(min), Some(max)) = (point.min, point.max)
        && min > max
    {
        table.add_mistake("min", format!("is above max = {max}"));
    }
    if writes && point.layout.bits.is_some() {
        table.add_mistake("access", "bits of a register are read-only; describe the whole register to write it");
    }
    if writes && point.layout.format.is_text() {
        table.add_mistake("access", "strings are read-only; write access = \"R\"");
    }
    if table.value("write_function").is_some() && point.write_function.is_none() {
        table.add_mistake("write_function", "write 5, 6, 15 or 16");
    }
    if !writes && point.write_function.is_some() {
        table.add_mistake("write_function", no_effect);
    }
    if !writes && point.persistent {
        table.add_mistake("persistent", no_effect);
    }
    if !writes && point.dangerous {
        table.add_mistake("dangerous", no_effect);
    }
    if point.settle.is_some() && !(writes && point.access.is_read()) {
        let hint = if writes { "has no effect on a point that cannot be read back; remove it" } else { no_effect };
        table.add_mistake("settle", hint);
    }
    let incompatibility = point.write_function_or_default().incompatibility(point.table, point.layout.format.width());
    if let Some(reason) = incompatibility.filter(|_| writes) {
        let key = if point.write_function.is_some() { "write_function" } else { "access" };
        table.add_mistake(key, reason);
    }
}
