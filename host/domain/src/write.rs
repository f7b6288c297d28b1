//! What is sent to write a point: the value checked, scaled back and rounded.

use crate::profile::{Access, Point};
use crate::register::{Table, UnitId};

/// A function that writes (Modbus Application Protocol V1.1b3 §6.5, 6.6, 6.11, 6.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFunction {
    /// 5: one coil.
    Coil,
    /// 6: one register.
    Register,
    /// 15: coils.
    Coils,
    /// 16: registers.
    Registers,
}

impl WriteFunction {
    /// By its number.
    pub const fn numbered(number: u8) -> Option<Self> {
        match number {
            5 => Some(Self::Coil),
            6 => Some(Self::Register),
            15 => Some(Self::Coils),
            16 => Some(Self::Registers),
            _ => None,
        }
    }

    /// Its number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Coil => 5,
            Self::Register => 6,
            Self::Coils => 15,
            Self::Registers => 16,
        }
    }

    /// Why it cannot write a point of that table and width, if so.
    pub fn unsuited(self, table: Table, width: u16) -> Option<&'static str> {
        match (self, table) {
            (_, Table::Discrete | Table::Input) => Some("nothing writes discrete inputs and input registers"),
            (Self::Coil | Self::Coils, Table::Holding) => Some("registers are written with function 6 or 16"),
            (Self::Register | Self::Registers, Table::Coil) => Some("coils are written with function 5 or 15"),
            (Self::Register, Table::Holding) if width != 1 => Some("function 6 writes one register; write 16"),
            _ => None,
        }
    }
}

/// One request that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whom to write to.
    pub unit: UnitId,
    /// With which function.
    pub function: WriteFunction,
    /// First register, or coil.
    pub address: u16,
    /// Registers; coils as 0 or 1.
    pub words: Vec<u16>,
}

/// Why a value is not written.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// The profile does not let it be written.
    #[error("{0} is only read: its profile says access = \"R\"")]
    ReadOnly(String),
    /// It is not a number.
    #[error("{0} cannot be set to {1}: write a number")]
    NotANumber(String, f64),
    /// It is outside the profile's range.
    #[error("{name} cannot be set to {value}: its profile allows {min} to {max}")]
    OutOfRange {
        /// The point's name.
        name: String,
        /// What was to be written.
        value: f64,
        /// The least that may be, in the same unit.
        min: f64,
        /// The greatest that may be.
        max: f64,
    },
    /// The scale factor's register said that there is none.
    #[error("{0} cannot be set: the register of its scale factor gives none")]
    NoScale(String),
}

impl Point {
    /// The function that writes it: the profile's, else 5 or 6 for a single one and 16 for more.
    pub fn function(&self) -> WriteFunction {
        self.write_function.unwrap_or(match self.table {
            Table::Coil | Table::Discrete => WriteFunction::Coil,
            _ if self.layout.format.width() == 1 => WriteFunction::Register,
            _ => WriteFunction::Registers,
        })
    }

    /// The request that sets it to a value in its unit; `exponent` is what its scale factor's register said, if it has one.
    pub fn write(&self, value: f64, exponent: Option<i32>, unit: UnitId) -> Result<Write, Refusal> {
        if self.access == Access::Read {
            return Err(Refusal::ReadOnly(self.name.clone()));
        }
        if !value.is_finite() || self.layout.format.is_text() {
            return Err(Refusal::NotANumber(self.name.clone(), value));
        }
        let scaling = match (self.scale_register, exponent) {
            (None, _) => self.scaling,
            (Some(_), Some(exponent)) => self.scaling.times_ten_to(exponent),
            (Some(_), None) => return Err(Refusal::NoScale(self.name.clone())),
        };
        let raw = scaling.invert(value);
        let holds = self.layout.format.range();
        let (one, other) = (scaling.apply(*holds.start()), scaling.apply(*holds.end()));
        let min = self.min.unwrap_or(f64::NEG_INFINITY).max(one.min(other));
        let max = self.max.unwrap_or(f64::INFINITY).min(one.max(other));
        // Beside the range in the unit the rounded number itself must fit: the last digit may be a half too far.
        if !(min..=max).contains(&value) || !self.layout.format.holds(raw) {
            return Err(Refusal::OutOfRange { name: self.name.clone(), value, min, max });
        }
        Ok(Write {
            unit: self.unit_id.unwrap_or(unit),
            function: self.function(),
            address: self.address,
            words: self.layout.encode(raw),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::register::{Format, Layout, Scaling};

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
    fn values_are_scaled_back_and_rounded() {
        assert_eq!(words(&point(Format::Int16, 0.1), 72.34), [723]);
        assert_eq!(words(&point(Format::Int16, 0.1), 72.36), [724]);
        assert_eq!(words(&point(Format::Int16, 0.1), -0.3), [0xfffd]);
        assert_eq!(words(&point(Format::Int32, -0.001), 8.55), [0xffff, 0xde9a]);
        assert_eq!(words(&point(Format::Float32, 1.0), 10.0), [0x4120, 0]);
        let factor = Point { scale_register: Some(41), ..point(Format::UInt16, 1.0) };
        assert_eq!(factor.write(12.5, Some(-1), UnitId(1)).unwrap().words, [125]);
        assert_eq!(factor.write(12.5, None, UnitId(1)), Err(Refusal::NoScale("p".into())));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
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
        assert_eq!(refused(&read, 1.0), "p is only read: its profile says access = \"R\"");
    }

    #[test]
    fn functions() {
        let coil = Point { access: Access::Write, ..Point::new("c", Table::Coil, 9, Layout::plain(Format::Bool)) };
        let write = coil.write(1.0, None, UnitId(7)).unwrap();
        assert_eq!(
            (write.unit, write.function, write.address, write.words),
            (UnitId(7), WriteFunction::Coil, 9, vec![1])
        );
        assert_eq!(point(Format::Int16, 1.0).function(), WriteFunction::Register);
        assert_eq!(point(Format::Int32, 1.0).function(), WriteFunction::Registers);
        let chosen = Point { write_function: Some(WriteFunction::Registers), ..point(Format::Int16, 1.0) };
        assert_eq!(chosen.function(), WriteFunction::Registers);
        assert!(WriteFunction::Register.unsuited(Table::Holding, 2).is_some());
        assert!(WriteFunction::Register.unsuited(Table::Coil, 1).is_some());
        assert!(WriteFunction::Registers.unsuited(Table::Input, 2).is_some());
        for number in [5, 6, 15, 16] {
            assert_eq!(WriteFunction::numbered(number).map(WriteFunction::number), Some(number));
        }
    }
}
