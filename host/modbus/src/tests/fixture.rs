//! A polled bus with devices of the simulator, connected through streams in memory.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Once};
use std::time::Duration;

use bessai_domain::event::Frame;
use bessai_domain::exchange::Exchange;
use bessai_domain::profile::{self, Pacing, ReadLimits};
use bessai_domain::register::UnitId;
use bessai_domain::time::Moment;
use bessai_simulator::registers::Registers;
use bessai_simulator::server::{Framing, ReceivedRequest, Server};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use crate::poll::Poller;
use crate::stream::SharedStream;
use crate::transport::{Dial, Medium, OpeningStream};
use crate::{BusRelay, DeviceReport, DeviceSettings, PointWriter, SourceSettings, WriteQueue};

/// One millisecond.
pub(super) const MS: Duration = Duration::from_millis(1);
/// One second, the devices' polling period.
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// Modbus/TCP and a serial bus, which most tests run on.
pub(super) const BOTH: [Framing; 2] = [Framing::Tcp, Framing::Rtu];

/// Runs a test in virtual time, which advances as soon as every task waits.
pub(super) fn in_virtual_time<T>(test: impl Future<Output = T>) -> T {
    install_log_capture();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// Runs a test in virtual time and returns what was logged.
pub(super) fn captured_log(test: impl Future<Output = ()>) -> String {
    CAPTURED.set(Some(Vec::new()));
    in_virtual_time(test);
    String::from_utf8(CAPTURED.take().unwrap()).unwrap()
}

thread_local! {
    /// What this thread's test has logged, while it captures its log.
    static CAPTURED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Installs one subscriber for all tests before any of them logs. With a subscriber per test, `tracing` can remember
/// from a test without one that nobody wants a line, and another test then misses it.
fn install_log_capture() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(|| ThreadLog).finish();
        tracing::subscriber::set_global_default(subscriber).unwrap();
    });
}

struct ThreadLog;

impl io::Write for ThreadLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        CAPTURED.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A device with that profile, polled every second.
pub(super) fn device(name: &str, unit: u8, profile: &str) -> DeviceSettings {
    let profile = profile::toml::read(name, profile).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    DeviceSettings {
        name: name.into(),
        unit: UnitId(unit),
        unit_is_configured: true,
        models: None,
        timeout: profile.timeout,
        pacing: profile.pacing,
        read_limits: profile.read_limits,
        sources: vec![SourceSettings { name: None, period: SECOND, index: 0 }],
        profile: Arc::new(profile),
    }
}

/// A profile with points of one register each, named p<address>.
pub(super) fn registers(addresses: impl IntoIterator<Item = u16>) -> String {
    let point = |at| format!("p{at} = {{ address = {at}, type = \"uint16\", scale = 1 }}\n");
    "timeout = \"500ms\"\n[points]\n".to_owned() + &addresses.into_iter().map(point).collect::<String>()
}

/// Opens streams in memory.
pub(super) struct MemoryDialer<F> {
    pub(super) framing: Framing,
    pub(super) connect: F,
}

impl<F: Fn() -> io::Result<DuplexStream>> Dial for MemoryDialer<F> {
    fn name(&self) -> String {
        "memory".into()
    }

    fn medium(&self) -> Medium {
        match self.framing {
            Framing::Tcp => Medium::Tcp,
            Framing::Rtu => Medium::Serial { frame_gap: Duration::ZERO, settle_time: Duration::ZERO },
        }
    }

    fn dial(&self) -> OpeningStream<'_> {
        Box::pin(async {
            (self.connect)().map(SharedStream::new).map_err(|error| format!("failed to connect to memory: {error}"))
        })
    }
}

/// Polls devices on streams in memory.
pub(super) fn spawn_poller(
    dialer: impl Dial + 'static,
    devices: Vec<DeviceSettings>,
    start: Instant,
    reports: mpsc::Sender<DeviceReport>,
    writes: WriteQueue,
) -> JoinHandle<()> {
    let poller = Poller::new(Box::new(dialer), devices, start, Moment::default, writes);
    tokio::task::spawn_local(poller.run(reports))
}

/// A polled bus.
pub(super) struct TestBus {
    pub(super) server: Rc<Server>,
    pub(super) start: Instant,
    pub(super) writer: PointWriter,
    pub(super) relay: BusRelay,
    reports: mpsc::Receiver<DeviceReport>,
    task: JoinHandle<()>,
    /// Connections are refused.
    is_unreachable: Rc<Cell<bool>>,
}

/// A report with the time from the start to its arrival.
pub(super) struct Received<T> {
    pub(super) at: Duration,
    pub(super) value: T,
}

impl TestBus {
    pub(super) fn start(framing: Framing, memory: &Registers, devices: Vec<DeviceSettings>) -> Self {
        let server = Rc::new(Server::start_detached(memory.clone()).unwrap());
        let is_unreachable = Rc::new(Cell::new(false));
        let (simulator, refuses) = (Rc::clone(&server), Rc::clone(&is_unreachable));
        let connect = move || {
            if refuses.get() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (ours, theirs) = duplex(4096);
            simulator.attach(theirs, framing);
            Ok(ours)
        };
        let (reported, reports) = mpsc::channel(64);
        let mut writer = PointWriter::default();
        let writes = writer.connect(&devices);
        let relay = BusRelay::to(&devices, framing == Framing::Rtu);
        let start = Instant::now();
        let dialer = Box::new(MemoryDialer { framing, connect });
        let poller = Poller::new(dialer, devices, start, Moment::default, writes).with_relay(&relay);
        let task = tokio::task::spawn_local(poller.run(reported));
        Self { server, start, writer, relay, reports, task, is_unreachable }
    }

    /// A bus with one device.
    pub(super) fn with(framing: Framing, memory: &Registers, profile: &str) -> Self {
        Self::start(framing, memory, vec![device("box", 1, profile)])
    }

    pub(super) fn set_unreachable(&self, is_unreachable: bool) {
        self.is_unreachable.set(is_unreachable);
        if is_unreachable {
            self.server.drop_connections();
        }
    }

    pub(super) async fn report(&mut self) -> Received<DeviceReport> {
        let value = self.reports.recv().await.expect("the poller has ended");
        Received { at: self.start.elapsed(), value }
    }

    /// The next frame; other reports are skipped.
    pub(super) async fn frame(&mut self) -> Received<Frame> {
        loop {
            let Received { at, value } = self.report().await;
            if let DeviceReport::Frame(_, frame, _) = value {
                return Received { at, value: frame };
            }
        }
    }

    /// What the requests of the next frame met.
    pub(super) async fn exchange(&mut self) -> Exchange {
        loop {
            if let DeviceReport::Frame(_, _, exchange) = self.report().await.value {
                return exchange;
            }
        }
    }

    /// Waits for that many frames and returns the last one.
    pub(super) async fn frames(&mut self, count: usize) -> Received<Frame> {
        for _ in 1..count {
            self.frame().await;
        }
        self.frame().await
    }

    /// The requests received by the simulator, with the time from the start to each.
    pub(super) fn requests(&self) -> Vec<(Duration, ReceivedRequest)> {
        let since = |(at, request): (Instant, ReceivedRequest)| (at.duration_since(self.start), request);
        self.server.request_times().into_iter().map(since).collect()
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The values of a frame that must have no faults.
pub(super) fn good(frame: &Frame) -> &[f64] {
    assert!(frame.faults.is_empty(), "{frame:?}");
    &frame.values
}

/// The device with that pacing.
pub(super) fn paced(mut settings: DeviceSettings, pacing: Pacing) -> DeviceSettings {
    settings.pacing = pacing;
    settings
}

/// The device with those limits on the size of a request.
pub(super) fn in_blocks(mut settings: DeviceSettings, registers: u16, bridged_gap: u16) -> DeviceSettings {
    settings.read_limits = ReadLimits { registers, bridged_gap, ..settings.read_limits };
    settings
}

/// The CRC of an RTU frame, as it is sent.
pub(super) fn crc(bytes: &[u8]) -> [u8; 2] {
    let check = bytes.iter().fold(u16::MAX, |check, &byte| {
        (0..8).fold(check ^ u16::from(byte), |check, _| if check & 1 == 1 { check >> 1 ^ 0xa001 } else { check >> 1 })
    });
    check.to_le_bytes()
}
