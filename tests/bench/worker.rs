//! Runs a measurement in a child process, so that memory, processor time and caches belong to one task. A worker prints lines
//! of a name and a value.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::{delivery, inference, modbus};

/// The first argument with which the benchmark runs as a worker; the task and its arguments follow.
pub(crate) const FLAG: &str = "--worker";
/// The last line of a worker that then waits to be killed.
const READY: &str = "ready";

/// The values that a worker printed, by name.
pub(crate) struct WorkerOutput(BTreeMap<String, String>);

/// A worker that has finished its task and waits, killed when dropped.
pub(crate) struct WaitingWorker {
    child: Child,
    /// The values that it printed before it was ready.
    pub(crate) output: WorkerOutput,
}

impl WorkerOutput {
    fn of(lines: impl Iterator<Item = String>) -> Self {
        Self(lines.filter_map(|line| line.split_once(' ').map(|(name, value)| (name.into(), value.into()))).collect())
    }

    pub(crate) fn text(&self, name: &str) -> anyhow::Result<&str> {
        self.0.get(name).map(String::as_str).with_context(|| format!("the worker printed no {name}"))
    }

    pub(crate) fn value(&self, name: &str) -> anyhow::Result<f64> {
        self.text(name)?.parse().with_context(|| format!("the worker's {name} is not a number"))
    }
}

impl Drop for WaitingWorker {
    fn drop(&mut self) {
        // Fails only if the child has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(arguments: &[&str], variable: Option<(&str, &OsStr)>) -> anyhow::Result<Child> {
    let mut command = Command::new(std::env::current_exe().context("failed to find the benchmark's own file")?);
    command.arg(FLAG).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
    command.envs(variable);
    command.spawn().context("failed to start a worker")
}

/// Runs a worker to its end.
pub(crate) fn run_to_end(arguments: &[&str]) -> anyhow::Result<WorkerOutput> {
    run_to_end_with(arguments, None)
}

/// As [`run_to_end`], with a variable of the environment.
pub(crate) fn run_to_end_with(arguments: &[&str], variable: Option<(&str, &OsStr)>) -> anyhow::Result<WorkerOutput> {
    let output = spawn(arguments, variable)?.wait_with_output()?;
    ensure!(output.status.success(), "the worker {arguments:?} failed");
    let text = String::from_utf8(output.stdout)?;
    Ok(WorkerOutput::of(text.lines().map(str::to_owned)))
}

/// Runs a worker until it has finished its task and waits.
pub(crate) fn start_and_wait(arguments: &[&str]) -> anyhow::Result<WaitingWorker> {
    let mut worker = WaitingWorker { child: spawn(arguments, None)?, output: WorkerOutput::of(std::iter::empty()) };
    let stdout = worker.child.stdout.take().context("the worker has no output")?;
    let mut lines = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read a worker's output")?;
        if line == READY {
            worker.output = WorkerOutput::of(lines.into_iter());
            return Ok(worker);
        }
        lines.push(line);
    }
    anyhow::bail!("the worker {arguments:?} ended before it was ready")
}

/// Runs the task that the arguments name.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<()> {
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.split_first() {
        Some((&inference::TASK, rest)) => inference::run(rest),
        Some((&"modbus", rest)) => modbus::tasks::run(rest),
        _ => delivery::tasks::run(&arguments),
    }
}

/// Prints a value for the process that started this worker.
pub(crate) fn print_value(name: &str, value: impl std::fmt::Display) {
    println!("{name} {value}");
}

/// Prints that the task is finished and the worker waits.
pub(crate) fn print_ready() {
    println!("{READY}");
}

/// Processor time since the start of this process or thread.
pub(crate) fn processor(clock: ClockId) -> anyhow::Result<Duration> {
    Ok(Duration::try_from(clock_gettime(clock))?)
}
