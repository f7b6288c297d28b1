//! What workers do for the figures of reading devices.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::time::ClockId;

use super::{bare_loop, devices, room};
use crate::worker::{self, Held, Told, processor, say};

/// Nothing of the start is to be in a window.
const WARM_UP: Duration = Duration::from_millis(2500);

/// Devices in a process of their own, each address with so many unit ids, and each of those with so many values.
pub(super) struct Devices {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) units: u8,
    pub(super) values: u16,
    _worker: Held,
}

impl Devices {
    pub(super) fn start(addresses: u16, units: u8, values: u16) -> anyhow::Result<Self> {
        let worker =
            worker::hold(&["modbus", "devices", &addresses.to_string(), &units.to_string(), &values.to_string()])?;
        let addresses = parse_addresses(worker.told.text("addresses")?)?;
        Ok(Self { addresses, units, values, _worker: worker })
    }

    /// Has them read by that task in a process of its own.
    pub(super) fn read_by(&self, task: &str, window: Duration) -> anyhow::Result<Told> {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let (units, values, seconds) = (self.units.to_string(), self.values.to_string(), window.as_secs().to_string());
        worker::ask(&["modbus", task, &addresses.join(","), &units, &values, &seconds])
    }
}

/// What a reading task is told.
pub(super) struct Task {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) units: u8,
    pub(super) values: u16,
    window: Duration,
}

/// The task that the arguments name.
pub(crate) fn run(arguments: &[&str]) -> anyhow::Result<()> {
    crate::machine::allow_many_files()?;
    match arguments {
        ["devices", addresses, units, values] => devices::run(addresses.parse()?, units.parse()?, values.parse()?),
        [task, addresses, units, values, seconds] => {
            let (units, values, window) = (units.parse()?, values.parse()?, Duration::from_secs(seconds.parse()?));
            let task_of = Task { addresses: parse_addresses(addresses)?, units, values, window };
            // As the gateway has it.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let local = tokio::task::LocalSet::new();
            match *task {
                "bare" => local.block_on(&runtime, bare_loop::run(task_of)),
                "room" => local.block_on(&runtime, room::run(task_of)),
                "write" => local.block_on(&runtime, room::write(task_of)),
                _ => bail!("no worker does {task}"),
            }
        }
        _ => bail!("no worker does {arguments:?}"),
    }
}

fn parse_addresses(text: &str) -> anyhow::Result<Vec<SocketAddr>> {
    text.split(',').map(|address| address.parse().context("failed to understand an address")).collect()
}

impl Task {
    /// Says what this process spends in the window, in which `read` counts the registers that came.
    pub(super) async fn say_cost(&self, read: &Cell<u64>) -> anyhow::Result<()> {
        tokio::time::sleep(WARM_UP).await;
        let (before, spent_before) = (read.get(), processor(ClockId::ProcessCPUTime)?);
        tokio::time::sleep(self.window).await;
        let spent = processor(ClockId::ProcessCPUTime)? - spent_before;
        let read = read.get() - before;
        let per_second = u64::try_from(self.addresses.len())? * u64::from(self.units) * u64::from(self.values);
        let wanted = per_second * self.window.as_secs();
        ensure!(read.abs_diff(wanted) <= per_second, "{read} values came in the window, not {wanted}");
        say("spent_ms", spent.as_secs_f64() * 1e3);
        say("values", read);
        Ok(())
    }
}
