//! Sixteen-bit registers to numbers (Modbus Application Protocol V1.1b3 §4.2; longer values by the device's manual).

/// Registers that one request may read, from the 253 bytes of a PDU.
pub const MAX_READ: u16 = 125;

/// A Modbus unit id: 1 to 247 on a serial line, 0 and 248 to 255 too on TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnitId(pub u8);

/// Where registers are kept, and the function that reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Function 3.
    Holding,
    /// Function 4.
    Input,
}

/// How a value lies in its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Format {
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Float32,
    Float64,
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The most significant first, the standard's own order.
    Big,
    /// The least significant first.
    Little,
}

impl Format {
    /// Every format with the name that profiles use.
    pub const NAMES: [(&'static str, Self); 8] = [
        ("int16", Self::Int16),
        ("uint16", Self::UInt16),
        ("int32", Self::Int32),
        ("uint32", Self::UInt32),
        ("int64", Self::Int64),
        ("uint64", Self::UInt64),
        ("float32", Self::Float32),
        ("float64", Self::Float64),
    ];

    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, format)| format)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("", |&(name, _)| name)
    }

    /// Registers that one value takes.
    pub const fn width(self) -> u16 {
        match self {
            Self::Int16 | Self::UInt16 => 1,
            Self::Int32 | Self::UInt32 | Self::Float32 => 2,
            Self::Int64 | Self::UInt64 | Self::Float64 => 4,
        }
    }
}

/// How a value is read out of its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What the bits mean.
    pub format: Format,
    /// Order of the two bytes of a register.
    pub bytes: Order,
    /// Order of the registers of a value.
    pub words: Order,
}

impl Layout {
    /// The number in these registers, before scaling. None when their count does not fit the format.
    ///
    /// Integers above 2^53 lose their last digits: a channel's value is a double.
    #[allow(clippy::cast_precision_loss, reason = "a channel's value is a double, as said above")]
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the low bits are what is wanted")]
    pub fn decode(self, registers: &[u16]) -> Option<f64> {
        if registers.len() != usize::from(self.format.width()) {
            return None;
        }
        let bits = self.bits(registers);
        Some(match self.format {
            Format::Int16 => f64::from(bits as u16 as i16),
            Format::UInt16 => f64::from(bits as u16),
            Format::Int32 => f64::from(bits as u32 as i32),
            Format::UInt32 => f64::from(bits as u32),
            Format::Int64 => bits as i64 as f64,
            Format::UInt64 => bits as f64,
            Format::Float32 => f64::from(f32::from_bits(bits as u32)),
            Format::Float64 => f64::from_bits(bits),
        })
    }

    /// The registers of a number before scaling, rounded and cut to what the format holds: [`decode`](Self::decode) turned
    /// round.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` from a float saturates")]
    pub fn encode(self, raw: f64) -> Vec<u16> {
        let whole = raw.round();
        let bits = match self.format {
            Format::Int16 => u64::from((whole as i16).cast_unsigned()),
            Format::UInt16 => u64::from(whole as u16),
            Format::Int32 => u64::from((whole as i32).cast_unsigned()),
            Format::UInt32 => u64::from(whole as u32),
            Format::Int64 => (whole as i64).cast_unsigned(),
            Format::UInt64 => whole as u64,
            Format::Float32 => u64::from((raw as f32).to_bits()),
            Format::Float64 => raw.to_bits(),
        };
        let register = |index: u16| {
            let register = (bits >> (16 * u32::from(index)) & 0xffff) as u16;
            if self.bytes == Order::Little { register.swap_bytes() } else { register }
        };
        match self.words {
            Order::Big => (0..self.format.width()).rev().map(register).collect(),
            Order::Little => (0..self.format.width()).map(register).collect(),
        }
    }

    fn bits(self, registers: &[u16]) -> u64 {
        let push = |bits: u64, register: &u16| {
            let register = if self.bytes == Order::Little { register.swap_bytes() } else { *register };
            bits << 16 | u64::from(register)
        };
        match self.words {
            Order::Big => registers.iter().fold(0, push),
            Order::Little => registers.iter().rev().fold(0, push),
        }
    }
}

/// From the raw number to the channel's unit: `raw × scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaling {
    factor: f64,
    // A decimal fraction such as 0.1 is not a double: dividing by 10 gives the digits that the device meant.
    divisor: f64,
    offset: f64,
}

impl Scaling {
    /// The raw number is the value.
    pub const NONE: Self = Self { factor: 1.0, divisor: 1.0, offset: 0.0 };

    /// By a finite factor other than zero, and a finite offset.
    pub fn new(scale: f64, offset: f64) -> Option<Self> {
        if !scale.is_finite() || scale == 0.0 || !offset.is_finite() {
            return None;
        }
        let (factor, divisor) = decimal_fraction(scale).unwrap_or((scale, 1.0));
        Some(Self { factor, divisor, offset })
    }

    /// The value of a raw number.
    pub fn apply(self, raw: f64) -> f64 {
        raw * self.factor / self.divisor + self.offset
    }

    /// The raw number of a value.
    pub fn invert(self, value: f64) -> f64 {
        (value - self.offset) * self.divisor / self.factor
    }

    /// The same, with the result multiplied by 10^exponent: a change of unit or a scale factor from another register.
    #[must_use]
    pub fn times_ten_to(self, exponent: i32) -> Self {
        let power = 10_f64.powi(exponent.abs());
        let offset = if exponent < 0 { self.offset / power } else { self.offset * power };
        if exponent < 0 {
            Self { divisor: self.divisor * power, offset, ..self }
        } else {
            Self { factor: self.factor * power, offset, ..self }
        }
    }

    /// The same with the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { factor: -self.factor, divisor: self.divisor, offset: -self.offset }
    }
}

/// A scale such as 0.25 or -0.001 as whole number over a power of ten.
fn decimal_fraction(scale: f64) -> Option<(f64, f64)> {
    const LONGEST: i32 = 9;
    (0..=LONGEST).map(|digits| 10_f64.powi(digits)).find_map(|power| {
        let whole = (scale * power).round();
        (whole != 0.0 && whole / power == scale).then_some((whole, power))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: Format, bytes: Order, words: Order, registers: &[u16], expected: f64) {
        let decoded = Layout { format, bytes, words }.decode(registers);
        assert_eq!(decoded, Some(expected), "{format:?} {bytes:?} {words:?} {registers:04x?}");
        assert_eq!(Layout { format, bytes, words }.encode(expected), registers, "{format:?} {bytes:?} {words:?}");
    }

    #[test]
    fn formats_in_the_standard_order() {
        use Order::Big;
        check(Format::Int16, Big, Big, &[0xff9c], -100.0);
        check(Format::UInt16, Big, Big, &[0xff9c], 65436.0);
        check(Format::Int32, Big, Big, &[0xffff, 0xde9a], -8550.0);
        check(Format::UInt32, Big, Big, &[0x0001, 0x86a0], 100_000.0);
        check(Format::Int64, Big, Big, &[0xffff, 0xffff, 0xffff, 0xfffe], -2.0);
        check(Format::UInt64, Big, Big, &[0, 1, 0, 0], 4_294_967_296.0);
        check(Format::Float32, Big, Big, &[0x4120, 0x0000], 10.0);
        check(Format::Float64, Big, Big, &[0x4024, 0, 0, 0], 10.0);
    }

    #[test]
    fn every_byte_and_word_order() {
        use Order::{Big, Little};
        check(Format::Float32, Big, Big, &[0x4120, 0x0000], 10.0);
        check(Format::Float32, Big, Little, &[0x0000, 0x4120], 10.0);
        check(Format::Float32, Little, Big, &[0x2041, 0x0000], 10.0);
        check(Format::Float32, Little, Little, &[0x0000, 0x2041], 10.0);
        check(Format::UInt16, Little, Big, &[0x3412], f64::from(0x1234));
        check(Format::UInt64, Big, Little, &[4, 3, 2, 1], 281_483_566_841_860.0);
    }

    #[test]
    fn a_wrong_count_is_no_value() {
        let layout = Layout { format: Format::Int32, bytes: Order::Big, words: Order::Big };
        assert_eq!(layout.decode(&[1]), None);
        assert_eq!(layout.decode(&[1, 2, 3]), None);
    }

    #[test]
    fn scaling_gives_the_digits_that_were_meant() {
        let check = |scale: f64, offset: f64, raw: f64, expected: f64| {
            let scaling = Scaling::new(scale, offset).unwrap();
            assert_eq!(scaling.apply(raw), expected, "{raw} × {scale} + {offset}");
            assert!((scaling.invert(expected) - raw).abs() < 1e-6 * raw.abs(), "{raw} × {scale} + {offset}");
        };
        check(0.1, 0.0, 723.0, 72.3);
        check(0.01, 0.0, 7.0, 0.07);
        check(-0.001, 0.0, 2500.0, -2.5);
        check(0.25, -40.0, 273.0, 28.25);
        check(10.0, 0.0, 7.0, 70.0);
        check(1e-12, 0.0, 1e12, 1.0);
        assert_eq!(Scaling::new(0.0, 0.0), None);
        assert_eq!(Scaling::new(f64::NAN, 0.0), None);
        assert_eq!(Scaling::NONE.times_ten_to(-3).negated().apply(1500.0), -1.5);
        assert_eq!(Scaling::NONE.times_ten_to(2).apply(3.0), 300.0);
    }
}
