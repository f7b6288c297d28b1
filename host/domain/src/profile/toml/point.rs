//! One entry of `[points]`.

use std::time::Duration;

use super::{LONGEST_WAIT, ORDERS};
use crate::profile::{Access, Point, unit_and_kind};
use crate::register::{BitRange, Format, Layout, MAX_READ, Order, Scaling, Table as Registers, TextLayout, UnitId};
use crate::report::{DEFAULT_MAX_SILENCE, Report};
use crate::settings::{Mistake, Table, unknown};
use crate::site::ChannelKind;
use crate::write::WriteFunction;

const KINDS: [(&str, ChannelKind); 5] = [
    ("gauge", ChannelKind::Gauge),
    ("counter", ChannelKind::Counter),
    ("state", ChannelKind::State),
    ("flag", ChannelKind::Flag),
    ("text", ChannelKind::Text),
];
const ACCESS: [(&str, Access); 3] = [("R", Access::Read), ("RW", Access::ReadWrite), ("W", Access::Write)];
/// A day: a channel that changes less often is not one to wait for.
const LONGEST_SILENCE: Duration = Duration::from_hours(24);

/// What a point takes from the profile where it says nothing itself.
#[derive(Clone, Copy)]
pub(super) struct Defaults {
    pub(super) bytes: Order,
    pub(super) words: Order,
    pub(super) table: Registers,
}

/// The point, and whether it may share registers with others.
pub(super) fn read(
    name: &str,
    table: &Table<'_>,
    defaults: Defaults,
    sources: &[(String, Duration)],
) -> Option<(Point, bool)> {
    let before = table.mistakes().count();
    let registers = table.word("table", &Registers::NAMES).unwrap_or(defaults.table);
    let layout = read_layout(table, registers, defaults);
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
        scaling: read_scaling(table, layout),
        scale_register: table.integer("scale_register", 0..=u16::MAX),
        unavailable: read_unavailable(table, layout),
        min: table.number("min"),
        max: table.number("max"),
        names,
        unit: unit.into(),
        kind: table.word("kind", &KINDS).unwrap_or(kind),
        access: table.word("access", &ACCESS).unwrap_or(Access::Read),
        write_function: table.integer("write_function", 5..=16).and_then(WriteFunction::numbered),
        unit_id: table.integer("unit_id", 0..=255).map(UnitId),
        source: read_source(table, sources),
        report: read_report(table),
        description: table.text("description").unwrap_or_default().into(),
        ..plain
    };
    let may_overlap = table.boolean("overlaps").unwrap_or(false);
    check(table, &point);
    table.finish();
    (table.mistakes().count() == before).then_some((point, may_overlap))
}

fn required<T>(table: &Table<'_>, key: &'static str, value: Option<T>) -> Option<T> {
    if value.is_none() && table.value(key).is_none() {
        table.mistakes().add(Mistake::bare(table.key(key), "is missing"));
    }
    value
}

fn is_single_bit(layout: Layout) -> bool {
    layout.format == Format::Bool || layout.bits.is_some_and(|bits| bits.count == 1)
}

fn read_layout(table: &Table<'_>, registers: Registers, defaults: Defaults) -> Layout {
    let format = read_format(table, registers).unwrap_or(Format::UInt16);
    let layout = Layout {
        bytes: table.word("byte_order", &ORDERS).unwrap_or(defaults.bytes),
        words: table.word("word_order", &ORDERS).unwrap_or(defaults.words),
        bits: read_bits(table, format),
        ..Layout::plain(format)
    };
    let Some(letters) = table.text("order") else { return layout };
    if table.value("byte_order").is_some() || table.value("word_order").is_some() {
        table.wrong("order", "says the same as byte_order and word_order; keep one of them");
    }
    layout.ordered(letters).unwrap_or_else(|| {
        let plain = Layout::plain(format).letters();
        let reversed: String = plain.chars().rev().collect();
        table.wrong(
            "order",
            format!("write the bytes of {} in the device's order, such as {plain} or {reversed}", format.name()),
        );
        layout
    })
}

fn read_format(table: &Table<'_>, registers: Registers) -> Option<Format> {
    let count = table.integer("count", 1..=MAX_READ);
    let layout = table.word("string_layout", &TextLayout::NAMES);
    let is_string = table.value("type").and_then(toml::Value::as_str) == Some("string");
    if layout.is_some() && !is_string {
        table.wrong("string_layout", "is for strings; remove it, or write type = \"string\"");
    }
    if registers.is_bits() {
        if count.is_some_and(|count| count != 1) {
            table.wrong("count", format!("a {} is one bit; give each its own point", registers.name()));
        }
        return match table.text("type") {
            None | Some("bool") => Some(Format::Bool),
            Some(_) => {
                table.wrong("type", format!("a {} is a bool; remove the type", registers.name()));
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
    let format = match table.word("type", &names) {
        None if has_bits && table.value("type").is_none() => Format::UInt16,
        format => required(table, "type", format)?,
    };
    if let Some(count) = count.filter(|&count| count != format.width()) {
        let mend = format!("{} takes {} registers, not {count}", format.name(), format.width());
        table.wrong("count", format!("{mend}; remove the count or change the type"));
    }
    Some(format)
}

/// `bit = 3` or `bits = [4, 7]`, the last one included.
fn read_bits(table: &Table<'_>, format: Format) -> Option<BitRange> {
    let last = i64::from(format.width().min(4)) * 16 - 1;
    let one = table.integers("bit", 0..=last);
    let range = table.integers("bits", 0..=last);
    let (first, end) = match (one.as_slice(), range.as_slice()) {
        ([], []) => return None,
        ([bit], []) => (*bit, *bit),
        ([], [first, end]) if first <= end => (*first, *end),
        (_, []) => {
            table.wrong("bit", "write one number; several bits are bits = [first, last]");
            return None;
        }
        _ => {
            table.wrong("bits", "write the first and the last bit, such as [4, 7], without `bit` beside it");
            return None;
        }
    };
    if !format.has_bits() {
        table.wrong("type", "single bits are taken of whole numbers; write uint16, uint32 or uint64");
    }
    let (first, count) = (u8::try_from(first).ok()?, u8::try_from(end - first + 1).ok()?);
    Some(BitRange { first, count })
}

fn read_scaling(table: &Table<'_>, layout: Layout) -> Scaling {
    let needs_none = layout.format.is_text() || layout.format == Format::Bool || layout.bits.is_some();
    let scale = match table.number("scale") {
        None if needs_none || table.value("scale_register").is_some() => Some(1.0),
        scale => required(table, "scale", scale),
    };
    let offset = table.number("offset").unwrap_or(0.0);
    if layout.format.is_text() && (table.value("scale").is_some() || table.value("scale_register").is_some()) {
        table.wrong("scale", "a string has no scale; remove it");
    }
    let Some(scale) = scale else { return Scaling::NONE };
    Scaling::new(scale, offset).unwrap_or_else(|| {
        table.wrong("scale", "write a number other than 0");
        Scaling::NONE
    })
}

/// Raw numbers such as 0x8000, of which the value's own width counts.
fn read_unavailable(table: &Table<'_>, layout: Layout) -> Vec<u64> {
    let unused = 64 - 16 * u32::from(layout.format.width().clamp(1, 4));
    let values = table.integers("unavailable", i64::MIN..=i64::MAX);
    values.into_iter().map(|value| value.cast_unsigned() << unused >> unused).collect()
}

fn read_names(table: &Table<'_>) -> Vec<(u64, String)> {
    let mend = "write the number and its name in quotes, such as 2 = \"running\"";
    let read = |number: &str, name: &toml::Value| Some((number.parse().ok()?, name.as_str()?.to_owned()));
    table.named("names", read, mend).into_iter().map(|(_, entry)| entry).collect()
}

fn read_source(table: &Table<'_>, sources: &[(String, Duration)]) -> Option<String> {
    let name = table.text("source")?;
    if !sources.iter().any(|(known, _)| known == name) {
        let mend = unknown(name, sources.iter().map(|(name, _)| name.as_str()));
        table.wrong("source", format!("{mend}; the profile's sources = {{ name = \"60s\" }} lists them"));
    }
    Some(name.into())
}

/// `deadband` and `max_silence`; the settings of a device have the same keys.
pub fn read_report(table: &Table<'_>) -> Option<Report> {
    let deadband = table.number("deadband");
    let silence = table.duration("max_silence", Duration::from_millis(1)..=LONGEST_SILENCE.max(LONGEST_WAIT));
    if deadband.is_some_and(|deadband| deadband < 0.0) {
        table.wrong("deadband", "write 0 for every change, or how far the value may move unreported");
    }
    if deadband.is_none() && silence.is_some() {
        table.wrong("max_silence", "has no effect without a deadband; write deadband = 0 to report every change");
    }
    Some(Report { deadband: deadband?, max_silence: silence.unwrap_or(DEFAULT_MAX_SILENCE) })
}

fn check(table: &Table<'_>, point: &Point) {
    let writes = point.access != Access::Read;
    if point.end() > 65_536 {
        table.wrong("address", "the value ends after register 65535");
    }
    if let (Some(min), Some(max)) = (point.min, point.max)
        && min > max
    {
        table.wrong("min", format!("is above max = {max}"));
    }
    if writes && point.layout.bits.is_some() {
        table.wrong("access", "bits of a register are only read; describe the whole register to write it");
    }
    if writes && point.layout.format.is_text() {
        table.wrong("access", "strings are only read");
    }
    if table.value("write_function").is_some() && point.write_function.is_none() {
        table.wrong("write_function", "write 5, 6, 15 or 16");
    }
    let unsuited = point.function().unsuited(point.table, point.layout.format.width());
    if let Some(reason) = unsuited.filter(|_| writes) {
        let key = if point.write_function.is_some() { "write_function" } else { "access" };
        table.wrong(key, reason);
    }
}
