//! What the bits of one value mean, and in which order its bytes come.

use std::ops::RangeInclusive;

use half::f16;

use super::TextLayout;

/// How a value lies in its registers.
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
    /// Four decimal digits to a register, without a sign.
    Bcd16,
    Bcd32,
    Bcd48,
    Bcd64,
    /// Characters in so many registers.
    Text(u16, TextLayout),
}

/// Which end comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The most significant first, the standard's own order.
    Big,
    /// The least significant first.
    Little,
}

/// Some bits of a value, counted from the least significant one, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRange {
    /// The lowest bit.
    pub first: u8,
    /// How many, at least 1.
    pub count: u8,
}

impl Format {
    /// Every format of numbers with the name that profiles use.
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

    /// By its name, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|&(_, format)| format)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, format)| *format == self).map_or("string", |&(name, _)| name)
    }

    /// Registers that one value takes; bits, in a table of bits.
    pub const fn width(self) -> u16 {
        match self {
            Self::Bool | Self::Int16 | Self::UInt16 | Self::Float16 | Self::Bcd16 => 1,
            Self::Int32 | Self::UInt32 | Self::Float32 | Self::Bcd32 => 2,
            Self::Int48 | Self::UInt48 | Self::Bcd48 => 3,
            Self::Int64 | Self::UInt64 | Self::Float64 | Self::Bcd64 => 4,
            Self::Text(registers, _) => registers,
        }
    }

    /// Whether its values are texts rather than numbers.
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Text(..))
    }

    /// Whether it is a whole number in binary, of which single bits may be taken.
    pub const fn has_bits(self) -> bool {
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

    /// The raw numbers that it can hold. From 2^53 on only those that a double can name.
    #[allow(clippy::cast_precision_loss, reason = "the ends of 64 bits, as said above")]
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

    /// Whether a raw number, rounded, is one that it can hold.
    pub fn holds(self, raw: f64) -> bool {
        self.range().contains(&if self.is_float() { raw } else { raw.round() })
    }

    const fn is_float(self) -> bool {
        matches!(self, Self::Float16 | Self::Float32 | Self::Float64)
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
    /// The two halves of a 64-bit value change places after that, as in `EFGHABCD`.
    pub halves_swapped: bool,
    /// Only these bits of it.
    pub bits: Option<BitRange>,
}

impl Layout {
    /// In the standard's own order, all bits of it.
    pub const fn plain(format: Format) -> Self {
        Self { format, bytes: Order::Big, words: Order::Big, halves_swapped: false, bits: None }
    }

    /// With the order that letters tell, A being the most significant byte: `CDAB` for a value of two registers.
    /// None where no device is known to send that.
    #[must_use]
    pub fn ordered(self, letters: &str) -> Option<Self> {
        let orders = [Order::Big, Order::Little];
        let swaps = if self.format.width() == 4 { [false, true].as_slice() } else { [false].as_slice() };
        let all = orders.iter().flat_map(|bytes| orders.iter().map(move |words| (*bytes, *words)));
        let mut all = all.flat_map(|(bytes, words)| swaps.iter().map(move |swapped| (bytes, words, *swapped)));
        all.find_map(|(bytes, words, halves_swapped)| {
            let layout = Self { bytes, words, halves_swapped, ..self };
            layout.letters().eq_ignore_ascii_case(letters).then_some(layout)
        })
    }

    /// The order in letters, A being the most significant byte.
    pub fn letters(self) -> String {
        let mut pairs: Vec<[u8; 2]> = (0..self.format.width().min(4)).map(|_| [0; 2]).collect();
        let mut letter = b'A';
        for pair in &mut pairs {
            *pair = [letter, letter.saturating_add(1)];
            letter = letter.saturating_add(2);
        }
        if self.words == Order::Little {
            pairs.reverse();
        }
        if self.halves_swapped && pairs.len() == 4 {
            pairs.rotate_left(2);
        }
        let bytes = pairs.into_iter().flat_map(|[first, second]| match self.bytes {
            Order::Big => [first, second],
            Order::Little => [second, first],
        });
        bytes.map(char::from).collect()
    }

    /// The value's bits, the most significant first, whatever came first on the wire. None when the count of registers does not
    /// fit the format.
    pub fn raw_bits(self, registers: &[u16]) -> Option<u64> {
        if registers.len() != usize::from(self.format.width()) || registers.len() > 4 {
            return None;
        }
        let push = |bits: u64, register: &u16| {
            let register = if self.bytes == Order::Little { register.swap_bytes() } else { *register };
            bits << 16 | u64::from(register)
        };
        let bits = match self.words {
            Order::Big => registers.iter().fold(0, push),
            Order::Little => registers.iter().rev().fold(0, push),
        };
        Some(if self.halves_swapped { bits.rotate_left(32) } else { bits })
    }

    /// The number that bits mean, before scaling. None where they mean none: NaN, infinity, or a digit above 9.
    ///
    /// Integers above 2^53 lose their last digits: a channel's value is a double.
    #[allow(clippy::cast_precision_loss, reason = "a channel's value is a double, as said above")]
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the low bits are what is wanted")]
    pub fn number(self, bits: u64) -> Option<f64> {
        if let Some(BitRange { first, count }) = self.bits {
            let mask = u64::MAX.checked_shr(64_u32.saturating_sub(u32::from(count)))?;
            return Some((bits.checked_shr(u32::from(first))? & mask) as f64);
        }
        let number = match self.format {
            Format::Bool => f64::from(u8::from(bits != 0)),
            Format::Int16 => f64::from(bits as u16 as i16),
            Format::UInt16 => f64::from(bits as u16),
            Format::Int32 => f64::from(bits as u32 as i32),
            Format::UInt32 => f64::from(bits as u32),
            Format::Int48 => ((bits << 16) as i64 >> 16) as f64,
            Format::Int64 => bits as i64 as f64,
            Format::UInt48 | Format::UInt64 => bits as f64,
            Format::Float16 => f16::from_bits(bits as u16).to_f64(),
            Format::Float32 => f64::from(f32::from_bits(bits as u32)),
            Format::Float64 => f64::from_bits(bits),
            Format::Bcd16 | Format::Bcd32 | Format::Bcd48 | Format::Bcd64 => decimal_digits(bits)? as f64,
            Format::Text(..) => return None,
        };
        number.is_finite().then_some(number)
    }

    /// The number in these registers, before scaling. None when their count does not fit, or they hold none.
    pub fn decode(self, registers: &[u16]) -> Option<f64> {
        self.number(self.raw_bits(registers)?)
    }

    /// The registers of a number before scaling, rounded and cut to what the format holds: [`decode`](Self::decode) turned
    /// round. A text has none.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` from a float saturates")]
    pub fn encode(self, raw: f64) -> Vec<u16> {
        let range = self.format.range();
        let whole = if self.format.is_float() { raw } else { raw.round() }.clamp(*range.start(), *range.end());
        let bits = match self.format {
            Format::Float16 => u64::from(f16::from_f64(raw).to_bits()),
            Format::Float32 => u64::from((raw as f32).to_bits()),
            Format::Float64 => raw.to_bits(),
            Format::Bcd16 | Format::Bcd32 | Format::Bcd48 | Format::Bcd64 => binary_coded(whole as u64),
            Format::Int16 | Format::Int32 | Format::Int48 | Format::Int64 => (whole as i64).cast_unsigned(),
            _ => whole as u64,
        };
        let bits = if self.halves_swapped { bits.rotate_left(32) } else { bits };
        let register = |index: u16| {
            let register = (bits >> (16 * u32::from(index)) & 0xffff) as u16;
            if self.bytes == Order::Little { register.swap_bytes() } else { register }
        };
        let width = if self.format.is_text() { 0 } else { self.format.width() };
        match self.words {
            Order::Big => (0..width).rev().map(register).collect(),
            Order::Little => (0..width).map(register).collect(),
        }
    }
}

/// The number that binary-coded decimal digits mean.
fn decimal_digits(bits: u64) -> Option<u64> {
    (0..16).rev().try_fold(0, |number, place| {
        let digit = bits >> (4 * place) & 0xf;
        (digit <= 9).then_some(number * 10 + digit)
    })
}

fn binary_coded(number: u64) -> u64 {
    let digits = (0..16).scan(number, |rest, place| {
        let digit = *rest % 10;
        *rest /= 10;
        Some(digit << (4 * place))
    });
    digits.sum()
}

#[cfg(test)]
mod tests;
