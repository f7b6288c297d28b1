//! Whether a case passed, and what was written where it was to be updated.

use std::path::{Path, PathBuf};

use super::case::{Case, EXPECTED, EXPECTED_ERROR};
use super::expected::{self, Expected};
use super::report::{counted, grouped};
use super::{Options, Outcome};

/// What to think of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was expected.
    Passed,
    /// It is expected from now on, in this file.
    Written(PathBuf),
    /// It is not: what differs, a line each.
    Failed(Vec<String>),
}

/// What an outcome lacks.
enum Finding {
    /// It is what was expected.
    Same,
    /// Another expectation would fit: what differs, the file and its new content.
    Different(Vec<String>, &'static str, String),
    /// No expectation may fit.
    Wrong(Vec<String>),
}

/// Holds an outcome against what its case expects.
pub(super) fn judge(case: &Case, outcome: &Outcome, options: &Options) -> Verdict {
    let fuel = fuel_mistake(case.fuel, outcome.fuel);
    match find(case, outcome) {
        Finding::Same if fuel.is_none() => Verdict::Passed,
        Finding::Same => Verdict::Failed(fuel.into_iter().collect()),
        Finding::Different(_, file, content) if options.update && fuel.is_none() => {
            write(&case.folder.join(file), &content)
        }
        Finding::Different(mut differences, ..) | Finding::Wrong(mut differences) => {
            differences.extend(fuel);
            Verdict::Failed(differences)
        }
    }
}

fn find(case: &Case, outcome: &Outcome) -> Finding {
    match (&case.expected, &outcome.failure) {
        (Expected::Error(part), Some(failure)) if failure.contains(part.as_str()) => Finding::Same,
        (Expected::Error(part), Some(failure)) => {
            let differences = vec![format!("expected an error with: {part}"), format!("got: {failure}")];
            Finding::Different(differences, EXPECTED_ERROR, format!("{failure}\n"))
        }
        (Expected::Error(part), None) => {
            let count = counted(outcome.messages.len(), "message");
            Finding::Wrong(vec![format!("expected an error with: {part}"), format!("got none, and {count}")])
        }
        (Expected::Messages(_), Some(failure)) => Finding::Wrong(vec![failure.clone()]),
        (Expected::Unwritten, Some(failure)) => {
            let mend = format!("if that is as it should be, write a part of it into {EXPECTED_ERROR}");
            Finding::Wrong(vec![failure.clone(), mend])
        }
        (Expected::Messages(messages), None) => match expected::differences(messages, &outcome.messages) {
            differences if differences.is_empty() => Finding::Same,
            differences => Finding::Different(differences, EXPECTED, expected::write(&outcome.messages)),
        },
        (Expected::Unwritten, None) => {
            let mend = format!("there is no {EXPECTED} yet; write it, or let --update write it");
            Finding::Different(vec![mend], EXPECTED, expected::write(&outcome.messages))
        }
    }
}

fn fuel_mistake(ceiling: Option<u64>, burnt: Option<u64>) -> Option<String> {
    let ceiling = ceiling?;
    match burnt {
        Some(burnt) if burnt <= ceiling => None,
        Some(burnt) => Some(format!("burnt {} fuel, the ceiling is {}", grouped(burnt), grouped(ceiling))),
        None => Some(format!("the ceiling is {} fuel, which was not measured", grouped(ceiling))),
    }
}

fn write(path: &Path, content: &str) -> Verdict {
    match std::fs::write(path, content) {
        Ok(()) => Verdict::Written(path.to_owned()),
        Err(error) => Verdict::Failed(vec![format!("failed to write {}: {error}", path.display())]),
    }
}
