//! A plugin by itself: held against its test cases, run with recorded events, measured.
//!
//! A case is a folder: `events.jsonl`, perhaps `case.toml`, and `expected.jsonl` or `expected-error.txt`. Everything runs
//! through the gateway's own sandbox, rights and limits; only time and the other ends are made up.

use std::time::{Duration, Instant};

use bessai_domain::message::Message;

use crate::plugin::CompileLimits;

pub mod bench;
mod case;
mod expected;
pub mod junit;
mod native;
pub mod report;
mod runner;
#[cfg(test)]
mod tests;
mod verdict;

pub use self::case::{Case, find};
pub use self::expected::{Expected, ExpectedMessage, Payload};
pub use self::runner::{Runner, Surroundings};
pub use self::verdict::Verdict;

/// A busy desk gets more time to compile than a gateway gives.
const COMPILE_TIME: Duration = Duration::from_mins(10);

fn compile_limits() -> CompileLimits {
    CompileLimits { time: COMPILE_TIME, ..CompileLimits::default() }
}

/// The lines of messages, as an expectation has them.
pub fn messages(messages: &[Message]) -> String {
    expected::write(messages)
}

/// How cases are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// What came is written as what is expected, where the two differ. A failure, or fuel above the ceiling, stays one.
    pub update: bool,
}

/// What running a case brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// In order, as they would be published.
    pub messages: Vec<Message>,
    /// Why it ended early: a refused configuration, a trap, a rejected event.
    pub failure: Option<String>,
    /// What the guest burnt in all calls; none where it was not measured.
    pub fuel: Option<u64>,
    /// Calls of `process`.
    pub calls: u32,
    /// What the guest logged.
    pub log: Vec<String>,
}

/// One case after it was run.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The case's.
    pub name: String,
    /// Events that `process` was to get.
    pub events: usize,
    /// What running it brought.
    pub outcome: Outcome,
    /// What to think of that.
    pub verdict: Verdict,
    /// Time that it took.
    pub duration: Duration,
}

/// All cases after they were run, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    /// Each of them.
    pub cases: Vec<Judged>,
}

impl Summary {
    /// How many failed.
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.verdict, Verdict::Failed(_))).count()
    }

    /// For how many an expectation was written.
    pub fn written(&self) -> usize {
        self.cases.iter().filter(|case| matches!(case.verdict, Verdict::Written(_))).count()
    }

    /// Whether none failed.
    pub fn is_good(&self) -> bool {
        self.failed() == 0
    }
}

/// Runs every case and judges what came.
pub fn run(cases: &[Case], options: &Options, runner: &mut dyn FnMut(&Case) -> Outcome) -> Summary {
    let judge = |case: &Case| {
        let started = Instant::now();
        let outcome = runner(case);
        let duration = started.elapsed();
        let verdict = verdict::judge(case, &outcome, options);
        Judged { name: case.name.clone(), events: case.handed_over().len(), outcome, verdict, duration }
    };
    Summary { cases: cases.iter().map(judge).collect() }
}
