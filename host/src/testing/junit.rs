//! Results as JUnit XML, which CI systems read.

use std::fmt::Write;
use std::time::Duration;

use super::summary::{CaseResult, TestSummary};
use super::verdict::CaseVerdict;

/// The cases as one test suite with this name.
pub(crate) fn xml(suite: &str, summary: &TestSummary) -> String {
    let mut xml = String::new();
    // Writing to a string cannot fail.
    let _ = write_suite(&mut xml, suite, summary);
    xml
}

fn write_suite(xml: &mut String, suite: &str, summary: &TestSummary) -> std::fmt::Result {
    let (tests, failures) = (summary.cases.len(), summary.failed());
    let time = seconds(summary.cases.iter().map(|case| case.duration).sum());
    let counts = format!(r#"tests="{tests}" failures="{failures}" errors="0" skipped="0" time="{time}""#);
    writeln!(xml, r#"<?xml version="1.0" encoding="UTF-8"?>"#)?;
    writeln!(xml, "<testsuites {counts}>")?;
    writeln!(xml, r#"  <testsuite name="{}" {counts}>"#, escaped(suite))?;
    summary.cases.iter().try_for_each(|case| write_case(xml, suite, case))?;
    writeln!(xml, "  </testsuite>")?;
    writeln!(xml, "</testsuites>")
}

fn write_case(xml: &mut String, suite: &str, case: &CaseResult) -> std::fmt::Result {
    let (name, suite, time) = (escaped(&case.name), escaped(suite), seconds(case.duration));
    writeln!(xml, r#"    <testcase classname="{suite}" name="{name}" time="{time}">"#)?;
    if let Some(fuel) = case.outcome.fuel {
        writeln!(xml, r#"      <properties><property name="fuel" value="{fuel}"/></properties>"#)?;
    }
    if let CaseVerdict::Failed(differences) = &case.verdict {
        let first = differences.first().map(String::as_str).unwrap_or_default();
        let all = escaped(&differences.join("\n"));
        writeln!(xml, r#"      <failure message="{}">{all}</failure>"#, escaped(first))?;
    }
    if !case.outcome.log.is_empty() {
        writeln!(xml, "      <system-out>{}</system-out>", escaped(&case.outcome.log.join("\n")))?;
    }
    writeln!(xml, "    </testcase>")
}

fn seconds(duration: Duration) -> String {
    format!("{:.6}", duration.as_secs_f64())
}

/// Escaped for attributes and text (XML 1.0 §2.4, §3.3.3). A character that XML cannot represent (§2.2) becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            '\0'..'\u{20}' | '\u{FFFE}' | '\u{FFFF}' => escaped.push('\u{FFFD}'),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::outcome::RunOutcome;

    #[test]
    fn a_suite_with_a_passed_and_a_failed_case() {
        let case = |name: &str, fuel, log: &[&str], verdict| {
            let log = log.iter().map(|line| (*line).to_owned()).collect();
            let outcome = RunOutcome { fuel, log, ..RunOutcome::default() };
            CaseResult { name: name.into(), events: 1, outcome, verdict, duration: Duration::from_millis(1500) }
        };
        let failed = CaseVerdict::Failed(vec!["text: expected \"<a>\", got 'b'".into(), "c".into()]);
        let cases =
            vec![case("good", Some(12_345), &[], CaseVerdict::Passed), case("bad & \u{1}", None, &["x", "y"], failed)];
        let expected = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites tests="2" failures="1" errors="0" skipped="0" time="3.000000">
  <testsuite name="acme.wasm" tests="2" failures="1" errors="0" skipped="0" time="3.000000">
    <testcase classname="acme.wasm" name="good" time="1.500000">
      <properties><property name="fuel" value="12345"/></properties>
    </testcase>
    <testcase classname="acme.wasm" name="bad &amp; �" time="1.500000">
      <failure message="text: expected &quot;&lt;a&gt;&quot;, got 'b'">text: expected &quot;&lt;a&gt;&quot;, got 'b'&#10;c</failure>
      <system-out>x&#10;y</system-out>
    </testcase>
  </testsuite>
</testsuites>
"#;
        assert_eq!(xml("acme.wasm", &TestSummary { cases }), expected);
    }
}
