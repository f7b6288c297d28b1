//! Connects the rooms: a configuration becomes tasks, and on a signal they end in the order of the path.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use bessai_domain::site::Site;
use bessai_domain::time::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::Config;
use crate::inference::Inference;
use crate::journal::Journal;
use crate::pipeline::{Input, Outlets, Pipeline};
use crate::plugin::{CompileLimits, Engine};
use crate::{health, modbus, pipeline};

mod adapters;
mod feeds;
mod report;
mod site;

use feeds::Feeds;
use report::Report;

pub use feeds::{broker, check_files, load};

/// Readings, device changes and models' answers that may wait for the pipeline; a full queue holds the devices back.
const PIPELINE_QUEUE: usize = 256;

/// Time for the feeds to end, in which each has 10 s for its broker: more only where a plugin or the disk hangs.
const DRAINED_WITHIN: Duration = Duration::from_secs(15);

/// The default feed's component.
pub const BESSAI_JSON: &[u8] = include_bytes!(env!("BESSAI_JSON_WASM"));

/// The engine that runs the plugins, with its cache.
pub fn engine(config: &Config) -> Result<Engine, String> {
    Engine::new(config.cache_dir.clone(), compile_limits(config))
}

fn compile_limits(config: &Config) -> CompileLimits {
    CompileLimits { memory_bytes: config.plugins.compile_memory_bytes, time: config.plugins.compile_time }
}

/// Nanoseconds since 1970 by the system's clock; zero when it stands before that.
pub fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// The whole local hour, 0 to 23.
pub fn local_hour(at: Timestamp) -> f64 {
    let seconds = i64::try_from(at.seconds()).unwrap_or(0);
    let local = jiff::Timestamp::from_second(seconds).map(|at| jiff::tz::TimeZone::system().to_datetime(at));
    local.map_or(0.0, |local| f64::from(local.hour()))
}

/// A current-thread runtime: the work comes in small pieces, and waking another thread costs more than each.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")
}

/// Runs the service until `stop` turns true, then drains. To be called within a `LocalSet`.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    for note in &config.notes {
        tracing::info!("{note}");
    }
    let journal = Journal::open(&adapters::journal(&config.journal), now())?;
    let in_force = journal.site();
    let in_force = in_force.as_ref().map(AsRef::as_ref);
    let site = Arc::new(numbered(site::describe(&config, in_force), in_force));
    let report = Rc::new(RefCell::new(Report::new(&site, Instant::now())));
    let engine = Arc::new(engine(&config).map_err(anyhow::Error::msg)?);
    let (inputs, received) = mpsc::channel(PIPELINE_QUEUE);

    let models = config.models.iter().map(adapters::model).collect();
    let inference = Inference::start(models, &site, local_hour, adapters::results(inputs.clone()));
    let mut feeds = Feeds::new(&config, engine, &journal, &report, &stop);
    let folder = feeds.start(config.feeds);
    let feeds = tokio::task::spawn_local(feeds.run(folder));
    let outlets = outlets(&journal, &report, inference, site::reports(&config.devices));
    let reporters = site::reporters(&config.devices);
    let pipeline = Pipeline::new(Arc::clone(&site), &config.safety, reporters, now, outlets);
    let pipeline = tokio::task::spawn_local(pipeline.run(received, stop.clone()));
    let (start, mut writer) = (tokio::time::Instant::now(), modbus::Writer::default());
    let lines = site::lines(&config.devices);
    let lines: Vec<_> = lines.into_iter().map(|line| line_task(line, start, &mut writer, &inputs)).collect();
    drop(inputs);
    let (served, read) = (Rc::clone(&report), journal.clone());
    let shown = move || served.borrow().json(&read.health(), |feed| read.lag(feed));
    let health = tokio::task::spawn_local(health::serve(config.health, shown));

    let mut stopping = stop;
    // The sender lives in the caller; its end means stop as well.
    let _ = stopping.wait_for(|stop| *stop).await;
    lines.iter().for_each(JoinHandle::abort);
    let _ = pipeline.await;
    if timeout(DRAINED_WITHIN, feeds).await.is_err() {
        tracing::error!(
            "the feeds have not ended within {DRAINED_WITHIN:?}: they go on at the next start where they were"
        );
    }
    journal.close().await;
    health.abort();
    Ok(())
}

fn line_task(
    line: modbus::Line,
    start: tokio::time::Instant,
    writer: &mut modbus::Writer,
    inputs: &mpsc::Sender<Input>,
) -> JoinHandle<()> {
    let (orders, received) = mpsc::channel(modbus::WRITES_WAITING);
    writer.add(&line.devices, &orders);
    tokio::task::spawn_local(modbus::run(line, start, now, inputs.clone(), received))
}

/// A device alone: where it is, and how it is asked.
pub fn line(device: &crate::config::Device) -> (modbus::Address, modbus::Settings) {
    (adapters::address(device), adapters::device(device, Vec::new()))
}

fn outlets(
    journal: &Journal,
    report: &Rc<RefCell<Report>>,
    inference: Option<Inference>,
    reports: pipeline::Reports,
) -> Outlets {
    let (journal, report) = (journal.clone(), Rc::clone(report));
    Outlets {
        append: Box::new(move |at, body| {
            report.borrow_mut().note(&body);
            journal.append(at, body);
        }),
        infer: Box::new(move |at, frame, site| {
            if let Some(inference) = &inference {
                inference.offer(at, frame, site);
            }
        }),
        reports,
    }
}

/// A description that differs from the one in force gets the revision after it.
fn numbered(site: Site, in_force: Option<&Site>) -> Site {
    let revision = match in_force {
        None => 1,
        Some(known) if *known == (Site { revision: known.revision, ..site.clone() }) => known.revision,
        Some(known) => known.revision.saturating_add(1),
    };
    Site { revision, ..site }
}
