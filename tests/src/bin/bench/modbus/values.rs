//! 10 devices of 100 values, one message a reading: what a value costs at one reading a second, and how many are delivered as
//! fast as it goes.

use std::thread::sleep;
use std::time::Duration;

use super::Bench;
use super::plant::Plant;
use super::rate::WARM_UP;
use super::tasks::Devices;
use crate::table::Measured;

const ADDRESSES: u16 = 10;
const UNITS: u8 = 1;
const VALUES: u16 = 100;
const SLOW: Duration = Duration::from_secs(1);
/// Shorter than a reading takes: the next begins when the last one is done.
const FAST: Duration = Duration::from_micros(100);

pub(super) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Measured>> {
    let devices = Devices::start(ADDRESSES, UNITS, VALUES)?;
    let mut rows = Vec::new();
    for (period, window) in [(SLOW, bench.lengths.window), (FAST, bench.lengths.fast_window)] {
        eprintln!("10 devices of 100 values, a reading every {period:?}, for {window:?}");
        let plant = Plant::start(bench.gateway, bench.surroundings, &devices, period)?;
        sleep(WARM_UP);
        let load = plant.load(window)?;
        let values = load.seen.messages * u64::from(VALUES);
        let per_value = load.spent.as_secs_f64() * 1e6 / f64::from(u32::try_from(values)?);
        let per_second = f64::from(u32::try_from(values)?) / load.window.as_secs_f64();
        let measured = format!(
            "{per_value:.2} µs per value, {per_second:.0} values/s, {}, {:.0} % of a core, {}",
            load.told(),
            load.share * 100.0,
            load.mebibytes()
        );
        rows.push(if period == SLOW {
            Measured {
                figure: "10 devices of 100 float32 values at 1 Hz, one message a reading: processor".into(),
                target: "≤ 3 µs per value",
                measured,
                elsewhere: "by hand in Python 5.3 µs, Node-RED 30, Neuron 77, ThingsBoard 98",
            }
        } else {
            Measured {
                figure: "the same as fast as it goes: delivered".into(),
                target: "≥ 1,000,000 values/s, none missing",
                measured,
                elsewhere: "by hand in Python 206,000/s, Node-RED 75,700, Neuron 26,700",
            }
        });
    }
    Ok(rows)
}
