//! One measurement in a process of its own, so that memory, processor time and what is cached are of one task alone. A worker
//! prints lines of a name and a value.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::{delivery, modbus};

/// The argument that makes the benchmark a worker; then follow the task and what it needs.
pub(crate) const FLAG: &str = "--worker";
/// The last line of a worker that stays until it is killed.
const READY: &str = "ready";

/// What a worker has printed.
pub(crate) struct Told(BTreeMap<String, String>);

/// A worker that waits to be killed; so it is when it is dropped.
pub(crate) struct Held {
    child: Child,
    /// What it said before it was ready.
    pub(crate) told: Told,
}

impl Told {
    fn of(lines: impl Iterator<Item = String>) -> Self {
        Self(lines.filter_map(|line| line.split_once(' ').map(|(name, value)| (name.into(), value.into()))).collect())
    }

    pub(crate) fn text(&self, name: &str) -> anyhow::Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("the worker has said nothing of {name}"))
    }

    pub(crate) fn value(&self, name: &str) -> anyhow::Result<f64> {
        self.text(name)?.parse().with_context(|| format!("the worker's {name} is no number"))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Fails only for a child that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[&str]) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("failed to find the benchmark's own file")?);
    command.arg(FLAG).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().context("failed to start a worker")
}

/// Runs a worker to its end.
pub(crate) fn ask(arguments: &[&str]) -> anyhow::Result<Told> {
    let output = spawn(arguments)?.wait_with_output()?;
    ensure!(output.status.success(), "the worker {arguments:?} has failed");
    let text = String::from_utf8(output.stdout)?;
    Ok(Told::of(text.lines().map(str::to_owned)))
}

/// Runs one until it has done its work and waits.
pub(crate) fn hold(arguments: &[&str]) -> anyhow::Result<Held> {
    let mut held = Held { child: spawn(arguments)?, told: Told::of(std::iter::empty()) };
    let stdout = held.child.stdout.take().context("the worker has no output")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read what a worker says")?;
        if line == READY {
            held.told = Told::of(lines.into_iter());
            return Ok(held);
        }
        lines.push(line);
    }
    anyhow::bail!("the worker {arguments:?} has ended")
}

/// The worker.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.split_first() {
        Some((&"modbus", rest)) => modbus::tasks::run(rest),
        _ => delivery::tasks::run(&arguments),
    }
}

/// Told to whoever started this worker.
pub(crate) fn say(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}

/// The last word of one that is held.
pub(crate) fn say_ready() {
    println!("{READY}");
}

/// Processor time so far.
pub(crate) fn processor(clock: ClockId) -> anyhow::Result<Duration> {
    Ok(Duration::try_from(clock_gettime(clock))?)
}
