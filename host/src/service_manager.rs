//! Tells the service manager that started the process about its state, as sd_notify(3) does. Without one, nothing is sent.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog_period: Option<Duration>,
}

impl ServiceManager {
    /// The one that `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` describe.
    pub(crate) fn from_environment(variables: &BTreeMap<String, String>) -> Self {
        let Some(name) = variables.get("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Self::default() };
        match connect(name) {
            Ok(socket) => Self { socket: Some(socket), watchdog_period: watchdog_period(variables) },
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET = {name:?}: {error}; the service manager is not notified");
                Self::default()
            }
        }
    }

    /// Time between two notifications that the process is alive; none if nobody waits for them.
    pub(crate) fn watchdog_period(&self) -> Option<Duration> {
        self.watchdog_period
    }

    /// The start is complete, or a reload.
    pub(crate) fn notify_ready(&self) {
        self.notify("READY=1");
    }

    /// A reload begins.
    pub(crate) fn notify_reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    /// The process stops.
    pub(crate) fn notify_stopping(&self) {
        self.notify("STOPPING=1");
    }

    /// The main loop responds.
    pub(crate) fn notify_alive(&self) {
        if self.watchdog_period.is_some() {
            self.notify("WATCHDOG=1");
        }
    }

    fn notify(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::debug!(%error, "failed to notify the service manager of {state}");
        }
    }
}

/// A socket that never blocks, and the address of the service manager: a path, or an abstract name after `@`.
fn connect(name: &str) -> std::io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Half of the time after which the service manager restarts the process, as sd_watchdog_enabled(3) recommends.
fn watchdog_period(variables: &BTreeMap<String, String>) -> Option<Duration> {
    let number = |name: &str| variables.get(name)?.parse::<u64>().ok();
    let is_for_another = number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id()));
    let limit = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && !is_for_another)?;
    Some(Duration::from_micros(limit) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 200];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn states_arrive_at_a_path_and_at_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("bessai-edge-test-{}", std::process::id());
        let by_name = SocketAddr::from_abstract_name(&abstract_name).unwrap();
        let sockets = [
            (path.to_str().unwrap().to_owned(), UnixDatagram::bind(&path).unwrap()),
            (format!("@{abstract_name}"), UnixDatagram::bind_addr(&by_name).unwrap()),
        ];
        for (name, socket) in sockets {
            let pid = std::process::id().to_string();
            let manager = ServiceManager::from_environment(&variables(&[
                ("NOTIFY_SOCKET", &name),
                ("WATCHDOG_USEC", "3000000"),
                ("WATCHDOG_PID", &pid),
            ]));
            assert_eq!(manager.watchdog_period(), Some(Duration::from_millis(1500)));
            manager.notify_ready();
            manager.notify_alive();
            manager.notify_reloading();
            manager.notify_stopping();
            assert_eq!([received(&socket), received(&socket)], ["READY=1", "WATCHDOG=1"]);
            let reloading = received(&socket);
            let micros = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
            assert_eq!(received(&socket), "STOPPING=1");
        }
    }

    #[test]
    fn without_a_service_manager_nothing_happens() {
        ServiceManager::from_environment(&variables(&[])).notify_ready();
        let unreachable = ServiceManager::from_environment(&variables(&[("NOTIFY_SOCKET", "/nonexistent/notify")]));
        unreachable.notify_ready();
        let period = |pid: &str| watchdog_period(&variables(&[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", pid)]));
        assert_eq!((period("1"), period("")), (None, Some(Duration::from_secs(1))));
    }
}
