//! The Modbus crate alone, started as in the gateway: its values are counted, or its writes are timed.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use bessai_domain::address::{Address, Scheme};
use bessai_domain::profile::{self, Profile};
use bessai_domain::register::UnitId;
use bessai_domain::time::{Moment, Timestamp};
use bessai_modbus::{Bus, BusEndpoint, DeviceReport, DeviceSettings, PointWriter, SourceSettings};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::polling_gateway;
use super::tasks::Task;
use crate::worker::print_value;

/// The point that is written. Its address follows the values, and its source is not due during the benchmark, so that the
/// frames hold what the bare loop reads.
const SET_POINT: &str = "set_point";
/// The devices' polling period.
const PERIOD: Duration = Duration::from_secs(1);
/// Capacity of the report queue, as in the gateway.
const QUEUE: usize = 256;
/// Writes to time.
const WRITES: usize = 200;
/// Frames between two writes, so that the writes fall into the polling.
const FRAMES_PER_WRITE: u32 = 10;
/// Frames before the first write: until then devices may still be connecting.
const FRAMES_BEFORE: u32 = 300;

/// The polling tasks of all buses, with the receiver of their reports and the sender of writes.
struct PolledBuses {
    reports: mpsc::Receiver<DeviceReport>,
    writer: PointWriter,
    devices: Vec<String>,
}

/// Counts the values that are read.
pub(super) async fn run(task: Task) -> anyhow::Result<()> {
    let mut buses = PolledBuses::start(&task)?;
    let read = Cell::new(0);
    let count = async {
        while let Some(values) = buses.frame().await? {
            read.set(read.get() + values);
        }
        bail!("the buses' tasks have ended")
    };
    tokio::select! {
        printed = task.print_cost(&read) => printed,
        ended = count => ended,
    }
}

/// Times writes while the devices are polled.
pub(super) async fn write(task: Task) -> anyhow::Result<()> {
    let mut buses = PolledBuses::start(&task)?;
    let writer = Rc::new(buses.writer.clone());
    let (mut frames, mut writes) = (0_u32, JoinSet::new());
    while writes.len() < WRITES {
        buses.frame().await?.context("the buses' tasks have ended")?;
        frames += 1;
        if frames < FRAMES_BEFORE || !frames.is_multiple_of(FRAMES_PER_WRITE) {
            continue;
        }
        // The stride shares no factor with the number of devices, so that each is written in turn.
        let index = usize::try_from(frames * 7 / FRAMES_PER_WRITE)? % buses.devices.len();
        let device = buses.devices.get(index).cloned().unwrap_or_default();
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
    print_value("median_ms", at(50).context("nothing was written")?);
    print_value("percentile_99_ms", at(99).context("nothing was written")?);
    Ok(())
}

impl PolledBuses {
    fn start(task: &Task) -> anyhow::Result<Self> {
        let profile = Arc::new(read_profile(task.values)?);
        let (sender, reports) = mpsc::channel::<DeviceReport>(QUEUE);
        let (mut writer, mut devices, start) = (PointWriter::default(), Vec::new(), tokio::time::Instant::now());
        let mut indices = 0..;
        for address in &task.addresses {
            let units = (1..=task.units).zip(&mut indices);
            let units: Vec<_> = units.map(|(unit, index)| settings(unit, index, &profile)).collect();
            devices.extend(units.iter().map(|device| device.name.clone()));
            let writes = writer.connect(&units);
            let address = Address::Network(Scheme::Tcp, address.ip().to_string(), address.port());
            let bus = Bus { endpoint: BusEndpoint::new(address), devices: units };
            tokio::task::spawn_local(bessai_modbus::run(bus, start, now, sender.clone(), writes));
        }
        Ok(Self { reports, writer, devices })
    }

    /// The values of the next frame.
    async fn frame(&mut self) -> anyhow::Result<Option<u64>> {
        while let Some(report) = self.reports.recv().await {
            if let DeviceReport::Frame(_, frame, _) = report {
                ensure!(frame.faults.is_empty(), "a frame has faults: {:?}", frame.faults.first());
                return Ok(Some(u64::try_from(frame.values.len())?));
            }
        }
        Ok(None)
    }
}

/// The system time, as the gateway's clock gives it.
fn now() -> Moment {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::by_wall_clock(Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)))
}

fn settings(unit: u8, index: u32, profile: &Arc<Profile>) -> DeviceSettings {
    DeviceSettings {
        name: format!("device-{index}"),
        unit: UnitId(unit),
        unit_is_configured: true,
        profile: Arc::clone(profile),
        models: None,
        timeout: profile.timeout,
        pacing: profile.pacing,
        read_limits: profile.read_limits,
        sources: vec![SourceSettings { name: None, period: PERIOD, index }],
    }
}

fn read_profile(values: u16) -> anyhow::Result<Profile> {
    let points = polling_gateway::profile(values);
    let layout = format!("address = {}, type = \"float32\", scale = 1", 2 * values);
    let set_point = format!("{SET_POINT} = {{ {layout}, access = \"RW\", source = \"slow\" }}");
    let text = format!("sources = {{ slow = \"1h\" }}\n{points}{set_point}\n");
    match profile::read("bench", "bench.toml", &text) {
        Ok(profile) => Ok(profile),
        Err(mistakes) => bail!("the benchmark's profile is invalid: {mistakes:?}"),
    }
}
