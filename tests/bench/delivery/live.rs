//! The live path: from the device's response to the PUBLISH at the broker, at 1,000 readings a second, with the journal on
//! disk.
//!
//! Measured outside the gateway, from just before the device writes its response to just after the broker has read the
//! message. That includes two passes through loopback and two wake-ups more than "decoded → written", so it is an upper
//! bound; the native program shows the share of these.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::gateway_config::GatewayConfig;
use super::timed_peers::{TimedBroker, TimedDevice};
use crate::formatting;
use crate::native;
use crate::process::Process;
use crate::program::Program;
use crate::table::ComparedFigure;
use crate::test_bed::TestBed;

/// The polling period.
const PERIOD: Duration = Duration::from_millis(1);
/// Time limit for the first message.
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// Time between the first message and a window, which must not include the start.
const WARM_UP: Duration = Duration::from_secs(2);
/// Time for messages in flight at the end of a window; later ones count as missing.
const AFTER: Duration = Duration::from_secs(1);
/// The beginning of the rows' labels.
const FIGURE: &str = "device's response sent → PUBLISH at the broker, 1,000/s";

/// Repetitions and durations of the measurement.
#[derive(Clone, Copy)]
pub(super) struct LiveParameters {
    /// Odd, so that the median is one of them.
    windows: usize,
    window: Duration,
}

impl LiveParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { windows: 5, window: Duration::from_secs(20) };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { windows: 1, window: Duration::from_secs(10) };
}

/// The latencies of a window.
struct LatencyWindow {
    median: Duration,
    percentile_99: Duration,
    maximum: Duration,
    readings: usize,
    missing: usize,
    length: Duration,
}

pub(super) fn measure(
    gateway: &Program,
    test_bed: &TestBed,
    parameters: &LiveParameters,
) -> anyhow::Result<Vec<ComparedFigure>> {
    eprintln!("the live path, {} windows of {:?} of each program", parameters.windows, parameters.window);
    let (mut gateway_windows, mut native_windows) = (Vec::new(), Vec::new());
    for turn in 0..parameters.windows {
        gateway_windows.push(window(parameters, |device, broker| {
            let (site, protocol) = (&format!("bench-live-{turn}"), "5");
            let config = GatewayConfig { site, device, devices: 1, period: PERIOD, broker, protocol };
            config.start(gateway, &config.folder(test_bed)?)
        })?);
        native_windows.push(window(parameters, |device, broker| {
            let mut command = Command::new(std::env::current_exe().context("failed to find the benchmark's own file")?);
            native::add_arguments(&mut command, "bench-live", device, broker, PERIOD);
            Process::spawn(&mut command, &test_bed.folder().join("live-native.log"))
        })?);
    }
    Ok(rows(&gateway_windows, &native_windows))
}

fn window(
    parameters: &LiveParameters,
    start: impl FnOnce(std::net::SocketAddr, std::net::SocketAddr) -> anyhow::Result<Process>,
) -> anyhow::Result<LatencyWindow> {
    let (device, broker) = (TimedDevice::start()?, TimedBroker::start()?);
    let process = start(device.address, broker.address)?;
    let deadline = Instant::now() + FIRST_WITHIN;
    while broker.arrived().is_empty() {
        ensure!(Instant::now() < deadline, "no message within {FIRST_WITHIN:?}:\n{}", process.log_tail());
        sleep(PERIOD);
    }
    sleep(WARM_UP);
    let begin = Instant::now();
    sleep(parameters.window);
    let end = Instant::now();
    sleep(AFTER);
    let (sent_at, arrived) = (device.sent(), broker.arrived());
    ensure!(sent_at.len() <= usize::from(u16::MAX), "{} readings have no unique 16-bit numbers", sent_at.len());
    let is_within = |sent: &&Instant| (begin..end).contains(*sent);
    let sent = sent_at.iter().filter(is_within).count();
    let age = |(number, at): &(u16, Instant)| {
        sent_at.get(usize::from(*number)).filter(is_within).map(|sent| at.saturating_duration_since(*sent))
    };
    let mut ages: Vec<_> = arrived.iter().filter_map(age).collect();
    ages.sort();
    let at = |share: usize| ages.get(ages.len() * share / 100).copied().unwrap_or_default();
    Ok(LatencyWindow {
        median: at(50),
        percentile_99: at(99),
        maximum: ages.last().copied().unwrap_or_default(),
        readings: ages.len(),
        missing: sent.saturating_sub(ages.len()),
        length: end - begin,
    })
}

fn rows(gateway: &[LatencyWindow], native: &[LatencyWindow]) -> Vec<ComparedFigure> {
    let row = |what: &str, target, of: fn(&LatencyWindow) -> Duration| {
        let range = |windows: &[LatencyWindow]| formatting::range(windows.iter().map(of).collect());
        ComparedFigure {
            figure: format!("{FIGURE}: {what}"),
            target,
            gateway: range(gateway),
            baseline: range(native),
            elsewhere: "",
        }
    };
    let count = |windows: &[LatencyWindow]| {
        let readings: usize = windows.iter().map(|window| window.readings).sum();
        let missing: usize = windows.iter().map(|window| window.missing).sum();
        let seconds: u64 = windows.iter().map(|window| window.length.as_secs()).sum();
        format!("{readings} in {seconds} s, {missing} missing")
    };
    vec![
        row("median", "≤ 0.3 ms", |window| window.median),
        row("99th percentile", "≤ 2 ms", |window| window.percentile_99),
        row("maximum", "", |window| window.maximum),
        ComparedFigure {
            figure: "readings in these windows".into(),
            target: "1,000/s",
            gateway: count(gateway),
            baseline: count(native),
            elsewhere: "",
        },
    ]
}
