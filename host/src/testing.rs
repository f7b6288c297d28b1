//! Runs a plugin without a gateway: test cases, replays and benchmarks.
//!
//! A test case is a folder with `events.jsonl`, optionally `case.toml`, and `expected.jsonl` or `expected-error.txt`. The
//! plugin runs in the gateway's own sandbox, with the same rights and limits; only time and the peers are simulated.

#![allow(clippy::disallowed_methods, reason = "only commands test plugins, without the gateway's runtime")]

use std::time::Instant;

use bessai_domain::message::Message;

pub(crate) mod bench;
mod case;
pub(crate) mod comparison;
mod expected;
mod grouping;
pub(crate) mod junit;
mod native;
mod numbers;
mod outcome;
pub(crate) mod report;
mod run_settings;
mod runner;
mod session;
mod summary;
#[cfg(test)]
mod tests;
mod verdict;

use self::outcome::RunOutcome;
use self::summary::{CaseResult, TestSummary};

pub(crate) use self::case::{TestCase, TestOptions, find};
pub(crate) use self::outcome::ReplayedVersion;
pub(crate) use self::run_settings::RunSettings;
pub(crate) use self::runner::PluginRunner;
pub(crate) use self::session::outcome::write as session_lines;
pub(crate) use self::session::read as read_session;

/// Runs every case with `run_case` and compares the outcomes with the expectations.
pub(crate) fn run(
    cases: &[TestCase],
    options: &TestOptions,
    run_case: &mut dyn FnMut(&TestCase) -> RunOutcome,
) -> TestSummary {
    let result = |case: &TestCase| {
        let start = Instant::now();
        let outcome = run_case(case);
        let duration = start.elapsed();
        let verdict = verdict::judge(case, &outcome, options);
        CaseResult { name: case.name.clone(), events: case.process_events().len(), outcome, verdict, duration }
    };
    TestSummary { cases: cases.iter().map(result).collect() }
}

/// Messages as lines of `expected.jsonl`.
pub(crate) fn message_lines(messages: &[Message]) -> String {
    expected::write(messages)
}
