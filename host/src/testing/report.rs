//! What is printed of cases that were run.

use std::fmt::Write;

use super::{Judged, Outcome, Summary, Verdict};

/// The line below what a recording gave.
pub fn replayed(events: usize, outcome: &Outcome) -> String {
    let calls = usize::try_from(outcome.calls).unwrap_or(usize::MAX);
    let (events, calls) = (counted(events, "event"), counted(calls, "call"));
    format!("{events} in {calls} → {}", counted(outcome.messages.len(), "message"))
}

/// A line for each case, what differs below those that failed, and a line for all.
pub fn text(summary: &Summary) -> String {
    let width = summary.cases.iter().map(|case| case.name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for case in &summary.cases {
        // Writing to a text does not fail.
        let _ = write_case(&mut text, case, width);
    }
    text.push_str(&total(summary));
    text.push('\n');
    text
}

fn write_case(text: &mut String, case: &Judged, width: usize) -> std::fmt::Result {
    let Judged { name, events, outcome, verdict, .. } = case;
    let word = if matches!(verdict, Verdict::Failed(_)) { "FAIL" } else { "ok" };
    let (events, messages) = (counted(*events, "event"), counted(outcome.messages.len(), "message"));
    write!(text, "{word:<4} {name:<width$}   {events} → {messages}")?;
    if let Some(fuel) = outcome.fuel {
        write!(text, "   fuel {}", grouped(fuel))?;
    }
    match verdict {
        Verdict::Passed => writeln!(text),
        Verdict::Written(file) => writeln!(text, "   wrote {}", file.display()),
        Verdict::Failed(differences) => {
            writeln!(text)?;
            differences
                .iter()
                .flat_map(|difference| difference.lines())
                .try_for_each(|line| writeln!(text, "     {line}"))?;
            outcome.log.iter().try_for_each(|line| writeln!(text, "     log: {line}"))
        }
    }
}

fn total(summary: &Summary) -> String {
    let (cases, written, failed) = (summary.cases.len(), summary.written(), summary.failed());
    let ok = cases - written - failed;
    let parts = [(ok, "ok"), (written, "written"), (failed, "failed")];
    let parts = parts.iter().filter(|(count, word)| *count > 0 || *word == "ok");
    let parts: Vec<_> = parts.map(|(count, word)| format!("{count} {word}")).collect();
    format!("{}: {}", counted(cases, "case"), parts.join(", "))
}

/// A number of things.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// A number with a comma after each three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(name: &str, events: usize, fuel: Option<u64>, verdict: Verdict) -> Judged {
        let outcome = Outcome { fuel, log: vec!["warn: odd".into()], ..Outcome::default() };
        Judged { name: name.into(), events, outcome, verdict, duration: std::time::Duration::ZERO }
    }

    #[test]
    fn one_line_a_case_and_one_for_all() {
        let failed = Verdict::Failed(vec!["message 1: qos: expected 1, got 0".into(), "a\nb".into()]);
        let cases = vec![
            case("telemetry", 3, Some(12_345), Verdict::Passed),
            case("ü", 1, None, Verdict::Written("ü/expected.jsonl".into())),
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
        assert_eq!(text(&Summary { cases }), expected);
        let cases = vec![case("a", 2, None, Verdict::Passed)];
        assert_eq!(text(&Summary { cases }), "ok   a   2 events → 0 messages\n1 case: 1 ok\n");
    }

    #[test]
    fn a_recording_is_summed_up() {
        let outcome = Outcome { calls: 1, ..Outcome::default() };
        assert_eq!(replayed(6, &outcome), "6 events in 1 call → 0 messages");
    }

    #[test]
    fn digits_in_groups() {
        for (number, expected) in [(0, "0"), (999, "999"), (1000, "1,000"), (123_456, "123,456")] {
            assert_eq!(grouped(number), expected);
        }
        assert_eq!(grouped(u64::MAX), "18,446,744,073,709,551,615");
    }
}
