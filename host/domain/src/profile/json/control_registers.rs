//! Registers that control a device of a known manufacturer: these files have neither ranges nor marks of dangerous points, so
//! that both come from the built-in profiles of that manufacturer.

use crate::profile::{Point, Profile, built_in};

/// The built-in profiles of each manufacturer.
const BUILT_IN: [(&str, &[&str]); 11] = [
    ("Huawei", &["huawei-sun2000"]),
    ("SMA", &["sma-sunny-tripower"]),
    ("Victron", &["victron-multiplus2"]),
    ("Fronius", &["fronius-gen24", "fronius-gen24-int"]),
    ("SolarEdge", &["solaredge-storedge"]),
    ("Sungrow", &["sungrow-sh"]),
    ("Growatt", &["growatt-sph"]),
    ("GoodWe", &["goodwe-et"]),
    ("Deye", &["deye-hybrid"]),
    ("BYD", &["byd-box"]),
    ("Pylontech", &["pylontech"]),
];

/// The lowest and the highest value, as far as there are any.
type ValueRange = (Option<f64>, Option<f64>);

/// Gives writable points the ranges and the marks of the same registers in the built-in profiles. A register that these do
/// not write, or not as that number, is dangerous.
pub(super) fn protect(profile: &mut Profile) {
    let maker = profile.manufacturer.to_lowercase();
    let is_known = |(manufacturer, _): &&(&str, &[&str])| maker.starts_with(&manufacturer.to_lowercase());
    let names = BUILT_IN.iter().find(is_known).map(|(_, names)| *names).unwrap_or_default();
    let mut known: Vec<Profile> = names.iter().filter_map(|name| built_in(name)).collect();
    if known.is_empty() {
        // A file that names no manufacturer may still be called as a built-in profile is.
        known.extend(built_in(&profile.name).filter(|own| !own.is_discovered));
    }
    if known.is_empty() {
        return;
    }
    for point in profile.points.iter_mut().filter(|point| point.is_writable()) {
        let same = known.iter().flat_map(|own| &own.points).filter(|own| {
            let is_same_register = (own.table, own.address) == (point.table, point.address);
            is_same_register && own.is_writable()
        });
        let equal: Vec<(bool, ValueRange)> = same.filter_map(|own| Some((own.dangerous, range(own, point)?))).collect();
        match equal.first() {
            Some((_, (min, max))) => {
                (point.min, point.max) = (point.min.or(*min), point.max.or(*max));
                point.dangerous |= equal.iter().any(|(dangerous, _)| *dangerous);
            }
            // Nothing is known about its values.
            None => point.dangerous = true,
        }
    }
}

/// The range of a point of a built-in profile in the unit of another point of the same registers; none if their numbers are
/// not the same.
fn range(own: &Point, point: &Point) -> Option<ValueRange> {
    if own.layout != point.layout || own.scale_register != point.scale_register {
        return None;
    }
    let convert = |bound: f64| point.scaling.to_value(own.scaling.to_raw(bound));
    let (min, max) = (own.min.map(convert), own.max.map(convert));
    let is_inverted = convert(1.0) < convert(0.0);
    Some(if is_inverted { (max, min) } else { (min, max) })
}
