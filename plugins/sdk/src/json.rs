//! JSON objects written member by member, with keys that are formatted once; settings are read with [`read`].
//!
//! The bytes are those of Python's `json.dumps(..., separators=(",", ":"))`: no spaces, ASCII only, shortest floats.

mod value;

pub use value::{Value, read};

mod append;

use append::{Piece, push_digits, push_piece};

/// A member's name, quoted and escaped when the plugin is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Piece);

/// A whole member that never changes, such as the site's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constant(Piece);

/// Writes one object at a time; keeps its buffer's size from the last one.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    // Every member starts with a comma; `finish` turns the first into the opening brace.
    bytes: Vec<u8>,
    largest: usize,
}

impl Key {
    /// A member's name, of any text.
    pub fn new(name: &str) -> Self {
        let mut bytes = vec![b','];
        push_text(&mut bytes, name);
        bytes.push(b':');
        Self(Piece::new(&bytes))
    }

    /// This key with a text that stays the same.
    pub fn constant(&self, text: &str) -> Constant {
        let mut bytes = self.0.bytes().to_vec();
        push_text(&mut bytes, text);
        Constant(Piece::new(&bytes))
    }
}

impl Writer {
    /// A member that was formatted before.
    pub fn constant(&mut self, member: &Constant) {
        push_piece(&mut self.bytes, &member.0);
    }

    /// The shortest digits that give the same number back; `null` for NaN and infinities, which JSON has not.
    pub fn number(&mut self, key: &Key, value: f64) {
        push_piece(&mut self.bytes, &key.0);
        push_number(&mut self.bytes, value);
    }

    /// Rounded to that many decimals, half to even on the exact value, as Python's `round` has it.
    pub fn rounded(&mut self, key: &Key, value: f64, decimals: u8) {
        push_piece(&mut self.bytes, &key.0);
        push_rounded(&mut self.bytes, value, decimals);
    }

    /// Without a decimal point; a value with a fraction is rounded, NaN is `null`.
    pub fn integer(&mut self, key: &Key, value: f64) {
        push_piece(&mut self.bytes, &key.0);
        push_integer(&mut self.bytes, value);
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, key: &Key, value: bool) {
        push_piece(&mut self.bytes, &key.0);
        self.bytes.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// A quoted and escaped text.
    pub fn text(&mut self, key: &Key, value: &str) {
        push_piece(&mut self.bytes, &key.0);
        push_text(&mut self.bytes, value);
    }

    /// `null`.
    pub fn null(&mut self, key: &Key) {
        push_piece(&mut self.bytes, &key.0);
        self.bytes.extend_from_slice(b"null");
    }

    /// A value that is JSON already; it is not checked.
    pub fn raw(&mut self, key: &Key, json: &[u8]) {
        push_piece(&mut self.bytes, &key.0);
        self.bytes.extend_from_slice(json);
    }

    /// The finished object; the writer is empty again.
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

/// Nanoseconds since 1970 as the seconds that the payloads carry.
pub fn seconds(at: crate::Timestamp) -> f64 {
    const NANOSECONDS: u64 = 1_000_000_000;
    // Whole seconds apart, so that a whole second stays whole; they fit in 32 bits until the year 2106.
    let whole = u32::try_from(at / NANOSECONDS).unwrap_or(u32::MAX);
    let fraction = u32::try_from(at % NANOSECONDS).unwrap_or(0);
    f64::from(whole) + f64::from(fraction) / 1e9
}

/// The decimals that are tried before the general way: those of registers with a scale.
const FEW_DECIMALS: u8 = 3;
const FEW_POWER: f64 = 1e3;
/// A decimal fraction of so many thousandths has at most 15 digits, and such fractions differ as doubles too: one that
/// gives the number back is the shortest that does (IEEE 754-2019 §5.12.2).
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
        push_exponential(bytes, &format!("{value:e}"));
    } else {
        push_digits(bytes, zmij::Buffer::new().format_finite(value).as_bytes());
    }
}

/// `whole` thousandths, or whatever the decimals say, with the value's sign.
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

/// Python writes `1e-05` and `1e+16`.
fn push_exponential(bytes: &mut Vec<u8>, digits: &str) {
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((digits, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or((b'+', exponent), |exponent| (b'-', exponent));
    bytes.extend_from_slice(mantissa.as_bytes());
    bytes.extend_from_slice(&[b'e', sign]);
    if exponent.len() < 2 {
        bytes.push(b'0');
    }
    bytes.extend_from_slice(exponent.as_bytes());
}

/// Above this a scaled double may have lost the digit that decides; such values take the exact way.
const FAST_LIMIT: f64 = 1e12;
/// Scaled values this close to a tie take the exact way too: the product's own rounding could decide wrongly.
const TIE_MARGIN: f64 = 1e-3;
/// What so many decimals are in thousandths.
const THOUSANDTHS: [f64; 4] = [1e3, 1e2, 1e1, 1e0];
const POWERS: [f64; 7] = [1.0, 10.0, 100.0, 1e3, 1e4, 1e5, 1e6];

fn push_rounded(bytes: &mut Vec<u8>, value: f64, decimals: u8) {
    let power = POWERS.get(usize::from(decimals)).copied().unwrap_or(f64::INFINITY);
    let scaled = value.abs() * power;
    // Which way a tie goes does not matter: they are not safe.
    let whole = scaled.round_ties_even();
    let safe = scaled < FAST_LIMIT && ((scaled - whole).abs() - 0.5).abs() > TIE_MARGIN;
    if safe {
        push_whole(bytes, value, whole, decimals);
    } else if value.is_finite() {
        let rounded = format!("{value:.*}", usize::from(decimals)).parse();
        push_number(bytes, rounded.unwrap_or(value));
    } else {
        bytes.extend_from_slice(b"null");
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Writer, &Key), expected: &str) {
        let mut writer = Writer::default();
        write(&mut writer, &Key::new("k"));
        assert_eq!(String::from_utf8(writer.finish()).unwrap(), format!("{{\"k\":{expected}}}"));
    }

    // The right column is what CPython 3.11 prints for json.dumps(round(value, decimals)).
    #[test]
    fn rounds_as_python_does() {
        for (value, decimals, expected) in [
            (72.3, 2, "72.3"),
            (-85.5, 3, "-85.5"),
            (28.149_999, 1, "28.1"),
            (28.15, 1, "28.1"),
            (0.25, 1, "0.2"),
            (0.35, 1, "0.3"),
            (0.125, 2, "0.12"),
            (0.375, 2, "0.38"),
            (2.675, 2, "2.67"),
            (1.005, 2, "1.0"),
            (0.0, 2, "0.0"),
            (-0.001, 2, "-0.0"),
            (99.999, 2, "100.0"),
            (0.0005, 3, "0.001"),
            (5.0, 1, "5.0"),
            (-123_456.789_5, 3, "-123456.789"),
            (1e15 + 0.3, 2, "1000000000000000.2"),
            (f64::NAN, 2, "null"),
            (f64::INFINITY, 2, "null"),
        ] {
            check(|writer, key| writer.rounded(key, value, decimals), expected);
        }
    }

    #[test]
    fn numbers_are_the_shortest_that_round_trip() {
        for (value, expected) in [
            (1_740_151_200.0, "1740151200.0"),
            (1_740_151_200.123_456_7, "1740151200.1234567"),
            (0.1, "0.1"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
            (-0.0, "-0.0"),
            (f64::NEG_INFINITY, "null"),
        ] {
            check(|writer, key| writer.number(key, value), expected);
        }
    }

    #[test]
    fn few_decimals_and_many_give_the_same_digits_as_the_standard_library() {
        let mut random = 7_u64;
        for index in 0..100_000_u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let any = f64::from(u32::try_from(random >> 33).unwrap());
            for value in [f64::from(index) * 0.1, f64::from(index) / 1000.0, any / 1e4, any * 1.37, -any / 100.0] {
                check(|writer, key| writer.number(key, value), &format!("{value:?}"));
            }
        }
    }

    #[test]
    fn integers_have_no_point() {
        for (value, expected) in
            [(312.0, "312"), (-0.2, "0"), (2.5, "2"), (1e15, "1000000000000000"), (f64::NAN, "null")]
        {
            check(|writer, key| writer.integer(key, value), expected);
        }
    }

    #[test]
    fn texts_are_escaped_to_ascii() {
        check(|writer, key| writer.text(key, "a\"\\\n\u{1}ñ😀"), r#""a\"\\\n\u0001\u00f1\ud83d\ude00""#);
    }

    #[test]
    fn an_object_of_several_members_and_an_empty_one() {
        let mut writer = Writer::default();
        writer.constant(&Key::new("site_id").constant("S"));
        writer.boolean(&Key::new("ok"), true);
        writer.null(&Key::new("none"));
        assert_eq!(writer.finish(), br#"{"site_id":"S","ok":true,"none":null}"#);
        assert_eq!(writer.finish(), b"{}");
    }

    #[test]
    fn timestamps_become_seconds() {
        assert_eq!(seconds(1_740_151_200_000_000_000), 1_740_151_200.0);
        assert_eq!(seconds(1_740_151_200_250_000_000), 1_740_151_200.25);
    }
}
