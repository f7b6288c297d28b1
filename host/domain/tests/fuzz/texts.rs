//! Durations, times, topics and recorded events from any text.

use bessai_domain::record::{read_body, read_events, write_body, write_event};
use bessai_domain::time::{parse_duration, parse_utc};
use bessai_domain::topic;

/// Any text as a duration, a time in UTC, a topic and a topic filter.
pub fn texts(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(duration) = parse_duration(text) {
        let again = parse_duration(&format!("{}", duration.as_secs_f64()));
        let again = again.unwrap_or_else(|| panic!("{duration:?} in seconds is refused"));
        let tolerance = duration.as_secs_f64() * 1e-9 + 1e-9;
        assert!((again.as_secs_f64() - duration.as_secs_f64()).abs() <= tolerance, "{duration:?} becomes {again:?}");
    }
    if let Some(at) = parse_utc(text) {
        assert_eq!(parse_utc(&at.to_string()), Some(at), "{at}");
    }
    if topic::check(text).is_ok() {
        assert!(topic::matches(text, text) && !text.is_empty(), "{text:?} does not match itself");
        assert!(text.starts_with('$') || topic::matches("#", text), "{text:?} does not match #");
    }
    let (filter, name) = text.split_once('\n').unwrap_or((text, "site/battery/telemetry"));
    let matches = topic::matches(filter, name);
    assert!(!matches || filter.contains(['+', '#']) || filter == name, "{filter:?} matches {name:?}");
}

/// Any text as lines of recorded events, and as the body of one event.
pub fn recorded_events(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(body) = read_body(text) {
        let written = write_body(&body);
        let again = read_body(&written).unwrap_or_else(|| panic!("{written} is refused"));
        assert_eq!(write_body(&again), written);
    }
    match read_events(text) {
        Ok(events) => {
            let lines: Vec<_> = events.iter().map(|event| write_event(event, None)).collect();
            let again = read_events(&lines.join("\n"));
            let again = again.unwrap_or_else(|mistakes| panic!("{lines:?} is refused: {mistakes:?}"));
            let lines_again: Vec<_> = again.iter().map(|event| write_event(event, None)).collect();
            assert_eq!(lines_again, lines);
        }
        Err(mistakes) => assert!(!mistakes.is_empty()),
    }
}
