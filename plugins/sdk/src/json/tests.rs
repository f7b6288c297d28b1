//! The output equals that of Python and of the standard library.

use super::*;

fn check(write: impl Fn(&mut Writer, &Key), expected: &str) {
    let mut writer = Writer::default();
    write(&mut writer, &Key::new("k"));
    assert_eq!(String::from_utf8(writer.finish()).unwrap(), format!("{{\"k\":{expected}}}"));
}

// The right column is the output of CPython 3.11 for json.dumps(round(value, decimals)).
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
fn exact_rounding_is_that_of_the_standard_library() {
    let mut random = 3_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        random
    };
    let ties =
        [0.5, 1.5, 2.5, 0.125, 0.375, 2.675, 1e15 + 0.5, 1e15 + 0.25, 9_007_199_254_740_991.0, 5e-324, 0.0, -0.0];
    let any: Vec<f64> = (0..40_000).map(|_| f64::from_bits(next())).filter(|value| value.is_finite()).collect();
    let close: Vec<f64> = (0..40_000_u32).map(|nth| f64::from(nth) / 16.0 + f64::from(nth % 7) * 1e-9).collect();
    let halves = (0..2000_u32).map(|nth| f64::from(nth) / 2000.0 + 0.0005);
    for value in ties.into_iter().chain(any).chain(close).chain(halves) {
        for decimals in [0, 1, 2, 3, 6, 9, 15, 22] {
            for value in [value, -value] {
                let expected: f64 = format!("{value:.*}", usize::from(decimals)).parse().unwrap();
                let rounded = super::exactly_rounded(value, decimals);
                assert_eq!(rounded.to_bits(), expected.to_bits(), "{value:e} to {decimals} decimals: {rounded:e}");
            }
        }
    }
    assert_eq!(super::exactly_rounded(1.5e-30, 40), 1.5e-30);
}

#[test]
fn exponents_are_those_of_the_standard_library_with_two_digits_and_a_sign() {
    let expected = |value: f64| {
        let shortest = format!("{value:e}");
        let (mantissa, exponent) = shortest.split_once('e').unwrap();
        let exponent: i32 = exponent.parse().unwrap();
        format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
    };
    for exponent in (-300..-4).chain(16..300) {
        for mantissa in [1.0, -1.0, 1.5, 9.999_999_999_999, -1.234_567_890_123_456_7, std::f64::consts::E] {
            let value = mantissa * 10_f64.powi(exponent);
            if !(1e-4..1e16).contains(&value.abs()) && value.abs() > 1e-300 {
                check(|writer, key| writer.number(key, value), &expected(value));
            }
        }
    }
}

#[test]
fn integers_have_no_point() {
    for (value, expected) in [(312.0, "312"), (-0.2, "0"), (2.5, "2"), (1e15, "1000000000000000"), (f64::NAN, "null")] {
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

#[test]
fn values_are_appended_without_a_key() {
    let mut bytes = b"[".to_vec();
    append_number(&mut bytes, -1.25);
    bytes.push(b',');
    append_rounded(&mut bytes, 2.0005, 2);
    bytes.push(b',');
    append_number(&mut bytes, f64::NAN);
    bytes.push(b',');
    append_text(&mut bytes, "a\"b");
    assert_eq!(String::from_utf8(bytes).unwrap(), r#"[-1.25,2.0,null,"a\"b""#);
}
