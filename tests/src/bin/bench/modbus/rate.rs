//! 100,000 values a second from 100 devices: what a bare loop, the room that reads and the whole gateway spend on them.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::Bench;
use super::plant::Plant;
use super::tasks::Devices;
use crate::process::Memory;
use crate::table::Compared;

const ADDRESSES: u16 = 10;
const UNITS: u8 = 10;
const VALUES: u16 = 1000;
const PERIOD: Duration = Duration::from_secs(1);
/// After the first readings, before a window.
pub(super) const WARM_UP: Duration = Duration::from_millis(3500);
/// What is under way at a window's end gets there in that time.
pub(super) const AFTER: Duration = Duration::from_millis(500);
const MEBIBYTE: f64 = 1_048_576.0;

/// What a window of a gateway has shown.
pub(super) struct Load {
    /// Share of a core.
    pub(super) share: f64,
    pub(super) spent: Duration,
    pub(super) memory: Memory,
    pub(super) seen: super::arrivals::Seen,
    pub(super) window: Duration,
}

pub(super) fn hundred_devices() -> anyhow::Result<Devices> {
    Devices::start(ADDRESSES, UNITS, VALUES)
}

pub(super) fn measure(bench: &Bench<'_>) -> anyhow::Result<Vec<Compared>> {
    let lengths = &bench.lengths;
    let devices = hundred_devices()?;
    eprintln!("100,000 values a second, {} turns of {:?} of a bare loop and the room", lengths.turns, lengths.window);
    let (mut bare, mut room, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..lengths.turns {
        let share = |task| {
            anyhow::Ok(devices.read_by(task, lengths.window)?.value("spent_ms")? / lengths.window.as_secs_f64() / 1e3)
        };
        let (by_bare, by_room) = (share("bare")?, share("room")?);
        bare.push(by_bare);
        room.push(by_room);
        ratios.push(by_room / by_bare);
    }
    eprintln!("the same by the whole gateway");
    let plant = Plant::start(bench.gateway, bench.surroundings, &devices, PERIOD)?;
    sleep(WARM_UP);
    let load = plant.load(lengths.window)?;
    let bare = median(bare)?;
    Ok(vec![
        Compared {
            figure: "100,000 float32 values a second of 10 connections, decoded into frames: share of a core".into(),
            target: "≤ 1.3 × bare",
            gateway: format!("{:.1} %, {:.2} × bare", median(room)? * 100.0, median(ratios)?),
            bare: format!("{:.1} %", bare * 100.0),
            elsewhere: "",
        },
        Compared {
            figure: format!(
                "the same by the whole gateway, journal on disk, one feed, {} bytes a message",
                load.seen.bytes
            ),
            target: "≤ 12 % of a core",
            gateway: format!("{:.1} %, {}", load.share * 100.0, load.told()),
            bare: String::new(),
            elsewhere: "for reading alone: NG Gateway 7 %, NeuronEX 30 %",
        },
        Compared {
            figure: "its resident memory (of it not from files)".into(),
            target: "≤ 60 MiB",
            gateway: load.mebibytes(),
            bare: String::new(),
            elsewhere: "NG Gateway 153 MiB, NeuronEX 497 MB",
        },
    ])
}

impl Plant<'_> {
    pub(super) fn load(&self, window: Duration) -> anyhow::Result<Load> {
        self.arrivals.skip();
        let (begin, before) = (Instant::now(), self.process.spent()?);
        sleep(window);
        let spent = self.process.spent()?.since(&before);
        let end = Instant::now();
        let memory = self.process.memory()?;
        sleep(AFTER);
        let seen = self.arrivals.take(&(begin..end)).with_context(|| self.process.last_words())?;
        ensure!(seen.devices == self.sources, "readings of {} devices of {} came", seen.devices, self.sources);
        let window = end - begin;
        Ok(Load { share: spent.as_secs_f64() / window.as_secs_f64(), spent, memory, seen, window })
    }
}

impl Load {
    /// What has arrived.
    pub(super) fn told(&self) -> String {
        let super::arrivals::Seen { messages, missing, repeated, .. } = self.seen;
        let rest = if repeated == 0 { String::new() } else { format!(", {repeated} repeated") };
        format!("{messages} messages in {:.0} s, {missing} missing{rest}", self.window.as_secs_f64())
    }

    pub(super) fn mebibytes(&self) -> String {
        format!("{:.1} MiB ({:.1})", self.memory.resident / MEBIBYTE, self.memory.anonymous / MEBIBYTE)
    }
}

/// Of an odd number.
fn median(mut values: Vec<f64>) -> anyhow::Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("nothing was measured")
}
