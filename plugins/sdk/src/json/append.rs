//! Appends short byte strings to a buffer in copies of a fixed size.
//!
//! A copy whose length is known at compile time is one machine instruction; any other is a call into the engine, which
//! costs more than the few bytes of a key or a number.

/// Bytes of one copy.
const STEP: usize = 16;
/// The digits of the numbers below 100, so that one division yields two digits.
const PAIRS: [[u8; 2]; 100] = pairs();

/// Bytes that are appended to many buffers, padded to whole steps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    steps: Box<[[u8; STEP]]>,
    length: usize,
}

impl Piece {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let step = |chunk: &[u8]| {
            let mut step = [0; STEP];
            step.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
            step
        };
        Self { steps: bytes.chunks(STEP).map(step).collect(), length: bytes.len() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.steps.as_flattened().get(..self.length).unwrap_or_default()
    }
}

/// Appends a piece: its padding is written too, then truncated.
pub(super) fn push_piece(bytes: &mut Vec<u8>, piece: &Piece) {
    let end = bytes.len() + piece.length;
    for step in &piece.steps {
        bytes.extend_from_slice(step);
    }
    bytes.truncate(end);
}

/// Appends a number's digits, up to 24 bytes, in two overlapping copies.
pub(super) fn push_digits(bytes: &mut Vec<u8>, digits: &[u8]) {
    let end = bytes.len() + digits.len();
    if let (Some(head), Some(tail)) = (digits.first_chunk::<16>(), digits.last_chunk::<8>()) {
        bytes.extend_from_slice(head);
        bytes.truncate(end - 8);
        bytes.extend_from_slice(tail);
    } else if let (Some(head), Some(tail)) = (digits.first_chunk::<8>(), digits.last_chunk::<8>()) {
        bytes.extend_from_slice(head);
        bytes.truncate(end - 8);
        bytes.extend_from_slice(tail);
    } else {
        bytes.extend(digits.iter().copied());
    }
}

/// Thousandths from which on a number does not fit into [`push_thousandths`]: ten thousand.
pub(super) const SHORT_THOUSANDTHS: f64 = 1e7;

/// Appends up to four digits, the point and up to three decimals: 1500 thousandths are `1.5`, 2000 are `2.0`.
#[inline(always)]
pub(super) fn push_thousandths(bytes: &mut Vec<u8>, thousandths: u32) {
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    // The first of the eight digits is always zero.
    let digits = eight_digits(thousandths);
    let hidden = (digits.trailing_zeros() / 8).min(4);
    let before_point = 5 - hidden;
    let integer = (digits | ZEROS) >> (hidden * 8) & ((1 << (before_point * 8)) - 1);
    let fraction = digits >> 40;
    let zeros = ((fraction << 40).leading_zeros() / 8).min(2);
    let fraction = (fraction | 0x30_3030) << 8 | u64::from(b'.');
    let end = bytes.len() + (before_point + 4 - zeros) as usize;
    bytes.extend_from_slice(&(integer | fraction << (before_point * 8)).to_le_bytes());
    bytes.truncate(end);
}

/// The digits of a number below 10^8, the first one in the lowest byte. Splits into halves, quarters and digits in
/// parallel; multiplies by 10486/2^20 instead of dividing by 100 and by 103/2^10 instead of dividing by 10.
#[inline]
fn eight_digits(number: u32) -> u64 {
    let halves = u64::from(number / 10_000) | u64::from(number % 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let quarters = ((halves - 100 * hundreds) << 16) + hundreds;
    let tens = ((quarters * 103) >> 10) & 0x000f_000f_000f_000f;
    ((quarters - 10 * tens) << 8) + tens
}

/// Appends a whole number with the point before its last `decimals` digits, at most 6, without trailing zeros but one.
pub(super) fn push_fraction(bytes: &mut Vec<u8>, whole: u64, decimals: u8) {
    let unit = 10_u64.pow(u32::from(decimals).min(6));
    push_integer(bytes, whole / unit);
    // In millionths, so that the digits have fixed positions.
    let fraction = u32::try_from(whole % unit * (1_000_000 / unit)).unwrap_or(0);
    let (first, second, third) = (pair(fraction / 10_000), pair(fraction / 100 % 100), pair(fraction % 100));
    let digits = [b'.', first[0], first[1], second[0], second[1], third[0], third[1]];
    let shown = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(0).max(1) + 1;
    bytes.extend_from_slice(digits.get(..shown).unwrap_or_default());
}

pub(super) fn push_integer(bytes: &mut Vec<u8>, number: u64) {
    match u32::try_from(number) {
        Ok(number @ 0..10) => bytes.push(pair(number)[1]),
        Ok(number @ 10..100) => bytes.extend_from_slice(&pair(number)),
        Ok(number @ 100..10_000) => push_four(bytes, number),
        Ok(number @ 10_000..100_000_000) => {
            let (high, low) = (number / 10_000, number % 10_000);
            push_integer(bytes, u64::from(high));
            push_all_four(bytes, low);
        }
        _ => {
            const LOW: u64 = 100_000_000;
            let low = u32::try_from(number % LOW).unwrap_or(0);
            push_integer(bytes, number / LOW);
            push_all_four(bytes, low / 10_000);
            push_all_four(bytes, low % 10_000);
        }
    }
}

/// Appends a number of three or four digits.
fn push_four(bytes: &mut Vec<u8>, number: u32) {
    let (high, low) = (pair(number / 100), pair(number % 100));
    if number < 1000 {
        bytes.extend_from_slice(&[high[1], low[0], low[1]]);
    } else {
        bytes.extend_from_slice(&[high[0], high[1], low[0], low[1]]);
    }
}

/// Appends four digits, with leading zeros.
fn push_all_four(bytes: &mut Vec<u8>, number: u32) {
    let (high, low) = (pair(number / 100), pair(number % 100));
    bytes.extend_from_slice(&[high[0], high[1], low[0], low[1]]);
}

/// The two digits of a number below 100.
fn pair(number: u32) -> [u8; 2] {
    PAIRS.get(number as usize).copied().unwrap_or([b'0'; 2])
}

#[allow(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number: u8 = 0;
    while number < 100 {
        pairs[number as usize] = [b'0' + number / 10, b'0' + number % 10];
        number += 1;
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length() {
        let all: Vec<u8> = (0..100).collect();
        for length in 0..all.len() {
            let mut bytes = b"x".to_vec();
            let piece = Piece::new(&all[..length]);
            push_piece(&mut bytes, &piece);
            assert_eq!((bytes[0], &bytes[1..]), (b'x', &all[..length]));
            assert_eq!(piece.bytes(), &all[..length]);
        }
        for length in 0..=24 {
            let mut bytes = Vec::new();
            push_digits(&mut bytes, &all[..length]);
            assert_eq!(bytes, &all[..length]);
        }
    }

    #[test]
    fn integers_and_fractions() {
        for number in (0..200).chain([999, 1000, 12_345, 9_007_199_254_740_993, u64::MAX]) {
            let mut bytes = Vec::new();
            push_integer(&mut bytes, number);
            assert_eq!(String::from_utf8(bytes).unwrap(), number.to_string());
        }
        let check = |whole, decimals, expected: &str| {
            let mut bytes = Vec::new();
            push_fraction(&mut bytes, whole, decimals);
            assert_eq!(String::from_utf8(bytes).unwrap(), expected);
        };
        for number in (0..100_000).chain([9_999_999, 12_345_678, 99_999_999]) {
            let text = format!("{number:08}");
            assert_eq!((eight_digits(number) | 0x3030_3030_3030_3030).to_le_bytes(), *text.as_bytes());
        }
        for number in (0..30_000).chain([9_999_999, 1_234_500, 9_000_000]) {
            let (mut short, mut long) = (Vec::new(), Vec::new());
            push_thousandths(&mut short, number);
            push_fraction(&mut long, u64::from(number), 3);
            assert_eq!(short, long, "{number}");
        }
        check(99_999_999, 3, "99999.999");
        check(100_000_000, 3, "100000.0");
        check(100, 0, "100.0");
        check(70_000_500, 3, "70000.5");
        check(0, 3, "0.0");
        check(1, 3, "0.001");
        check(1500, 3, "1.5");
        check(2000, 3, "2.0");
        check(123_456, 0, "123456.0");
        check(1_000_001, 6, "1.000001");
        check(10, 1, "1.0");
        check(120, 2, "1.2");
    }
}
