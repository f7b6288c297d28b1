//! Many connections of few values each.

use std::thread::sleep;
use std::time::Duration;

use super::Bench;
use super::plant::Plant;
use super::rate::WARM_UP;
use super::tasks::Devices;
use crate::table::Measured;

const ADDRESSES: u16 = 500;
const UNITS: u8 = 1;
const VALUES: u16 = 30;
const PERIOD: Duration = Duration::from_secs(1);

pub(super) fn measure(bench: &Bench<'_>) -> anyhow::Result<Measured> {
    eprintln!("{ADDRESSES} connections of {VALUES} values at 1 Hz");
    let devices = Devices::start(ADDRESSES, UNITS, VALUES)?;
    let plant = Plant::start(bench.gateway, bench.surroundings, &devices, PERIOD)?;
    sleep(WARM_UP);
    let load = plant.load(bench.lengths.window)?;
    Ok(Measured {
        figure: format!("{ADDRESSES} connections of {VALUES} float32 values at 1 Hz, journal on disk, one feed"),
        target: "≤ 10 % of a core",
        measured: format!("{:.1} %, {}, {}", load.share * 100.0, load.told(), load.mebibytes()),
        elsewhere: "Neuron 124 %",
    })
}
