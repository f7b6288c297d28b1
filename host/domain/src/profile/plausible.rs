//! Which values the channels that the gateway knows by name can have at all. A value outside is the reading of another
//! register, or a marker for "no value" that the profile does not list.

use std::ops::RangeInclusive;

use super::point::Point;
use crate::site::channel;

/// Plausible values by channel name, in the channel's unit.
const BY_CHANNEL: [(&str, RangeInclusive<f64>); 5] = [
    (channel::SOC, 0.0..=100.0),
    // A gigawatt, more than any plant has: it excludes the largest numbers of 32 bits, in watts too.
    (channel::POWER, -1e6..=1e6),
    (channel::BATTERY_POWER, -1e6..=1e6),
    // It excludes the largest numbers of 16 bits at a tenth and a hundredth of a degree.
    (channel::TEMPERATURE, -100.0..=300.0),
    // It excludes the largest number of 32 bits.
    (channel::CYCLES, 0.0..=1e6),
];
/// Plausible temperatures of any part of a plant, °C.
const TEMPERATURES: RangeInclusive<f64> = -100.0..=300.0;
/// Plausible frequencies of a grid, Hz; the largest number of 16 bits at a hundredth of a hertz is 655.35.
const FREQUENCIES: RangeInclusive<f64> = 0.0..=500.0;
/// Plausible states of health, %: a new battery can have more than its rated capacity.
const STATES_OF_HEALTH: RangeInclusive<f64> = 0.0..=150.0;

/// The values that a point can have: those of its channel, extended by what its profile explicitly allows.
pub(super) fn plausible_range(point: &Point) -> RangeInclusive<f64> {
    let known = BY_CHANNEL.iter().find(|(name, _)| *name == point.channel).map(|(_, range)| range.clone());
    let Some(range) = known.or_else(|| range_of_quantity(point)) else { return f64::MIN..=f64::MAX };
    let (min, max) = (point.min.unwrap_or(*range.start()), point.max.unwrap_or(*range.end()));
    range.start().min(min)..=range.end().max(max)
}

/// The range of a quantity that is recognised by its unit, or by its unit and a word of its name.
fn range_of_quantity(point: &Point) -> Option<RangeInclusive<f64>> {
    match point.unit.as_str() {
        "Cel" => Some(TEMPERATURES),
        "Hz" if has_word(point, &["hz", "freq", "frequency"]) => Some(FREQUENCIES),
        "%" if has_word(point, &["soc"]) => Some(0.0..=100.0),
        "%" if has_word(point, &["soh"]) => Some(STATES_OF_HEALTH),
        _ => None,
    }
}

fn has_word(point: &Point, words: &[&str]) -> bool {
    let names = [point.channel.as_str(), point.name.as_str()];
    let mut parts = names.iter().flat_map(|name| name.split('_'));
    parts.any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Format, Layout, Table};

    #[test]
    fn known_quantities_have_a_range_and_others_none() {
        let check = |channel: &str, unit: &str, expected: RangeInclusive<f64>| {
            let plain = Point::new(channel, Table::Holding, 0, Layout::plain(Format::UInt16));
            assert_eq!(plausible_range(&Point { unit: unit.into(), ..plain }), expected, "{channel}");
        };
        check("soc_pct", "%", 0.0..=100.0);
        check("m802_SoC", "%", 0.0..=100.0);
        check("battery_soh", "%", 0.0..=150.0);
        check("m103_Hz", "Hz", 0.0..=500.0);
        check("grid_frequency", "Hz", 0.0..=500.0);
        check("cabinet", "Cel", -100.0..=300.0);
        for (channel, unit) in [("switching", "Hz"), ("fan", "%"), ("soc_energy", "kWh"), ("voltage", "V")] {
            check(channel, unit, f64::MIN..=f64::MAX);
        }
    }

    #[test]
    fn a_profile_can_extend_the_range_but_not_narrow_it() {
        let plain = Point::new("soc_pct", Table::Holding, 0, Layout::plain(Format::UInt16));
        let point = Point { min: Some(10.0), max: Some(110.0), ..plain };
        assert_eq!(plausible_range(&point), 0.0..=110.0);
    }
}
