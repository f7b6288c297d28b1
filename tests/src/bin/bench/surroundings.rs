//! What the measured program meets: a device, a broker with a subscriber, and a folder.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bessai_simulator::registers::{Registers, Table};
use bessai_simulator::server::Server;
use tempfile::TempDir;

use crate::process::Process;
use crate::subscriber::Subscriber;

/// Where Debian puts it, which is not on everyone's path.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";
const STARTED_WITHIN: Duration = Duration::from_secs(10);
const START_PAUSE: Duration = Duration::from_millis(10);
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The unit id of the device, and its holding registers from address 0 on, as [`PROFILE`] reads them.
pub(crate) const UNIT: u8 = 1;
pub(crate) const REGISTERS: [u16; 4] = [552, 1234, 251, 312];
pub(crate) const PROFILE: &str = r#"[points]
soc = { channel = "soc_pct", address = 0, type = "uint16", scale = 0.1, unit = "%" }
power = { channel = "power_kw", address = 1, type = "int16", scale = 0.01, unit = "kW" }
temp = { channel = "temp_c", address = 2, type = "int16", scale = 0.1, unit = "°C" }
cycles = { channel = "cycle_count", address = 3, type = "uint16", scale = 1 }
"#;

/// Everything around the measured program. The broker is ended before its folder is removed.
pub(crate) struct Surroundings {
    /// The Modbus device.
    pub(crate) device: SocketAddr,
    /// The MQTT broker.
    pub(crate) broker: SocketAddr,
    pub(crate) subscriber: Subscriber,
    _mosquitto: Process,
    folder: TempDir,
}

impl Surroundings {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("bessai-bench-").context("failed to make a folder")?;
        std::fs::write(folder.path().join("profile.toml"), PROFILE).context("failed to write the profile")?;
        let device = start_device()?;
        let (mosquitto, broker) = start_broker(folder.path())?;
        let subscriber = Subscriber::of_telemetry(broker)?;
        Ok(Self { device, broker, subscriber, _mosquitto: mosquitto, folder })
    }

    /// Where the gateway works and keeps things.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A device on a thread of this process, which lives as long as the process.
fn start_device() -> anyhow::Result<SocketAddr> {
    let (started, address) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let registers = Registers::new();
            registers.set(UNIT, Table::Holding, 0, &REGISTERS);
            let server = Server::start(ANY_PORT, registers)?;
            started.send(server.address())?;
            std::future::pending::<anyhow::Result<()>>().await
        })
    });
    address.recv_timeout(STARTED_WITHIN).context("failed to start the simulated device")
}

/// Mosquitto as Debian sets it up, but on a free port of loopback and for everyone.
fn start_broker(folder: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let address = TcpListener::bind(ANY_PORT).and_then(|listener| listener.local_addr());
    let address = address.context("failed to find a free port")?;
    let settings = folder.join("mosquitto.conf");
    // Else the second of two messages to a subscriber waits up to 40 ms for the kernel to acknowledge the first.
    // And what a subscriber has not taken yet is not to be thrown away: a figure counts what the gateway loses.
    let options = "allow_anonymous true\npersistence false\nset_tcp_nodelay true\nmax_queued_messages 0\n";
    let lines = format!("listener {} {}\n{options}", address.port(), address.ip());
    std::fs::write(&settings, lines).context("failed to write the broker's settings")?;
    let mut command = Command::new(MOSQUITTO);
    let process = Process::spawn(command.arg("-c").arg(&settings), &folder.join("mosquitto.log"))?;
    let deadline = Instant::now() + STARTED_WITHIN;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            bail!("failed to reach mosquitto on {address}:\n{}", process.last_words());
        }
        std::thread::sleep(START_PAUSE);
    }
    Ok((process, address))
}
