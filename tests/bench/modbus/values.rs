//! 10 devices of 100 values, one message per reading: processor time per value at one reading a second, and the values
//! delivered per second at full speed.

use std::thread::sleep;
use std::time::Duration;

use super::ModbusBench;
use super::polling_gateway::PollingGateway;
use super::rate::WARM_UP;
use super::tasks::SimulatedDevices;
use crate::table::MeasuredFigure;

/// Connections.
const ADDRESSES: u16 = 10;
/// Devices per connection.
const UNITS: u8 = 1;
/// Values per device.
const VALUES: u16 = 100;
/// Polling period for the processor time per value.
const SLOW: Duration = Duration::from_secs(1);
/// Polling period at full speed: shorter than a reading takes, so that each begins when the last one is complete.
const FAST: Duration = Duration::from_micros(100);

pub(super) fn measure(bench: &ModbusBench<'_>) -> anyhow::Result<Vec<MeasuredFigure>> {
    let devices = SimulatedDevices::start(ADDRESSES, UNITS, VALUES)?;
    let mut rows = Vec::new();
    for (period, window) in [(SLOW, bench.parameters.window), (FAST, bench.parameters.fast_window)] {
        eprintln!("10 devices of 100 values, a reading every {period:?}, for {window:?}");
        let polling_gateway = PollingGateway::start(bench.gateway, bench.test_bed, &devices, period)?;
        sleep(WARM_UP);
        let load = polling_gateway.measure_load(window)?;
        let values = load.summary.messages * u64::from(VALUES);
        let per_value = load.processor_time.as_secs_f64() * 1e6 / f64::from(u32::try_from(values)?);
        let per_second = f64::from(u32::try_from(values)?) / load.window.as_secs_f64();
        let measured = format!(
            "{per_value:.2} µs per value, {per_second:.0} values/s, {}, {:.0} % of a core, {}",
            load.messages(),
            load.share * 100.0,
            load.mebibytes()
        );
        rows.push(if period == SLOW {
            MeasuredFigure {
                figure: "10 devices of 100 values at 1 Hz, a message per reading: processor time per value".into(),
                target: "≤ 3 µs per value",
                measured,
                elsewhere: "by hand in Python 5.3 µs, Node-RED 30, Neuron 77, ThingsBoard 98",
            }
        } else {
            MeasuredFigure {
                figure: "the same as fast as possible: values delivered, none missing".into(),
                target: "≥ 1,000,000 values/s",
                measured,
                elsewhere: "by hand in Python 206,000/s, Node-RED 75,700, Neuron 26,700",
            }
        });
    }
    Ok(rows)
}
