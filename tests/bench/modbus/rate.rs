//! Processor time for 100,000 values a second from 100 devices: a bare loop, the Modbus crate, the whole gateway.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::ModbusBench;
use super::polling_gateway::PollingGateway;
use super::tasks::SimulatedDevices;
use crate::process::Memory;
use crate::table::ComparedFigure;

/// Connections.
const ADDRESSES: u16 = 10;
/// Devices per connection.
const UNITS: u8 = 10;
/// Values per device.
const VALUES: u16 = 1000;
/// The devices' polling period.
const PERIOD: Duration = Duration::from_secs(1);
/// Time between the first readings and the window.
pub(super) const WARM_UP: Duration = Duration::from_millis(3500);
/// Time for messages that are in flight at the end of the window.
pub(super) const AFTER: Duration = Duration::from_millis(500);
/// Bytes of a MiB.
const MEBIBYTE: f64 = 1_048_576.0;

/// The load of a gateway in a window.
pub(super) struct GatewayLoad {
    /// Share of a core.
    pub(super) share: f64,
    pub(super) processor_time: Duration,
    pub(super) memory: Memory,
    pub(super) summary: super::reading_subscriber::WindowSummary,
    pub(super) window: Duration,
}

/// The simulated devices.
pub(super) fn hundred_devices() -> anyhow::Result<SimulatedDevices> {
    SimulatedDevices::start(ADDRESSES, UNITS, VALUES)
}

pub(super) fn measure(bench: &ModbusBench<'_>) -> anyhow::Result<Vec<ComparedFigure>> {
    let parameters = &bench.parameters;
    let devices = hundred_devices()?;
    eprintln!(
        "100,000 values/s: {} turns of {:?} of a bare loop and of the Modbus crate",
        parameters.turns, parameters.window
    );
    let (mut bare, mut polling, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..parameters.turns {
        let share = |task| {
            anyhow::Ok(
                devices.read_by(task, parameters.window)?.value("processor_ms")?
                    / parameters.window.as_secs_f64()
                    / 1e3,
            )
        };
        let (by_bare, by_polling) = (share("bare")?, share("polling")?);
        bare.push(by_bare);
        polling.push(by_polling);
        ratios.push(by_polling / by_bare);
    }
    eprintln!("the same by the whole gateway");
    let polling_gateway = PollingGateway::start(bench.gateway, bench.test_bed, &devices, PERIOD)?;
    sleep(WARM_UP);
    let load = polling_gateway.measure_load(parameters.window)?;
    let bare = median(bare)?;
    Ok(vec![
        ComparedFigure {
            figure: "100,000 float32 values/s from 10 connections into frames, share of a core".into(),
            target: "≤ 1.3 × bare",
            gateway: format!("{:.1} %, {:.2} × bare", median(polling)? * 100.0, median(ratios)?),
            baseline: format!("{:.1} %", bare * 100.0),
            elsewhere: "",
        },
        ComparedFigure {
            figure: format!(
                "the same by the whole gateway, journal on disk, one feed, {} bytes per message",
                load.summary.bytes
            ),
            target: "≤ 12 % of a core",
            gateway: format!("{:.1} %, {}", load.share * 100.0, load.messages()),
            baseline: String::new(),
            elsewhere: "for reading alone: NG Gateway 7 %, NeuronEX 30 %",
        },
        ComparedFigure {
            figure: "its resident memory (anonymous part)".into(),
            target: "≤ 60 MiB",
            gateway: load.mebibytes(),
            baseline: String::new(),
            elsewhere: "NG Gateway 153 MiB, NeuronEX 497 MB",
        },
    ])
}

impl PollingGateway<'_> {
    /// Measures the load of a window that begins now.
    pub(super) fn measure_load(&self, window: Duration) -> anyhow::Result<GatewayLoad> {
        self.subscriber.discard_received();
        let (begin, before) = (Instant::now(), self.process.processor_time()?);
        sleep(window);
        let processor_time = self.process.processor_time()?.since(&before);
        let end = Instant::now();
        let memory = self.process.memory()?;
        sleep(AFTER);
        let summary = self.subscriber.take(&(begin..end)).with_context(|| self.process.log_tail())?;
        ensure!(
            summary.devices == self.sources,
            "readings of only {} of {} devices arrived",
            summary.devices,
            self.sources
        );
        let window = end - begin;
        Ok(GatewayLoad {
            share: processor_time.as_secs_f64() / window.as_secs_f64(),
            processor_time,
            memory,
            summary,
            window,
        })
    }
}

impl GatewayLoad {
    /// The number of messages, and of missing and repeated ones, as text.
    pub(super) fn messages(&self) -> String {
        let super::reading_subscriber::WindowSummary { messages, missing, repeated, .. } = self.summary;
        let rest = if repeated == 0 { String::new() } else { format!(", {repeated} repeated") };
        format!("{messages} messages in {:.0} s, {missing} missing{rest}", self.window.as_secs_f64())
    }

    pub(super) fn mebibytes(&self) -> String {
        format!("{:.1} MiB ({:.1})", self.memory.resident / MEBIBYTE, self.memory.anonymous / MEBIBYTE)
    }
}

/// The median of an odd number of values.
fn median(mut values: Vec<f64>) -> anyhow::Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("nothing was measured")
}
