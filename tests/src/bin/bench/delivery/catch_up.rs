//! Catching up after an outage: a gateway starts with a backlog in its journal, and what its default feed (`bessai-json`, one
//! message a reading) has acknowledged per second is taken from `/health` while it works it off. Beside it a bare loop of
//! the same library with the same topic, payload, window and subscriber.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bessai_edge::mqtt::Protocol;
use serde_json::Value;

use super::bare_loop::Publication;
use super::frames::leave_backlog;
use super::peers::Device;
use super::plant::Plant;
use super::session::{median, rate};
use crate::gateway::Health;
use crate::process::Process;
use crate::program::Program;
use crate::shown;
use crate::subscriber::Subscriber;
use crate::surroundings::Surroundings;
use crate::table::Compared;

/// The device goes on, but hardly.
const PERIOD: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const WITHIN: Duration = Duration::from_secs(120);
/// Shares of the backlog between which the rate is taken, in percent: nothing of the start, and nothing of the end.
const FROM: u64 = 10;
const TO: u64 = 95;
/// The threads of the gateway.
const THREADS: [(&str, &str); 2] = [("main", "bessai-edge"), ("reading files", "tokio-rt-worker")];

#[derive(Clone, Copy)]
pub(super) struct Lengths {
    backlog: u32,
    /// Odd, so that the median is one of them.
    runs: usize,
}

impl Lengths {
    pub(super) const FULL: Self = Self { backlog: 200_000, runs: 5 };
    pub(super) const QUICK: Self = Self { backlog: 100_000, runs: 1 };
}

/// What a gateway has shown.
struct CaughtUp {
    rate: f64,
    /// Processor time for a message: of all threads, and of single ones.
    spent: Duration,
    by_thread: Vec<Duration>,
    /// One of its messages.
    sample: Publication,
}

pub(super) fn measure(
    gateway: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Compared>> {
    let mut rows = Vec::new();
    for (name, written, protocol) in [("MQTT 5", "5", Protocol::V5), ("MQTT 3.1.1", "3.1.1", Protocol::V311)] {
        eprintln!("a backlog of {} readings over {name}, {} times each", lengths.backlog, lengths.runs);
        let (mut ours, mut bare, mut costs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut window, mut size) = (0, 0);
        for run in 0..lengths.runs {
            let site = format!("bench-catch-up-{written}-{run}");
            let device = Device::start()?.address;
            let broker = surroundings.broker;
            let plant = Plant { site: &site, device, devices: 1, period: PERIOD, broker, protocol: written };
            let caught_up = catch_up(gateway, surroundings, &plant, lengths.backlog)?;
            ours.push(caught_up.rate);
            let messages = u64::from(lengths.backlog);
            let (rate, granted) = rate(messages, caught_up.sample.send(broker, protocol, messages))?;
            bare.push(rate);
            surroundings.subscriber.take();
            (window, size) = (granted, caught_up.sample.payload.len());
            costs.push(caught_up);
        }
        let (ours, bare) = (median(ours), median(bare));
        rows.push(Compared {
            figure: format!(
                "a backlog of {} readings worked off over {name}, window {window}, {size} bytes each",
                lengths.backlog
            ),
            target: "≥ 20,000/s and ≥ 0.8 × bare",
            gateway: format!("{ours:.0}/s, {:.2} × bare", ours / bare),
            bare: format!("{bare:.0}/s"),
            elsewhere: "",
        });
        rows.push(cost(name, &costs));
    }
    Ok(rows)
}

fn cost(name: &str, costs: &[CaughtUp]) -> Compared {
    let of = |place: usize| costs.iter().filter_map(|cost| cost.by_thread.get(place).copied()).collect();
    let threads = THREADS.iter().enumerate().map(|(place, (name, _))| format!("{name} {}", shown::range(of(place))));
    let threads: Vec<_> = threads.collect();
    Compared {
        figure: format!("processor time for each of these messages over {name}"),
        target: "",
        gateway: format!(
            "{}, of it {}",
            shown::range(costs.iter().map(|cost| cost.spent).collect()),
            threads.join(", ")
        ),
        bare: String::new(),
        elsewhere: "",
    }
}

fn catch_up(
    gateway: &Program,
    surroundings: &Surroundings,
    plant: &Plant<'_>,
    backlog: u32,
) -> anyhow::Result<CaughtUp> {
    let data = plant.folder(surroundings)?;
    leave_backlog(&data.join("journal"), plant.site, backlog)?;
    let process = plant.start(gateway, &data)?;
    let caught_up = watch(&process, &surroundings.subscriber, backlog)
        .with_context(|| format!("the backlog is not worked off:\n{}", process.last_words()))?;
    drop(process);
    std::fs::remove_dir_all(&data).context("failed to remove a gateway's folder")?;
    Ok(caught_up)
}

fn watch(process: &Process, subscriber: &Subscriber, backlog: u32) -> anyhow::Result<CaughtUp> {
    let health = Health::of(process)?;
    let backlog = u64::from(backlog);
    let deadline = Instant::now() + WITHIN;
    let mut begin = None;
    while Instant::now() < deadline {
        let delivered = health.feed("default")?.get("delivered").and_then(Value::as_u64).unwrap_or_default();
        let now = (Instant::now(), delivered, spent(process)?);
        let Some((began, before, spent_before)) = &begin else {
            if delivered > backlog * FROM / 100 {
                begin = Some(now);
            }
            sleep(LOOK_EVERY);
            continue;
        };
        if delivered >= backlog * TO / 100 {
            let messages = u32::try_from(delivered - before)?;
            let each = |(now, before): (&crate::process::Spent, _)| now.since(before) / messages;
            let mut spent = now.2.iter().zip(spent_before).map(each);
            let (all, by_thread) = (spent.next().unwrap_or_default(), spent.collect());
            let rate = f64::from(messages) / (now.0 - *began).as_secs_f64();
            return Ok(CaughtUp { rate, spent: all, by_thread, sample: sample(subscriber)? });
        }
        sleep(LOOK_EVERY);
    }
    bail!("not within {WITHIN:?}")
}

/// Of all threads, then of each of [`THREADS`].
fn spent(process: &Process) -> anyhow::Result<Vec<crate::process::Spent>> {
    let by_thread = THREADS.iter().map(|(_, name)| process.spent_by_thread(name));
    std::iter::once(process.spent()).chain(by_thread).collect()
}

fn sample(subscriber: &Subscriber) -> anyhow::Result<Publication> {
    let arrival = subscriber.take().pop().context("nothing came to the subscriber")?;
    Ok(Publication { topic: arrival.topic, payload: arrival.payload })
}
