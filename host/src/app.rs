//! Connects the crates of a sample's path: turns a configuration into tasks, and ends them in the order of the path.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bessai_domain::event::Dispatch;
use bessai_domain::site::Site;
use bessai_domain::time::Moment;
use bessai_inference::Inference;
use bessai_journal::Journal;
use bessai_modbus::{Bus, BusEndpoint, DeviceSettings, WriteQueue};
use bessai_plugin_runtime::{CompileIn, CompileLimits, Engine, EngineSettings};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::clock::{local_hour, now};
use crate::config::Config;
use crate::pipeline::{Pipeline, PipelineInput, ReportRules, Sinks};
use crate::{health, memory};

mod feeds;
mod report;
mod site;

use feeds::Feeds;
use report::StatusReport;

pub(crate) use feeds::{broker, check_files, load};

/// Device reports and model results that may wait for the pipeline. When the queue is full, reading devices waits.
const PIPELINE_QUEUE: usize = 256;

/// Time for all feeds to drain. Each has 10 s for its broker; the rest is for a plugin or a disk that hangs.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// The component of the default feed.
pub(crate) const BESSAI_JSON: &[u8] = include_bytes!(env!("BESSAI_JSON_WASM"));

/// The engine that runs the plugins, with its cache of compiled components.
pub(crate) fn engine(config: &Config) -> Result<Engine, String> {
    let limits = CompileLimits { memory_bytes: config.plugins.compile_memory_bytes, time: config.plugins.compile_time };
    Engine::new(EngineSettings {
        cache_folder: config.cache_dir.clone(),
        compile_in: CompileIn::ChildProcess(limits),
        ..EngineSettings::default()
    })
}

/// A current-thread runtime: work comes in small pieces, and waking another thread costs more than each of them.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("failed to start the runtime")
}

/// Runs the gateway until `stop` turns true, then drains. Must be called within a `LocalSet`.
pub(crate) async fn run(config: Config, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    for note in &config.notes {
        tracing::info!("{note}");
    }
    let journal = Journal::open(&config.journal, now().wall)?;
    let in_force = journal.site();
    let in_force = in_force.as_ref().map(AsRef::as_ref);
    let site = Arc::new(with_revision(site::describe(&config, in_force), in_force));
    let report = Rc::new(RefCell::new(StatusReport::new(&site, Instant::now())));
    let engine = Arc::new(engine(&config).map_err(anyhow::Error::msg)?);
    let (inputs, received) = mpsc::channel(PIPELINE_QUEUE);

    let inference = Inference::start(config.models.clone(), &site, local_hour, results(inputs.clone()));
    let mut feeds = Feeds::new(&config, engine, &journal, &report, &stop);
    let folder = feeds.start(config.feeds);
    let feeds = tokio::task::spawn_local(feeds.run(folder));
    let sinks = sinks(&journal, &report, inference, site::reports(&config.devices));
    let report_filters = site::report_filters(&config.devices);
    let pipeline = Pipeline::new(Arc::clone(&site), &config.safety, report_filters, now, sinks);
    let pipeline = tokio::task::spawn_local(pipeline.run(received, stop.clone()));
    let start = Instant::now();
    let buses = site::buses(&config.devices);
    let buses: Vec<_> = buses.into_iter().map(|bus| bus_task(bus, start, &inputs)).collect();
    drop(inputs);
    let (served, read) = (Rc::clone(&report), journal.clone());
    let shown = move || served.borrow().json(&read.health(), |feed| read.lag(feed));
    let health = tokio::task::spawn_local(health::serve(config.health, shown));

    let unmapping = tokio::task::spawn_local(unmap_code_later());

    let mut stopping = stop;
    // A dropped sender means stop, too.
    let _ = stopping.wait_for(|stop| *stop).await;
    buses.iter().for_each(JoinHandle::abort);
    let _ = pipeline.await;
    if timeout(DRAIN_LIMIT, feeds).await.is_err() {
        tracing::error!(
            "the feeds did not drain within {DRAIN_LIMIT:?}; they continue from their cursors at the next start"
        );
    }
    journal.close().await;
    health.abort();
    unmapping.abort();
    Ok(())
}

/// The running gateway does not write to devices yet, so the write queue is closed.
fn bus_task(bus: Bus, start: Instant, inputs: &mpsc::Sender<PipelineInput>) -> JoinHandle<()> {
    tokio::task::spawn_local(bessai_modbus::run(bus, start, now, inputs.clone(), WriteQueue::closed()))
}

/// Returns the memory of code that only the start needed.
async fn unmap_code_later() {
    tokio::time::sleep(memory::START_TIME).await;
    if let Err(error) = memory::unmap_code() {
        tracing::debug!(%error, "failed to unmap the start's code; it stays resident");
    }
}

/// What the inference thread does with a result: back into the pipeline.
#[allow(clippy::disallowed_methods, reason = "called in the inference thread, which may wait for the pipeline")]
fn results(inputs: mpsc::Sender<PipelineInput>) -> impl Fn(Moment, Dispatch) + Send {
    move |at, dispatch| {
        // Sending fails only when the gateway is stopping; the result is not needed then.
        let _ = inputs.blocking_send(PipelineInput::Dispatch(at, dispatch));
    }
}

/// One device alone, without its sources: for commands that look at a device.
pub(crate) fn single_device(device: &crate::config::DeviceConfig) -> (BusEndpoint, DeviceSettings) {
    (site::endpoint(device), site::device(device, Vec::new()))
}

fn sinks(
    journal: &Journal,
    report: &Rc<RefCell<StatusReport>>,
    inference: Option<Inference>,
    reports: ReportRules,
) -> Sinks {
    let (journal, judged, report) = (journal.clone(), Rc::clone(report), Rc::clone(report));
    Sinks {
        judged: Box::new(move |state| judged.borrow_mut().judged(state)),
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

/// Numbers a description: one that differs from that in force gets the next revision.
fn with_revision(site: Site, in_force: Option<&Site>) -> Site {
    let revision = match in_force {
        None => 1,
        Some(known) if *known == (Site { revision: known.revision, ..site.clone() }) => known.revision,
        Some(known) => known.revision.saturating_add(1),
    };
    Site { revision, ..site }
}
