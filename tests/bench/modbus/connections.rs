//! Many connections, and how long a reading takes to the broker while all of them are read.

use std::thread::sleep;
use std::time::Duration;

use super::ModbusBench;
use super::polling_gateway::PollingGateway;
use super::rate::WARM_UP;
use super::tasks::SimulatedDevices;
use crate::table::MeasuredFigure;

/// Devices per connection.
const UNITS: u8 = 1;
/// The devices' polling period.
const PERIOD: Duration = Duration::from_secs(1);

/// Connections with as many values each, and what is wanted.
struct Load {
    addresses: u16,
    values: u16,
    target: &'static str,
    elsewhere: &'static str,
}

/// As others have published them.
const LOADS: [Load; 2] = [
    Load { addresses: 500, values: 30, target: "≤ 10 % of a core", elsewhere: "Neuron 124 %" },
    Load {
        addresses: 1000,
        values: 300,
        target: "≤ 30 % of a core, ≤ 150 MB, median ≤ 20 ms from reading to PUBLISH",
        elsewhere: "Neuron 90 %, 300 MB",
    },
];

pub(super) fn measure(bench: &ModbusBench<'_>) -> anyhow::Result<Vec<MeasuredFigure>> {
    LOADS.iter().map(|load| measure_load(bench, load)).collect()
}

fn measure_load(bench: &ModbusBench<'_>, load: &Load) -> anyhow::Result<MeasuredFigure> {
    let Load { addresses, values, .. } = *load;
    eprintln!("{addresses} connections of {values} values at 1 Hz");
    let devices = SimulatedDevices::start(addresses, UNITS, values)?;
    let polling_gateway = PollingGateway::start(bench.gateway, bench.test_bed, &devices, PERIOD)?;
    sleep(WARM_UP);
    let measured = polling_gateway.measure_load(bench.parameters.window)?;
    let [median_ms, most_ms] = [50, 99].map(|percent| measured.summary.age(percent).as_secs_f64() * 1e3);
    Ok(MeasuredFigure {
        figure: format!("{addresses} connections of {values} float32 values at 1 Hz, journal on disk, one feed"),
        target: load.target,
        measured: format!(
            "{:.1} %, {}, {}, {median_ms:.1} ms from reading to the broker's client (99th percentile {most_ms:.0} ms)",
            measured.share * 100.0,
            measured.messages(),
            measured.mebibytes()
        ),
        elsewhere: load.elsewhere,
    })
}
