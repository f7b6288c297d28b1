//! Timestamps in UTC, as RFC 3339 §5.6 writes them.

use std::fmt;

use super::timestamp::Timestamp;

/// Digits of a fraction of a second that are kept.
const FRACTION_DIGITS: usize = 9;

/// Parses `2026-01-02T03:04:05.25Z`, also with `+00:00` for `Z` and a space for `T`. Leap seconds are refused, and so
/// are the shorter and longer forms that ISO 8601 allows.
pub fn parse_utc(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("+00:00"))?;
    let (date_time, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_full_date_time(date_time) || date_time.ends_with(":60") {
        return None;
    }
    let date_time: jiff::civil::DateTime = date_time.parse().ok()?;
    let whole = jiff::tz::Offset::UTC.to_timestamp(date_time).ok()?;
    let nanos = u64::try_from(whole.as_nanosecond()).ok()?.checked_add(nanos(fraction)?)?;
    Some(Timestamp::from_nanos(nanos))
}

/// In the form that [`parse_utc`] accepts, without trailing zeros in the fraction.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let timestamp = jiff::Timestamp::from_nanosecond(self.nanos().into()).map_err(|_| fmt::Error)?;
        timestamp.fmt(f)
    }
}

/// Whether a text has the digits and separators of `2026-01-02T03:04:05`.
fn is_full_date_time(text: &str) -> bool {
    let matches = |(byte, pattern): (u8, u8)| match pattern {
        b'0' => byte.is_ascii_digit(),
        b'T' => matches!(byte, b'T' | b't' | b' '),
        separator => byte == separator,
    };
    let pattern = b"0000-00-00T00:00:00";
    text.len() == pattern.len() && text.bytes().zip(*pattern).all(matches)
}

fn nanos(fraction: &str) -> Option<u64> {
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(FRACTION_DIGITS).collect();
    is_fraction.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECONDS_PER_DAY: u64 = 86_400;
    const NANOS_PER_SECOND: u64 = 1_000_000_000;

    #[test]
    fn only_full_utc_times_are_parsed() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2025-01-01T00:00:00Z", Some(1_735_689_600_000_000_000)),
            ("2026-01-02T03:04:05Z", Some(1_767_323_045_000_000_000)),
            ("2026-01-02 03:04:05.25+00:00", Some(1_767_323_045_250_000_000)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000_000)),
            ("2000-03-01T00:00:00Z", Some(951_868_800_000_000_000)),
            ("2023-02-29T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("2026-01-02T03:04:05", None),
            ("2026-01-02T03:04:05+01:00", None),
            ("2026-01-02T24:00:00Z", None),
            ("2026-01-02T03:04Z", None),
            ("26-01-02T03:04:05Z", None),
            ("2026-01-02T03:04:05.Z", None),
            ("2026-01-02t03:04:05.1234567899z", Some(1_767_323_045_123_456_789)),
            ("2554-07-21T23:34:33.709551615Z", Some(u64::MAX)),
            ("2554-07-21T23:34:33.709551616Z", None),
            ("2100-02-29T00:00:00Z", None),
            ("2026-00-01T00:00:00Z", None),
            ("2026-01-00T00:00:00Z", None),
            ("2016-12-31T23:59:60Z", None),
            ("2026-01-02T03:60:00Z", None),
            ("2026-01-02T03:04:05,5Z", None),
            ("20260102T030405Z", None),
            ("+002026-01-02T03:04:05Z", None),
            ("2026-01-02T03:04:05Z[UTC]", None),
            ("2026-01-02T03:04:05-00:00", None),
            ("2026-1-02T03:04:05Z", None),
            ("2026-01-02T03:04:\u{665}Z", None),
            ("9999-01-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_utc(text).map(Timestamp::nanos), expected, "{text}");
        }
    }

    #[test]
    fn fractions_have_no_trailing_zeros() {
        for (nanos, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (1, "1970-01-01T00:00:00.000000001Z"),
            (1_740_151_220_250_000_000, "2025-02-21T15:20:20.25Z"),
            (1_709_164_799_000_000_010, "2024-02-28T23:59:59.00000001Z"),
            (1_709_251_199_999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(Timestamp::from_nanos(nanos).to_string(), expected);
        }
    }

    #[test]
    fn every_day_is_parsed_as_it_was_formatted() {
        for day in 0..=u64::MAX / NANOS_PER_SECOND / SECONDS_PER_DAY {
            let time = Timestamp::from_nanos(day * SECONDS_PER_DAY * NANOS_PER_SECOND + day);
            assert_eq!(parse_utc(&time.to_string()), Some(time), "{time}");
        }
    }
}
