//! The results of test cases.

use std::time::Duration;

use super::outcome::RunOutcome;
use super::verdict::CaseVerdict;

/// The result of one test case.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CaseResult {
    /// The case's name.
    pub(crate) name: String,
    /// Number of events passed to `process`.
    pub(crate) events: usize,
    /// What the plugin did.
    pub(crate) outcome: RunOutcome,
    /// Whether that was expected.
    pub(crate) verdict: CaseVerdict,
    /// How long the run took.
    pub(crate) duration: Duration,
}

/// The results of all test cases, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TestSummary {
    /// One result per case.
    pub(crate) cases: Vec<CaseResult>,
}

impl TestSummary {
    /// Number of failed cases.
    pub(crate) fn failed(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.verdict, CaseVerdict::Failed(_))).count()
    }

    /// Number of cases whose expectation was written.
    pub(crate) fn written(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.verdict, CaseVerdict::Written(_))).count()
    }

    /// Whether no case failed.
    pub(crate) fn all_passed(&self) -> bool {
        self.failed() == 0
    }
}
