//! The environment of the measured program: a device, a broker with a subscriber, and a folder.

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

/// Debian's path of mosquitto, which is not in every user's PATH.
const MOSQUITTO: &str = "/usr/sbin/mosquitto";
/// Time limit for the start of the device and of the broker.
const STARTED_WITHIN: Duration = Duration::from_secs(10);
/// Time between two attempts to connect to the starting broker.
const START_PAUSE: Duration = Duration::from_millis(10);
/// Any free port of loopback.
pub(crate) const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The device's unit id.
pub(crate) const UNIT: u8 = 1;
/// The device's holding registers from address 0 on.
pub(crate) const REGISTERS: [u16; 4] = [552, 1234, 251, 312];
/// The profile of these registers.
pub(crate) const PROFILE: &str = r#"[points]
soc = { channel = "soc_pct", address = 0, type = "uint16", scale = 0.1, unit = "%" }
power = { channel = "power_kw", address = 1, type = "int16", scale = 0.01, unit = "kW" }
temp = { channel = "temp_c", address = 2, type = "int16", scale = 0.1, unit = "°C" }
cycles = { channel = "cycle_count", address = 3, type = "uint16", scale = 1 }
"#;

/// The device, the broker, the subscriber and the folder. The broker is killed before its folder is removed.
pub(crate) struct TestBed {
    /// The Modbus device.
    pub(crate) device: SocketAddr,
    /// The MQTT broker.
    pub(crate) broker: SocketAddr,
    pub(crate) subscriber: Subscriber,
    _mosquitto: Process,
    folder: TempDir,
}

impl TestBed {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("bessai-bench-").context("failed to make a folder")?;
        std::fs::write(folder.path().join("profile.toml"), PROFILE).context("failed to write the profile")?;
        let device = start_device()?;
        let (mosquitto, broker) = start_broker(folder.path())?;
        let subscriber = Subscriber::start_for_telemetry(broker)?;
        Ok(Self { device, broker, subscriber, _mosquitto: mosquitto, folder })
    }

    /// The folder of the measured programs.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn start_device() -> anyhow::Result<SocketAddr> {
    let registers = Registers::new();
    registers.set(UNIT, Table::Holding, 0, &REGISTERS);
    serve(registers)
}

/// Starts a device on a thread that runs until this process ends.
pub(crate) fn serve(registers: Registers) -> anyhow::Result<SocketAddr> {
    let (started, address) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let server = Server::start(ANY_PORT, registers)?;
            started.send(server.address())?;
            std::future::pending::<anyhow::Result<()>>().await
        })
    });
    address.recv_timeout(STARTED_WITHIN).context("failed to start the simulated device")
}

/// Starts mosquitto for anonymous clients on a free port.
fn start_broker(folder: &Path) -> anyhow::Result<(Process, SocketAddr)> {
    let address = TcpListener::bind(ANY_PORT).and_then(|listener| listener.local_addr());
    let address = address.context("failed to find a free port")?;
    let settings = folder.join("mosquitto.conf");
    // Without TCP_NODELAY the second of two messages to a subscriber waits up to 40 ms for the TCP acknowledgement of the
    // first. The unlimited queue keeps mosquitto from discarding messages, which would count as lost by the gateway.
    let options = "allow_anonymous true\npersistence false\nset_tcp_nodelay true\nmax_queued_messages 0\n";
    let lines = format!("listener {} {}\n{options}", address.port(), address.ip());
    std::fs::write(&settings, lines).context("failed to write the broker's settings")?;
    let mut command = Command::new(MOSQUITTO);
    let process = Process::spawn(command.arg("-c").arg(&settings), &folder.join("mosquitto.log"))?;
    let deadline = Instant::now() + STARTED_WITHIN;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > deadline {
            bail!("failed to reach mosquitto on {address}:\n{}", process.log_tail());
        }
        std::thread::sleep(START_PAUSE);
    }
    Ok((process, address))
}
