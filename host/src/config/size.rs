//! Sizes in bytes, such as `64MiB`.

use std::ops::RangeInclusive;

use bessai_domain::settings::SettingsTable;

/// One MiB in bytes.
pub(super) const MIB: u64 = 1024 * 1024;

/// Parses `1GiB`, `10 MB`, `512KiB`, or a number of bytes without a unit.
pub(super) fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(unit_at)?;
    let bytes_per_unit: u64 = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1024,
        "MiB" => MIB,
        "GiB" => 1024 * MIB,
        _ => return None,
    };
    number.trim().parse::<u64>().ok()?.checked_mul(bytes_per_unit)
}

/// Reads a size within a range, written as a text or as a number of bytes.
pub(super) fn read(table: &SettingsTable<'_>, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
    let size = match table.value(key)? {
        toml::Value::Integer(bytes) => u64::try_from(*bytes).ok(),
        toml::Value::String(text) => parse(text),
        _ => None,
    };
    let size = size.filter(|size| range.contains(size));
    if size.is_none() {
        let (min, max) = (range.start() / MIB, range.end() / MIB);
        table.add_mistake(key, format!("write a size from {min}MiB to {max}MiB, such as \"64MiB\""));
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1GiB", Some(1 << 30)),
            ("64 MiB", Some(64 << 20)),
            ("512KiB", Some(512 << 10)),
            ("2kB", Some(2000)),
            ("2MB", Some(2_000_000)),
            ("2GB", Some(2_000_000_000)),
            ("77", Some(77)),
            ("77B", Some(77)),
            ("1.5GiB", None),
            ("-1GiB", None),
            ("GiB", None),
            ("1TB", None),
            ("99999999999999GiB", None),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }
}
