//! A battery behind the registers of a profile: what a device of that model would answer, and how it follows commands.

mod command;
mod distortion;
mod instruments;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use bessai_domain::profile::{Access, Point, Profile};
use bessai_domain::register::{Format, Layout};

pub use self::distortion::Distortion;
use self::distortion::Measurements;
use self::instruments::Displayed;
use crate::battery::{Battery, BatteryState};
use crate::registers::{Memory, Registers, Table};

/// A simulated battery behind the registers of a device.
#[derive(Debug)]
pub struct Plant {
    battery: Battery,
    profile: Profile,
    registers: Registers,
    /// The power of the operator's own plan, instead of the day's schedule.
    planned_kw: Option<f64>,
    measurements: Measurements,
}

/// The position of a word: unit, table and address.
type Position = (u8, Table, u16);

impl Plant {
    /// A battery whose simulated day takes `day`; the registers show its first state.
    #[must_use]
    pub fn new(profile: Profile, registers: Registers, day: Duration) -> Self {
        let battery = Battery::new(day);
        write_state(&battery.state(), &profile, &registers);
        Self { battery, profile, registers, planned_kw: None, measurements: Measurements::default() }
    }

    /// Advances by `elapsed` of real time, in which the battery follows the set-point that a client has written, if any.
    pub fn advance(&mut self, elapsed: Duration) {
        self.battery.command(command::power_kw(&self.profile, &self.registers).or(self.planned_kw));
        self.battery.advance(elapsed);
        let shown = self.measurements.shown(self.battery.hours(), self.battery.state());
        write_state(&shown, &self.profile, &self.registers);
    }

    /// Follows this power, positive discharging, unless a client writes a set-point; with `None` the day's schedule.
    pub fn plan(&mut self, power_kw: Option<f64>) {
        self.planned_kw = power_kw;
    }

    /// Whether the measurements that are shown differ from the true ones by more than their noise. A frozen value of a battery
    /// at rest does not.
    #[must_use]
    pub fn is_distorted(&self) -> bool {
        self.measurements.is_distorted
    }

    /// Shows measurements that are wrong in this way from now on; with `None` the true ones.
    pub fn distort(&mut self, distortion: Option<Distortion>) {
        self.measurements.distort(distortion, self.battery.hours(), self.battery.state());
    }
}

/// Writes a battery's state into every register of a profile, as one change. Registers that clients may write keep the
/// value that they have.
fn write_state(state: &BatteryState, profile: &Profile, registers: &Registers) {
    let exponents = exponents(profile);
    registers.update(|memory| {
        for (&(unit, table, address), &exponent) in &exponents {
            memory.set(unit, table, address, &Layout::plain(Format::Int16).encode(f64::from(exponent)));
        }
        for point in &profile.points {
            let (unit, table, address) = position(profile, point);
            let is_known = memory.get(unit, table, address, point.layout.format.width()).is_some();
            let is_scale_factor = exponents.contains_key(&(unit, table, address));
            if !is_scale_factor && (point.access == Access::Read || !is_known) {
                let exponent = scale_position(profile, point).and_then(|position| exponents.get(&position).copied());
                let displayed = instruments::displayed(state, profile, point);
                write_point(memory, (unit, table, address), point, displayed, exponent);
            }
        }
    });
}

fn write_point(memory: &mut Memory, position: Position, point: &Point, displayed: Displayed, exponent: Option<i32>) {
    let (unit, table, address) = position;
    let format = point.layout.format;
    let words = match (displayed, format) {
        (Displayed::Text(text), Format::Text(registers, layout)) => {
            let mut text = text;
            // Each character of these texts is one byte.
            text.truncate(usize::from(registers));
            layout.encode(&text, registers).unwrap_or_default()
        }
        (Displayed::Text(_), _) => return,
        (Displayed::Raw(raw), _) => with_other_bits(memory, position, point, raw),
        (Displayed::Value(value), _) => {
            let scaling = point.scaling.times_ten_to(exponent.unwrap_or(0));
            with_other_bits(memory, position, point, fitting(format, scaling.to_raw(value)))
        }
    };
    memory.set(unit, table, address, &words);
}

/// The registers of a number; where a point has only some bits of them, the other bits keep their values.
fn with_other_bits(memory: &Memory, (unit, table, address): Position, point: &Point, raw: f64) -> Vec<u16> {
    let Some(range) = point.layout.bits else { return point.layout.encode(raw) };
    let width = point.layout.format.width();
    let whole = Layout { format: unsigned(width), bits: None, ..point.layout };
    let words = memory.get(unit, table, address, width).unwrap_or_else(|| vec![0; width.into()]);
    let number = |layout: Layout| layout.decode(&words).unwrap_or(0.0);
    let largest = 2_f64.powi(range.count.into()) - 1.0;
    let change = raw.round().clamp(0.0, largest) - number(point.layout);
    whole.encode(number(whole) + change * 2_f64.powi(range.first.into()))
}

/// The unsigned integer of so many registers.
fn unsigned(width: u16) -> Format {
    match width {
        1 => Format::UInt16,
        2 => Format::UInt32,
        3 => Format::UInt48,
        _ => Format::UInt64,
    }
}

/// A raw number that the format can hold: where this plant's is out of range, without its sign or divided by a power of ten,
/// as of a smaller plant.
fn fitting(format: Format, raw: f64) -> f64 {
    let range = format.range();
    let signed = if raw < 0.0 && *range.start() >= 0.0 { -raw } else { raw };
    // No format needs more divisions by ten than the largest double has decimal places.
    let smaller = (0..=308).map(|exponent| signed / 10_f64.powi(exponent));
    smaller.into_iter().find(|raw| format.holds(*raw)).unwrap_or(0.0)
}

/// The value of each scale factor register: the smallest exponent with which the largest value of the plant fits.
fn exponents(profile: &Profile) -> BTreeMap<Position, i32> {
    let mut exponents = BTreeMap::new();
    for point in &profile.points {
        let Some(position) = scale_position(profile, point) else { continue };
        let fits = |exponent: &i32| {
            let scaling = point.scaling.times_ten_to(*exponent);
            point.layout.format.holds(scaling.to_raw(instruments::largest(&point.unit)))
        };
        let smallest = (-3..=5).find(fits).unwrap_or(0);
        let exponent: &mut i32 = exponents.entry(position).or_insert(smallest);
        *exponent = smallest.max(*exponent);
    }
    exponents
}

fn scale_position(profile: &Profile, point: &Point) -> Option<Position> {
    let (unit, table, _) = position(profile, point);
    Some((unit, table, point.scale_register?))
}

fn position(profile: &Profile, point: &Point) -> Position {
    (point.unit_id.unwrap_or(profile.unit).0, point.table, point.address)
}
