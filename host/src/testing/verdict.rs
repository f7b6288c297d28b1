//! Whether a test case passed, and updates of its expectation.

use std::path::{Path, PathBuf};

use super::case::{EXPECTED, EXPECTED_ERROR, EXPECTED_SESSION, TestCase, TestOptions};
use super::expected::{self, Expectation};
use super::numbers::{counted, grouped};
use super::outcome::RunOutcome;
use super::session::outcome as session;

/// The result of comparing an outcome with the expectation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CaseVerdict {
    /// The outcome is as expected.
    Passed,
    /// The outcome was written to this file as the new expectation.
    Written(PathBuf),
    /// The outcome is not as expected: one line per difference.
    Failed(Vec<String>),
}

/// How an outcome relates to the expectation, fuel aside.
enum Comparison {
    Same,
    /// The differences, and the file and content of the expectation that would fit.
    Updatable(Vec<String>, &'static str, String),
    /// The differences; no expectation may be written for such an outcome.
    NotUpdatable(Vec<String>),
}

/// Compares an outcome with the expectation of its case. With `update`, a different expectation is replaced unless too
/// much fuel was used.
pub(super) fn judge(case: &TestCase, outcome: &RunOutcome, options: &TestOptions) -> CaseVerdict {
    let fuel = fuel_difference(case.fuel, outcome.fuel);
    let session = session_differences(case, outcome);
    let grouping = || outcome.grouping.iter().cloned();
    match compare(case, outcome) {
        // Nothing is written for a plugin whose messages are not always the same.
        Comparison::Same if !outcome.grouping.is_empty() => CaseVerdict::Failed(grouping().chain(fuel).collect()),
        Comparison::Updatable(mut differences, ..) if !outcome.grouping.is_empty() => {
            differences.extend(session.into_iter().chain(grouping()).chain(fuel));
            CaseVerdict::Failed(differences)
        }
        // Where messages differ as well, they are written first, and this with the next update.
        Comparison::Same if !session.is_empty() => match options.update && fuel.is_none() {
            true => write(&case.folder.join(EXPECTED_SESSION), &session::write(&outcome.session)),
            false => CaseVerdict::Failed(session.into_iter().chain(fuel).collect()),
        },
        Comparison::Same if fuel.is_none() => CaseVerdict::Passed,
        Comparison::Same => CaseVerdict::Failed(fuel.into_iter().collect()),
        Comparison::Updatable(_, file, content) if options.update && fuel.is_none() => {
            write(&case.folder.join(file), &content)
        }
        Comparison::Updatable(mut differences, ..) | Comparison::NotUpdatable(mut differences) => {
            differences.extend(session.into_iter().chain(fuel));
            CaseVerdict::Failed(differences)
        }
    }
}

fn compare(case: &TestCase, outcome: &RunOutcome) -> Comparison {
    match (&case.expected, &outcome.failure) {
        (Expectation::Error(part), Some(failure)) if failure.contains(part.as_str()) => Comparison::Same,
        (Expectation::Error(part), Some(failure)) => {
            let differences = vec![format!("expected an error that contains: {part}"), format!("got: {failure}")];
            Comparison::Updatable(differences, EXPECTED_ERROR, format!("{failure}\n"))
        }
        (Expectation::Error(part), None) => {
            let count = counted(outcome.messages.len(), "message");
            let got = format!("got no error and {count}");
            Comparison::NotUpdatable(vec![format!("expected an error that contains: {part}"), got])
        }
        (Expectation::Messages(_), Some(failure)) => Comparison::NotUpdatable(vec![failure.clone()]),
        (Expectation::Missing, Some(failure)) => {
            let hint = format!("if this error is expected, write a part of it to {EXPECTED_ERROR}");
            Comparison::NotUpdatable(vec![failure.clone(), hint])
        }
        (Expectation::Messages(messages), None) => match expected::differences(messages, &outcome.messages) {
            differences if differences.is_empty() => Comparison::Same,
            differences => Comparison::Updatable(differences, EXPECTED, expected::write(&outcome.messages)),
        },
        (Expectation::Missing, None) => {
            let hint = format!("{EXPECTED} is missing; write it, or create it with --update");
            Comparison::Updatable(vec![hint], EXPECTED, expected::write(&outcome.messages))
        }
    }
}

/// Nothing for a run that failed: it ended before its last line.
fn session_differences(case: &TestCase, outcome: &RunOutcome) -> Vec<String> {
    match &case.expected_session {
        _ if outcome.failure.is_some() => Vec::new(),
        Some(expected) => session::differences(expected, &outcome.session),
        None if outcome.session.is_empty() => Vec::new(),
        None => vec![format!("{EXPECTED_SESSION} is missing; write it, or create it with --update")],
    }
}

fn fuel_difference(ceiling: Option<u64>, used: Option<u64>) -> Option<String> {
    let ceiling = ceiling?;
    match used {
        Some(used) if used <= ceiling => None,
        Some(used) => Some(format!("used {} fuel; the ceiling is {}", grouped(used), grouped(ceiling))),
        None => Some(format!("the fuel was not counted; the ceiling is {}", grouped(ceiling))),
    }
}

fn write(path: &Path, content: &str) -> CaseVerdict {
    match std::fs::write(path, content) {
        Ok(()) => CaseVerdict::Written(path.to_owned()),
        Err(error) => CaseVerdict::Failed(vec![format!("failed to write {}: {error}", path.display())]),
    }
}
