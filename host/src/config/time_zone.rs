//! `TZ` in `config/.env`: the time zone of a model's `hour_of_day`.

use std::path::Path;

use bessai_files::SETTINGS_BYTES;
use jiff::tz::TimeZone;

use super::environment::Variables;

/// Reads `TZ` as the C library does: the name of a time zone, the path of its file, or a rule such as `CLT4` (tzset(3)).
/// That of the process itself is left to the library that reads it.
pub(super) fn read(variables: &Variables<'_>) -> Option<TimeZone> {
    let variable = variables.of_env_file_alone("TZ")?;
    let zone = parse(variable.value.trim());
    if zone.is_none() {
        variable.reject(&variable.value, "is not a time zone; write a name such as America/Santiago");
    }
    zone
}

fn parse(text: &str) -> Option<TimeZone> {
    let name = text.strip_prefix(':').unwrap_or(text);
    if name.starts_with('/') {
        let bytes = bessai_files::read(Path::new(name), SETTINGS_BYTES).ok()?;
        return TimeZone::tzif(name, &bytes).ok();
    }
    TimeZone::get(name).or_else(|_| TimeZone::posix(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_rules() {
        let at = jiff::Timestamp::from_second(1_740_151_200).unwrap();
        let hour = |text: &str| parse(text).map(|zone| zone.to_datetime(at).hour());
        assert_eq!((hour("UTC"), hour("CLT4"), hour(":<-03>3")), (Some(15), Some(11), Some(12)));
        assert_eq!((hour("Mars/Olympus"), hour("/nonexistent"), hour("five")), (None, None, None));
    }
}
