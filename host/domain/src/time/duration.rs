//! Durations in settings, on the command line and in messages.

use std::time::Duration;

/// Parses `5s`, `250ms`, `100µs` or `100us`, `72h`, `30m`, `2d`; a number without a unit is in seconds.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let unit_at = text.find(char::is_alphabetic).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let seconds_per_unit = match unit {
        // The micro sign U+00B5, the Greek letter mu U+03BC and the ASCII substitute.
        "\u{b5}s" | "\u{3bc}s" | "us" => 1e-6,
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return None,
    };
    let number: f64 = number.trim().parse().ok()?;
    Duration::try_from_secs_f64(number * seconds_per_unit).ok()
}

/// A duration as messages show it, in a form that [`parse_duration`] accepts: `100µs`, `1.5s`, `86400s`.
pub(crate) fn duration_text(duration: Duration) -> String {
    match duration.as_nanos() {
        0 => "0s".to_owned(),
        // `Debug` would write nanoseconds, which are not a unit of settings.
        nanos @ 1..1000 => format!("0.{nanos:03}\u{b5}s"),
        _ => format!("{duration:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_number_and_a_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text), expected.map(Duration::from_millis), "{text}");
        };
        check("5s", Some(5000));
        check("5", Some(5000));
        check("0.25 s", Some(250));
        check("250ms", Some(250));
        check("1m", Some(60_000));
        check("72h", Some(259_200_000));
        check("2d", Some(172_800_000));
        check("-1s", None);
        check("s", None);
        check("5 weeks", None);
        check("1e30s", None);
    }

    #[test]
    fn microseconds_have_three_spellings() {
        for text in ["100us", "100\u{b5}s", "100\u{3bc}s", "100 us", "0.1ms"] {
            assert_eq!(parse_duration(text), Some(Duration::from_micros(100)), "{text}");
        }
        assert_eq!(parse_duration("400us"), Some(Duration::from_micros(400)));
        for text in ["\u{b5}s", "100\u{b5}", "100u", "100ns", "100\u{b5}m"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn the_text_of_a_duration_is_accepted_as_input() {
        for (duration, expected) in [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(1), "0.001\u{b5}s"),
            (Duration::from_nanos(999), "0.999\u{b5}s"),
            (Duration::from_nanos(1500), "1.5\u{b5}s"),
            (Duration::from_micros(100), "100\u{b5}s"),
            (Duration::from_millis(250), "250ms"),
            (Duration::from_millis(1500), "1.5s"),
            (Duration::from_hours(24), "86400s"),
        ] {
            assert_eq!(duration_text(duration), expected);
            assert_eq!(parse_duration(expected), Some(duration), "{expected}");
        }
    }
}
