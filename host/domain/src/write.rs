//! The request that writes a point: the value is checked, converted to a raw number and rounded.

use crate::profile::{Access, Point};
use crate::register::{UnitId, WriteFunction};

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
        let scaling = match (self.scale_register, exponent) {
            (None, _) => self.scaling,
            (Some(_), Some(exponent)) => self.scaling.times_ten_to(exponent),
            (Some(_), None) => return Err(WriteError::NoScale(self.name.clone())),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Format, Layout, Scaling, Table};

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
