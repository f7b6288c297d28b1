//! Catching up after an outage: a gateway starts with a backlog in its journal, and `/health` shows how many messages per
//! second its default feed (`bessai-json`, one message per reading) delivers. The baseline is a bare loop of the same
//! library with the same topic, payload, window and subscriber.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bessai_domain::session::Protocol;
use serde_json::Value;

use super::bare_loop::Publication;
use super::frames::write_backlog;
use super::gateway_config::GatewayConfig;
use super::session::{median, rate};
use super::timed_peers::TimedDevice;
use crate::formatting;
use crate::gateway::HealthClient;
use crate::process::{Process, ProcessorTime};
use crate::program::Program;
use crate::subscriber::Subscriber;
use crate::table::ComparedFigure;
use crate::test_bed::TestBed;

/// The polling period, long enough that new readings do not affect the rate.
const PERIOD: Duration = Duration::from_secs(5);
/// Polling period of `/health`.
const POLL_EVERY: Duration = Duration::from_millis(20);
/// Time limit for the backlog to be delivered.
const WITHIN: Duration = Duration::from_secs(120);
/// The delivered share of the backlog, in percent, from which the rate is measured, so that the start is excluded.
const FROM: u64 = 10;
/// The share to which it is measured, so that the end is excluded.
const TO: u64 = 95;
/// The threads of the gateway: label and name.
const THREADS: [(&str, &str); 2] = [("main", "bessai-edge"), ("reading files", "tokio-rt-worker")];

/// Size and repetitions of the measurement.
#[derive(Clone, Copy)]
pub(super) struct CatchUpParameters {
    backlog: u32,
    /// Odd, so that the median is one of them.
    runs: usize,
}

impl CatchUpParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { backlog: 200_000, runs: 5 };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { backlog: 100_000, runs: 1 };
}

/// The figures of a gateway that delivered its backlog.
struct CaughtUp {
    rate: f64,
    /// Processor time of all threads for a message.
    processor_time: Duration,
    /// The same for each of [`THREADS`].
    by_thread: Vec<Duration>,
    /// One of its messages.
    sample: Publication,
}

pub(super) fn measure(
    gateway: &Program,
    test_bed: &TestBed,
    parameters: &CatchUpParameters,
) -> anyhow::Result<Vec<ComparedFigure>> {
    let mut rows = Vec::new();
    for (name, written, protocol) in [("MQTT 5", "5", Protocol::V5), ("MQTT 3.1.1", "3.1.1", Protocol::V311)] {
        eprintln!("a backlog of {} readings over {name}, {} runs of each", parameters.backlog, parameters.runs);
        let (mut gateway_rates, mut bare_rates, mut costs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut window, mut size) = (0, 0);
        for run in 0..parameters.runs {
            let site = format!("bench-catch-up-{written}-{run}");
            let device = TimedDevice::start()?.address;
            let broker = test_bed.broker;
            let config = GatewayConfig { site: &site, device, devices: 1, period: PERIOD, broker, protocol: written };
            let caught_up = catch_up(gateway, test_bed, &config, parameters.backlog)?;
            gateway_rates.push(caught_up.rate);
            let messages = u64::from(parameters.backlog);
            let (rate, granted) = rate(messages, caught_up.sample.send(broker, protocol, messages))?;
            bare_rates.push(rate);
            test_bed.subscriber.take();
            (window, size) = (granted, caught_up.sample.payload.len());
            costs.push(caught_up);
        }
        let (delivered, bare) = (median(gateway_rates), median(bare_rates));
        rows.push(ComparedFigure {
            figure: format!(
                "an outage's {} readings to mosquitto, {name}, window {window}, {size} bytes each",
                parameters.backlog
            ),
            target: "≥ 20,000/s and ≥ 0.95 × native",
            gateway: format!("{delivered:.0}/s, {:.2} × native", delivered / bare),
            baseline: format!("{bare:.0}/s"),
            elsewhere: "",
        });
        rows.push(cost(name, &costs));
    }
    Ok(rows)
}

fn cost(name: &str, costs: &[CaughtUp]) -> ComparedFigure {
    let of_thread = |index: usize| costs.iter().filter_map(|cost| cost.by_thread.get(index).copied()).collect();
    let threads = THREADS.iter().enumerate();
    let threads = threads.map(|(index, (name, _))| format!("{name} {}", formatting::range(of_thread(index))));
    let threads: Vec<_> = threads.collect();
    ComparedFigure {
        figure: format!("processor time per message of that backlog, {name}"),
        target: "",
        gateway: format!(
            "{}; of that {}",
            formatting::range(costs.iter().map(|cost| cost.processor_time).collect()),
            threads.join(", ")
        ),
        baseline: String::new(),
        elsewhere: "",
    }
}

fn catch_up(
    gateway: &Program,
    test_bed: &TestBed,
    config: &GatewayConfig<'_>,
    backlog: u32,
) -> anyhow::Result<CaughtUp> {
    let data = config.folder(test_bed)?;
    write_backlog(&data.join("journal"), config.site, backlog)?;
    let process = config.start(gateway, &data)?;
    let caught_up = watch(&process, &test_bed.subscriber, backlog)
        .with_context(|| format!("the backlog was not delivered:\n{}", process.log_tail()))?;
    drop(process);
    std::fs::remove_dir_all(&data).context("failed to remove a gateway's folder")?;
    Ok(caught_up)
}

fn watch(process: &Process, subscriber: &Subscriber, backlog: u32) -> anyhow::Result<CaughtUp> {
    let health = HealthClient::of(process)?;
    let backlog = u64::from(backlog);
    let deadline = Instant::now() + WITHIN;
    let mut begin = None;
    while Instant::now() < deadline {
        let delivered = health.feed("default")?.get("delivered").and_then(Value::as_u64).unwrap_or_default();
        let now = (Instant::now(), delivered, processor_times(process)?);
        let Some((start, before, times_before)) = &begin else {
            if delivered > backlog * FROM / 100 {
                begin = Some(now);
            }
            sleep(POLL_EVERY);
            continue;
        };
        if delivered >= backlog * TO / 100 {
            let messages = u32::try_from(delivered - before)?;
            let each = |(now, before): (&ProcessorTime, _)| now.since(before) / messages;
            let mut times = now.2.iter().zip(times_before).map(each);
            let (processor_time, by_thread) = (times.next().unwrap_or_default(), times.collect());
            let rate = f64::from(messages) / (now.0 - *start).as_secs_f64();
            return Ok(CaughtUp { rate, processor_time, by_thread, sample: sample(subscriber)? });
        }
        sleep(POLL_EVERY);
    }
    bail!("{} % of it was not delivered within {WITHIN:?}", TO)
}

/// The processor time of all threads, then of each of [`THREADS`].
fn processor_times(process: &Process) -> anyhow::Result<Vec<ProcessorTime>> {
    let by_thread = THREADS.iter().map(|(_, name)| process.processor_time_of_threads(name));
    std::iter::once(process.processor_time()).chain(by_thread).collect()
}

fn sample(subscriber: &Subscriber) -> anyhow::Result<Publication> {
    let arrival = subscriber.take().pop().context("no message arrived at the subscriber")?;
    Ok(Publication { topic: arrival.topic, payload: arrival.payload })
}
