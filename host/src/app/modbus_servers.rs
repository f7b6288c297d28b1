//! The Modbus servers: which device each unit id is, and the tasks that serve.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::plan::ReadRequest;
use bessai_domain::profile::Point;
use bessai_domain::proposal::WriteStep;
use bessai_domain::register::UnitId;
use bessai_domain::relay::{Exception, RelayError, RelayTarget};
use bessai_domain::write::WriteRequest;
use bessai_modbus::{BusRelay, RelayedPoint};
use bessai_modbus_server::ServerCounters;
use bessai_supervision::OnFailure;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::buses::Buses;
use super::control::{Control, DirectWrites};
use crate::config::{DeviceConfig, ModbusServerConfig, ServerWrites};

/// The servers that run.
pub(super) struct ModbusServers {
    running: Vec<RunningServer>,
    /// Refuses the registers that it writes itself, and records all writes.
    control: Control,
    stop: watch::Receiver<bool>,
}

struct RunningServer {
    config: ModbusServerConfig,
    served: Rc<ServedDevices>,
    counters: Rc<ServerCounters>,
    task: JoinHandle<()>,
}

/// The devices of a server, which a reload replaces while clients stay connected.
struct ServedDevices {
    config: ModbusServerConfig,
    routes: RefCell<Routes>,
    control: Control,
}

/// Where requests go.
#[derive(Default)]
struct Routes {
    shown: BTreeMap<u8, Route>,
    /// The connection of all shown devices, if it is one: unit ids that are not shown are passed on to it.
    others: Option<BusRelay>,
}

#[derive(Clone)]
struct Route {
    bus: BusRelay,
    /// The device's own unit id.
    unit: UnitId,
}

impl ModbusServers {
    pub(super) fn new(control: Control, stop: watch::Receiver<bool>) -> Self {
        Self { running: Vec::new(), control, stop }
    }

    /// Takes out the servers that are not the same with these settings.
    pub(super) fn take_changed(&mut self, servers: &[ModbusServerConfig]) -> Vec<JoinHandle<()>> {
        let (kept, changed): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|running| servers.contains(&running.config));
        self.running = kept;
        changed.into_iter().map(|server| server.task).collect()
    }

    /// Starts the servers that are not running, and gives all of them the devices as they are now.
    pub(super) fn start(&mut self, servers: &[ModbusServerConfig], devices: &[DeviceConfig], buses: &Buses) {
        for config in servers {
            if !self.running.iter().any(|running| running.config == *config) {
                self.running.push(self.spawn(config));
            }
        }
        for server in &self.running {
            server.served.routes.replace(Routes::new(&server.config, devices, buses));
        }
        for bus in buses.relays() {
            let shows = |server: &&RunningServer| server.served.routes.borrow().contains(bus);
            let ages = self.running.iter().filter(shows).map(|server| server.config.max_age.unwrap_or(Duration::ZERO));
            bus.keep_latest(ages.max());
        }
    }

    /// Ends all servers.
    pub(super) fn abort(&self) {
        self.running.iter().for_each(|server| server.task.abort());
    }

    /// The servers as `/health` shows them.
    pub(super) fn json(&self) -> Value {
        let server = |server: &RunningServer| {
            let ServerCounters { clients, from_latest, relayed, exceptions, refused_clients, is_listening } =
                &*server.counters;
            json!({
                "listen": server.config.settings.listen.to_string(),
                "listening": is_listening.get(),
                "clients": if is_listening.get() { clients.get() } else { 0 },
                "from_latest": from_latest.get(),
                "relayed": relayed.get(),
                "exceptions": exceptions.get(),
                "refused_clients": refused_clients.get(),
            })
        };
        self.running.iter().map(server).collect()
    }

    fn spawn(&self, config: &ModbusServerConfig) -> RunningServer {
        let (config_served, control) = (config.clone(), self.control.clone());
        let served = Rc::new(ServedDevices { config: config_served, routes: RefCell::default(), control });
        let counters = Rc::new(ServerCounters::default());
        let name = format!("modbus server {}", config.settings.listen);
        let (settings, target, counted) = (config.settings.clone(), Rc::clone(&served), Rc::clone(&counters));
        let run = async move || bessai_modbus_server::serve(&settings, &target, &counted).await;
        let task = bessai_supervision::spawn(name, OnFailure::Restart, self.stop.clone(), run);
        RunningServer { config: config.clone(), served, counters, task }
    }
}

impl Routes {
    fn new(server: &ModbusServerConfig, devices: &[DeviceConfig], buses: &Buses) -> Self {
        let mut shown = BTreeMap::new();
        for (unit, name) in &server.units {
            let device = devices.iter().find(|device| device.name == *name);
            if let (Some(device), Some(bus)) = (device, buses.relay(name)) {
                shown.insert(*unit, Route { bus: bus.clone(), unit: device.unit });
            }
        }
        let mut buses = shown.values().map(|route| &route.bus);
        let first = buses.next();
        let others = first.filter(|first| buses.all(|bus| bus.is_same(first))).cloned();
        Self { shown, others }
    }

    fn contains(&self, bus: &BusRelay) -> bool {
        self.shown.values().any(|route| route.bus.is_same(bus))
    }

    fn find(&self, unit: UnitId) -> Option<Route> {
        let others = || Some(Route { bus: self.others.clone()?, unit });
        self.shown.get(&unit.0).cloned().or_else(others)
    }
}

impl ServedDevices {
    fn route(&self, unit: UnitId) -> Result<Route, RelayError> {
        self.routes.borrow().find(unit).ok_or_else(|| {
            let reason = format!("no device is shown as unit {}", unit.0);
            RelayError::new(Exception::PATH_UNAVAILABLE, reason)
        })
    }

    /// Whether the settings allow to write a point.
    fn check_write(&self, device: &str, point: &Point) -> Result<(), String> {
        let is_allowed = match &self.config.write {
            ServerWrites::Nothing => false,
            ServerWrites::EveryPoint if point.dangerous => {
                return Err(format!(
                    "{device}/{} is marked as dangerous: `write = true` does not allow it; list it in `write`",
                    point.name
                ));
            }
            ServerWrites::EveryPoint => true,
            ServerWrites::Points(points) => points
                .iter()
                .any(|allowed| allowed.split_once('/').is_some_and(|(of, name)| of == device && name == point.name)),
        };
        if is_allowed { Ok(()) } else { Err(format!("`write` does not list {device}/{}", point.name)) }
    }
}

impl ServedDevices {
    /// Writes what control leaves to others; the events are recorded before it is sent and with its outcome.
    async fn write_recorded(
        &self,
        bus: &BusRelay,
        request: WriteRequest,
        client: &str,
    ) -> Result<Vec<RelayedPoint>, RelayError> {
        self.control.check_direct(bus, &request)?;
        let proposer = format!("{}{client}", WriteStep::MODBUS_CLIENT);
        let mut announced: Option<DirectWrites> = None;
        let announce =
            async |points: &[RelayedPoint]| announced = Some(self.control.announce_direct(&proposer, points).await);
        let check = |device: &str, point: &Point| self.check_write(device, point);
        let written = bus.write(request, check, announce).await;
        if let Some(announced) = announced {
            announced.finish(written.as_ref().map(drop), true);
        }
        written
    }
}

impl RelayTarget for ServedDevices {
    fn append_latest(&self, request: &ReadRequest, words: &mut Vec<u16>) -> bool {
        let routes = self.routes.borrow();
        let max_age = self.config.max_age;
        let (bus, unit) = match (routes.shown.get(&request.unit.0), &routes.others) {
            (Some(route), _) => (&route.bus, route.unit),
            (None, Some(bus)) => (bus, request.unit),
            (None, None) => return false,
        };
        let request = ReadRequest::new(unit, request.table, request.start, request.count);
        bus.append_latest(&request, max_age, words)
    }

    async fn read(&self, request: &ReadRequest) -> Result<Vec<u16>, RelayError> {
        let Route { bus, unit } = self.route(request.unit)?;
        bus.read(&ReadRequest::new(unit, request.table, request.start, request.count)).await
    }

    async fn write(&self, request: WriteRequest, client: &str) -> Result<(), RelayError> {
        let listen = self.config.settings.listen;
        if self.config.write == ServerWrites::Nothing {
            let reason = "writing needs `write = true` in the settings of the server";
            return Err(RelayError::new(Exception::ILLEGAL_FUNCTION, reason));
        }
        let Route { bus, unit } = self.route(request.unit)?;
        let (table, address) = (request.function.table().name(), request.address);
        match self.write_recorded(&bus, WriteRequest { unit, ..request }, client).await {
            Ok(points) => {
                for point in points {
                    let (device, name, value, unit) = (&point.device, &point.point, point.value, &point.unit);
                    let unit = if unit == "1" { String::new() } else { format!(" {unit}") };
                    tracing::info!(
                        %device,
                        %client,
                        "Modbus client {client} of server {listen} set {device}/{name} to {value}{unit}"
                    );
                }
                Ok(())
            }
            Err(error) => {
                tracing::warn!(
                    %client,
                    "Modbus client {client} of server {listen} may not or could not write {table} {address}: {error}; it \
                     got exception {}",
                    error.exception.0
                );
                Err(error)
            }
        }
    }
}
