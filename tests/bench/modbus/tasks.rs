//! The workers' tasks for the figures of reading devices.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::time::ClockId;

use super::{bare_loop, devices, polling};
use crate::worker::{self, WaitingWorker, WorkerOutput, print_value, processor};

/// Time between a start and a window, which must not include the start.
const WARM_UP: Duration = Duration::from_millis(2500);

/// Devices in a process of their own: addresses with units, each of which has the same number of values.
pub(super) struct SimulatedDevices {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) units: u8,
    pub(super) values: u16,
    _worker: WaitingWorker,
}

impl SimulatedDevices {
    pub(super) fn start(addresses: u16, units: u8, values: u16) -> anyhow::Result<Self> {
        let worker = worker::start_and_wait(&[
            "modbus",
            "devices",
            &addresses.to_string(),
            &units.to_string(),
            &values.to_string(),
        ])?;
        let addresses = parse_addresses(worker.output.text("addresses")?)?;
        Ok(Self { addresses, units, values, _worker: worker })
    }

    /// Runs a polling task in a process of its own.
    pub(super) fn read_by(&self, task: &str, window: Duration) -> anyhow::Result<WorkerOutput> {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let (units, values, seconds) = (self.units.to_string(), self.values.to_string(), window.as_secs().to_string());
        worker::run_to_end(&["modbus", task, &addresses.join(","), &units, &values, &seconds])
    }
}

/// The arguments of a polling task.
pub(super) struct Task {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) units: u8,
    pub(super) values: u16,
    window: Duration,
}

/// Runs the task that the arguments name.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    crate::machine::allow_many_files()?;
    match arguments {
        ["devices", addresses, units, values] => devices::run(addresses.parse()?, units.parse()?, values.parse()?),
        [task, addresses, units, values, seconds] => {
            let (units, values, window) = (units.parse()?, values.parse()?, Duration::from_secs(seconds.parse()?));
            let parameters = Task { addresses: parse_addresses(addresses)?, units, values, window };
            // The kind of runtime that the gateway uses.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let local = tokio::task::LocalSet::new();
            match *task {
                "bare" => local.block_on(&runtime, bare_loop::run(parameters)),
                "polling" => local.block_on(&runtime, polling::run(parameters)),
                "write" => local.block_on(&runtime, polling::write(parameters)),
                _ => bail!("unknown task {task}"),
            }
        }
        _ => bail!("unknown task {arguments:?}"),
    }
}

fn parse_addresses(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    text.split(',').map(|address| address.parse().context("failed to parse an address")).collect()
}

impl Task {
    /// Prints the processor time of this process in the window; `read` counts the values.
    pub(super) async fn print_cost(&self, read: &Cell<u64>) -> anyhow::Result<()> {
        tokio::time::sleep(WARM_UP).await;
        let (before, time_before) = (read.get(), processor(ClockId::ProcessCPUTime)?);
        tokio::time::sleep(self.window).await;
        let processor_time = processor(ClockId::ProcessCPUTime)? - time_before;
        let read = read.get() - before;
        let per_second = u64::try_from(self.addresses.len())? * u64::from(self.units) * u64::from(self.values);
        let expected = per_second * self.window.as_secs();
        ensure!(read.abs_diff(expected) <= per_second, "{read} values arrived in the window instead of {expected}");
        print_value("processor_ms", processor_time.as_secs_f64() * 1e3);
        print_value("values", read);
        Ok(())
    }
}
