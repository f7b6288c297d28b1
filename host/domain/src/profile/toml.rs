//! Profiles in TOML, the gateway's own format; each mistake is reported with the point and the key.
//!
//! ```toml
//! manufacturer = "Acme"
//! model = "Box 5"
//! # unit = 1, usual_unit = 3, timeout = "3s", byte_order = "big", word_order = "big", table = "holding"
//! # request_gap = "20ms", connect_pause = "1s", reconnect_after = 10
//! # max_registers = 125, max_bits = 2000, bridged_gap = 16
//! # unavailable = { uint16 = 0xffff, int16 = 0x8000 }
//! # sources = { slow = "60s" }, set_point = { power = "target" }, watchdog = "heartbeat"
//! [points]
//! soc = { channel = "soc_pct", address = 100, type = "uint16", scale = 0.1, unit = "%" }
//! ```

mod keys;
mod point;
mod set_point;

pub use keys::{read_limits, read_pacing, read_report_rule};

use std::time::Duration;

use super::model::Profile;
use super::no_value::NoValueMarks;
use super::point::Point;
use super::requests::{DEFAULT_TIMEOUT, MAX_WAIT, MIN_TIMEOUT, ReadLimits};
use crate::register::{Order, Table as Registers, UnitId};
use crate::settings::{Mistake, Mistakes, SettingsTable, most_similar};

/// Reads a profile, or returns everything that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Profile, Vec<Mistake>> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![Mistake::without_value(name, format!("is not TOML: {}", error.message()))]),
    };
    let mistakes = Mistakes::default();
    let profile = read_profile(name, &SettingsTable::new(name, &table, &mistakes));
    check_channels(&profile, &mistakes);
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(profile) } else { Err(mistakes) }
}

fn read_profile(name: &str, table: &SettingsTable<'_>) -> Profile {
    let defaults = point::Defaults {
        bytes: table.choice("byte_order", &Order::NAMES).unwrap_or(Order::Big),
        words: table.choice("word_order", &Order::NAMES).unwrap_or(Order::Big),
        table: table.choice("table", &Registers::NAMES).unwrap_or(Registers::Holding),
        unavailable: NoValueMarks::read(table),
    };
    let sources = table.named_entries("sources", |_, value| read_period(value), "write a time such as \"60s\"");
    let profile = Profile {
        manufacturer: table.text("manufacturer").unwrap_or_default().into(),
        model: table.text("model").unwrap_or_default().into(),
        unit: UnitId(table.integer("unit", 0..=255).unwrap_or(1)),
        usual_unit: table.integer("usual_unit", 0..=255).map(UnitId),
        timeout: table.duration("timeout", MIN_TIMEOUT..=MAX_WAIT).unwrap_or(DEFAULT_TIMEOUT),
        pacing: read_pacing(table),
        read_limits: read_limits(table, ReadLimits::default()),
        points: read_points(table, &defaults, &sources),
        sources,
        ..Profile::new(name)
    };
    let set_point = set_point::read(table, &profile);
    let watchdog = table.text("watchdog").filter(|name| is_writable(table, "watchdog", name, &profile));
    let watchdog = watchdog.map(str::to_owned);
    table.report_unknown_keys();
    Profile { set_point, watchdog, ..profile }
}

fn read_period(value: &toml::Value) -> Option<Duration> {
    crate::time::parse_duration(value.as_str()?).filter(|period| !period.is_zero())
}

fn read_points(table: &SettingsTable<'_>, defaults: &point::Defaults, sources: &[(String, Duration)]) -> Vec<Point> {
    let Some(points) = table.table("points") else {
        table
            .mistakes()
            .add(Mistake::without_value(table.key("points"), "is missing; a profile describes at least one point"));
        return Vec::new();
    };
    if points.entries().is_empty() {
        table
            .mistakes()
            .add(Mistake::without_value(table.key("points"), "is empty; a profile describes at least one point"));
    }
    let mut read: Vec<Point> = Vec::new();
    for (name, entry) in points.entries() {
        let Some(entry) = entry else {
            points.add_mistake(name, "write a table, such as { address = 100, type = \"uint16\", scale = 1 }");
            continue;
        };
        let key = entry.key("address");
        let Some((point, may_overlap)) = point::read(name, &entry, defaults, sources) else { continue };
        let overlapped = read.iter().find(|earlier| !may_overlap && overlap(earlier, &point));
        if let Some(earlier) = overlapped {
            let (first, last) = (earlier.address, earlier.end() - 1);
            let hint =
                format!("overlaps {} at {first} to {last}; if that is intended, write overlaps = true", earlier.name);
            table.mistakes().add(Mistake::new(key, point.address, hint));
        }
        read.push(point);
    }
    read
}

/// Whether two points share a register by mistake; bits of the same register may share it.
fn overlap(one: &Point, other: &Point) -> bool {
    let same_table = (one.table, one.unit_id) == (other.table, other.unit_id);
    let shares = u32::from(one.address) < other.end() && u32::from(other.address) < one.end();
    let are_bits = one.layout.bits.is_some() || other.layout.bits.is_some();
    same_table && shares && !are_bits
}

fn is_writable(table: &SettingsTable<'_>, key: &str, name: &str, profile: &Profile) -> bool {
    let hint = match profile.points.iter().find(|point| point.name == name) {
        Some(point) if point.is_writable() => return true,
        Some(point) if point.unverified => format!("`{name}` is unverified and never written; name another point"),
        Some(_) => format!("`{name}` is read-only; give it access = \"RW\""),
        None => match most_similar(name, profile.points.iter().map(|point| point.name.as_str())) {
            Some(nearest) => format!("is not a point of this profile; did you mean `{nearest}`?"),
            None => "is not a point of this profile".into(),
        },
    };
    table.add_mistake(key, hint);
    false
}

/// Reports points that have the same channel name.
fn check_channels(profile: &Profile, mistakes: &Mistakes) {
    for (index, point) in profile.points.iter().enumerate() {
        let earlier = profile.points.iter().take(index).find(|earlier| earlier.channel == point.channel);
        if let Some(earlier) = earlier {
            let key = format!("{}.points.{}.channel", profile.name, point.name);
            mistakes.add(Mistake::new(key, &point.channel, format!("is already the channel of {}", earlier.name)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Access;

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
                  table = "holding", byte_order = "little", access = "RW", unit_id = 225, kind = "gauge" }
        "#;
        let profile = read("box", text).unwrap();
        let point = &profile.points[0];
        assert_eq!((point.channel.as_str(), point.address, point.table), ("power_kw", 7, Registers::Holding));
        assert_eq!((point.layout.bytes, point.layout.words), (Order::Little, Order::Little));
        assert_eq!((point.unit_id, point.access), (Some(UnitId(225)), Access::ReadWrite));
        assert_eq!(point.scaling.to_value(2000.0), -1.0);
        assert_eq!(profile.unit, UnitId(1));
    }

    #[test]
    fn every_mistake_names_the_point_and_the_key() {
        let check = |points: &str, expected: &str| assert_eq!(mistakes(points), [expected], "{points}");
        check(
            "a = { address = 1, type = \"uint16\" }",
            "box.points.a.scale: is missing; write scale = 1 if the raw number is the value",
        );
        check("a = { address = 1, type = \"string\" }", "box.points.a.count: is missing");
        check(
            "a = { address = 1, bit = 16 }",
            "box.points.a.bit = 16: write a whole number from 0 to 15, or a list of them",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1, unavailable = 0x1ffff }",
            "box.points.a.unavailable = 131071: 131071 has more than the 16 bits of uint16",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1, write_function = 6 }",
            "box.points.a.write_function = 6: has no effect on a read-only point; write access = \"RW\", or remove it",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1, dangerous = true }",
            "box.points.a.dangerous = true: has no effect on a read-only point; write access = \"RW\", or remove it",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1, access = \"W\", settle = \"2s\" }",
            "box.points.a.settle = \"2s\": has no effect on a point that cannot be read back; remove it",
        );
        check("", "box.points: is empty; a profile describes at least one point");
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
            "box.points.b.address = 2: overlaps a at 1 to 2; if that is intended, write overlaps = true",
        );
        check(
            "a = { address = 65535, type = \"int32\", scale = 1 }",
            "box.points.a.address = 65535: the value would end after register 65535",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1 }\nb = { channel = \"a\", address = 2, type = \"uint16\", scale = 1 }",
            "box.points.b.channel = a: is already the channel of a",
        );
        check(
            "a = { table = \"coil\", address = 1, count = 8 }",
            "box.points.a.count = 8: a coil is one bit; give each its own point",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1, string_layout = \"low\" }",
            "box.points.a.string_layout = \"low\": applies to strings only; remove it, or write type = \"string\"",
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
    fn a_file_without_points_is_refused() {
        assert_eq!(read("box", "not toml").unwrap_err().len(), 1);
        let missing = read("box", "model = \"x\"").unwrap_err();
        assert_eq!(missing[0].to_string(), "box.points: is missing; a profile describes at least one point");
    }
}
