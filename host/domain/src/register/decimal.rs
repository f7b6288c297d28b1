//! 32-bit floats with their own digits: 50.01 instead of 50.0099983215332, which is the same number as a double.

/// Powers of ten that a double represents exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Digits that tell any two 32-bit floats apart.
const SINGLE_DIGITS: i32 = 9;
/// Every decimal number of so many digits survives the conversion to a 32-bit float.
const SINGLE_SAFE_DIGITS: i32 = 6;

/// Up to this number, 2^24, a 32-bit float represents every integer.
const EXACT_INTEGERS: f64 = 16_777_216.0;

/// The double with the fewest decimal digits that is this 32-bit float.
#[allow(clippy::cast_possible_truncation, reason = "the result is used only if it gives the same float")]
pub(super) fn single(value: f32) -> f64 {
    let wide = f64::from(value);
    if !value.is_finite() || is_exact_integer(wide) {
        return wide;
    }
    let is_same = |number: &f64| (*number as f32).to_bits() == value.to_bits();
    let rounded = |before_point| {
        let mut rounded =
            (SINGLE_SAFE_DIGITS..=SINGLE_DIGITS).filter_map(|digits| rounded(wide, digits - before_point));
        rounded.find(is_same)
    };
    // Numbers beyond the table are rare, and printing one takes a microsecond.
    digits_before_point(wide.abs()).and_then(rounded).unwrap_or_else(|| value.to_string().parse().unwrap_or(wide))
}

/// Whether this is one of the integers that a 32-bit float tells from their neighbours, so that all its digits count.
#[allow(clippy::cast_possible_truncation, reason = "the number is below 2^24")]
fn is_exact_integer(value: f64) -> bool {
    value.abs() <= EXACT_INTEGERS && f64::from(value as i32) == value
}

/// Number of digits before the decimal point; negative for the zeros behind it.
fn digits_before_point(value: f64) -> Option<i32> {
    let places = |power: usize| i32::try_from(power).ok();
    if value >= 1.0 {
        return places(POWERS.iter().position(|power| value < *power)?);
    }
    // Not exact next to a power of ten, where one digit more or less makes no difference.
    places(POWERS.iter().position(|power| value * power >= 1.0)?).map(|zeros| 1 - zeros)
}

/// The nearest number with so many decimal places, which may be negative. Both steps are exact or rounded correctly, so that
/// the result is the double that the decimal number is written as.
fn rounded(value: f64, places: i32) -> Option<f64> {
    let power = *POWERS.get(usize::try_from(places.unsigned_abs()).ok()?)?;
    Some(if places < 0 { nearest_integer(value / power) * power } else { nearest_integer(value * power) / power })
}

/// As `round`, for numbers of at most ten digits, but without the library call that it is unless the processor is newer than the baseline.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "the number is below 10^10")]
fn nearest_integer(value: f64) -> f64 {
    (value + 0.5_f64.copysign(value)) as i64 as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_float_has_the_digits_that_it_is_printed_with() {
        let check = |value: f32| {
            let expected: f64 = value.to_string().parse().unwrap();
            assert_eq!(single(value).to_bits(), expected.to_bits(), "{value}");
        };
        for value in [50.01, 0.1, -230.1, 1.0e-7, 3.4e20, 16_777_216.0, 123_456.79, 9.999_999, 0.0, -0.0, 999_999.94] {
            check(value);
        }
        // Every pattern of the mantissa's ends, over the exponents that measured values have.
        let mut bits = 0x3400_0000_u32;
        while bits < 0x5a00_0000 {
            check(f32::from_bits(bits));
            check(-f32::from_bits(bits));
            bits += 9_973;
        }
    }

    #[test]
    fn extreme_floats_have_their_own_digits_too() {
        for value in [f32::MIN, f32::MAX, f32::MIN_POSITIVE, f32::from_bits(1), 1e-30, 1e30] {
            let number = single(value);
            assert_eq!((number.to_string(), number.to_string().parse()), (value.to_string(), Ok(value)));
        }
        assert!(single(f32::NAN).is_nan() && single(f32::INFINITY).is_infinite());
    }
}
