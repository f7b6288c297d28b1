//! Many connections with few values each.

use std::thread::sleep;
use std::time::Duration;

use super::ModbusBench;
use super::polling_gateway::PollingGateway;
use super::rate::WARM_UP;
use super::tasks::SimulatedDevices;
use crate::table::MeasuredFigure;

/// Connections.
const ADDRESSES: u16 = 500;
/// Devices per connection.
const UNITS: u8 = 1;
/// Values per device.
const VALUES: u16 = 30;
/// The devices' polling period.
const PERIOD: Duration = Duration::from_secs(1);

pub(super) fn measure(bench: &ModbusBench<'_>) -> anyhow::Result<MeasuredFigure> {
    eprintln!("{ADDRESSES} connections of {VALUES} values at 1 Hz");
    let devices = SimulatedDevices::start(ADDRESSES, UNITS, VALUES)?;
    let polling_gateway = PollingGateway::start(bench.gateway, bench.test_bed, &devices, PERIOD)?;
    sleep(WARM_UP);
    let load = polling_gateway.measure_load(bench.parameters.window)?;
    Ok(MeasuredFigure {
        figure: format!("{ADDRESSES} connections of {VALUES} float32 values at 1 Hz, journal on disk, one feed"),
        target: "≤ 10 % of a core",
        measured: format!("{:.1} %, {}, {}", load.share * 100.0, load.messages(), load.mebibytes()),
        elsewhere: "Neuron 124 %",
    })
}
