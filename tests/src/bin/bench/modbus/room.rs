//! The room that reads, alone: as the gateway starts it, with someone at its other end who counts the frames.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use bessai_domain::profile;
use bessai_domain::register::UnitId;
use bessai_edge::app;
use bessai_edge::modbus::{self, Reported, Settings};
use tokio::sync::mpsc;

use super::plant;
use super::tasks::Task;

const PERIOD: Duration = Duration::from_secs(1);
/// As the gateway has it.
const QUEUE: usize = 256;

pub(super) async fn run(task: Task) -> anyhow::Result<()> {
    let profile = Arc::new(read_profile(task.values)?);
    let (reports, received) = mpsc::channel(QUEUE);
    let mut source = 0;
    for address in &task.addresses {
        for unit in 1..=task.units {
            let settings = Settings {
                name: format!("{address}-{unit}"),
                host: address.ip().to_string(),
                port: address.port(),
                unit: UnitId(unit),
                unit_was_given: true,
                profile: Arc::clone(&profile),
                period: PERIOD,
                source,
            };
            tokio::task::spawn_local(modbus::run::<Reported>(settings, app::now, reports.clone()));
            source += 1;
        }
    }
    drop(reports);
    let read = Cell::new(0);
    tokio::select! {
        said = task.say_cost(&read) => said,
        ended = count(received, &read) => ended,
    }
}

fn read_profile(values: u16) -> anyhow::Result<profile::Profile> {
    match profile::read("bench", "bench.toml", &plant::profile(values)) {
        Ok(profile) => Ok(profile),
        Err(mistakes) => bail!("the bench's profile is wrong: {mistakes:?}"),
    }
}

async fn count(mut received: mpsc::Receiver<Reported>, read: &Cell<u64>) -> anyhow::Result<()> {
    while let Some(reported) = received.recv().await {
        if let Reported::Frame(_, frame) = reported {
            ensure!(frame.faults.is_empty(), "a frame has faults: {:?}", frame.faults.first());
            read.set(read.get() + u64::try_from(frame.values.len())?);
        }
    }
    bail!("the devices' tasks have ended")
}
