//! The built-in profiles and tests/maps, compared with the tables of Python packages that other people maintain.

use std::collections::BTreeMap;

use bessai_domain::profile::{Access, Point, Profile, built_in};
use bessai_domain::register::Order;
use serde_json::Value;

use crate::support::peer::python;
use crate::support::{cache, root};

/// Profiles with the packages that know their registers. The tables of SunSpec are laid out for each profile.
const PACKAGES: [(&str, &str); 7] = [
    ("huawei-sun2000", "huawei-solar"),
    ("goodwe-et", "goodwe"),
    ("solaredge-storedge", "solaredge-modbus"),
    ("sungrow-sh", "pysungrow"),
    ("deye-hybrid", "deye-controller"),
    ("fronius-gen24", "pysunspec2 fronius-gen24"),
    ("fronius-gen24-int", "pysunspec2 fronius-gen24-int"),
];

/// What the packages say, by package and name; none without the packages, which scripts/setup leaves out without a network.
fn facts() -> Option<BTreeMap<(String, String), Vec<Value>>> {
    if !cache().join("register-maps/bin/python").exists() {
        eprintln!("left out: scripts/setup could not install what tests/peers/register-maps.txt lists");
        return None;
    }
    let script = root().join("tests/peers/register_maps.py");
    let output = python("register-maps").arg(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut facts: BTreeMap<_, Vec<Value>> = BTreeMap::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let fact: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| fact[key].as_str().unwrap().to_owned();
        facts.entry((text("package"), text("name"))).or_default().push(fact);
    }
    Some(facts)
}

/// The letter that stands for a package in a map.
fn letter(map: &str, package: &str) -> String {
    let package = package.split(' ').next().unwrap();
    let line = map.lines().find(|line| line.contains(&format!("PyPI {package} ")));
    line.unwrap_or_else(|| panic!("{package} is not named")).split(' ').nth(1).unwrap().to_owned()
}

/// Whether a line of a map says the same as a package of the register; what the package leaves open agrees.
fn agrees(line: &[&str], fact: &Value) -> bool {
    let text = |key: &str| fact[key].as_str().unwrap();
    let is_same_unit = text("unit") == line[4] || text("unit") == "-";
    let is_same_factor = (fact["factor"].as_f64().unwrap() - line[3].parse::<f64>().unwrap()).abs() < 1e-9;
    let is_writable = fact["writable"].as_bool().unwrap_or(line[5] == "rw");
    let states = fact["enum"].as_array().unwrap();
    let enumerated = line.iter().find_map(|word| word.strip_prefix("enum="));
    let is_same_state = |state: &str| states.iter().any(|one| one.as_u64() == state.parse().ok());
    let are_same_states = states.is_empty() || enumerated.is_none_or(|list| list.split(',').all(is_same_state));
    let at = format!("{} {} {}", text("table"), fact["address"], text("type"));
    at == line[..3].join(" ") && is_same_factor && is_same_unit && is_writable == (line[5] == "rw") && are_same_states
}

#[test]
fn maps_agree_with_the_packages_that_they_name() {
    let Some(facts) = facts() else { return };
    for (name, package) in PACKAGES {
        let map = std::fs::read_to_string(root().join(format!("tests/maps/{name}.map"))).unwrap();
        let letter = letter(&map, package);
        let mut compared = 0;
        for line in map.lines().filter(|line| !line.starts_with('#')) {
            let words: Vec<&str> = line.split(' ').collect();
            if !words[6].split(',').any(|source| source == letter) {
                continue;
            }
            let key = (package.to_owned(), words[7].to_owned());
            let said = facts.get(&key).unwrap_or_else(|| panic!("{package} has no {}", words[7]));
            assert!(said.iter().any(|fact| agrees(&words, fact)), "{name}: {line}: {said:?}");
            compared += 1;
        }
        assert!(compared > 5, "{name}: {compared} registers are compared with {package}");
    }
}

#[test]
fn profiles_agree_with_the_packages_wherever_both_have_the_register() {
    let Some(facts) = facts() else { return };
    for (name, package) in PACKAGES {
        let profile = built_in(name).unwrap();
        let of_package: Vec<&Value> =
            facts.iter().filter(|((known, _), _)| known == package).flat_map(|(_, facts)| facts).collect();
        let mut compared = 0;
        for point in profile.points.iter().filter(|point| !point.unverified) {
            let at = address(&profile, point);
            let same: Vec<_> = of_package.iter().filter(|fact| is_at(fact, &at)).collect();
            if same.is_empty() || DISPUTED.contains(&(name, point.name.as_str())) {
                continue;
            }
            assert!(same.iter().any(|fact| is_same(point, fact)), "{name} {}: {same:?}", point.name);
            compared += 1;
        }
        assert!(2 * compared > profile.points.len(), "{name}: only {compared} points are in {package}");
    }
}

/// Points that a package has otherwise than the sources that the map names: hundredths without an offset.
const DISPUTED: [(&str, &str); 1] = [("deye-hybrid", "battery_temperature")];

fn address(profile: &Profile, point: &Point) -> (String, u16) {
    let unit = point.unit_id.filter(|unit| *unit != profile.unit).map(|unit| format!("{}/", unit.0));
    (format!("{}{}", unit.unwrap_or_default(), point.table.name()), point.address)
}

fn is_at(fact: &Value, (table, address): &(String, u16)) -> bool {
    fact["table"] == table.as_str() && fact["address"] == *address
}

/// Type, size of the factor (a profile may use kW), and that nothing is written that the package only reads.
fn is_same(point: &Point, fact: &Value) -> bool {
    let swapped = if point.layout.words == Order::Little && point.layout.format.width() > 1 { "_s" } else { "" };
    let is_same_type = fact["type"] == format!("{}{swapped}", point.layout.format.name()).as_str();
    let slope = (point.scaling.to_value(1.0) - point.scaling.to_value(0.0)).abs();
    let factor = fact["factor"].as_f64().unwrap();
    let is_same_factor = [1.0, 0.001].iter().any(|kilo| (slope - factor * kilo).abs() < 1e-9);
    let may_be_written = point.access == Access::Read || fact["writable"].as_bool() != Some(false);
    is_same_type && is_same_factor && may_be_written
}
