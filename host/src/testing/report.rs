//! Results of runs as text for people.

use std::fmt::Write;

use super::expected;
use super::numbers::{counted, grouped};
use super::outcome::{ReplayedVersion, RunOutcome};
use super::summary::{CaseResult, TestSummary};
use super::verdict::CaseVerdict;

/// The line that sums up a replay.
pub(crate) fn replayed(events: usize, outcome: &RunOutcome) -> String {
    let calls = usize::try_from(outcome.calls).unwrap_or(usize::MAX);
    let (events, calls) = (counted(events, "event"), counted(calls, "call"));
    format!("{events} in {calls} → {}", counted(outcome.messages.len(), "message"))
}

/// What a version of a plugin made of recorded events: beside the version before, if there is one.
pub(crate) fn compared(version: &ReplayedVersion, before: Option<&ReplayedVersion>) -> String {
    let outcome = &version.outcome;
    let mut text = format!("{}, {}", replayed(version.events, outcome), cost(version));
    if let Some(before) = before {
        let (events, messages) = (before.events, counted(before.outcome.messages.len(), "message"));
        let _ = write!(text, " (before: {events} events → {messages}, {})", cost(before));
    }
    text.push('\n');
    match before {
        None => text.push_str(&expected::write(&outcome.messages)),
        Some(before) => {
            // What is written can be read.
            let known = expected::read(&expected::write(&before.outcome.messages)).unwrap_or_default();
            let differences = expected::differences(&known, &outcome.messages);
            if differences.is_empty() {
                text.push_str("     the same messages as before\n");
            }
            differences.iter().for_each(|line| text.push_str(&format!("     {line}\n")));
        }
    }
    outcome.log.iter().for_each(|line| text.push_str(&format!("     log: {line}\n")));
    if let Some(failure) = &outcome.failure {
        text.push_str(&format!("FAIL {failure}\n"));
    }
    text
}

fn cost(version: &ReplayedVersion) -> String {
    let fuel = version.outcome.fuel.map(grouped).unwrap_or_default();
    format!("{:.1} ms, fuel {fuel}", version.took.as_secs_f64() * 1000.0)
}

/// One line per case, followed by the differences and the plugin's log if it failed, and a line with the totals. With
/// `show_log` the log of every case is shown.
pub(crate) fn text(summary: &TestSummary, show_log: bool) -> String {
    let width = summary.cases.iter().map(|case| case.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for case in &summary.cases {
        // Writing to a string cannot fail.
        let _ = write_case(&mut text, case, width, show_log);
    }
    text.push_str(&total(summary));
    text.push('\n');
    text
}

fn write_case(text: &mut String, case: &CaseResult, width: usize, show_log: bool) -> std::fmt::Result {
    let CaseResult { name, events, outcome, verdict, .. } = case;
    let word = if matches!(verdict, CaseVerdict::Failed(_)) { "FAIL" } else { "ok" };
    let (events, messages) = (counted(*events, "event"), counted(outcome.messages.len(), "message"));
    write!(text, "{word:<4} {name:<width$}   {events} → {messages}")?;
    if let Some(fuel) = outcome.fuel {
        write!(text, "   fuel {}", grouped(fuel))?;
    }
    match verdict {
        CaseVerdict::Passed => writeln!(text)?,
        CaseVerdict::Written(file) => writeln!(text, "   wrote {}", file.display())?,
        CaseVerdict::Failed(differences) => {
            writeln!(text)?;
            let mut lines = differences.iter().flat_map(|difference| difference.lines());
            lines.try_for_each(|line| writeln!(text, "     {line}"))?;
        }
    }
    if show_log || matches!(verdict, CaseVerdict::Failed(_)) {
        outcome.log.iter().try_for_each(|line| writeln!(text, "     log: {line}"))?;
    }
    Ok(())
}

fn total(summary: &TestSummary) -> String {
    let (cases, written, failed) = (summary.cases.len(), summary.written(), summary.failed());
    let ok = cases - written - failed;
    let parts = [(ok, "ok"), (written, "written"), (failed, "failed")];
    let parts = parts.iter().filter(|(count, word)| *count > 0 || *word == "ok");
    let parts: Vec<_> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    format!("{}: {}", counted(cases, "case"), parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, events: usize, fuel: Option<u64>, verdict: CaseVerdict) -> CaseResult {
        let outcome = RunOutcome { fuel, log: vec!["warn: odd".into()], ..RunOutcome::default() };
        CaseResult { name: name.into(), events, outcome, verdict, duration: std::time::Duration::ZERO }
    }

    #[test]
    fn each_case_and_the_totals_have_a_line() {
        let failed = CaseVerdict::Failed(vec!["message 1: qos: expected 1, got 0".into(), "a\nb".into()]);
        let cases = vec![
            case("telemetry", 3, Some(12_345), CaseVerdict::Passed),
            case("ü", 1, None, CaseVerdict::Written("ü/expected.jsonl".into())),
            case("bad", 0, Some(7), failed),
        ];
        let expected = "\
ok   telemetry   3 events → 0 messages   fuel 12,345
ok   ü           1 event → 0 messages   wrote ü/expected.jsonl
FAIL bad         0 events → 0 messages   fuel 7
     message 1: qos: expected 1, got 0
     a
     b
     log: warn: odd
3 cases: 1 ok, 1 written, 1 failed
";
        assert_eq!(text(&TestSummary { cases }, false), expected);
        let cases = vec![case("a", 2, None, CaseVerdict::Passed)];
        let summary = TestSummary { cases };
        assert_eq!(text(&summary, false), "ok   a   2 events → 0 messages\n1 case: 1 ok\n");
        let with_log = "ok   a   2 events → 0 messages\n     log: warn: odd\n1 case: 1 ok\n";
        assert_eq!(text(&summary, true), with_log);
    }

    #[test]
    fn a_version_is_compared_with_the_one_before() {
        let version = |payload: &str, fuel| ReplayedVersion {
            events: 2,
            took: std::time::Duration::from_millis(1),
            outcome: RunOutcome {
                messages: vec![bessai_domain::message::Message {
                    topic: "a".into(),
                    payload: payload.into(),
                    qos: bessai_domain::message::Qos::AtLeastOnce,
                    retain: false,
                    properties: None,
                }],
                fuel: Some(fuel),
                calls: 1,
                ..RunOutcome::default()
            },
        };
        let (old, new) = (version("1", 1000), version("2", 900));
        let first = "2 events in 1 call → 1 message, 1.0 ms, fuel 1,000\n{\"topic\":\"a\",\"json\":1}\n";
        assert_eq!(compared(&old, None), first);
        let changed = "2 events in 1 call → 1 message, 1.0 ms, fuel 900 (before: 2 events → 1 message, 1.0 ms, fuel 1,000)\n     \
                       message 1 (a): json: expected 1, got 2\n";
        assert_eq!(compared(&new, Some(&old)), changed);
        assert!(compared(&old, Some(&old)).ends_with("     the same messages as before\n"));
    }

    #[test]
    fn a_replay_is_summed_up() {
        let outcome = RunOutcome { calls: 1, ..RunOutcome::default() };
        assert_eq!(replayed(6, &outcome), "6 events in 1 call → 0 messages");
    }
}
