//! The tasks of the Modbus connections: started, restarted with other settings, ended.

use bessai_modbus::{Bus, WriteQueue};
use bessai_pipeline::PipelineInput;
use bessai_supervision::OnFailure;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::site;
use crate::clock::now;
use crate::config::DeviceConfig;

/// All connections.
pub(super) struct Buses {
    running: Vec<RunningBus>,
    /// Periods count from here.
    start: Instant,
    inputs: mpsc::Sender<PipelineInput>,
    stop: watch::Receiver<bool>,
}

struct RunningBus {
    devices: BusDevices,
    task: JoinHandle<()>,
}

/// The devices of a connection, each with the index of its first source.
type BusDevices = Vec<(DeviceConfig, Option<u32>)>;

impl Buses {
    pub(super) fn new(inputs: mpsc::Sender<PipelineInput>, stop: watch::Receiver<bool>) -> Self {
        Self { running: Vec::new(), start: Instant::now(), inputs, stop }
    }

    /// Starts the connections of these devices that are not running.
    pub(super) fn start(&mut self, devices: &[DeviceConfig]) {
        for bus in site::buses(devices) {
            let devices = bus_devices(&bus, devices);
            if !self.running.iter().any(|running| running.devices == devices) {
                let task = self.spawn(bus);
                self.running.push(RunningBus { devices, task });
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

    /// Ends all connections.
    pub(super) fn abort(&self) {
        self.running.iter().for_each(|bus| bus.task.abort());
    }

    /// The running gateway does not write to devices yet, so the write queue is closed. A restart opens a new connection and
    /// learns anew what the device refuses.
    fn spawn(&self, bus: Bus) -> JoinHandle<()> {
        let name = format!("bus {}", bus.endpoint.address);
        let (start, inputs) = (self.start, self.inputs.clone());
        let run = async move || bessai_modbus::run(bus.clone(), start, now, inputs.clone(), WriteQueue::closed()).await;
        bessai_supervision::spawn(name, OnFailure::Restart, self.stop.clone(), run)
    }
}

fn bus_devices(bus: &Bus, devices: &[DeviceConfig]) -> BusDevices {
    let of_bus = bus.devices.iter().filter_map(|settings| {
        let device = devices.iter().find(|device| device.name == settings.name)?;
        Some((device.clone(), settings.sources.first().map(|source| source.index)))
    });
    of_bus.collect()
}
