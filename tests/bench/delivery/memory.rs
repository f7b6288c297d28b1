//! The memory of an outage's backlog and of idle sessions.

use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::gateway_config::GatewayConfig;
use super::timed_peers::TimedDevice;
use crate::formatting;
use crate::gateway::{HealthClient, is_signed_in};
use crate::plugins::{missing, write};
use crate::process::Memory;
use crate::program::Program;
use crate::table::MeasuredFigure;
use crate::test_bed::{ANY_PORT, TestBed};
use crate::worker;

/// Devices, enough for many events in a short time.
const DEVICES: usize = 10;
/// The polling period during the outage.
const FAST: Duration = Duration::from_millis(1);
/// The polling period of idle gateways.
const SLOW: Duration = Duration::from_secs(5);
/// Time between a start and the measurement of memory.
const SETTLED: Duration = Duration::from_secs(15);
/// Polling period of `/health`.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Time limit for the events of the outage.
const EVENTS_WITHIN: Duration = Duration::from_secs(600);
/// Time limit for all feeds to be in the expected state.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// Idle sessions.
const SESSIONS: usize = 1000;
/// The variable that names the folder of test guests; scripts/bench sets it.
const GUESTS: &str = "EDGE_TEST_GUESTS";
/// The component that can refuse its configuration.
const HOSTILE: &str = "guest-hostile.wasm";

/// Size of the measurement.
#[derive(Clone, Copy)]
pub(super) struct MemoryParameters {
    events: u64,
}

impl MemoryParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { events: 1_000_000 };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { events: 200_000 };
}

pub(super) fn measure(
    gateway: &Program,
    test_bed: &TestBed,
    parameters: &MemoryParameters,
) -> anyhow::Result<Vec<MeasuredFigure>> {
    let mut rows = vec![outage(gateway, test_bed, parameters)?];
    rows.extend(sessions(gateway, test_bed)?);
    Ok(rows)
}

/// An address at which no broker listens.
fn unused_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(ANY_PORT).and_then(|listener| listener.local_addr())?)
}

fn outage(gateway: &Program, test_bed: &TestBed, parameters: &MemoryParameters) -> anyhow::Result<MeasuredFigure> {
    eprintln!("memory idle, then after {} events with the broker down", parameters.events);
    let device = TimedDevice::start()?.address;
    let (devices, protocol) = (DEVICES, "5");
    let broker = test_bed.broker;
    let config = GatewayConfig { site: "bench-idle", device, devices, period: SLOW, broker, protocol };
    let process = config.start(gateway, &config.folder(test_bed)?)?;
    HealthClient::of(&process)?.wait_for_feeds(1, READY_WITHIN, is_signed_in)?;
    sleep(SETTLED);
    let idle = process.memory()?;
    drop(process);
    let config =
        GatewayConfig { site: "bench-outage", device, devices, period: FAST, broker: unused_address()?, protocol };
    let process = config.start(gateway, &config.folder(test_bed)?)?;
    let health = HealthClient::of(&process)?;
    let begin = Instant::now();
    loop {
        let newest = health.get()?.pointer("/journal/newest").and_then(Value::as_u64);
        if newest.context("/health has no figures of the journal")? >= parameters.events {
            break;
        }
        if begin.elapsed() > EVENTS_WITHIN {
            bail!("{newest:?} events were recorded within {EVENTS_WITHIN:?} instead of {}", parameters.events);
        }
        sleep(POLL_EVERY);
    }
    let (took, after) = (begin.elapsed(), process.memory()?);
    Ok(MeasuredFigure {
        figure: format!(
            "memory after {} events in {:.0} s with the broker down, above idle (anonymous part); idle",
            parameters.events,
            took.as_secs_f64()
        ),
        target: "≤ 10 MB",
        measured: format!("{}; {}", formatting::memory(after.above(idle)), formatting::memory(idle)),
        elsewhere: "",
    })
}

/// The sessions' memory in two ways: alone, in a process with nothing else; and in a gateway, as the difference to the same
/// feeds with an absent broker. The feeds' plugins refuse their configuration and are switched off, so that no instance of
/// a plugin counts.
fn sessions(gateway: &Program, test_bed: &TestBed) -> anyhow::Result<Vec<MeasuredFigure>> {
    eprintln!("{SESSIONS} idle sessions");
    let alone = worker::run_to_end(&["sessions", &SESSIONS.to_string(), &test_bed.broker.to_string()])?;
    let alone = alone.value("all_mb")? - alone.value("one_mb")?;
    let mut rows = vec![MeasuredFigure {
        figure: format!("{SESSIONS} idle MQTT 5 sessions, in_flight 100, alone, above one session"),
        target: "≤ 60 MB",
        measured: format!("{alone:.1} MB"),
        elsewhere: "",
    }];
    let figure = format!("{SESSIONS} idle feeds with these sessions, without their plugins' instances, above one feed");
    let hostile = std::env::var_os(GUESTS).map(|folder| std::path::Path::new(&folder).join(HOSTILE));
    let Some(Ok(wasm)) = hostile.map(std::fs::read) else {
        rows.push(missing(figure, "≤ 55 MB", format!("needs {HOSTILE} in the folder that {GUESTS} names")));
        return Ok(rows);
    };
    let broker = test_bed.broker;
    let one = with_feeds(gateway, test_bed, &wasm, "one", (1, broker))?;
    let all = with_feeds(gateway, test_bed, &wasm, "all", (SESSIONS, broker))?;
    let absent = with_feeds(gateway, test_bed, &wasm, "absent", (SESSIONS, unused_address()?))?;
    rows.push(MeasuredFigure {
        figure,
        target: "≤ 55 MB",
        measured: format!("{}; one: {}", formatting::memory(all.above(one)), formatting::memory(one)),
        elsewhere: "",
    });
    rows.push(MeasuredFigure {
        figure: "the same above feeds whose broker is absent: the sessions' part".into(),
        target: "",
        measured: formatting::memory(all.above(absent)),
        elsewhere: "",
    });
    Ok(rows)
}

fn with_feeds(
    gateway: &Program,
    test_bed: &TestBed,
    wasm: &[u8],
    name: &str,
    (feeds, broker): (usize, SocketAddr),
) -> anyhow::Result<Memory> {
    let site = format!("bench-sessions-{name}");
    let device = TimedDevice::start()?.address;
    let config =
        GatewayConfig { site: &site, device, devices: 1, period: SLOW, broker: test_bed.broker, protocol: "5" };
    let data = config.folder(test_bed)?;
    let plugins = data.join("plugins");
    write(&plugins.join("shared.wasm"), wasm)?;
    let settings = format!(
        "component = \"shared.wasm\"\n[config]\ndo = \"refuse\"\n[broker]\nurl = \"mqtt://{broker}\"\nprotocol = \"5\"\n"
    );
    for feed in 1..=feeds {
        write(&plugins.join(format!("feed-{feed}.toml")), &settings)?;
    }
    let process = config.start(gateway, &data)?;
    let is_broker_present = broker == test_bed.broker;
    let is_off = |feed: &Value| feed.get("off").is_some_and(|off| !off.is_null());
    let is_default = |feed: &Value| is_signed_in(feed) && feed.get("failures").and_then(Value::as_u64) == Some(0);
    // Feeds that share an absent broker try it in turn; the others show why they wait.
    let has_tried = |feed: &Value| feed.get("last_error").is_some_and(|error| !error.is_null());
    let is_ready = |feed: &Value| {
        is_default(feed) || if is_broker_present { is_signed_in(feed) && is_off(feed) } else { has_tried(feed) }
    };
    HealthClient::of(&process)?
        .wait_for_feeds(feeds + 1, READY_WITHIN, is_ready)
        .with_context(|| process.log_tail())?;
    sleep(SETTLED);
    process.memory()
}
