//! Results of runs as text for people.

use std::fmt::Write;

use super::numbers::{counted, grouped};
use super::outcome::RunOutcome;
use super::summary::{CaseResult, TestSummary};
use super::verdict::CaseVerdict;

/// The line that sums up a replay.
pub(crate) fn replayed(events: usize, outcome: &RunOutcome) -> String {
    let calls = usize::try_from(outcome.calls).unwrap_or(usize::MAX);
    let (events, calls) = (counted(events, "event"), counted(calls, "call"));
    format!("{events} in {calls} → {}", counted(outcome.messages.len(), "message"))
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
    fn a_replay_is_summed_up() {
        let outcome = RunOutcome { calls: 1, ..RunOutcome::default() };
        assert_eq!(replayed(6, &outcome), "6 events in 1 call → 0 messages");
    }
}
