//! Values of arguments that several commands take.

use std::time::Duration;

use bessai_domain::time::parse_duration;
use clap::builder::{PossibleValuesParser, TypedValueParser};

/// Parses a duration such as `20s` or `400us`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "write a number with a unit: us, ms, s, m, h or d, such as 20s or 1h".into())
}

/// A parser for one of the names in a table; help and shell completions list them.
pub(super) fn one_of<T>(names: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T>
where
    T: Copy + Send + Sync + 'static,
{
    let find = |name: String| names.iter().find(|(known, _)| *known == name).map(|&(_, value)| value);
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name))
        .try_map(move |name| find(name).ok_or("is not in the list of possible values"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("400us"), Ok(Duration::from_micros(400)));
        assert_eq!(duration("1h"), Ok(Duration::from_hours(1)));
        assert!(duration("soon").unwrap_err().starts_with("write a number with a unit"));
    }
}
