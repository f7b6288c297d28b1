//! The figures of reading devices: the Modbus crate beside a bare loop of the same library, and the whole gateway with a
//! journal on disk and one feed beside published figures of other gateways.
//!
//! The devices run in a process of their own ([`devices`]), and so does each measurement.

mod bare_loop;
mod commands;
mod connections;
mod customer;
mod devices;
mod polling;
mod polling_gateway;
mod rate;
mod reading_subscriber;
mod requests;
mod server;
pub(crate) mod tasks;
mod values;
mod write;

use std::time::Duration;

use anyhow::ensure;

use crate::program::Program;
use crate::table::{ComparedFigure, MeasuredFigure, Table};
use crate::test_bed::TestBed;

/// Repetitions and durations of the measurements.
#[derive(Clone, Copy)]
pub(crate) struct ModbusParameters {
    /// Whole seconds, so that it holds complete readings.
    window: Duration,
    /// Window of the measurements at full speed.
    fast_window: Duration,
    /// Turns of the bare loop and the Modbus crate; odd, so that the median is one of them.
    turns: usize,
    /// Commands of a customer.
    commands: u16,
}

impl ModbusParameters {
    /// For the published figures.
    pub(crate) const FULL: Self =
        Self { window: Duration::from_secs(20), fast_window: Duration::from_secs(10), turns: 5, commands: 1_000 };
    /// For `--quick`.
    pub(crate) const QUICK: Self =
        Self { window: Duration::from_secs(10), fast_window: Duration::from_secs(5), turns: 1, commands: 200 };
}

/// What to measure.
pub(crate) struct ModbusBench<'a> {
    pub(crate) gateway: &'a Program,
    pub(crate) test_bed: &'a TestBed,
    pub(crate) parameters: ModbusParameters,
    /// One of [`PARTS`]; all of them if absent.
    pub(crate) only: Option<&'a str>,
}

/// The parts of this benchmark.
const PARTS: [&str; 6] = ["rate", "values", "connections", "write", "requests", "server"];

/// Measures the figures of set-points: how long a command takes from the broker to the register and back.
pub(crate) fn measure_control(bench: &ModbusBench<'_>) -> anyhow::Result<Table> {
    Ok(Table::of(&commands::measure(bench)?))
}

/// Measures all figures, with progress on standard error, and shows each table as soon as it is complete.
pub(crate) fn measure(bench: &ModbusBench<'_>, mut show: impl FnMut(&Table)) -> anyhow::Result<()> {
    let only = bench.only;
    ensure!(only.is_none_or(|only| PARTS.contains(&only)), "there is no such part of modbus; the parts are {PARTS:?}");
    let is_wanted = |part: &str| only.is_none_or(|only| only == part);
    let mut compared: Vec<ComparedFigure> = Vec::new();
    if is_wanted("rate") {
        compared.extend(rate::measure(bench)?);
    }
    let mut measured: Vec<MeasuredFigure> = Vec::new();
    if is_wanted("values") {
        measured.extend(values::measure(bench)?);
    }
    if is_wanted("connections") {
        measured.extend(connections::measure(bench)?);
    }
    if is_wanted("write") {
        measured.push(write::measure(bench)?);
    }
    if is_wanted("requests") {
        measured.extend(requests::measure());
    }
    if is_wanted("server") {
        measured.push(server::measure(bench)?);
    }
    if !compared.is_empty() {
        show(&Table::with_headings(
            ["figure", "target", "this gateway", "bare loop, same run", "elsewhere"],
            &compared,
        ));
    }
    if !measured.is_empty() {
        show(&Table::of(&measured));
    }
    Ok(())
}
