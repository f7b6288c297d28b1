//! A line with devices of the simulator behind it, and whoever reads it.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bessai_domain::event::Frame;
use bessai_domain::plan::Blocks;
use bessai_domain::profile::{self, Pacing};
use bessai_domain::register::UnitId;
use bessai_domain::time::Timestamp;
use bessai_simulator::registers::Registers;
use bessai_simulator::server::{Framing, Request, Server};
use tokio::io::duplex;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet};
use tokio::time::Instant;

use super::super::{Address, Dial, Given, Line, Reported, Settings, Source, WRITES_WAITING, Writer, run};

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const BOTH: [Framing; 2] = [Framing::Tcp, Framing::Rtu];

/// Runs a test in virtual time: it jumps as soon as everybody waits.
pub(super) fn virtually<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

/// The same; what was logged meanwhile.
pub(super) fn logged(test: impl Future<Output = ()>) -> String {
    let log = Arc::new(Mutex::new(Vec::new()));
    let written = Arc::clone(&log);
    let writer = move || Log(Arc::clone(&written));
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
    tracing::subscriber::with_default(subscriber, || virtually(test));
    String::from_utf8(log.lock().unwrap().clone()).unwrap()
}

struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A device of a profile's text, read every second; at most that fast does it answer.
pub(super) fn device(name: &str, unit: u8, profile: &str) -> Settings {
    let profile = profile::toml::read(name, profile).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    Settings {
        name: name.into(),
        unit: UnitId(unit),
        unit_was_given: true,
        models: None,
        timeout: profile.timeout,
        pacing: profile.pacing,
        blocks: profile.blocks,
        sources: vec![Source { name: None, period: SECOND, place: 0 }],
        profile: Arc::new(profile),
    }
}

/// Points of one register each, named p<address>.
pub(super) fn registers(addresses: impl IntoIterator<Item = u16>) -> String {
    let point = |at| format!("p{at} = {{ address = {at}, type = \"uint16\", scale = 1 }}\n");
    "timeout = \"500ms\"\n[points]\n".to_owned() + &addresses.into_iter().map(point).collect::<String>()
}

/// How to reach a simulator's server by streams in memory.
pub(super) fn address(server: &Rc<Server>, framing: Framing) -> Address {
    let server = Rc::clone(server);
    let dial: Dial = Rc::new(move || {
        let (ours, theirs) = duplex(4096);
        server.attach(theirs, framing);
        Ok(ours)
    });
    Address::Given(Given { name: "bench".into(), is_serial: framing == Framing::Rtu, dial })
}

/// A line that is read.
pub(super) struct Bench {
    pub(super) server: Rc<Server>,
    pub(super) start: Instant,
    pub(super) writer: Writer,
    reports: mpsc::Receiver<Reported>,
    task: JoinHandle<()>,
    /// Nobody can be reached.
    is_away: Rc<Cell<bool>>,
}

/// A report, and when it came, counted from the start.
pub(super) struct Heard<T> {
    pub(super) at: Duration,
    pub(super) what: T,
}

impl Bench {
    pub(super) fn start(framing: Framing, memory: &Registers, devices: Vec<Settings>) -> Self {
        let server = Rc::new(Server::start_detached(memory.clone()).unwrap());
        let is_away = Rc::new(Cell::new(false));
        let Address::Given(given) = address(&server, framing) else { unreachable!() };
        let (away, dial) = (Rc::clone(&is_away), given.dial);
        let dial: Dial =
            Rc::new(move || if away.get() { Err(io::ErrorKind::ConnectionRefused.into()) } else { dial() });
        let address = Address::Given(Given { dial, ..given });
        let (reported, reports) = mpsc::channel(64);
        let (orders, received) = mpsc::channel(WRITES_WAITING);
        let mut writer = Writer::default();
        writer.add(&devices, &orders);
        let start = Instant::now();
        let line = Line { address, devices };
        let task = tokio::task::spawn_local(run(line, start, Timestamp::default, reported, received));
        Self { server, start, writer, reports, task, is_away }
    }

    /// One device on it.
    pub(super) fn with(framing: Framing, memory: &Registers, profile: &str) -> Self {
        Self::start(framing, memory, vec![device("box", 1, profile)])
    }

    pub(super) fn go_away(&self, is_away: bool) {
        self.is_away.set(is_away);
        if is_away {
            self.server.drop_connections();
        }
    }

    pub(super) async fn report(&mut self) -> Heard<Reported> {
        let what = self.reports.recv().await.expect("the line has ended");
        Heard { at: self.start.elapsed(), what }
    }

    /// The next frame; what else is said is passed over.
    pub(super) async fn frame(&mut self) -> Heard<Frame> {
        loop {
            let Heard { at, what } = self.report().await;
            if let Reported::Frame(_, frame) = what {
                return Heard { at, what: frame };
            }
        }
    }

    /// So many frames further, the last one.
    pub(super) async fn frames(&mut self, count: usize) -> Heard<Frame> {
        for _ in 1..count {
            self.frame().await;
        }
        self.frame().await
    }

    /// The requests so far, with their times from the start.
    pub(super) fn requests(&self) -> Vec<(Duration, Request)> {
        let since = |(at, request): (Instant, Request)| (at.duration_since(self.start), request);
        self.server.request_times().into_iter().map(since).collect()
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The values of a frame without any fault.
pub(super) fn good(frame: &Frame) -> &[f64] {
    assert!(frame.faults.is_empty(), "{frame:?}");
    &frame.values
}

/// The given limits of a device.
pub(super) fn paced(mut settings: Settings, pacing: Pacing) -> Settings {
    settings.pacing = pacing;
    settings
}

/// As few registers at once.
pub(super) fn in_blocks(mut settings: Settings, registers: u16, bridged_gap: u16) -> Settings {
    settings.blocks = Blocks { registers, bridged_gap, ..settings.blocks };
    settings
}
