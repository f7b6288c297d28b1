//! The live path: from the device's reply to the PUBLISH at the broker's end, at 1,000 readings a second, with the journal on
//! the disk as it is by default.
//!
//! Taken outside of the gateway, from just before the device writes its reply until just after the broker's end has read the
//! message: two ways through loopback and two wake-ups more than "reading decoded → PUBLISH written", so an upper bound of
//! it. The program written by hand shows what of it is the way there and back.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::peers::{Broker, Device};
use super::plant::Plant;
use crate::bare;
use crate::process::Process;
use crate::program::Program;
use crate::shown;
use crate::surroundings::Surroundings;
use crate::table::Compared;

const PERIOD: Duration = Duration::from_millis(1);
const FIRST_WITHIN: Duration = Duration::from_secs(30);
/// Nothing of the start is to be in a window.
const WARM_UP: Duration = Duration::from_secs(2);
/// What is under way at a window's end gets there in that time, or counts as missing.
const AFTER: Duration = Duration::from_secs(1);
const FIGURE: &str =
    "device's reply leaving → PUBLISH at the broker's end (bounds decoded → written from above), 1,000/s";

#[derive(Clone, Copy)]
pub(super) struct Lengths {
    /// Odd, so that the median is one of them.
    windows: usize,
    window: Duration,
}

impl Lengths {
    pub(super) const FULL: Self = Self { windows: 5, window: Duration::from_secs(20) };
    pub(super) const QUICK: Self = Self { windows: 1, window: Duration::from_secs(10) };
}

/// What a window has shown.
struct Window {
    median: Duration,
    high: Duration,
    longest: Duration,
    readings: usize,
    missing: usize,
    length: Duration,
}

pub(super) fn measure(
    gateway: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Compared>> {
    eprintln!("the live path, {} windows of {:?} of each program", lengths.windows, lengths.window);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for turn in 0..lengths.windows {
        ours.push(window(lengths, |device, broker| {
            let (site, protocol) = (&format!("bench-live-{turn}"), "5");
            let plant = Plant { site, device, devices: 1, period: PERIOD, broker, protocol };
            plant.start(gateway, &plant.folder(surroundings)?)
        })?);
        bare.push(window(lengths, |device, broker| {
            let mut command = Command::new(std::env::current_exe().context("failed to find the benchmark's own file")?);
            bare::tell(&mut command, "bench-live", device, broker, PERIOD);
            Process::spawn(&mut command, &surroundings.folder().join("live-bare.log"))
        })?);
    }
    Ok(rows(&ours, &bare))
}

fn window(
    lengths: &Lengths,
    start: impl FnOnce(std::net::SocketAddr, std::net::SocketAddr) -> anyhow::Result<Process>,
) -> anyhow::Result<Window> {
    let (device, broker) = (Device::start()?, Broker::start()?);
    let process = start(device.address, broker.address)?;
    let deadline = Instant::now() + FIRST_WITHIN;
    while broker.arrived().is_empty() {
        ensure!(Instant::now() < deadline, "no message within {FIRST_WITHIN:?}:\n{}", process.last_words());
        sleep(PERIOD);
    }
    sleep(WARM_UP);
    let begin = Instant::now();
    sleep(lengths.window);
    let end = Instant::now();
    sleep(AFTER);
    let (left, arrived) = (device.left(), broker.arrived());
    ensure!(left.len() <= usize::from(u16::MAX), "{} readings are more than can be told apart", left.len());
    let is_within = |left: &&Instant| (begin..end).contains(*left);
    let sent = left.iter().filter(is_within).count();
    let age = |(number, at): &(u16, Instant)| {
        left.get(usize::from(*number)).filter(is_within).map(|left| at.saturating_duration_since(*left))
    };
    let mut ages: Vec<_> = arrived.iter().filter_map(age).collect();
    ages.sort();
    let at = |share: usize| ages.get(ages.len() * share / 100).copied().unwrap_or_default();
    Ok(Window {
        median: at(50),
        high: at(99),
        longest: ages.last().copied().unwrap_or_default(),
        readings: ages.len(),
        missing: sent.saturating_sub(ages.len()),
        length: end - begin,
    })
}

fn rows(ours: &[Window], bare: &[Window]) -> Vec<Compared> {
    let row = |what: &str, target, of: fn(&Window) -> Duration| {
        let range = |windows: &[Window]| shown::range(windows.iter().map(of).collect());
        Compared { figure: format!("{FIGURE}: {what}"), target, gateway: range(ours), bare: range(bare), elsewhere: "" }
    };
    let count = |windows: &[Window]| {
        let readings: usize = windows.iter().map(|window| window.readings).sum();
        let missing: usize = windows.iter().map(|window| window.missing).sum();
        let seconds: u64 = windows.iter().map(|window| window.length.as_secs()).sum();
        format!("{readings} in {seconds} s, {missing} missing")
    };
    vec![
        row("median", "≤ 0.3 ms", |window| window.median),
        row("99th percentile", "≤ 2 ms", |window| window.high),
        row("longest", "", |window| window.longest),
        Compared {
            figure: "readings in that time".into(),
            target: "1,000/s",
            gateway: count(ours),
            bare: count(bare),
            elsewhere: "",
        },
    ]
}
