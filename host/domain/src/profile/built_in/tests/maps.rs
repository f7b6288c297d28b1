//! Every point of the built-in profiles, compared with what independent public sources say of its register.

use super::{MAPS, profile};
use crate::profile::{Access, Point, Profile};
use crate::register::Order;

/// What a map says of one register.
struct Fact<'a> {
    /// Unit id, if it is another one than the profile's, table, address and type.
    register: String,
    factor: f64,
    unit: &'a str,
    is_writable: bool,
    sources: Vec<&'a str>,
    name: &'a str,
    offset: f64,
    /// What a positive number means: `charge`, `discharge`, `import` or `export`.
    plus: Option<&'a str>,
    /// The numbers of its states.
    states: Vec<u64>,
}

fn facts(map: &str) -> Vec<Fact<'_>> {
    map.lines().filter(|line| !line.starts_with('#')).map(read_fact).collect()
}

fn read_fact(line: &str) -> Fact<'_> {
    let words: Vec<&str> = line.split(' ').collect();
    let extra = |key: &str| words[8..].iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='));
    Fact {
        register: words[..3].join(" "),
        factor: words[3].parse().unwrap(),
        unit: words[4],
        is_writable: words[5] == "rw",
        sources: words[6].split(',').collect(),
        name: words[7],
        offset: extra("offset").map_or(0.0, |offset| offset.parse().unwrap()),
        plus: extra("plus"),
        states: extra("enum")
            .into_iter()
            .flat_map(|list| list.split(','))
            .map(|state| state.parse().unwrap())
            .collect(),
    }
}

/// The register of a point as a map writes it.
fn register(profile: &Profile, point: &Point) -> String {
    let unit = point.unit_id.filter(|unit| *unit != profile.unit);
    let unit = unit.map(|unit| format!("{}/", unit.0)).unwrap_or_default();
    let swapped = if point.layout.words == Order::Little && point.layout.format.width() > 1 { "_s" } else { "" };
    format!("{unit}{} {} {}{swapped}", point.table.name(), point.address, point.layout.format.name())
}

/// The factor from a map's unit to the point's, or none if they are of two kinds.
fn unit_factor(point: &str, map: &str) -> Option<f64> {
    let map = match map {
        "-" | "count" => "1",
        "Ah" => "A.h",
        unit => unit,
    };
    (point == map).then_some(1.0).or_else(|| (point.strip_prefix('k') == Some(map)).then_some(0.001))
}

/// What the profile says of a positive value.
pub(super) fn stated_plus(point: &Point) -> Option<&'static str> {
    let (_, meaning) = point.description.split_once("+ = ")?;
    let meanings = [
        ("charge", "charge"),
        ("discharge", "discharge"),
        ("export", "export"),
        ("out of the inverter", "export"),
        ("from the grid", "import"),
    ];
    meanings.into_iter().find(|(text, _)| meaning.starts_with(text)).map(|(_, plus)| plus)
}

fn opposite(plus: &str) -> &str {
    let pairs = [("charge", "discharge"), ("discharge", "charge"), ("import", "export"), ("export", "import")];
    pairs.into_iter().find(|(one, _)| *one == plus).map_or("", |(_, other)| other)
}

/// Compares everything that a map says of a register with the point.
fn assert_agrees(name: &str, point: &Point, fact: &Fact<'_>) {
    let at = format!("{name} {} and {}", point.name, fact.name);
    let unit =
        unit_factor(&point.unit, fact.unit).unwrap_or_else(|| panic!("{at}: {} is not {}", point.unit, fact.unit));
    let (zero, slope) = (point.scaling.to_value(0.0), point.scaling.to_value(1.0) - point.scaling.to_value(0.0));
    let sign = if slope * fact.factor < 0.0 { -1.0 } else { 1.0 };
    assert!((slope * sign - fact.factor * unit).abs() < 1e-9, "{at}: {slope} instead of {}", fact.factor);
    assert!((zero - fact.offset * unit).abs() < 1e-9, "{at}: {zero}");
    let plus = fact.plus.map(|plus| if sign < 0.0 { opposite(plus) } else { plus });
    assert_eq!(stated_plus(point), plus, "{at}");
    assert!(sign > 0.0 || plus.is_some(), "{at}: the sign is inverted");
    assert!(point.access == Access::Read || fact.is_writable, "{at}: is read-only");
    let unknown: Vec<_> = point.names.iter().filter(|(state, _)| !fact.states.contains(state)).collect();
    assert!(unknown.is_empty(), "{at}: {unknown:?}");
}

#[test]
fn every_verified_point_agrees_with_an_independent_public_map() {
    for (name, map) in MAPS {
        let profile = profile(name);
        let facts = facts(map);
        let of = |register: &str| facts.iter().find(|fact| fact.register == register);
        for point in &profile.points {
            let register = register(&profile, point);
            if point.unverified {
                assert!(of(&register).is_none(), "{name} {}: the map confirms {register}", point.name);
                continue;
            }
            let fact = of(&register).unwrap_or_else(|| panic!("{name} {}: no public map has {register}", point.name));
            assert_agrees(name, point, fact);
            let Some(factor) = point.scale_register else { continue };
            let table = register.split(' ').next().unwrap();
            let factor = of(&format!("{table} {factor} int16")).map(|fact| fact.name.to_lowercase());
            assert!(
                factor.is_some_and(|name| name.ends_with("_sf") || name.ends_with("_scale")),
                "{name} {}",
                point.name
            );
        }
    }
}

#[test]
fn every_fact_has_a_source_and_is_used() {
    for (name, map) in MAPS {
        let profile = profile(name);
        let source = |letter: &str| map.lines().any(|line| line.starts_with(&format!("# {letter} = ")));
        let used: Vec<_> = profile.points.iter().map(|point| register(&profile, point)).collect();
        for fact in facts(map) {
            assert!(fact.sources.iter().all(|letter| source(letter)), "{name} {}", fact.name);
            let address = fact.register.split(' ').nth(1).unwrap();
            let is_factor = profile.points.iter().any(|point| point.scale_register == address.parse().ok());
            assert!(is_factor || used.contains(&fact.register), "{name} {}", fact.name);
        }
    }
}
