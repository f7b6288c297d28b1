//! Times as text.

use crate::Timestamp;

const NANOS_PER_S: u64 = 1_000_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// A time in UTC as in RFC 3339, with milliseconds: `2025-02-21T15:20:00.250Z`.
///
/// ```
/// assert_eq!(bessai_plugin::time::rfc3339(1_740_151_200_250_000_000), "2025-02-21T15:20:00.250Z");
/// ```
pub fn rfc3339(at: Timestamp) -> String {
    let (seconds, millis) = (at / NANOS_PER_S, at % NANOS_PER_S / 1_000_000);
    let (year, month, day) = date(seconds / SECONDS_PER_DAY);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a number of days since 1970, in the proleptic Gregorian calendar. The year begins in March, so that
/// the leap day is its last one.
fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_are_easily_wrong() {
        let check = |seconds: u64, expected: &str| assert_eq!(rfc3339(seconds * NANOS_PER_S), expected);
        check(0, "1970-01-01T00:00:00.000Z");
        check(951_782_399, "2000-02-28T23:59:59.000Z");
        check(951_782_400, "2000-02-29T00:00:00.000Z");
        check(1_704_067_199, "2023-12-31T23:59:59.000Z");
        check(1_709_164_800, "2024-02-29T00:00:00.000Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000Z");
    }
}
