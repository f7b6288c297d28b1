//! How the bytes of one value are ordered in its registers, and the numbers that they encode.

use half::f16;

use super::decimal;
use super::format::Format;

/// Which end of a value comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The most significant part first, as the standard has it.
    Big,
    /// The least significant part first.
    Little,
}

impl Order {
    /// Both orders with their names in profiles.
    pub(crate) const NAMES: [(&'static str, Self); 2] = [("big", Self::Big), ("little", Self::Little)];
}

/// Adjacent bits of a value, numbered from the least significant one, 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRange {
    /// The lowest bit.
    pub first: u8,
    /// Number of bits, at least 1.
    pub count: u8,
}

/// How a value is encoded in its registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What the bits mean.
    pub format: Format,
    /// Order of the two bytes of a register.
    pub bytes: Order,
    /// Order of the registers of a value.
    pub words: Order,
    /// The two halves of a 64-bit value are swapped after that, as in `EFGHABCD`.
    pub halves_swapped: bool,
    /// Only these bits of it are the value.
    pub bits: Option<BitRange>,
}

impl Layout {
    /// A value in the standard's order, with all its bits.
    pub const fn plain(format: Format) -> Self {
        Self { format, bytes: Order::Big, words: Order::Big, halves_swapped: false, bits: None }
    }

    /// The same with another byte order, written in letters with A as the most significant byte: `CDAB` for a value of
    /// two registers. None for an order that no known device uses.
    #[must_use]
    pub fn with_byte_order(self, letters: &str) -> Option<Self> {
        let orders = [Order::Big, Order::Little];
        let swaps = if self.format.width() == 4 { [false, true].as_slice() } else { [false].as_slice() };
        let all = orders.iter().flat_map(|bytes| orders.iter().map(move |words| (*bytes, *words)));
        let mut all = all.flat_map(|(bytes, words)| swaps.iter().map(move |swap| (bytes, words, *swap)));
        all.find_map(|(bytes, words, halves_swapped)| {
            let layout = Self { bytes, words, halves_swapped, ..self };
            layout.byte_order().eq_ignore_ascii_case(letters).then_some(layout)
        })
    }

    /// The byte order in letters, A being the most significant byte.
    pub fn byte_order(self) -> String {
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

    /// The value's bits with the most significant one first, whatever the order on the wire. None if the number of
    /// registers does not match the format.
    #[inline]
    pub(crate) fn raw_bits(self, registers: &[u16]) -> Option<u64> {
        if registers.len() != usize::from(self.format.width()) {
            return None;
        }
        match (registers, self.bytes, self.words) {
            // Most values: the general way takes three times as long.
            ([high, low], Order::Big, Order::Big) => Some(u64::from(*high) << 16 | u64::from(*low)),
            ([_, _, _, _, _, ..], ..) => None,
            _ => Some(self.reordered_bits(registers)),
        }
    }

    fn reordered_bits(self, registers: &[u16]) -> u64 {
        let push = |bits: u64, register: &u16| {
            let register = if self.bytes == Order::Little { register.swap_bytes() } else { *register };
            bits << 16 | u64::from(register)
        };
        let bits = match self.words {
            Order::Big => registers.iter().fold(0, push),
            Order::Little => registers.iter().rev().fold(0, push),
        };
        if self.halves_swapped { bits.rotate_left(32) } else { bits }
    }

    /// The number that the bits encode, before scaling. None if they encode none: NaN, infinity, or a decimal digit
    /// above 9.
    ///
    /// Integers above 2^53 lose their last digits, because a channel's value is a double. A 32-bit float has its own digits,
    /// 50.01 and not 50.0099983215332.
    #[allow(clippy::cast_precision_loss, reason = "a channel's value is a double")]
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "the value is in the low bits")]
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
            Format::Float32 => decimal::single(f32::from_bits(bits as u32)),
            Format::Float64 => f64::from_bits(bits),
            Format::Bcd16 | Format::Bcd32 | Format::Bcd48 | Format::Bcd64 => decode_bcd(bits)? as f64,
            Format::Text(..) => return None,
        };
        number.is_finite().then_some(number)
    }

    /// The number in these registers, before scaling. None if their count does not match or they encode no number.
    pub fn decode(self, registers: &[u16]) -> Option<f64> {
        self.number(self.raw_bits(registers)?)
    }

    /// The registers that encode a raw number, rounded and clamped to the format's range: the inverse of
    /// [`decode`](Self::decode). Empty for a text.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` from a float saturates")]
    pub fn encode(self, raw: f64) -> Vec<u16> {
        let range = self.format.range();
        let whole = if self.format.is_float() { raw } else { raw.round() }.clamp(*range.start(), *range.end());
        let bits = match self.format {
            Format::Float16 => u64::from(f16::from_f64(raw).to_bits()),
            Format::Float32 => u64::from((raw as f32).to_bits()),
            Format::Float64 => raw.to_bits(),
            Format::Bcd16 | Format::Bcd32 | Format::Bcd48 | Format::Bcd64 => encode_bcd(whole as u64),
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

/// Decodes binary-coded decimal; none if a digit is above 9.
fn decode_bcd(bits: u64) -> Option<u64> {
    (0..16).rev().try_fold(0, |number, position| {
        let digit = bits >> (4 * position) & 0xf;
        (digit <= 9).then_some(number * 10 + digit)
    })
}

fn encode_bcd(number: u64) -> u64 {
    let digits = (0..16).scan(number, |rest, position| {
        let digit = *rest % 10;
        *rest /= 10;
        Some(digit << (4 * position))
    });
    digits.sum()
}

#[cfg(test)]
mod tests;
