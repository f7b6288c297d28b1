//! The room that reads, alone: as the gateway starts it, with someone at its other end who counts the frames, and someone who
//! writes.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bessai_domain::profile::{self, Profile};
use bessai_domain::register::UnitId;
use bessai_edge::app;
use bessai_edge::modbus::{self, Address, Line, Reported, Settings, Source, Writer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::plant;
use super::tasks::Task;
use crate::worker::say;

/// Behind the values, and of a source that is not read here, so that the frames hold what the bare loop reads.
const SET_POINT: &str = "set_point";
const PERIOD: Duration = Duration::from_secs(1);
/// As the gateway has it.
const QUEUE: usize = 256;
/// Writes, and one each time that so many frames have come: in the midst of the reading.
const WRITES: usize = 200;
const FRAMES_PER_WRITE: u32 = 10;
/// Before these the devices may still be connecting.
const FRAMES_BEFORE: u32 = 300;

/// The room's tasks, and its two ends.
struct Room {
    received: mpsc::Receiver<Reported>,
    writer: Writer,
    devices: Vec<String>,
}

/// Counts what is read.
pub(super) async fn run(task: Task) -> anyhow::Result<()> {
    let mut room = Room::start(&task)?;
    let read = Cell::new(0);
    let count = async {
        while let Some(values) = room.frame().await? {
            read.set(read.get() + values);
        }
        bail!("the lines' tasks have ended")
    };
    tokio::select! {
        said = task.say_cost(&read) => said,
        ended = count => ended,
    }
}

/// Writes while it is read, and says how long a write takes.
pub(super) async fn write(task: Task) -> anyhow::Result<()> {
    let mut room = Room::start(&task)?;
    let writer = Rc::new(room.writer.clone());
    let (mut frames, mut writes) = (0_u32, JoinSet::new());
    while writes.len() < WRITES {
        room.frame().await?.context("the lines' tasks have ended")?;
        frames += 1;
        if frames < FRAMES_BEFORE || !frames.is_multiple_of(FRAMES_PER_WRITE) {
            continue;
        }
        // Far from a multiple of the devices' number, so that all have their turn.
        let place = usize::try_from(frames * 7 / FRAMES_PER_WRITE)? % room.devices.len();
        let device = room.devices.get(place).cloned().unwrap_or_default();
        let (writer, value) = (Rc::clone(&writer), f64::from(frames));
        writes.spawn_local(async move {
            let begin = Instant::now();
            let written = writer.write(&device, SET_POINT, value).await.map_err(anyhow::Error::msg)?;
            let took = begin.elapsed();
            let read_back = written.read_back;
            ensure!(read_back == Some(value), "{device} reads {read_back:?} after {value} was written");
            Ok(took)
        });
    }
    let took: anyhow::Result<Vec<Duration>> = writes.join_all().await.into_iter().collect();
    let mut took = took?;
    took.sort();
    let at = |percent: usize| took.get(took.len() * percent / 100).map(|took| took.as_secs_f64() * 1e3);
    say("median_ms", at(50).context("nothing was written")?);
    say("high_ms", at(99).context("nothing was written")?);
    Ok(())
}

impl Room {
    fn start(task: &Task) -> anyhow::Result<Self> {
        let profile = Arc::new(read_profile(task.values)?);
        let (reports, received) = mpsc::channel(QUEUE);
        let (mut writer, mut devices, start) = (Writer::default(), Vec::new(), tokio::time::Instant::now());
        let mut places = 0..;
        for address in &task.addresses {
            let units = (1..=task.units).zip(&mut places);
            let units: Vec<_> = units.map(|(unit, place)| settings(unit, place, &profile)).collect();
            devices.extend(units.iter().map(|device| device.name.clone()));
            let (orders, ordered) = mpsc::channel(modbus::WRITES_WAITING);
            writer.add(&units, &orders);
            let line = Line { address: Address::Tcp(address.ip().to_string(), address.port()), devices: units };
            tokio::task::spawn_local(modbus::run::<Reported>(line, start, app::now, reports.clone(), ordered));
        }
        Ok(Self { received, writer, devices })
    }

    /// The values of the next frame.
    async fn frame(&mut self) -> anyhow::Result<Option<u64>> {
        while let Some(reported) = self.received.recv().await {
            if let Reported::Frame(_, frame) = reported {
                ensure!(frame.faults.is_empty(), "a frame has faults: {:?}", frame.faults.first());
                return Ok(Some(u64::try_from(frame.values.len())?));
            }
        }
        Ok(None)
    }
}

fn settings(unit: u8, place: u32, profile: &Arc<Profile>) -> Settings {
    Settings {
        name: format!("device-{place}"),
        unit: UnitId(unit),
        unit_was_given: true,
        profile: Arc::clone(profile),
        models: None,
        timeout: profile.timeout,
        pacing: profile.pacing,
        blocks: profile.blocks,
        sources: vec![Source { name: None, period: PERIOD, place }],
    }
}

fn read_profile(values: u16) -> anyhow::Result<Profile> {
    let points = plant::profile(values);
    let layout = format!("address = {}, type = \"float32\", scale = 1", 2 * values);
    let set_point = format!("{SET_POINT} = {{ {layout}, access = \"RW\", source = \"slow\" }}");
    let text = format!("sources = {{ slow = \"1h\" }}\n{points}{set_point}\n");
    match profile::read("bench", "bench.toml", &text) {
        Ok(profile) => Ok(profile),
        Err(mistakes) => bail!("the bench's profile is wrong: {mistakes:?}"),
    }
}
