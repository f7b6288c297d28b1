//! The request that writes a point: the value is checked, converted to a raw number and rounded.

use std::time::Duration;

use crate::profile::{Access, Point};
use crate::register::{Scaling, UnitId, WriteFunction};

/// How long a device may take to show a written value, unless the profile says otherwise.
pub const DEFAULT_SETTLE: Duration = Duration::from_secs(5);

/// The part of a float by which a device may round it.
const FLOAT_TOLERANCE: f64 = 1e-6;

/// One request that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRequest {
    /// The unit to write to.
    pub unit: UnitId,
    /// The function to use.
    pub function: WriteFunction,
    /// First register, or coil.
    pub address: u16,
    /// Registers; coils as 0 or 1.
    pub words: Vec<u16>,
}

/// Why a value cannot be written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WriteError {
    /// The profile does not allow it.
    #[error("{0} is read-only: its profile has access = \"R\"")]
    ReadOnly(String),
    /// No public source confirms the register.
    #[error("{0} is never written: its profile has unverified = true, because no public source confirms the register")]
    Unverified(String),
    /// Nobody has confirmed it.
    #[error("{0} is marked as dangerous in its profile{1}: check the value, and add --yes to write it")]
    Unconfirmed(String, String),
    /// The value is not a number.
    #[error("{0} cannot be set to {1}: write a number")]
    NotANumber(String, f64),
    /// The value is outside the profile's range.
    #[error("{name} cannot be set to {value}: its profile allows {min} to {max}")]
    OutOfRange {
        /// The point's name.
        name: String,
        /// The requested value.
        value: f64,
        /// The smallest allowed value, in the same unit.
        min: f64,
        /// The largest allowed value.
        max: f64,
    },
    /// The register of the scale factor holds none.
    #[error("{0} cannot be set: the register of its scale factor holds no valid factor")]
    NoScale(String),
}

impl Point {
    /// Refuses the write of a dangerous point that no person has confirmed.
    ///
    /// # Errors
    /// If the profile marks it as dangerous and the write is not confirmed.
    pub fn check_confirmation(&self, is_confirmed: bool) -> Result<(), WriteError> {
        if !self.dangerous || is_confirmed {
            return Ok(());
        }
        let about = if self.description.is_empty() { String::new() } else { format!(" ({})", self.description) };
        Err(WriteError::Unconfirmed(self.name.clone(), about))
    }

    /// The value that the device shows if it takes the write; `exponent` as in [`write`](Self::write).
    pub fn written_value(&self, write: &WriteRequest, exponent: Option<i32>) -> Option<f64> {
        Some(self.scaling_with(exponent)?.to_value(self.layout.decode(&write.words)?))
    }

    /// Whether a value that was read is the expected one, within half of the register's last digit.
    pub fn is_same_value(&self, read: f64, expected: f64, exponent: Option<i32>) -> bool {
        let Some(scaling) = self.scaling_with(exponent) else { return false };
        let last_digit = (scaling.to_value(1.0) - scaling.to_value(0.0)).abs();
        let tolerance = if self.layout.format.is_float() { expected.abs() * FLOAT_TOLERANCE } else { last_digit / 2.0 };
        (read - expected).abs() <= tolerance
    }

    fn scaling_with(&self, exponent: Option<i32>) -> Option<Scaling> {
        match (self.scale_register, exponent) {
            (None, _) => Some(self.scaling),
            (Some(_), exponent) => Some(self.scaling.times_ten_to(exponent?)),
        }
    }

    /// A value with the point's unit as people write it.
    pub fn with_unit(&self, value: f64) -> String {
        format!("{value} {}", displayed_unit(&self.unit)).trim_end().to_owned()
    }

    /// The request that sets it to a value in its unit; `exponent` was read from the register of its scale factor, if
    /// it has one.
    pub fn write(&self, value: f64, exponent: Option<i32>, unit: UnitId) -> Result<WriteRequest, WriteError> {
        if self.access == Access::Read {
            return Err(WriteError::ReadOnly(self.name.clone()));
        }
        if self.unverified {
            return Err(WriteError::Unverified(self.name.clone()));
        }
        if !value.is_finite() || self.layout.format.is_text() {
            return Err(WriteError::NotANumber(self.name.clone(), value));
        }
        let scaling = self.scaling_with(exponent).ok_or_else(|| WriteError::NoScale(self.name.clone()))?;
        let raw = scaling.to_raw(value);
        let range = self.layout.format.range();
        let (one, other) = (scaling.to_value(*range.start()), scaling.to_value(*range.end()));
        let min = self.min.unwrap_or(f64::NEG_INFINITY).max(one.min(other));
        let max = self.max.unwrap_or(f64::INFINITY).min(one.max(other));
        // The raw number is checked too: rounding can exceed the format's range by half a digit.
        if !(min..=max).contains(&value) || !self.layout.format.holds(raw) {
            return Err(WriteError::OutOfRange { name: self.name.clone(), value, min, max });
        }
        Ok(WriteRequest {
            unit: self.unit_id.unwrap_or(unit),
            function: self.write_function_or_default(),
            address: self.address,
            words: self.layout.encode(raw),
        })
    }
}

/// A unit as people write it; empty for a number without a unit.
pub fn displayed_unit(unit: &str) -> &str {
    match unit {
        "1" => "",
        "Cel" => "°C",
        unit => unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Format, Layout, Table};

    fn point(format: Format, scale: f64) -> Point {
        Point {
            access: Access::ReadWrite,
            scaling: Scaling::new(scale, 0.0).unwrap(),
            ..Point::new("p", Table::Holding, 40, Layout::plain(format))
        }
    }

    fn words(point: &Point, value: f64) -> Vec<u16> {
        point.write(value, None, UnitId(1)).unwrap().words
    }

    #[test]
    fn values_are_converted_to_raw_numbers_and_rounded() {
        assert_eq!(words(&point(Format::Int16, 0.1), 72.34), [723]);
        assert_eq!(words(&point(Format::Int16, 0.1), 72.36), [724]);
        assert_eq!(words(&point(Format::Int16, 0.1), -0.3), [0xfffd]);
        assert_eq!(words(&point(Format::Int32, -0.001), 8.55), [0xffff, 0xde9a]);
        assert_eq!(words(&point(Format::Float32, 1.0), 10.0), [0x4120, 0]);
        let factor = Point { scale_register: Some(41), ..point(Format::UInt16, 1.0) };
        assert_eq!(factor.write(12.5, Some(-1), UnitId(1)).unwrap().words, [125]);
        assert_eq!(factor.write(12.5, None, UnitId(1)), Err(WriteError::NoScale("p".into())));
    }

    #[test]
    fn values_out_of_range_and_read_only_points_are_refused() {
        let refused = |point: &Point, value: f64| point.write(value, None, UnitId(1)).unwrap_err().to_string();
        let narrow = Point { min: Some(0.0), max: Some(100.0), ..point(Format::UInt16, 0.1) };
        assert_eq!(refused(&narrow, 100.1), "p cannot be set to 100.1: its profile allows 0 to 100");
        assert_eq!(refused(&narrow, -0.1), "p cannot be set to -0.1: its profile allows 0 to 100");
        assert_eq!(refused(&narrow, f64::NAN), "p cannot be set to NaN: write a number");
        assert_eq!(
            refused(&point(Format::Int16, 1.0), 32_768.0),
            "p cannot be set to 32768: its profile allows -32768 to 32767"
        );
        let read = Point { access: Access::Read, ..point(Format::Int16, 1.0) };
        assert_eq!(refused(&read, 1.0), "p is read-only: its profile has access = \"R\"");
        let unverified = Point { unverified: true, ..point(Format::Int16, 1.0) };
        let reason = "its profile has unverified = true, because no public source confirms the register";
        assert_eq!(refused(&unverified, 1.0), format!("p is never written: {reason}"));
        assert!(!unverified.to_channel().writable && unverified.access.is_read());
    }

    #[test]
    fn the_expected_value_is_the_rounded_one() {
        let expected = |point: &Point, value: f64, exponent| {
            let write = point.write(value, exponent, UnitId(1)).unwrap();
            point.written_value(&write, exponent).unwrap()
        };
        let tenths = point(Format::Int16, 0.1);
        assert_eq!(expected(&tenths, 72.34, None), 72.3);
        assert!(tenths.is_same_value(72.3, 72.3, None) && !tenths.is_same_value(72.4, 72.3, None));
        assert_eq!(expected(&point(Format::Float32, 1.0), 50.01, None), 50.01);
        let factor = Point { scale_register: Some(41), unit: "%".into(), ..point(Format::UInt16, 1.0) };
        assert_eq!(expected(&factor, 12.52, Some(-1)), 12.5);
        assert!(!factor.is_same_value(12.5, 12.5, None), "without the factor nothing is known");
        assert_eq!((factor.with_unit(12.5), tenths.with_unit(3.0)), ("12.5 %".into(), "3".into()));
    }

    #[test]
    fn a_dangerous_point_has_to_be_confirmed() {
        let dangerous = Point { dangerous: true, description: "grid code".into(), ..point(Format::UInt16, 1.0) };
        let expected =
            "p is marked as dangerous in its profile (grid code): check the value, and add --yes to write it";
        assert_eq!(dangerous.check_confirmation(false).unwrap_err().to_string(), expected);
        assert_eq!((dangerous.check_confirmation(true), tenths().check_confirmation(false)), (Ok(()), Ok(())));
    }

    fn tenths() -> Point {
        point(Format::Int16, 0.1)
    }

    #[test]
    fn each_point_is_written_with_a_function_that_suits_it() {
        let coil = Point { access: Access::Write, ..Point::new("c", Table::Coil, 9, Layout::plain(Format::Bool)) };
        let write = coil.write(1.0, None, UnitId(7)).unwrap();
        assert_eq!(
            (write.unit, write.function, write.address, write.words),
            (UnitId(7), WriteFunction::Coil, 9, vec![1])
        );
        assert_eq!(point(Format::Int16, 1.0).write_function_or_default(), WriteFunction::Register);
        assert_eq!(point(Format::Int32, 1.0).write_function_or_default(), WriteFunction::Registers);
        let chosen = Point { write_function: Some(WriteFunction::Registers), ..point(Format::Int16, 1.0) };
        assert_eq!(chosen.write_function_or_default(), WriteFunction::Registers);
        assert!(WriteFunction::Register.incompatibility(Table::Holding, 2).is_some());
        assert!(WriteFunction::Register.incompatibility(Table::Coil, 1).is_some());
        assert!(WriteFunction::Registers.incompatibility(Table::Input, 2).is_some());
        let functions = [5, 6, 15, 16, 3].map(WriteFunction::from_code);
        let expected = [WriteFunction::Coil, WriteFunction::Register, WriteFunction::Coils, WriteFunction::Registers];
        assert_eq!(functions.as_slice(), [expected.map(Some).as_slice(), &[None]].concat());
    }
}
