//! Writes JSON objects member by member, with keys that are formatted once; [`read`] parses settings.
//!
//! The output equals that of Python's `json.dumps(..., separators=(",", ":"))`: no spaces, ASCII only, shortest floats.

use append::{Piece, push_digits, push_piece};

pub use value::{Value, read};

mod append;
mod value;

#[cfg(test)]
mod tests;

/// A member's name, already quoted and escaped. Make it in `configure`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Piece);

/// A whole member that never changes, such as the site's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant(Piece);

/// Writes one object at a time into a buffer with the capacity of the largest so far.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    // Every member starts with a comma; `finish` replaces the first one with the opening brace.
    bytes: Vec<u8>,
    largest: usize,
}

impl Key {
    /// A key for any name.
    pub fn new(name: &str) -> Self {
        let mut bytes = vec![b','];
        push_text(&mut bytes, name);
        bytes.push(b':');
        Self(Piece::new(&bytes))
    }

    /// This key with a constant text as its value.
    pub fn constant(&self, text: &str) -> Constant {
        let mut bytes = self.0.bytes().to_vec();
        push_text(&mut bytes, text);
        Constant(Piece::new(&bytes))
    }
}

impl Writer {
    /// Writes a constant member.
    pub fn constant(&mut self, member: &Constant) {
        push_piece(&mut self.bytes, &member.0);
    }

    /// Writes the shortest digits that parse to the same number; `null` for NaN and infinities, which JSON lacks.
    pub fn number(&mut self, key: &Key, value: f64) {
        push_piece(&mut self.bytes, &key.0);
        push_number(&mut self.bytes, value);
    }

    /// Writes the value rounded to `decimals`, half to even on the exact value, as Python's `round` does. More than 22 decimals
    /// leave it as it is.
    pub fn rounded(&mut self, key: &Key, value: f64, decimals: u8) {
        push_piece(&mut self.bytes, &key.0);
        push_rounded(&mut self.bytes, value, decimals);
    }

    /// Writes the value rounded to an integer, without a decimal point; `null` for NaN and infinities.
    pub fn integer(&mut self, key: &Key, value: f64) {
        push_piece(&mut self.bytes, &key.0);
        push_integer(&mut self.bytes, value);
    }

    /// Writes `true` or `false`.
    pub fn boolean(&mut self, key: &Key, value: bool) {
        push_piece(&mut self.bytes, &key.0);
        self.bytes.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Writes a quoted and escaped text.
    pub fn text(&mut self, key: &Key, value: &str) {
        push_piece(&mut self.bytes, &key.0);
        push_text(&mut self.bytes, value);
    }

    /// Writes `null`.
    pub fn null(&mut self, key: &Key) {
        push_piece(&mut self.bytes, &key.0);
        self.bytes.extend_from_slice(b"null");
    }

    /// Writes a value that is JSON already; it is not checked.
    pub fn raw(&mut self, key: &Key, json: &[u8]) {
        push_piece(&mut self.bytes, &key.0);
        self.bytes.extend_from_slice(json);
    }

    /// Returns the object and leaves the writer empty for the next one.
    pub fn finish(&mut self) -> Vec<u8> {
        match self.bytes.first_mut() {
            Some(comma) => *comma = b'{',
            None => self.bytes.push(b'{'),
        }
        self.bytes.push(b'}');
        self.largest = self.largest.max(self.bytes.len());
        std::mem::replace(&mut self.bytes, Vec::with_capacity(self.largest))
    }
}

/// Appends a number as [`Writer::number`] writes it, for payloads that are no plain objects.
pub fn append_number(bytes: &mut Vec<u8>, value: f64) {
    push_number(bytes, value);
}

/// Appends a rounded number as [`Writer::rounded`] writes it.
pub fn append_rounded(bytes: &mut Vec<u8>, value: f64, decimals: u8) {
    push_rounded(bytes, value, decimals);
}

/// Appends a quoted and escaped text.
pub fn append_text(bytes: &mut Vec<u8>, text: &str) {
    push_text(bytes, text);
}

/// Converts nanoseconds since 1970 to seconds, the unit of the payloads.
pub fn seconds(at: crate::Timestamp) -> f64 {
    const NANOSECONDS: u64 = 1_000_000_000;
    // Whole seconds are converted apart, so that they stay exact; they fit in 32 bits until the year 2106.
    let whole = u32::try_from(at / NANOSECONDS).unwrap_or(u32::MAX);
    let fraction = u32::try_from(at % NANOSECONDS).unwrap_or(0);
    f64::from(whole) + f64::from(fraction) / 1e9
}

/// Decimals that the fast path of [`push_number`] tries: enough for scaled registers.
const FEW_DECIMALS: u8 = 3;
/// Ten to the power of [`FEW_DECIMALS`].
const FEW_POWER: f64 = 1e3;
/// Below this many thousandths a decimal fraction has at most 15 digits. Such fractions are distinct as doubles, so
/// that one that equals the number is its shortest form (IEEE 754-2019 §5.12.2).
const FEW_LIMIT: f64 = 1e15;

#[inline]
fn push_number(bytes: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    let scaled = (magnitude * FEW_POWER).round_ties_even();
    if scaled < FEW_LIMIT && scaled / FEW_POWER == magnitude {
        push_whole(bytes, value, scaled, FEW_DECIMALS);
    } else if !value.is_finite() {
        bytes.extend_from_slice(b"null");
    } else if !(1e-4..1e16).contains(&magnitude) {
        push_exponential(bytes, zmij::Buffer::new().format_finite(value));
    } else {
        push_digits(bytes, zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

/// Writes `whole` units of the last of `decimals` decimals, with the value's sign.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number below 2^53")]
#[inline(always)]
fn push_whole(bytes: &mut Vec<u8>, value: f64, whole: f64, decimals: u8) {
    if value.is_sign_negative() {
        bytes.push(b'-');
    }
    let thousandths = THOUSANDTHS.get(usize::from(decimals)).map_or(f64::INFINITY, |factor| whole * factor);
    if thousandths < append::SHORT_THOUSANDTHS {
        append::push_thousandths(bytes, thousandths as u32);
    } else {
        append::push_fraction(bytes, whole as u64, decimals);
    }
}

/// What precedes the digits of the decade from 1e-5 on, which zmij writes without an exponent.
const SMALLEST_DECADE: &str = "0.0000";

/// Writes an exponent of two digits at least, always with its sign, as Python does: `1e-05`, `1e+16`.
fn push_exponential(bytes: &mut Vec<u8>, digits: &str) {
    let magnitude = digits.strip_prefix('-').unwrap_or(digits);
    if magnitude.len() < digits.len() {
        bytes.push(b'-');
    }
    if let Some((first, rest)) = magnitude.strip_prefix(SMALLEST_DECADE).and_then(|digits| digits.split_at_checked(1)) {
        bytes.extend_from_slice(first.as_bytes());
        if !rest.is_empty() {
            bytes.push(b'.');
        }
        bytes.extend_from_slice(rest.as_bytes());
        bytes.extend_from_slice(b"e-05");
        return;
    }
    let (mantissa, exponent) = magnitude.split_once('e').unwrap_or((magnitude, "0"));
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => (b'-', exponent),
        None => (b'+', exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    bytes.extend_from_slice(mantissa.as_bytes());
    bytes.extend_from_slice(&[b'e', sign]);
    if exponent.len() < 2 {
        bytes.push(b'0');
    }
    bytes.extend_from_slice(exponent.as_bytes());
}

/// From this on, a scaled double may have lost the digit that decides the rounding: such values take the exact path.
const FAST_LIMIT: f64 = 1e12;
/// Scaled values this close to a tie take the exact path too, since the rounding of the product could tip them.
const TIE_MARGIN: f64 = 1e-3;
/// Thousandths in one unit of the last decimal, by number of decimals.
const THOUSANDTHS: [f64; 4] = [1e3, 1e2, 1e1, 1e0];
/// Powers of ten by number of decimals; more decimals take the exact path.
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

fn push_rounded(bytes: &mut Vec<u8>, value: f64, decimals: u8) {
    let power = POWERS.get(usize::from(decimals)).copied().unwrap_or(f64::INFINITY);
    let scaled = value.abs() * power;
    // The direction of ties does not matter: they take the exact path.
    let whole = scaled.round_ties_even();
    let safe = scaled < FAST_LIMIT && ((scaled - whole).abs() - 0.5).abs() > TIE_MARGIN;
    if safe {
        push_whole(bytes, value, whole, decimals);
    } else if value.is_finite() {
        push_number(bytes, exactly_rounded(value, decimals));
    } else {
        bytes.extend_from_slice(b"null");
    }
}

/// More decimals leave a value as it is: ten to their power times a significand exceeds 128 bits.
const MOST_DECIMALS: u8 = 22;

/// Rounds half to even on the exact value, which is an integer, the significand, over a power of two. The standard library's
/// formatting would do the same with 15 KB of code.
fn exactly_rounded(value: f64, decimals: u8) -> f64 {
    // The bits of the fraction, and the exponent from which on there is none (IEEE 754-2019 §3.4).
    const FRACTION_BITS: u32 = 52;
    const WHOLE: u64 = 1075;
    let bits = value.abs().to_bits();
    let (exponent, fraction) = (bits >> FRACTION_BITS, bits & ((1 << FRACTION_BITS) - 1));
    if exponent >= WHOLE || decimals > MOST_DECIMALS {
        return value;
    }
    // Subnormal numbers have the smallest exponent, and no hidden bit.
    let significand = if exponent == 0 { fraction } else { fraction | 1 << FRACTION_BITS };
    let shift = u32::try_from(WHOLE - exponent.max(1)).unwrap_or(u32::MAX);
    let scaled = u128::from(significand) * 10_u128.pow(decimals.into());
    let whole = scaled.checked_shr(shift).unwrap_or(0);
    // With a divisor of more than 128 bits the value is far below a half.
    let is_up = 1_u128.checked_shl(shift).is_some_and(|divisor| {
        let half = divisor >> 1;
        let rest = scaled & (divisor - 1);
        rest > half || rest == half && whole & 1 == 1
    });
    let rounded = format!("{}e-{decimals}", whole + u128::from(is_up)).parse();
    rounded.unwrap_or(value).copysign(value)
}

fn push_integer(bytes: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        let rounded = value.round_ties_even() + 0.0; // no minus before a zero
        bytes.extend_from_slice(format!("{rounded:.0}").as_bytes());
    } else {
        bytes.extend_from_slice(b"null");
    }
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(b'"');
    for character in text.chars() {
        match character {
            '"' => bytes.extend_from_slice(b"\\\""),
            '\\' => bytes.extend_from_slice(b"\\\\"),
            '\n' => bytes.extend_from_slice(b"\\n"),
            '\r' => bytes.extend_from_slice(b"\\r"),
            '\t' => bytes.extend_from_slice(b"\\t"),
            '\u{8}' => bytes.extend_from_slice(b"\\b"),
            '\u{c}' => bytes.extend_from_slice(b"\\f"),
            ' '..='~' => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            _ => push_escaped(bytes, character),
        }
    }
    bytes.push(b'"');
}

fn push_escaped(bytes: &mut Vec<u8>, character: char) {
    for unit in character.encode_utf16(&mut [0; 2]) {
        bytes.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
    }
}
