//! The number formats and texts that registers hold.

use std::ops::RangeInclusive;

use half::f16;

use super::text::TextLayout;

/// What the bits of a value mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Format {
    /// One coil or discrete input.
    Bool,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int48,
    UInt48,
    Int64,
    UInt64,
    Float16,
    Float32,
    Float64,
    /// Binary-coded decimal: four digits per register, unsigned.
    Bcd16,
    Bcd32,
    Bcd48,
    Bcd64,
    /// Characters in this number of registers.
    Text(u16, TextLayout),
}

impl Format {
    /// Every number format with its name in profiles.
    pub const NAMES: [(&'static str, Self); 16] = [
        ("int16", Self::Int16),
        ("uint16", Self::UInt16),
        ("int32", Self::Int32),
        ("uint32", Self::UInt32),
        ("int48", Self::Int48),
        ("uint48", Self::UInt48),
        ("int64", Self::Int64),
        ("uint64", Self::UInt64),
        ("float16", Self::Float16),
        ("float32", Self::Float32),
        ("float64", Self::Float64),
        ("bcd16", Self::Bcd16),
        ("bcd32", Self::Bcd32),
        ("bcd48", Self::Bcd48),
        ("bcd64", Self::Bcd64),
        ("bool", Self::Bool),
    ];

    /// The number format with this name, in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, format)| format)
    }

    /// Its name in profiles.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("string", |&(name, _)| name)
    }

    /// Registers that one value occupies; bits, in a table of bits.
    pub const fn width(self) -> u16 {
        match self {
            Self::Bool | Self::Int16 | Self::UInt16 | Self::Float16 | Self::Bcd16 => 1,
            Self::Int32 | Self::UInt32 | Self::Float32 | Self::Bcd32 => 2,
            Self::Int48 | Self::UInt48 | Self::Bcd48 => 3,
            Self::Int64 | Self::UInt64 | Self::Float64 | Self::Bcd64 => 4,
            Self::Text(registers, _) => registers,
        }
    }

    /// Whether its values are text instead of numbers.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text(..))
    }

    /// Whether it is a binary integer, whose single bits can be read.
    pub(crate) const fn has_bits(self) -> bool {
        matches!(
            self,
            Self::Int16
                | Self::UInt16
                | Self::Int32
                | Self::UInt32
                | Self::Int48
                | Self::UInt48
                | Self::Int64
                | Self::UInt64
        )
    }

    /// The raw numbers that it can hold; above 2^53 only those that a double can represent.
    #[allow(clippy::cast_precision_loss, reason = "the limits of 64 bits are rounded to a double")]
    pub fn range(self) -> RangeInclusive<f64> {
        const INT48: f64 = 140_737_488_355_328.0;
        match self {
            Self::Bool => 0.0..=1.0,
            Self::Int16 => f64::from(i16::MIN)..=f64::from(i16::MAX),
            Self::UInt16 => 0.0..=f64::from(u16::MAX),
            Self::Int32 => f64::from(i32::MIN)..=f64::from(i32::MAX),
            Self::UInt32 => 0.0..=f64::from(u32::MAX),
            Self::Int48 => -INT48..=INT48 - 1.0,
            Self::UInt48 => 0.0..=INT48 * 2.0 - 1.0,
            Self::Int64 => i64::MIN as f64..=i64::MAX as f64,
            Self::UInt64 => 0.0..=u64::MAX as f64,
            Self::Float16 => f16::MIN.to_f64()..=f16::MAX.to_f64(),
            Self::Float32 => f64::from(f32::MIN)..=f64::from(f32::MAX),
            Self::Float64 => f64::MIN..=f64::MAX,
            Self::Bcd16 => 0.0..=9_999.0,
            Self::Bcd32 => 0.0..=99_999_999.0,
            Self::Bcd48 => 0.0..=999_999_999_999.0,
            Self::Bcd64 => 0.0..=9_999_999_999_999_999.0,
            Self::Text(..) => 0.0..=0.0,
        }
    }

    /// Whether it can hold a raw number after rounding.
    pub fn holds(self, raw: f64) -> bool {
        self.range().contains(&if self.is_float() { raw } else { raw.round() })
    }

    pub(crate) const fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
    }
}
