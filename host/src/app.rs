//! Connects the crates of a sample's path: turns a configuration into tasks, and ends them in the order of the path.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bessai_domain::event::{EventBody, Safety};
use bessai_domain::site::Site;
use bessai_journal::Journal;
use bessai_modbus::{BusEndpoint, DeviceSettings};
use bessai_pipeline::{Pipeline, PipelineInput, ReportRules, Sinks};
use bessai_plugin_runtime::{CompileIn, CompileLimits, Engine, EngineSettings};
use bessai_supervision::OnFailure;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::clock::{now, set_time_zone};
use crate::config::Config;
use crate::health::{HealthReport, HealthServer, ReportRequests};
use crate::memory;
use crate::service_manager::ServiceManager;
use crate::watch::WatchedFolder;
use crate::watchdog::{MainLoop, Watchdog};

mod buses;
mod control;
mod feeds;
mod local_connections;
mod local_requests;
mod login;
mod modbus_servers;
mod models;
mod reload;
mod report;
mod sharing;
mod site;

use buses::Buses;
use control::{Control, Operator};
use feeds::Feeds;
use modbus_servers::ModbusServers;
use models::Models;
use reload::{ReloadReport, Reloader};
use report::StatusReport;
use sharing::Sharing;

pub(crate) use feeds::{
    broker, check_broker_files, check_feed_files, check_site_files, load, reads_discovered, reserved_topics,
    try_configuration,
};
pub(crate) use login::login;
pub(crate) use reload::ReloadRequests;

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
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.thread_keep_alive(bessai_supervision::KEEP_ALIVE);
    runtime.enable_all().build().context("failed to start the runtime")
}

/// What reaches the gateway from outside the process.
pub(crate) struct Outside {
    /// Turns true when it has to stop.
    pub(crate) stop: watch::Receiver<bool>,
    /// Requests to reload the settings, if it can be asked.
    pub(crate) reloads: Option<ReloadRequests>,
    /// Is notified of the start, the stop and that the main loop responds.
    pub(crate) service_manager: Arc<ServiceManager>,
    /// How long the main loop may not respond before the process is aborted; none for ever.
    pub(crate) abort_after: Option<Duration>,
}

impl Outside {
    /// Nothing but a stop.
    pub(crate) fn stopped_by(stop: watch::Receiver<bool>) -> Self {
        Self { stop, reloads: None, service_manager: Arc::default(), abort_after: None }
    }
}

/// Runs the gateway until it is stopped or a part of it fails for good, then drains. Must be called within a `LocalSet`.
pub(crate) async fn run(config: Config, outside: Outside) -> anyhow::Result<()> {
    apply_to_process(&config);
    let (stop, stopping) = watch::channel(false);
    let journal = Journal::open(&config.journal, now())?;
    let (last_verdict, unfinished) = (journal.last_verdict(), journal.unfinished_writes());
    let site = site_of(&config, &journal);
    let report = Rc::new(RefCell::new(StatusReport::new(&site, Instant::now())));
    let engine = Arc::new(engine(&config).map_err(anyhow::Error::msg)?);
    let (inputs, received) = mpsc::channel(PIPELINE_QUEUE);
    let (plugins, plugins_changed) = watch::channel(config.plugins.clone());

    let models = Models::start(config.models.clone(), &site, inputs.clone()).map_err(anyhow::Error::msg)?;
    let control = Control::start(config.control.clone(), &config.devices, &config.data_dir, &journal, unfinished).await;
    let mut feeds = Feeds::new(&config, engine, &journal, &report, &control, plugins_changed, &stopping);
    let folder = feeds.start(config.feeds.clone(), config.off.clone());
    let feeds = spawn_folder(feeds, folder, &stopping);
    let sinks = sinks(&journal, &report, &models, &control, site::reports(&config.devices));
    let pipeline = pipeline(&site, &config, last_verdict.as_ref(), sinks);
    control.set_monitor(pipeline.monitor());
    let pipeline = spawn_pipeline(pipeline, received, &stopping);
    let buses =
        Rc::new(RefCell::new(Buses::new(inputs.clone(), Rc::clone(&report), control.clone(), stopping.clone())));
    buses.borrow_mut().start(&config.devices);
    let controlling = [control.spawn(&stopping), models.borrow_mut().spawn_proposals(&control, &stopping)];
    let sharing = Sharing::start(&config, &buses, Operator::new(&control, &inputs), &stopping);
    let main_loop = Arc::new(MainLoop::default());
    let (health, requests) =
        HealthServer::start(config.health, &main_loop).context("failed to start the thread that serves /health")?;
    let watchdog = Watchdog::start(&main_loop, outside.abort_after, &outside.service_manager)
        .context("failed to start the watchdog's thread")?;
    let reload_report = Rc::new(RefCell::new(ReloadReport::default()));
    let service_manager = Arc::clone(&outside.service_manager);
    let shown = health_report(&journal, &report, &reload_report, &sharing.modbus_servers, &models, &control);
    let background = spawn_background(main_loop, requests, shown);
    let reloader = Reloader {
        config,
        buses: Rc::clone(&buses),
        modbus_servers: Rc::clone(&sharing.modbus_servers),
        models,
        control: control.clone(),
        inputs,
        plugins,
        report: reload_report,
        service_manager: Arc::clone(&service_manager),
    };
    let reloading = outside.reloads.map(|reloads| spawn_reloads(reloader, reloads, &stopping));
    service_manager.notify_ready();

    let ended = wait_for_end(outside.stop).await;
    service_manager.notify_stopping();
    // Devices are released while their connections still run.
    control.stop().await;
    stop.send_replace(true);
    if let Some(reloading) = reloading {
        reloading.abort();
    }
    sharing.abort();
    controlling.iter().for_each(JoinHandle::abort);
    buses.borrow().abort();
    let _ = pipeline.await;
    drain(feeds).await;
    journal.close().await;
    background.abort();
    health.stop();
    watchdog.stop();
    ended
}

/// What a start logs of the configuration, and the time zone.
fn apply_to_process(config: &Config) {
    config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    config.notes.iter().for_each(|note| tracing::info!("{note}"));
    if let Some(zone) = &config.time_zone {
        set_time_zone(zone.clone());
    }
}

/// Waits until the feeds have delivered what they can.
async fn drain(feeds: JoinHandle<()>) {
    if timeout(DRAIN_LIMIT, feeds).await.is_err() {
        tracing::error!(
            "the feeds did not drain within {DRAIN_LIMIT:?}; they continue from their cursors at the next start"
        );
    }
}

/// Waits for the stop, or for the failure of a part that cannot be restarted.
async fn wait_for_end(mut stop: watch::Receiver<bool>) -> anyhow::Result<()> {
    tokio::select! {
        // A dropped sender means stop, too.
        _ = stop.wait_for(|stop| *stop) => Ok(()),
        reason = bessai_supervision::failure() => Err(anyhow::Error::msg(reason)),
    }
}

/// The pipeline, with the trips of the last verdict before this start.
fn pipeline(site: &Arc<Site>, config: &Config, last_verdict: Option<&Safety>, sinks: Sinks) -> Pipeline {
    let report_filters = site::report_filters(&config.devices);
    let mut pipeline = Pipeline::new(Arc::clone(site), &config.safety, report_filters, now, sinks);
    if let Some(last) = last_verdict {
        pipeline.restore_trips(last);
    }
    pipeline
}

/// The pipeline's state cannot be rebuilt: without it the process ends.
fn spawn_pipeline(
    pipeline: Pipeline,
    received: mpsc::Receiver<PipelineInput>,
    stop: &watch::Receiver<bool>,
) -> JoinHandle<()> {
    let stopping = stop.clone();
    let mut once = Some((pipeline, received));
    let run = async move || {
        if let Some((pipeline, received)) = once.take() {
            pipeline.run(received, stopping.clone()).await;
        }
    };
    bessai_supervision::spawn("pipeline", OnFailure::EndProcess, stop.clone(), run)
}

/// After a panic the task of the plugin folder continues with the feeds that it knows.
fn spawn_folder(mut feeds: Feeds, mut folder: WatchedFolder, stop: &watch::Receiver<bool>) -> JoinHandle<()> {
    let run = async move || feeds.run(&mut folder).await;
    bessai_supervision::spawn("plugin folder", OnFailure::Restart, stop.clone(), run)
}

fn spawn_reloads(mut reloader: Reloader, mut reloads: ReloadRequests, stop: &watch::Receiver<bool>) -> JoinHandle<()> {
    let run = async move || reloader.run(&mut reloads).await;
    bessai_supervision::spawn("reload", OnFailure::Restart, stop.clone(), run)
}

/// What `/health` shows of the main loop's state.
fn health_report(
    journal: &Journal,
    report: &Rc<RefCell<StatusReport>>,
    reload: &Rc<RefCell<ReloadReport>>,
    modbus_servers: &Rc<RefCell<ModbusServers>>,
    models: &Rc<RefCell<Models>>,
    control: &Control,
) -> impl Fn() -> HealthReport + 'static {
    let (journal, report, reload) = (journal.clone(), Rc::clone(report), Rc::clone(reload));
    let (modbus_servers, models, control) = (Rc::clone(modbus_servers), Rc::clone(models), control.clone());
    move || {
        let (models_run, models) = (models.borrow().run(), models.borrow().json());
        let lag = |feed: &str| journal.lag(feed, now().monotonic);
        let mut report = report.borrow().write(&journal.health(), models_run, lag);
        report.members.insert("models".into(), models);
        report.members.insert("control".into(), control.status());
        report.members.insert("reload".into(), reload.borrow().json());
        report.members.insert("modbus_servers".into(), modbus_servers.borrow().json());
        report
    }
}

/// Tasks that run until everything else has ended.
struct BackgroundTasks {
    tasks: Vec<JoinHandle<()>>,
    /// While it exists, the tasks are started again when they end.
    _stop: watch::Sender<bool>,
}

fn spawn_background(
    main_loop: Arc<MainLoop>,
    mut requests: ReportRequests,
    shown: impl Fn() -> HealthReport + 'static,
) -> BackgroundTasks {
    let (stop, never) = watch::channel(false);
    let (answer, threads) = (never.clone(), never.clone());
    let tasks = vec![
        bessai_supervision::spawn("watchdog's answers", OnFailure::Restart, answer, async move || {
            main_loop.answer_watchdog().await;
        }),
        bessai_supervision::spawn("health reports", OnFailure::Restart, never, async move || {
            requests.answer(&shown).await;
        }),
        bessai_supervision::spawn("blocking threads", OnFailure::Restart, threads, async || {
            bessai_supervision::keep_a_thread().await;
        }),
        tokio::task::spawn_local(return_memory_later()),
    ];
    BackgroundTasks { tasks, _stop: stop }
}

impl BackgroundTasks {
    fn abort(self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Returns the memory that only the start needed.
async fn return_memory_later() {
    tokio::time::sleep(memory::START_TIME).await;
    if let Err(error) = memory::unmap_code() {
        tracing::debug!(%error, "failed to unmap the start's code; it stays resident");
    }
    memory::trim_heap();
}

/// The site as the settings alone describe it: devices whose points are discovered have no channels.
pub(crate) fn described_site(config: &Config) -> Site {
    site::describe(config, None)
}

/// One device alone, without its sources: for commands that look at a device.
pub(crate) fn single_device(device: &crate::config::DeviceConfig) -> (BusEndpoint, DeviceSettings) {
    (site::endpoint(device), site::device(device, Vec::new()))
}

fn sinks(
    journal: &Journal,
    report: &Rc<RefCell<StatusReport>>,
    models: &Rc<RefCell<Models>>,
    control: &Control,
    reports: ReportRules,
) -> Sinks {
    let (journal, judged, models) = (journal.clone(), Rc::clone(report), Rc::clone(models));
    let (judging, seeing, reading, discovering) = (control.clone(), control.clone(), control.clone(), control.clone());
    let (of_failures, of_missing, report) = (Rc::clone(report), Rc::clone(report), Rc::clone(report));
    Sinks {
        judged: Box::new(move |state| {
            judged.borrow_mut().judged(state);
            judging.judged();
        }),
        append: Box::new(move |at, body| {
            report.borrow_mut().note(&body);
            let status = match &body {
                EventBody::Device(status) => Some(status.clone()),
                _ => None,
            };
            journal.append(at, body);
            status.iter().for_each(|status| seeing.device(status));
        }),
        infer: Box::new(move |at, frame, exchange, site| {
            reading.frame(frame, site);
            models.borrow_mut().offer(at, frame, exchange, site);
        }),
        discovered: Box::new(move |device, profile| discovering.discovered(device, profile)),
        reports,
        failed: Box::new(move |failure| of_failures.borrow_mut().note_failure(failure)),
        missing: Box::new(move |missing| of_missing.borrow_mut().note_missing(missing)),
    }
}

/// The site as the settings describe it, numbered after the description in the journal.
fn site_of(config: &Config, journal: &Journal) -> Arc<Site> {
    let in_force = journal.site();
    let in_force = in_force.as_ref().map(AsRef::as_ref);
    Arc::new(with_revision(site::describe(config, in_force), in_force))
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
