//! Everything through which other programs share the gateway's connections to its devices.

use std::cell::RefCell;
use std::rc::Rc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::buses::Buses;
use super::control::Operator;
use super::local_requests;
use super::modbus_servers::ModbusServers;
use crate::config::Config;

/// The Modbus servers and the local socket.
pub(super) struct Sharing {
    pub(super) modbus_servers: Rc<RefCell<ModbusServers>>,
    local_requests: JoinHandle<()>,
}

impl Sharing {
    /// Starts them on connections that run.
    pub(super) fn start(
        config: &Config,
        buses: &Rc<RefCell<Buses>>,
        operator: Operator,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let mut servers = ModbusServers::new(operator.control().clone(), stop.clone());
        servers.start(&config.modbus_servers, &config.devices, &buses.borrow());
        let local_requests = local_requests::spawn(&config.data_dir, buses, operator, stop);
        Self { modbus_servers: Rc::new(RefCell::new(servers)), local_requests }
    }

    /// Ends them.
    pub(super) fn abort(&self) {
        self.local_requests.abort();
        self.modbus_servers.borrow().abort();
    }
}
