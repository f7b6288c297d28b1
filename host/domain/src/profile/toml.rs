//! Profiles of our own, in TOML; every fault in one is an error that names the point.
//!
//! ```toml
//! manufacturer = "Acme"
//! model = "Box 5"
//! # unit = 1, usual_unit = 3, timeout = "3s", byte_order = "big", word_order = "big", table = "holding"
//! # request_gap = "20ms", connect_pause = "1s", reconnect_after = 10
//! # max_registers = 125, max_bits = 2000, bridged_gap = 16
//! # sources = { slow = "60s" }, set_point = { power = "target" }, watchdog = "heartbeat"
//! [points]
//! soc = { channel = "soc_pct", address = 100, type = "uint16", scale = 0.1, unit = "%" }
//! ```

mod point;

pub use point::read_report;

use std::time::Duration;

use crate::plan::Blocks;
use crate::profile::{Access, DEFAULT_TIMEOUT, Pacing, Point, Profile, SetPoint};
use crate::register::{MAX_READ, MAX_READ_BITS, Order, Table as Registers, UnitId};
use crate::settings::{Mistake, Mistakes, Table, nearest};

const ORDERS: [(&str, Order); 2] = [("big", Order::Big), ("little", Order::Little)];
/// No device answers sooner.
pub(super) const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
/// The longest time that a device may be given, for an answer or a pause.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The widest gap that may be bridged; a request holds 125 registers.
const WIDEST_GAP: u16 = 120;

/// Reads a profile, or says everything that is wrong with it.
pub fn read(name: &str, text: &str) -> Result<Profile, Vec<Mistake>> {
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => return Err(vec![Mistake::bare(name, format!("is not TOML: {}", error.message()))]),
    };
    let mistakes = Mistakes::default();
    let profile = read_profile(name, &Table::new(name, &table, &mistakes));
    check_channels(&profile, &mistakes);
    let mistakes = mistakes.into_vec();
    if mistakes.is_empty() { Ok(profile) } else { Err(mistakes) }
}

fn read_profile(name: &str, table: &Table<'_>) -> Profile {
    let defaults = point::Defaults {
        bytes: table.word("byte_order", &ORDERS).unwrap_or(Order::Big),
        words: table.word("word_order", &ORDERS).unwrap_or(Order::Big),
        table: table.word("table", &Registers::NAMES).unwrap_or(Registers::Holding),
    };
    let sources = table.named("sources", |_, value| read_period(value), "write a time such as \"60s\"");
    let profile = Profile {
        manufacturer: table.text("manufacturer").unwrap_or_default().into(),
        model: table.text("model").unwrap_or_default().into(),
        unit: UnitId(table.integer("unit", 0..=255).unwrap_or(1)),
        usual_unit: table.integer("usual_unit", 0..=255).map(UnitId),
        timeout: table.duration("timeout", SHORTEST_TIMEOUT..=LONGEST_WAIT).unwrap_or(DEFAULT_TIMEOUT),
        pacing: read_pacing(table),
        blocks: read_blocks(table, Blocks::default()),
        points: read_points(table, defaults, &sources),
        sources,
        ..Profile::new(name)
    };
    let set_point = read_set_point(table, &profile);
    let watchdog = table.text("watchdog").filter(|name| is_writable(table, "watchdog", name, &profile));
    let watchdog = watchdog.map(str::to_owned);
    table.finish();
    Profile { set_point, watchdog, ..profile }
}

/// Which of the device's habits are given; the settings of a device have the same keys.
pub fn read_pacing(table: &Table<'_>) -> Pacing {
    Pacing {
        request_gap: table.duration("request_gap", Duration::ZERO..=LONGEST_WAIT),
        connect_pause: table.duration("connect_pause", Duration::ZERO..=LONGEST_WAIT),
        reconnect_after: table.integer("reconnect_after", 1..=1_000_000),
    }
}

/// How much it gives at once; the settings of a device have the same keys.
pub fn read_blocks(table: &Table<'_>, otherwise: Blocks) -> Blocks {
    Blocks {
        registers: table.integer("max_registers", 1..=MAX_READ).unwrap_or(otherwise.registers),
        bits: table.integer("max_bits", 1..=MAX_READ_BITS).unwrap_or(otherwise.bits),
        bridged_gap: table.integer("bridged_gap", 0..=WIDEST_GAP).unwrap_or(otherwise.bridged_gap),
    }
}

fn read_period(value: &toml::Value) -> Option<Duration> {
    crate::time::parse_duration(value.as_str()?).filter(|period| !period.is_zero())
}

fn read_points(table: &Table<'_>, defaults: point::Defaults, sources: &[(String, Duration)]) -> Vec<Point> {
    let Some(points) = table.table("points") else {
        table.mistakes().add(Mistake::bare(table.key("points"), "is missing; a profile describes at least one point"));
        return Vec::new();
    };
    let mut read: Vec<Point> = Vec::new();
    for (name, entry) in points.entries() {
        let Some(entry) = entry else {
            points.wrong(name, "write a table, such as { address = 100, type = \"uint16\", scale = 1 }");
            continue;
        };
        let key = entry.key("address");
        let Some((point, may_overlap)) = point::read(name, &entry, defaults, sources) else { continue };
        let clash = read.iter().find(|earlier| !may_overlap && overlap(earlier, &point));
        if let Some(earlier) = clash {
            let mend = format!(
                "overlaps {} at {} to {}; where the maker means it so, write overlaps = true",
                earlier.name,
                earlier.address,
                earlier.end() - 1
            );
            table.mistakes().add(Mistake::new(key, point.address, mend));
        }
        read.push(point);
    }
    read
}

/// Two points that share a register; parts of one register may.
fn overlap(one: &Point, other: &Point) -> bool {
    let together = (one.table, one.unit_id) == (other.table, other.unit_id);
    let shares = u32::from(one.address) < other.end() && u32::from(other.address) < one.end();
    let parts = one.layout.bits.is_some() || other.layout.bits.is_some();
    together && shares && !parts
}

fn read_set_point(table: &Table<'_>, profile: &Profile) -> Option<SetPoint> {
    let table = table.table("set_point")?;
    let point = |key: &'static str| {
        let name = table.text(key).filter(|name| is_writable(&table, key, name, profile));
        name.map(str::to_owned)
    };
    let set_point = SetPoint {
        power: point("power"),
        charge: point("charge"),
        discharge: point("discharge"),
        mode: point("mode"),
        mode_values: table.named("mode_values", |_, value| number(value), "write the register's number"),
    };
    table.finish();
    Some(set_point)
}

#[allow(clippy::cast_precision_loss, reason = "a mode is a small number")]
fn number(value: &toml::Value) -> Option<f64> {
    value.as_integer().map(|number| number as f64).or_else(|| value.as_float())
}

fn is_writable(table: &Table<'_>, key: &str, name: &str, profile: &Profile) -> bool {
    let mend = match profile.points.iter().find(|point| point.name == name) {
        Some(point) if point.access != Access::Read => return true,
        Some(_) => format!("`{name}` is only read; give it access = \"RW\""),
        None => match nearest(name, profile.points.iter().map(|point| point.name.as_str())) {
            Some(nearest) => format!("is no point of this profile; did you mean `{nearest}`?"),
            None => "is no point of this profile".into(),
        },
    };
    table.wrong(key, mend);
    false
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
                  table = "holding", byte_order = "little", access = "RW", unit_id = 225, kind = "gauge" }
        "#;
        let profile = read("box", text).unwrap();
        let point = &profile.points[0];
        assert_eq!((point.channel.as_str(), point.address, point.table), ("power_kw", 7, Registers::Holding));
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
            "box.points.b.address = 2: overlaps a at 1 to 2; where the maker means it so, write overlaps = true",
        );
        check(
            "a = { address = 65535, type = \"int32\", scale = 1 }",
            "box.points.a.address = 65535: the value ends after register 65535",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1 }\nb = { channel = \"a\", address = 2, type = \"uint16\", scale = 1 }",
            "box.points.b.channel = a: is the channel of a already",
        );
        check(
            "a = { table = \"coil\", address = 1, count = 8 }",
            "box.points.a.count = 8: a coil is one bit; give each its own point",
        );
        check(
            "a = { address = 1, type = \"uint16\", scale = 1, string_layout = \"low\" }",
            "box.points.a.string_layout = \"low\": is for strings; remove it, or write type = \"string\"",
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
