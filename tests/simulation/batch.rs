//! Runs many seeds, each in a process of its own, as many at a time as the machine has processors.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::observer::Invariant;
use crate::{SABOTAGE, SEED};

/// Precedes the result of a process.
pub(crate) const RESULT: &str = "RESULT ";
/// Steps that are shown of a failed run: the disturbances of the whole run and the last steps of the gateway.
const SHOWN_STEPS: usize = 120;

/// Seeds to run.
#[derive(Clone, Debug)]
pub(crate) struct Seeds(Range<u64>);

/// What the runs of some seeds showed.
#[derive(Default)]
pub(crate) struct Summary {
    seeds: u64,
    virtual_s: u64,
    events: u64,
    delivered: u64,
    faults: BTreeMap<String, u64>,
    /// By seed.
    pub(crate) digests: BTreeMap<u64, String>,
    /// What was violated, with the seed, how to repeat it, and its steps.
    pub(crate) failures: Vec<String>,
    violated: Vec<String>,
}

impl Seeds {
    pub(crate) fn first(count: u64) -> Self {
        Self(0..count)
    }

    /// A count, `seed=N` or `FIRST..END`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Some(seed) = text.strip_prefix("seed=") {
            let seed = seed.parse().ok()?;
            return Some(Self(seed..seed + 1));
        }
        match text.split_once("..") {
            Some((first, end)) => Some(Self(first.parse().ok()?..end.parse().ok()?)),
            None => Some(Self::first(text.parse().ok()?)),
        }
    }
}

/// Runs the seeds.
pub(crate) fn run(seeds: Seeds, sabotage: Option<&str>) -> Summary {
    run_until(seeds, sabotage, |_| false)
}

/// Whether a run of these seeds with a sabotaged gateway violates the invariant.
pub(crate) fn find(seeds: Seeds, sabotage: &str, invariant: Invariant) -> bool {
    let name = format!("{invariant:?}");
    run_until(seeds, Some(sabotage), |summary| summary.violated.contains(&name)).violated.contains(&name)
}

fn run_until(Seeds(seeds): Seeds, sabotage: Option<&str>, is_enough: impl Fn(&Summary) -> bool + Sync) -> Summary {
    let (next, is_done) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let summary = Mutex::new(Summary::default());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let result = run_process(seed, sabotage);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.add(seed, result);
                    is_done.fetch_or(is_enough(&summary), Ordering::Relaxed);
                }
            });
        }
    });
    summary.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The result of one seed; the error is what its process printed.
fn run_process(seed: u64, sabotage: Option<&str>) -> Result<Value, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "one_seed", "--nocapture", "--test-threads=1"]).env(SEED, seed.to_string());
    if let Some(sabotage) = sabotage {
        command.env(SABOTAGE, sabotage);
    }
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let result = text.lines().find_map(|line| line.split_once(RESULT)).map(|(_, result)| result);
    let result = result.and_then(|result| serde_json::from_str(result).ok());
    result.ok_or_else(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

impl Summary {
    fn add(&mut self, seed: u64, result: Result<Value, String>) {
        self.seeds += 1;
        let result = match result {
            Ok(result) => result,
            Err(output) => return self.failures.push(format!("seed {seed} ended without a result:\n{output}")),
        };
        let summary = &result["summary"];
        let number = |key: &str| summary[key].as_u64().unwrap_or(0);
        self.virtual_s += number("virtual_s");
        self.events += number("events");
        self.delivered += number("delivered");
        for (kind, count) in summary["faults"].as_object().into_iter().flatten() {
            *self.faults.entry(kind.clone()).or_default() += count.as_u64().unwrap_or(0);
        }
        self.digests.insert(seed, result["digest"].as_str().unwrap_or_default().to_owned());
        let violations = result["violations"].as_array().cloned().unwrap_or_default();
        if violations.is_empty() {
            return;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.violated.extend(violations.iter().map(|violation| text(&violation[0])));
        let listed: Vec<_> =
            violations.iter().map(|violation| format!("  {}: {}", text(&violation[0]), text(&violation[1]))).collect();
        let steps: Vec<_> = result["steps"].as_array().into_iter().flatten().map(text).collect();
        let steps = steps[steps.len().saturating_sub(SHOWN_STEPS)..].join("\n");
        self.failures.push(format!(
            "seed {seed} violates:\n{}\nrepeat it with: scripts/simulate seed={seed}\nsteps, in seconds:\n{steps}\n",
            listed.join("\n")
        ));
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.virtual_s as f64 / 3600.0;
        writeln!(f, "{} seeds, {hours:.1} simulated hours", self.seeds)?;
        writeln!(f, "{} events, {} deliveries", self.events, self.delivered)?;
        for (kind, count) in &self.faults {
            writeln!(f, "{count:>9} {kind}")?;
        }
        write!(f, "{} failed seeds", self.failures.len())
    }
}
