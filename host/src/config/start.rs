//! Where a feed begins in the journal when it is seen for the first time.

use bessai_domain::settings::Table;
use bessai_domain::time::Timestamp;

/// Where a feed begins; counts only for a name never seen before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// With the next event.
    Now,
    /// With the oldest event that is kept.
    Oldest,
    /// With the first event at or after this.
    At(Timestamp),
}

/// `"now"`, `"oldest"`, or a time of day in UTC, as a text or as TOML's own.
pub(super) fn read(table: &Table<'_>, key: &'static str) -> Start {
    let Some(value) = table.value(key) else { return Start::Now };
    let start = match value {
        toml::Value::String(text) if text == "now" => Some(Start::Now),
        toml::Value::String(text) if text == "oldest" => Some(Start::Oldest),
        toml::Value::String(text) => parse_utc(text).map(Start::At),
        toml::Value::Datetime(time) => parse_utc(&time.to_string()).map(Start::At),
        _ => None,
    };
    start.unwrap_or_else(|| {
        table.wrong(key, "write \"now\", \"oldest\" or a time in UTC, such as \"2026-01-02T03:04:05Z\"");
        Start::Now
    })
}

/// A time in UTC as RFC 3339 §5.6 writes it.
fn parse_utc(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("+00:00"))?;
    let (date, time) = text.split_once(['T', 't', ' '])?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_time = hour < 24 && minute < 60 && second < 60;
    if !is_time || year < 1970 || !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
        return None;
    }
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add(nanos(fraction)?)?;
    Some(Timestamp::from_nanos(nanos))
}

fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut next = |digits: usize| {
        let part = parts.next().filter(|part| part.len() == digits)?;
        part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten()
    };
    let [first, second, third] = digits;
    let numbers = [next(first)?, next(second)?, next(third)?];
    parts.next().is_none().then_some(numbers)
}

fn nanos(fraction: &str) -> Option<u64> {
    const DIGITS: usize = 9;
    let is_fraction = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(DIGITS).collect();
    is_fraction.then(|| digits.parse().ok()).flatten()
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_since_1970(year: u64, month: u64, day: u64) -> u64 {
    let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
    let before_year = (year - 1970) * 365 + leap_days(year - 1) - leap_days(1969);
    let before_month: u64 = (1..month).map(|month| days_in(year, month)).sum();
    before_year + before_month + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
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
            ("9999-01-01T00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("yesterday", None),
        ] {
            assert_eq!(parse_utc(text).map(Timestamp::nanos), expected, "{text}");
        }
    }
}
