//! The tasks of the Modbus connections: started, restarted with other settings, ended.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::address::Address;
use bessai_modbus::{Bus, BusRelay};
use bessai_pipeline::PipelineInput;
use bessai_supervision::OnFailure;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::control::Control;
use super::report::StatusReport;
use super::site;
use crate::clock::now;
use crate::config::DeviceConfig;

/// This many connections with equal periods are read at one instant, which costs less than one after the other.
const STAGGER_GROUP: u32 = 8;
/// Time between the readings of two such groups. The connections of a large plant are read one after the other instead of all
/// at one instant, so that no reading waits for many others.
const STAGGER: Duration = Duration::from_millis(8);

/// All connections.
pub(super) struct Buses {
    running: Vec<RunningBus>,
    /// Periods count from here, for each connection a little later than for the one before.
    start: Instant,
    inputs: mpsc::Sender<PipelineInput>,
    /// Shows what each connection counts.
    report: Rc<RefCell<StatusReport>>,
    /// Writes set-points.
    control: Control,
    stop: watch::Receiver<bool>,
}

struct RunningBus {
    devices: BusDevices,
    /// Its place in the order of reading.
    place: u32,
    relay: BusRelay,
    task: JoinHandle<()>,
}

/// The devices of a connection, each with the index of its first source.
type BusDevices = Vec<(DeviceConfig, Option<u32>)>;

impl Buses {
    pub(super) fn new(
        inputs: mpsc::Sender<PipelineInput>,
        report: Rc<RefCell<StatusReport>>,
        control: Control,
        stop: watch::Receiver<bool>,
    ) -> Self {
        Self { running: Vec::new(), start: Instant::now(), inputs, report, control, stop }
    }

    /// Starts the connections of these devices that are not running.
    pub(super) fn start(&mut self, devices: &[DeviceConfig]) {
        for bus in site::buses(devices) {
            let devices = bus_devices(&bus, devices);
            if !self.running.iter().any(|running| running.devices == devices) {
                for device in &bus.devices {
                    self.report.borrow_mut().show_framing(&device.name, &bus.endpoint.framing);
                }
                let place = self.free_place();
                let relay = BusRelay::new(&bus);
                let task = self.spawn(bus, place, relay.clone());
                self.running.push(RunningBus { devices, place, relay, task });
            }
        }
    }

    /// Takes out the connections that are not the same with these devices. A device whose points are discovered is never the
    /// same: its points are described again only when it is discovered again.
    pub(super) fn take_changed(&mut self, devices: &[DeviceConfig]) -> Vec<JoinHandle<()>> {
        let wanted: Vec<_> = site::buses(devices).iter().map(|bus| bus_devices(bus, devices)).collect();
        let is_discovered = |bus: &RunningBus| bus.devices.iter().any(|(device, _)| device.profile.is_discovered);
        let (kept, changed): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|bus| wanted.contains(&bus.devices) && !is_discovered(bus));
        self.running = kept;
        changed.into_iter().map(|bus| bus.task).collect()
    }

    /// The connection of a device, for requests of other programs.
    pub(super) fn relay(&self, device: &str) -> Option<&BusRelay> {
        let has_device = |bus: &&RunningBus| bus.devices.iter().any(|(known, _)| known.name == device);
        self.running.iter().find(has_device).map(|bus| &bus.relay)
    }

    /// The connections, for requests of other programs.
    pub(super) fn relays(&self) -> impl Iterator<Item = &BusRelay> {
        self.running.iter().map(|bus| &bus.relay)
    }

    /// The address of each connection, with its relay.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (&Address, &BusRelay)> {
        self.running.iter().filter_map(|bus| Some((&bus.devices.first()?.0.address, &bus.relay)))
    }

    /// Ends all connections.
    pub(super) fn abort(&self) {
        self.running.iter().for_each(|bus| bus.task.abort());
    }

    /// The first place that no running connection has.
    fn free_place(&self) -> u32 {
        let is_taken = |place: &u32| self.running.iter().any(|bus| bus.place == *place);
        (0..).find(|place| !is_taken(place)).unwrap_or_default()
    }

    /// A restart opens a new connection and learns anew what the device refuses.
    fn spawn(&self, bus: Bus, place: u32, relay: BusRelay) -> JoinHandle<()> {
        let name = format!("bus {}", bus.endpoint.address);
        let (start, inputs) = (self.start + stagger(&bus, place), self.inputs.clone());
        let control = self.control.clone();
        let run = async move || {
            let writes = control.connect(&bus.devices);
            bessai_modbus::run_relayed(bus.clone(), start, now, inputs.clone(), writes, &relay).await;
        };
        bessai_supervision::spawn(name, OnFailure::Restart, self.stop.clone(), run)
    }
}

/// How much later than the first connection this one is read: less than its shortest period.
fn stagger(bus: &Bus, place: u32) -> Duration {
    let periods = bus.devices.iter().flat_map(|device| &device.sources).map(|source| source.period.as_nanos());
    let shortest = periods.min().unwrap_or_default();
    let nanos = (STAGGER * (place / STAGGER_GROUP)).as_nanos().checked_rem(shortest).unwrap_or_default();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or_default())
}

fn bus_devices(bus: &Bus, devices: &[DeviceConfig]) -> BusDevices {
    let of_bus = bus.devices.iter().filter_map(|settings| {
        let device = devices.iter().find(|device| device.name == settings.name)?;
        Some((device.clone(), settings.sources.first().map(|source| source.index)))
    });
    of_bus.collect()
}
