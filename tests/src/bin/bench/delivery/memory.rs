//! What an outage and idle sessions keep in memory.

use std::net::{SocketAddr, TcpListener};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use super::peers::Device;
use super::plant::Plant;
use crate::gateway::{Health, is_signed_in};
use crate::plugins::{missing, write};
use crate::process::Memory;
use crate::program::Program;
use crate::shown;
use crate::surroundings::{ANY_PORT, Surroundings};
use crate::table::Measured;
use crate::worker;

/// Devices that together make many events in a short time.
const DEVICES: usize = 10;
const FAST: Duration = Duration::from_millis(1);
const SLOW: Duration = Duration::from_secs(5);
/// After the start, before memory is looked at.
const SETTLED: Duration = Duration::from_secs(15);
const LOOK_EVERY: Duration = Duration::from_millis(500);
const EVENTS_WITHIN: Duration = Duration::from_secs(600);
const READY_WITHIN: Duration = Duration::from_secs(120);
const SESSIONS: usize = 1000;
/// Where scripts/test and scripts/bench put guests that are compiled only for tests.
const GUESTS: &str = "EDGE_TEST_GUESTS";
const HOSTILE: &str = "guest-hostile.wasm";

#[derive(Clone, Copy)]
pub(super) struct Lengths {
    events: u64,
}

impl Lengths {
    pub(super) const FULL: Self = Self { events: 1_000_000 };
    pub(super) const QUICK: Self = Self { events: 200_000 };
}

pub(super) fn measure(
    gateway: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Measured>> {
    let mut rows = vec![outage(gateway, surroundings, lengths)?];
    rows.extend(sessions(gateway, surroundings)?);
    Ok(rows)
}

/// Nobody listens there.
fn nobody() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(ANY_PORT).and_then(|listener| listener.local_addr())?)
}

fn outage(gateway: &Program, surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Measured> {
    eprintln!("memory idle, then after {} events with the broker down", lengths.events);
    let device = Device::start()?.address;
    let (devices, protocol) = (DEVICES, "5");
    let broker = surroundings.broker;
    let plant = Plant { site: "bench-idle", device, devices, period: SLOW, broker, protocol };
    let process = plant.start(gateway, &plant.folder(surroundings)?)?;
    Health::of(&process)?.wait(1, READY_WITHIN, is_signed_in)?;
    sleep(SETTLED);
    let idle = process.memory()?;
    drop(process);
    let plant = Plant { site: "bench-outage", device, devices, period: FAST, broker: nobody()?, protocol };
    let process = plant.start(gateway, &plant.folder(surroundings)?)?;
    let health = Health::of(&process)?;
    let begin = Instant::now();
    loop {
        let newest = health.ask()?.pointer("/journal/newest").and_then(Value::as_u64);
        if newest.context("/health says nothing of the journal")? >= lengths.events {
            break;
        }
        if begin.elapsed() > EVENTS_WITHIN {
            bail!("{newest:?} events within {EVENTS_WITHIN:?}, and not {}", lengths.events);
        }
        sleep(LOOK_EVERY);
    }
    let (took, after) = (begin.elapsed(), process.memory()?);
    Ok(Measured {
        figure: format!(
            "memory after {} events in {:.0} s with the broker down, above idle (of it not from files); idle",
            lengths.events,
            took.as_secs_f64()
        ),
        target: "≤ 10 MB",
        measured: format!("{}; {}", shown::memory(after.above(idle)), shown::memory(idle)),
        elsewhere: "",
    })
}

/// The sessions are told from the rest in two ways: in the gateway, by the same feeds with a broker that refuses, whose
/// plugins refuse their configuration and are switched off, so that no instance of a plugin counts; and alone, in a
/// process that has nothing but them.
fn sessions(gateway: &Program, surroundings: &Surroundings) -> anyhow::Result<Vec<Measured>> {
    eprintln!("{SESSIONS} idle sessions");
    let alone = worker::ask(&["sessions", &SESSIONS.to_string(), &surroundings.broker.to_string()])?;
    let alone = alone.value("all_mb")? - alone.value("one_mb")?;
    let mut rows = vec![Measured {
        figure: format!("{SESSIONS} idle MQTT 5 sessions alone, in_flight = 100, above one"),
        target: "≤ 60 MB",
        measured: format!("{alone:.1} MB"),
        elsewhere: "",
    }];
    let figure =
        format!("a gateway with {SESSIONS} idle feeds, in_flight = 100, no instance of a plugin, above one feed");
    let hostile = std::env::var_os(GUESTS).map(|folder| std::path::Path::new(&folder).join(HOSTILE));
    let Some(Ok(wasm)) = hostile.map(std::fs::read) else {
        rows.push(missing(figure, "≤ 60 MB", format!("needs {HOSTILE} in the folder that {GUESTS} names")));
        return Ok(rows);
    };
    let broker = surroundings.broker;
    let one = with_feeds(gateway, surroundings, &wasm, "one", (1, broker))?;
    let all = with_feeds(gateway, surroundings, &wasm, "all", (SESSIONS, broker))?;
    let refused = with_feeds(gateway, surroundings, &wasm, "refused", (SESSIONS, nobody()?))?;
    rows.push(Measured {
        figure,
        target: "≤ 60 MB",
        measured: format!("{}; one: {}", shown::memory(all.above(one)), shown::memory(one)),
        elsewhere: "",
    });
    rows.push(Measured {
        figure: "the same above the same feeds whose broker is not there: what the sessions are of it".into(),
        target: "",
        measured: shown::memory(all.above(refused)),
        elsewhere: "",
    });
    Ok(rows)
}

fn with_feeds(
    gateway: &Program,
    surroundings: &Surroundings,
    wasm: &[u8],
    name: &str,
    (feeds, broker): (usize, SocketAddr),
) -> anyhow::Result<Memory> {
    let site = format!("bench-sessions-{name}");
    let device = Device::start()?.address;
    let plant = Plant { site: &site, device, devices: 1, period: SLOW, broker: surroundings.broker, protocol: "5" };
    let data = plant.folder(surroundings)?;
    let plugins = data.join("plugins");
    write(&plugins.join("shared.wasm"), wasm)?;
    let settings = format!(
        "component = \"shared.wasm\"\n[config]\ndo = \"refuse\"\n[broker]\nurl = \"mqtt://{broker}\"\nprotocol = \"5\"\n"
    );
    for feed in 1..=feeds {
        write(&plugins.join(format!("feed-{feed}.toml")), &settings)?;
    }
    let process = plant.start(gateway, &data)?;
    let is_there = broker == surroundings.broker;
    let is_off = |feed: &Value| feed.get("off").is_some_and(|off| !off.is_null());
    let is_default = |feed: &Value| is_signed_in(feed) && feed.get("failures").and_then(Value::as_u64) == Some(0);
    let has_tried = |feed: &Value| feed.get("failed_sign_ins").and_then(Value::as_u64) > Some(0);
    let is_so =
        |feed: &Value| is_default(feed) || if is_there { is_signed_in(feed) && is_off(feed) } else { has_tried(feed) };
    Health::of(&process)?.wait(feeds + 1, READY_WITHIN, is_so).with_context(|| process.last_words())?;
    sleep(SETTLED);
    process.memory()
}
