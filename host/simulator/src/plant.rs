//! A battery behind the registers of a profile: what a device of that model would answer, and how it obeys.

mod command;
mod instruments;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::profile::{Access, Point, Profile};
use bessai_domain::register::{self, Format, Layout};

use self::instruments::Shown;
use crate::battery::{Battery, State};
use crate::registers::{Memory, Registers, Table};

/// A simulated battery that lives in the registers of a device.
#[derive(Debug)]
pub struct Plant {
    battery: Battery,
    profile: Profile,
    registers: Registers,
}

/// Where a word is kept.
type Place = (u8, Table, u16);

impl Plant {
    /// A battery whose simulated day takes `day`, shown at once.
    #[must_use]
    pub fn new(profile: Profile, registers: Registers, day: Duration) -> Self {
        let battery = Battery::new(day);
        show(&battery.state(), &profile, &registers);
        Self { battery, profile, registers }
    }

    /// Lets `elapsed` of real time pass, in which the battery follows the set-point that a client has written, if any.
    pub fn advance(&mut self, elapsed: Duration) {
        self.battery.command(command::power_kw(&self.profile, &self.registers));
        self.battery.advance(elapsed);
        show(&self.battery.state(), &self.profile, &self.registers);
    }

    /// The battery's instruments now.
    #[must_use]
    pub fn state(&self) -> State {
        self.battery.state()
    }
}

/// Writes a battery's state into every register of a profile, all at once. What clients may write keeps its value once it
/// has one.
pub fn show(state: &State, profile: &Profile, registers: &Registers) {
    let exponents = exponents(profile);
    registers.revise(|memory| {
        for (&(unit, table, address), &exponent) in &exponents {
            memory.set(unit, table, address, &Layout::plain(Format::Int16).encode(f64::from(exponent)));
        }
        for point in &profile.points {
            let (unit, table, address) = place(profile, point);
            let is_known = memory.get(unit, table, address, point.layout.format.width()).is_some();
            let is_scale_factor = exponents.contains_key(&(unit, table, address));
            if !is_scale_factor && (point.access == Access::Read || !is_known) {
                let exponent = scale_place(profile, point).and_then(|place| exponents.get(&place).copied());
                show_point(memory, (unit, table, address), point, instruments::shown(state, profile, point), exponent);
            }
        }
    });
}

fn show_point(memory: &mut Memory, place: Place, point: &Point, shown: Shown, exponent: Option<i32>) {
    let (unit, table, address) = place;
    let format = point.layout.format;
    let words = match (shown, format) {
        (Shown::Text(text), Format::Text(registers, layout)) => {
            let mut text = text;
            // Every character of these texts is one byte.
            text.truncate(usize::from(registers));
            layout.encode(&text, registers).unwrap_or_default()
        }
        (Shown::Text(_), _) => return,
        (Shown::Raw(raw), _) => with_other_bits(memory, place, point, raw),
        (Shown::Value(value), _) => {
            let scaling = point.scaling.times_ten_to(exponent.unwrap_or(0));
            with_other_bits(memory, place, point, fitting(format, scaling.invert(value)))
        }
    };
    memory.set(unit, table, address, &words);
}

/// The registers of a number; where a point is only some bits of them, the others stay.
fn with_other_bits(memory: &Memory, (unit, table, address): Place, point: &Point, raw: f64) -> Vec<u16> {
    let Some(range) = point.layout.bits else { return point.layout.encode(raw) };
    let whole = Layout { bits: None, ..point.layout };
    let before = memory.get(unit, table, address, whole.format.width()).and_then(|words| whole.raw_bits(&words));
    let mask = u64::MAX.checked_shr(64_u32.saturating_sub(u32::from(range.count))).unwrap_or(0);
    let wanted = Layout::plain(Format::UInt64).raw_bits(&Layout::plain(Format::UInt64).encode(raw)).unwrap_or(0);
    let first = u32::from(range.first);
    let shifted = |bits: u64| bits.checked_shl(first).unwrap_or(0);
    let bits = before.unwrap_or(0) & !shifted(mask) | shifted(wanted & mask);
    whole.number(bits).map_or_else(Vec::new, |number| whole.encode(number))
}

/// A raw number that the format can hold: a smaller plant's, or one without a sign, where this one's is too large.
fn fitting(format: Format, raw: f64) -> f64 {
    let range = format.range();
    let signed = if raw < 0.0 && *range.start() >= 0.0 { -raw } else { raw };
    // From the largest double down to the smallest format takes no more tenths than this.
    let smaller = (0..=308).map(|tenths| signed / 10_f64.powi(tenths));
    smaller.into_iter().find(|raw| format.holds(*raw)).unwrap_or(0.0)
}

/// What each register with a scale factor holds: the smallest exponent with which the largest value of the plant fits.
fn exponents(profile: &Profile) -> BTreeMap<Place, i32> {
    let mut exponents = BTreeMap::new();
    for point in &profile.points {
        let Some(place) = scale_place(profile, point) else { continue };
        let fits = |exponent: &i32| {
            let scaling = point.scaling.times_ten_to(*exponent);
            point.layout.format.holds(scaling.invert(instruments::largest(&point.unit)))
        };
        let smallest = (-3..=5).find(fits).unwrap_or(0);
        let exponent: &mut i32 = exponents.entry(place).or_insert(smallest);
        *exponent = smallest.max(*exponent);
    }
    exponents
}

fn scale_place(profile: &Profile, point: &Point) -> Option<Place> {
    let (unit, table, _) = place(profile, point);
    Some((unit, table, point.scale_register?))
}

fn place(profile: &Profile, point: &Point) -> Place {
    let table = match point.table {
        register::Table::Coil => Table::Coil,
        register::Table::Discrete => Table::Discrete,
        register::Table::Holding => Table::Holding,
        register::Table::Input => Table::Input,
    };
    (point.unit_id.unwrap_or(profile.unit).0, table, point.address)
}
