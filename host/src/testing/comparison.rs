//! What two versions of a plugin make of the same events, as text for people.

use std::fmt::Write;

use bessai_domain::message::Message;

use super::expected;
use super::numbers::{counted, grouped};
use super::outcome::ReplayedVersion;
use super::report::replayed;

/// Messages that are shown of a version that has none to compare with, the newest.
const NEWEST: usize = 10;
/// Messages of two versions that are shown side by side.
const SIDE_BY_SIDE: usize = 10;
/// Lines of the log that are shown, the newest.
const LOG_LINES: usize = 20;

/// What a version made of recorded events: beside the version before, if there is one, which ran with the same events.
pub(crate) fn text(version: &ReplayedVersion, before: Option<&ReplayedVersion>) -> String {
    let mut text = format!("{}, {}\n", replayed(version.events, &version.outcome), cost(version));
    if let Some(before) = before {
        let messages = counted(before.outcome.messages.len(), "message");
        text += &format!("before: {messages}, {}\n", cost(before));
    }
    match before {
        None => newest(&mut text, &version.outcome.messages),
        Some(before) => side_by_side(&mut text, &version.outcome.messages, &before.outcome.messages),
    }
    log(&mut text, "log", &version.outcome.log);
    if let Some(before) = before.filter(|before| before.outcome.log != version.outcome.log) {
        log(&mut text, "log before", &before.outcome.log);
        if before.outcome.log.is_empty() {
            text += "     log before: empty\n";
        }
    }
    if let Some(failure) = &version.outcome.failure {
        text += &format!("FAIL {failure}\n");
    }
    text
}

fn cost(version: &ReplayedVersion) -> String {
    let fuel = version.outcome.fuel.map(grouped).unwrap_or_default();
    format!("{:.1} ms, fuel {fuel}", version.took.as_secs_f64() * 1000.0)
}

fn newest(text: &mut String, messages: &[Message]) {
    let hidden = messages.len().saturating_sub(NEWEST);
    if hidden > 0 {
        *text += &format!("     … {} before these\n", counted(hidden, "message"));
    }
    *text += &expected::write(messages.get(hidden..).unwrap_or_default());
}

/// The messages that differ, each below that of the version before.
fn side_by_side(text: &mut String, now: &[Message], before: &[Message]) {
    // What is written can be read.
    let known = expected::read(&expected::write(before)).unwrap_or_default();
    let differences = expected::differences(&known, now);
    if differences.is_empty() {
        *text += "     the same messages as before\n";
        return newest(text, now);
    }
    for line in &differences {
        *text += &format!("     {line}\n");
    }
    let length = now.len().max(before.len());
    let pairs = (0..length).map(|index| (index, before.get(index), now.get(index)));
    let mut differing = pairs.filter(|(_, before, now)| before != now);
    for (index, before, now) in differing.by_ref().take(SIDE_BY_SIDE) {
        let shown =
            |message: Option<&Message>| message.map_or("none".into(), |message| expected::line(message).to_string());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "message {}\n  before {}\n  now    {}", index + 1, shown(before), shown(now));
    }
    let hidden = differing.count();
    if hidden > 0 {
        *text += &format!("     … and {} more that differ\n", counted(hidden, "message"));
    }
}

fn log(text: &mut String, name: &str, lines: &[String]) {
    let hidden = lines.len().saturating_sub(LOG_LINES);
    if hidden > 0 {
        *text += &format!("     {name}: … {} before these\n", counted(hidden, "line"));
    }
    lines.iter().skip(hidden).for_each(|line| *text += &format!("     {name}: {line}\n"));
}

#[cfg(test)]
mod tests {
    use bessai_domain::message::Qos;

    use super::*;
    use crate::testing::outcome::RunOutcome;

    fn version(payloads: &[&str], fuel: u64, log: &[&str]) -> ReplayedVersion {
        let message = |payload: &&str| Message {
            topic: "a".into(),
            payload: (*payload).into(),
            qos: Qos::AtLeastOnce,
            retain: false,
            properties: None,
        };
        ReplayedVersion {
            events: 2,
            took: std::time::Duration::from_millis(1),
            outcome: RunOutcome {
                messages: payloads.iter().map(message).collect(),
                fuel: Some(fuel),
                calls: 1,
                log: log.iter().map(ToString::to_string).collect(),
                ..RunOutcome::default()
            },
        }
    }

    #[test]
    fn a_first_version_shows_its_newest_messages_and_its_log() {
        let first =
            "2 events in 1 call → 1 message, 1.0 ms, fuel 1,000\n{\"topic\":\"a\",\"json\":1}\n     log: info: x\n";
        assert_eq!(text(&version(&["1"], 1000, &["info: x"]), None), first);
        let payloads: Vec<_> = (1..=12).map(|number| number.to_string()).collect();
        let payloads: Vec<_> = payloads.iter().map(String::as_str).collect();
        let many = text(&version(&payloads, 1, &[]), None);
        assert!(many.contains("… 2 messages before these\n{\"topic\":\"a\",\"json\":3}\n"), "{many}");
        assert!(many.ends_with("\"json\":12}\n"), "{many}");
    }

    #[test]
    fn two_versions_are_shown_side_by_side() {
        let (old, new) = (version(&["1", "5"], 1000, &["info: x"]), version(&["2", "5"], 900, &[]));
        let changed = "\
2 events in 1 call → 2 messages, 1.0 ms, fuel 900
before: 2 messages, 1.0 ms, fuel 1,000
     message 1 (a): json: expected 1, got 2
message 1
  before {\"topic\":\"a\",\"json\":1}
  now    {\"topic\":\"a\",\"json\":2}
     log before: info: x
";
        assert_eq!(text(&new, Some(&old)), changed);
        let shorter = text(&version(&["1"], 1, &["info: x"]), Some(&old));
        assert!(shorter.contains("message 2\n  before {\"topic\":\"a\",\"json\":5}\n  now    none\n"), "{shorter}");
        let same = text(&old, Some(&version(&["1", "5"], 1000, &[])));
        assert!(same.contains("     the same messages as before\n{\"topic\":\"a\",\"json\":1}\n"), "{same}");
        assert!(same.ends_with("     log: info: x\n     log before: empty\n"), "{same}");
    }
}
