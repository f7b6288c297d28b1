//! Profiles of our own, in TOML; every fault in one is an error that names the point.
//!
//! ```toml
//! manufacturer = "Acme"
//! model = "Box 5"
//! # unit = 1, usual_unit = 3, timeout = "3s", byte_order = "big", word_order = "big", table = "holding"
//! [points]
//! soc = { channel = "soc_pct", address = 100, type = "uint16", scale = 0.1, unit = "%" }
//! ```

use std::time::Duration;

use crate::profile::{Access, DEFAULT_TIMEOUT, Point, Profile, unit_and_kind};
use crate::register::{Format, Layout, MAX_READ, Order, Scaling, Table as Registers, UnitId};
use crate::settings::{Mistake, Mistakes, Table};
use crate::site::ChannelKind;

const ORDERS: [(&str, Order); 2] = [("big", Order::Big), ("little", Order::Little)];
const TABLES: [(&str, Registers); 2] = [("holding", Registers::Holding), ("input", Registers::Input)];
const KINDS: [(&str, ChannelKind); 4] = [
    ("gauge", ChannelKind::Gauge),
    ("counter", ChannelKind::Counter),
    ("state", ChannelKind::State),
    ("flag", ChannelKind::Flag),
];
const ACCESS: [(&str, Access); 3] = [("R", Access::Read), ("RW", Access::ReadWrite), ("W", Access::Write)];

/// What a point takes from the profile where it says nothing itself.
#[derive(Clone, Copy)]
struct Defaults {
    bytes: Order,
    words: Order,
    table: Registers,
}

/// Reads a profile, or says everything that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Profile, Vec<Mistake>> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![Mistake::bare(name, format!("is not TOML: {}", error.message()))]),
    };
    let mistakes = Mistakes::default();
    let profile = read_profile(name, &Table::new(name, &table, &mistakes));
    check_overlaps(&profile, &mistakes);
    check_channels(&profile, &mistakes);
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(profile) } else { Err(mistakes) }
}

fn read_profile(name: &str, table: &Table<'_>) -> Profile {
    let defaults = Defaults {
        bytes: table.word("byte_order", &ORDERS).unwrap_or(Order::Big),
        words: table.word("word_order", &ORDERS).unwrap_or(Order::Big),
        table: table.word("table", &TABLES).unwrap_or(Registers::Holding),
    };
    let longest = Duration::from_secs(60);
    let profile = Profile {
        name: name.into(),
        manufacturer: table.text("manufacturer").unwrap_or_default().into(),
        model: table.text("model").unwrap_or_default().into(),
        unit: UnitId(table.integer("unit", 0..=255).unwrap_or(1)),
        usual_unit: table.integer("usual_unit", 0..=255).map(UnitId),
        timeout: table.duration("timeout", Duration::from_millis(10)..=longest).unwrap_or(DEFAULT_TIMEOUT),
        points: read_points(table, defaults),
        mended: Vec::new(),
    };
    table.finish();
    profile
}

fn read_points(table: &Table<'_>, defaults: Defaults) -> Vec<Point> {
    let Some(points) = table.table("points") else {
        table.mistakes().add(Mistake::bare(table.key("points"), "is missing; a profile describes at least one point"));
        return Vec::new();
    };
    let mut read = Vec::new();
    for (name, point) in points.entries() {
        match point {
            Some(point) => read.extend(read_point(name, point, defaults)),
            None => points.wrong(name, "write a table, such as { address = 100, type = \"uint16\", scale = 1 }"),
        }
    }
    read
}

fn read_point(name: &str, table: Table<'_>, defaults: Defaults) -> Option<Point> {
    let before = table.mistakes().count();
    let format = read_format(&table);
    let scaling = read_scaling(&table);
    let (unit, kind) = unit_and_kind(table.text("unit").unwrap_or_default());
    let address = required(&table, "address", table.integer("address", 0..=u16::MAX));
    let point = Point {
        name: name.into(),
        channel: table.text("channel").unwrap_or(name).into(),
        table: table.word("table", &TABLES).unwrap_or(defaults.table),
        address: address.unwrap_or_default(),
        layout: Layout {
            format: format.unwrap_or(Format::UInt16),
            bytes: table.word("byte_order", &ORDERS).unwrap_or(defaults.bytes),
            words: table.word("word_order", &ORDERS).unwrap_or(defaults.words),
        },
        scaling: scaling.unwrap_or(Scaling::NONE),
        scale_register: table.integer("scale_register", 0..=u16::MAX),
        unit: unit.into(),
        kind: table.word("kind", &KINDS).unwrap_or(kind),
        access: table.word("access", &ACCESS).unwrap_or(Access::Read),
        unit_id: table.integer("unit_id", 0..=255).map(UnitId),
        description: table.text("description").unwrap_or_default().into(),
    };
    if point.end() > 65_536 {
        table.wrong("address", "the value ends after register 65535");
    }
    table.finish();
    (table.mistakes().count() == before).then_some(point)
}

fn required<T>(table: &Table<'_>, key: &'static str, value: Option<T>) -> Option<T> {
    if value.is_none() && table.value(key).is_none() {
        table.mistakes().add(Mistake::bare(table.key(key), "is missing"));
    }
    value
}

fn read_format(table: &Table<'_>) -> Option<Format> {
    let format = required(table, "type", table.word("type", &Format::NAMES))?;
    let count = table.integer("count", 1..=MAX_READ);
    if let Some(count) = count.filter(|&count| count != format.width()) {
        let mend = format!("{} takes {} registers, not {count}", format.name(), format.width());
        table.wrong("count", format!("{mend}; remove the count or change the type"));
    }
    Some(format)
}

fn read_scaling(table: &Table<'_>) -> Option<Scaling> {
    let has_register = table.value("scale_register").is_some();
    let scale = match table.number("scale") {
        None if has_register => Some(1.0),
        scale => required(table, "scale", scale),
    };
    let offset = table.number("offset").unwrap_or(0.0);
    let scaling = Scaling::new(scale?, offset);
    if scaling.is_none() {
        table.wrong("scale", "write a number other than 0");
    }
    scaling
}

/// Two points of one table and unit that share a register.
fn check_overlaps(profile: &Profile, mistakes: &Mistakes) {
    let mut points: Vec<_> = profile.points.iter().collect();
    points.sort_by_key(|point| (point.table, point.unit_id, point.address));
    for pair in points.windows(2) {
        let [first, second] = pair else { continue };
        let together = (first.table, first.unit_id) == (second.table, second.unit_id);
        if together && u32::from(second.address) < first.end() {
            let key = format!("{}.points.{}.address", profile.name, second.name);
            let mend = format!("overlaps {} at {} to {}", first.name, first.address, first.end() - 1);
            mistakes.add(Mistake::new(key, second.address, mend));
        }
    }
}

/// Two points under one channel name.
fn check_channels(profile: &Profile, mistakes: &Mistakes) {
    for (index, point) in profile.points.iter().enumerate() {
        let earlier = profile.points.iter().take(index).find(|earlier| earlier.channel == point.channel);
        if let Some(earlier) = earlier {
            let key = format!("{}.points.{}.channel", profile.name, point.name);
            mistakes.add(Mistake::new(key, &point.channel, format!("is the channel of {} already", earlier.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(points: &str) -> Vec<String> {
        let text = format!("[points]\n{points}");
        read("box", &text).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reads_a_point_with_all_its_keys() {
        let text = r#"
            word_order = "little"
            [points]
            p = { channel = "power_kw", address = 7, type = "int32", count = 2, scale = -0.001, offset = 1, unit = "kW",
                  table = "input", byte_order = "little", access = "RW", unit_id = 225, kind = "gauge" }
        "#;
        let profile = read("box", text).unwrap();
        let point = &profile.points[0];
        assert_eq!((point.channel.as_str(), point.address, point.table), ("power_kw", 7, Registers::Input));
        assert_eq!((point.layout.bytes, point.layout.words), (Order::Little, Order::Little));
        assert_eq!((point.unit_id, point.access), (Some(UnitId(225)), Access::ReadWrite));
        assert_eq!(point.scaling.apply(2000.0), -1.0);
        assert_eq!(profile.unit, UnitId(1));
    }

    #[test]
    fn every_fault_names_the_point() {
        let check = |points: &str, expected: &str| assert_eq!(mistakes(points), [expected], "{points}");
        check("a = { address = 1, type = \"uint16\" }", "box.points.a.scale: is missing");
        check("a = { type = \"uint16\", scale = 1 }", "box.points.a.address: is missing");
        check(
            "a = { address = 1, type = \"int32\", count = 1, scale = 1 }",
            "box.points.a.count = 1: int32 takes 2 registers, not 1; remove the count or change the type",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 0 }",
            "box.points.a.scale = 0: write a number other than 0",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1, colour = 2 }",
            "box.points.a.colour: is unknown; remove it",
        );
        check(
            "a = { address = 1, type = \"int32\", scale = 1 }\nb = { address = 2, type = \"uint16\", scale = 1 }",
            "box.points.b.address = 2: overlaps a at 1 to 2",
        );
        check(
            "a = { address = 65535, type = \"int32\", scale = 1 }",
            "box.points.a.address = 65535: the value ends after register 65535",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1 }\nb = { channel = \"a\", address = 2, type = \"uint16\", scale = 1 }",
            "box.points.b.channel = a: is the channel of a already",
        );
        check("a = 3", "box.points.a = 3: write a table, such as { address = 100, type = \"uint16\", scale = 1 }");
    }

    #[test]
    fn points_of_two_tables_or_units_do_not_overlap() {
        let points = "[points]
            a = { address = 1, type = \"uint16\", scale = 1 }
            b = { address = 1, type = \"uint16\", scale = 1, table = \"input\" }
            c = { address = 1, type = \"uint16\", scale = 1, unit_id = 9 }";
        assert_eq!(read("box", points).unwrap().points.len(), 3);
    }

    #[test]
    fn a_text_that_is_no_profile() {
        assert_eq!(read("box", "not toml").unwrap_err().len(), 1);
        let missing = read("box", "model = \"x\"").unwrap_err();
        assert_eq!(missing[0].to_string(), "box.points: is missing; a profile describes at least one point");
    }
}
