//! Runs the feeds: starts each from its files, and updates, adds or ends it when they change.
//!
//! A component is compiled in a task of its own, so that a slow one delays no other feed. A running feed gets a new
//! version only once that is loaded, and probes it itself. A feed that cannot run does not affect the others.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::journal::StartAt;
use bessai_domain::state::PluginState;
use bessai_domain::text::visible;
use bessai_feed::{BrokerGates, Feed, RecordWrite, Replacement, SharedFeedHealth};
use bessai_journal::{Journal, JournalReader};
use bessai_mqtt::MqttBroker;
use bessai_plugin_runtime::{CompiledComponent, Engine, Plugin, PluginMetrics};
use bessai_supervision::{OnFailure, Supervised};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::app::control::Control;
use crate::app::report::StatusReport;
use crate::config::{self, ComponentSource, FeedOff, FeedScan};
use crate::logging;
use crate::quarantine::QuarantineWriter;
use crate::watch::WatchedFolder;

mod load;
mod restart;
mod scan;
mod settings;
mod trial;

use settings::LoadError;
pub(crate) use settings::{broker, check_broker_files, check_feed_files, check_site_files, load, reserved_topics};
pub(super) use settings::{of_plugin as plugin_settings, policy};
pub(crate) use trial::{reads_discovered, try_configuration};

/// Components that are read and compiled at the same time: one per core of a small machine.
const LOADS_AT_ONCE: usize = 2;
/// Results of loading and updating that may wait to be handled; further tasks wait until there is room.
const UPDATES: usize = 16;
/// New versions that may wait for a feed; further ones wait in tasks of their own.
const REPLACEMENTS: usize = 4;
/// Extensions of the files that define feeds.
const EXTENSIONS: [&str; 2] = ["wasm", "toml"];

/// All feeds, by name.
pub(super) struct Feeds {
    site: String,
    plugins: Arc<config::Plugins>,
    quarantine: Rc<QuarantineWriter>,
    gates: BrokerGates,
    record_write: RecordWrite,
    control: Control,
    engine: Arc<Engine>,
    journal: Journal,
    report: Rc<RefCell<StatusReport>>,
    loads: Arc<Semaphore>,
    // Boxed because a node of the map has room for eleven.
    by_name: BTreeMap<String, Box<KnownFeed>>,
    ending: BTreeMap<String, JoinHandle<()>>,
    // Feeds with files whose file system did not answer, and whether there are some, for the task that waits for changes.
    unanswered: BTreeSet<String>,
    retries: Rc<Cell<bool>>,
    // Changed files of scans that failed.
    missed: BTreeSet<PathBuf>,
    // What was found in the folder at the last scan, so that each line is logged once.
    reported: BTreeSet<String>,
    updates: mpsc::Sender<Update>,
    received: mpsc::Receiver<Update>,
    // Loading, updating and pauses before restarts, each of which ends with an update.
    background: JoinSet<()>,
    // The settings that a reload changes.
    plugins_changed: watch::Receiver<Arc<config::Plugins>>,
    stop: watch::Receiver<bool>,
}

/// A feed that has files.
struct KnownFeed {
    // Incremented with each change of its files, so that a component loaded for an earlier change is dropped.
    change: u64,
    // Failed attempts to load the newest version that were not its fault.
    attempts: u32,
    // From the files as they are now; the running version may be older.
    settings: Option<config::FeedConfig>,
    error: Option<String>,
    // The component that settings with mistakes name: it may be what is missing.
    missing: Option<PathBuf>,
    running: Option<Running>,
    health: SharedFeedHealth,
    metrics: Arc<PluginMetrics>,
    supervised: Supervised,
    // While it exists the journal keeps the feed's cursor and state and counts its losses, even if its component is not
    // loaded yet or cannot be loaded.
    reader: Option<JournalReader>,
}

/// A feed's task.
struct Running {
    settings: config::FeedConfig,
    component: CompiledComponent,
    replacements: mpsc::Sender<Box<Replacement<Plugin, MqttBroker>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The outcome of a background task.
enum Update {
    /// A component was loaded, or cannot be used.
    Loaded { change: u64, settings: Box<config::FeedConfig>, loaded: Result<CompiledComponent, LoadError> },
    /// The pause after an attempt to load is over that failed because of this machine.
    LoadAgain { change: u64, settings: Box<config::FeedConfig> },
    /// A running feed switched to its new version.
    Replaced { settings: Box<config::FeedConfig>, component: CompiledComponent },
    /// A running feed lost its session while it probed the new version, which is offered again.
    Interrupted { settings: Box<config::FeedConfig> },
    /// A feed's task panicked, or ended although nobody stopped it.
    Failed { feed: String, error: String },
    /// The pause after that is over.
    Restart { settings: Box<config::FeedConfig>, component: CompiledComponent },
}

impl Feeds {
    pub(super) fn new(
        config: &config::Config,
        engine: Arc<Engine>,
        journal: &Journal,
        report: &Rc<RefCell<StatusReport>>,
        control: &Control,
        plugins_changed: watch::Receiver<Arc<config::Plugins>>,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let (updates, received) = mpsc::channel(UPDATES);
        Self {
            site: config.site.clone(),
            plugins: Arc::clone(&config.plugins),
            quarantine: Rc::new(QuarantineWriter::new(&config.data_dir)),
            gates: BrokerGates::default(),
            record_write: settings::record_in(journal),
            control: control.clone(),
            engine,
            journal: journal.clone(),
            report: Rc::clone(report),
            loads: Arc::new(Semaphore::new(LOADS_AT_ONCE)),
            by_name: BTreeMap::new(),
            ending: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            retries: Rc::default(),
            missed: BTreeSet::new(),
            reported: config.notes.iter().chain(&config.warnings).cloned().collect(),
            updates,
            received,
            background: JoinSet::new(),
            plugins_changed,
            stop: stop.clone(),
        }
    }

    /// Starts the configured feeds. The default feed, whose component is built in, runs when this returns. The returned
    /// folder reports every change from now on.
    pub(super) fn start(&mut self, feeds: Vec<config::FeedConfig>, off: Vec<FeedOff>) -> WatchedFolder {
        let folder = WatchedFolder::new(self.plugins.dir.clone(), &EXTENSIONS);
        for settings in feeds {
            match settings.component {
                ComponentSource::BuiltIn => {
                    let loaded = settings::load(&self.engine, &settings);
                    self.register(&settings.name, Some(settings.start));
                    self.handle(Update::Loaded { change: 0, settings: Box::new(settings), loaded });
                }
                ComponentSource::File(_) => self.load(settings),
            }
        }
        off.into_iter().for_each(|feed| self.refuse(feed));
        let quarantine = Rc::clone(&self.quarantine);
        let watch = async move || quarantine.watch_requeued().await;
        // It ends with the runtime.
        drop(bessai_supervision::spawn("requeue", OnFailure::Restart, self.stop.clone(), watch));
        folder
    }

    /// Follows the folder until the stop, then waits for the feeds to drain. After a panic it is called again.
    pub(super) async fn run(&mut self, folder: &mut WatchedFolder) {
        let mut stop = self.stop.clone();
        // The first reading picks up the files that appeared while the configuration was read and the engine was set up.
        let mut is_first = true;
        while let Some((changed, found)) = self.scan(folder, is_first, &mut stop).await {
            self.follow(folder, changed, found);
            folder.watch_elsewhere(self.components_elsewhere());
            is_first = false;
        }
        let running: Vec<_> =
            std::mem::take(&mut self.by_name).into_values().filter_map(|entry| entry.running).collect();
        for running in &running {
            running.stop.send_replace(true);
        }
        for task in
            running.into_iter().map(|running| running.task).chain(std::mem::take(&mut self.ending).into_values())
        {
            // A panic was caught and logged inside.
            let _ = task.await;
        }
    }

    /// Brings the feeds in line with the folder, except those whose files are still being written.
    fn follow(&mut self, folder: &WatchedFolder, mut changed: BTreeSet<PathBuf>, found: FeedScan) {
        self.report_findings(&found);
        changed.append(&mut self.missed);
        if !found.is_readable {
            self.missed = changed;
            self.retries.set(true);
            return;
        }
        self.retries.set(false);
        let unanswered = std::mem::take(&mut self.unanswered);
        let mut gone: BTreeSet<_> = self.by_name.keys().cloned().collect();
        for feed in found.feeds {
            gone.remove(&feed.name);
            let files = match &feed.component {
                ComponentSource::File(path) => vec![self.file(&feed.name, "toml"), path.clone()],
                ComponentSource::BuiltIn => vec![self.file(&feed.name, "toml")],
            };
            // Read again once it is complete.
            if files.iter().any(|path| folder.is_changing(path)) {
                continue;
            }
            // A component may take a while to load, and may not load at all.
            self.control.set_rights(&feed.name, &feed.rights.write);
            let is_known = self.by_name.get(&feed.name).is_some_and(|entry| entry.settings.as_ref() == Some(&feed));
            if !is_known || unanswered.contains(&feed.name) || files.iter().any(|path| changed.contains(path)) {
                self.load(feed);
            }
        }
        for feed in found.off {
            gone.remove(&feed.name);
            let files = self.files(&feed.name).into_iter().chain(feed.component.clone());
            if !files.into_iter().any(|path| folder.is_changing(&path)) {
                self.refuse(feed);
            }
        }
        gone.retain(|name| !self.files(name).iter().any(|path| folder.is_changing(path)));
        gone.iter().for_each(|name| self.remove(name));
    }

    /// Logs what is wrong or unusual in the folder, each line once until it changes.
    fn report_findings(&mut self, found: &FeedScan) {
        let mistakes = found.mistakes.iter().map(|mistake| (tracing::Level::ERROR, format!("plugins: {mistake}")));
        let warnings = found.warnings.iter().map(|warning| (tracing::Level::WARN, warning.clone()));
        let ignored = found.ignored.iter();
        let ignored = ignored.map(|file| (tracing::Level::INFO, format!("ignored in the plugins folder: {file}")));
        let mut reported = BTreeSet::new();
        for (level, line) in mistakes.chain(warnings).chain(ignored) {
            if !self.reported.contains(&line) {
                match level {
                    tracing::Level::ERROR => tracing::error!("{line}"),
                    tracing::Level::WARN => tracing::warn!("{line}"),
                    _ => tracing::info!("{line}"),
                }
            }
            reported.insert(line);
        }
        if !found.is_readable {
            // What else is in the folder is not known now, and is not logged again when it is.
            reported.append(&mut self.reported);
        }
        self.reported = reported;
    }

    /// The files of the folder that have a feed's name.
    fn files(&self, name: &str) -> Vec<PathBuf> {
        EXTENSIONS.iter().map(|extension| self.file(name, extension)).collect()
    }

    fn file(&self, name: &str, extension: &str) -> PathBuf {
        self.plugins.dir.join(format!("{name}.{extension}"))
    }

    fn refuse(&mut self, feed: FeedOff) {
        let reasons: Vec<_> = feed.mistakes.iter().map(ToString::to_string).collect();
        // Its `start` is unknown until the file is fixed.
        self.register(&feed.name, None);
        if let Some(entry) = self.by_name.get_mut(&feed.name) {
            // Any later fix is a change, even one that restores the running version.
            (entry.settings, entry.change) = (None, entry.change + 1);
            entry.missing = feed.component;
        }
        match &feed.waits_for {
            Some(component) => self.report_waiting(&feed.name, component, &reasons.join("; ")),
            None => self.report_error(&feed.name, reasons.join("; ")),
        }
        if !feed.answers {
            self.retry_later(feed.name);
        }
    }

    fn retry_later(&mut self, name: String) {
        self.unanswered.insert(name);
        self.retries.set(true);
    }

    /// Logs that the settings of a feed are there and its component is not yet: nobody has made a mistake. A running feed keeps
    /// its version, which is reported as any other update that is rejected.
    fn report_waiting(&mut self, name: &str, component: &Path, reason: &str) {
        let file = component.file_name().unwrap_or_default().to_string_lossy();
        let reason = visible(&format!("waiting for {file}: {reason}")).into_owned();
        let Some(entry) = self.by_name.get_mut(name) else { return };
        if entry.running.is_some() {
            return self.report_error(name, reason);
        }
        if entry.error.as_ref() != Some(&reason) {
            tracing::info!(feed = %name, "{reason}");
            entry.health.borrow_mut().off = Some(reason.clone());
            entry.error = Some(reason);
        }
    }

    /// Logs why the newest version of a feed does not run, once until the reason changes.
    fn report_error(&mut self, name: &str, reason: String) {
        // Names of files and what plugins say can contain anything.
        let reason = visible(&reason).into_owned();
        let Some(entry) = self.by_name.get_mut(name) else { return };
        if entry.error.as_ref() == Some(&reason) {
            return;
        }
        let mut health = entry.health.borrow_mut();
        if entry.running.is_some() {
            tracing::error!(feed = %name, "update rejected: {reason}; the previous version keeps running");
            health.update_error = Some(reason.clone());
        } else {
            tracing::error!(feed = %name, "feed is off: {reason}; it starts when its files are fixed");
            health.off = Some(reason.clone());
        }
        drop(health);
        entry.error = Some(reason);
    }

    /// Adds the feed, if it is new, and holds its cursor in the journal: the existing one, or a new one at `start`.
    fn register(&mut self, name: &str, start: Option<StartAt>) {
        let report = &self.report;
        let new = || {
            let mut report = report.borrow_mut();
            Box::new(KnownFeed {
                change: 0,
                attempts: 0,
                settings: None,
                error: None,
                missing: None,
                running: None,
                health: report.feed(name),
                metrics: report.metrics(name),
                supervised: Supervised::new(format!("feed {name}")),
                reader: None,
            })
        };
        let entry = self.by_name.entry(name.to_owned()).or_insert_with(new);
        if entry.reader.is_none() && (start.is_some() || self.journal.has_cursor(name)) {
            let start = start.unwrap_or(StartAt::Now);
            entry.reader = Some(self.journal.reader(name, start).0);
        }
    }

    fn handle(&mut self, update: Update) {
        match update {
            Update::Replaced { settings, component } => {
                if let Some(running) = self.by_name.get_mut(&settings.name).and_then(|entry| entry.running.as_mut()) {
                    (running.settings, running.component) = (*settings, component);
                }
            }
            Update::Failed { feed, error } => self.feed_failed(&feed, &error),
            Update::Restart { settings, component } => self.restart(*settings, component),
            Update::Interrupted { settings } => {
                let entry = self.by_name.get(&settings.name);
                if entry.is_some_and(|entry| entry.settings.as_ref() == Some(&*settings)) {
                    self.load(*settings);
                }
            }
            Update::LoadAgain { change, settings } => {
                if self.by_name.get(&settings.name).is_some_and(|entry| entry.change == change) {
                    self.load(*settings);
                }
            }
            Update::Loaded { change, settings, loaded } => {
                let Some(entry) = self.by_name.get_mut(&settings.name).filter(|entry| entry.change == change) else {
                    return;
                };
                match loaded {
                    Err(LoadError::Component(error)) => self.report_error(&settings.name, error),
                    Err(LoadError::Unanswered(error)) => {
                        self.retry_later(settings.name.clone());
                        self.report_error(&settings.name, error);
                    }
                    Err(LoadError::Host(error)) => self.load_later(change, settings, &error),
                    Ok(component) => {
                        (entry.error, entry.attempts) = (None, 0);
                        if entry.running.is_some() {
                            self.offer(settings, component)
                        } else {
                            self.run_feed(*settings, component)
                        }
                    }
                }
            }
        }
    }

    fn run_feed(&mut self, settings: config::FeedConfig, component: CompiledComponent) {
        let name = settings.name.clone();
        let Some(entry) = self.by_name.get_mut(&name) else { return };
        let health = Rc::clone(&entry.health);
        let metrics = Arc::clone(&entry.metrics);
        health.borrow_mut().off = None;
        let (replacements, received) = mpsc::channel(REPLACEMENTS);
        let (stop, stopped) = watch::channel(false);
        let (previous, journal) = (self.ending.remove(&name), self.journal.clone());
        let broker = MqttBroker::new(settings::broker_of(&self.site, &settings, &component));
        let policy = settings::policy(&self.site, &settings);
        let of_feed =
            settings::of_feed(&self.site, &settings, &self.quarantine, &self.gates, &self.record_write, &self.control);
        let of_plugin = settings::of_plugin(&settings, metrics);
        let (start_at, running_component) = (settings.start, component.clone());
        // Boxed, because the task's future keeps the room of what it captures for as long as it lives.
        let start = Box::new({
            let (name, stopped) = (name.clone(), stopped.clone());
            move || {
                let (events, state) = journal.reader(&name, start_at);
                let plugin = Plugin::new(component, of_plugin, state);
                let feed = Feed { settings: of_feed, policy, events, plugin, broker, health, replacements: received };
                let run = feed.run(stopped);
                async move { logging::of_feed(&name, run).await }
            }
        });
        let run = async move {
            if let Some(previous) = previous {
                // The new task continues at the cursor where the previous one ended.
                let _ = previous.await;
            }
            (*start)().await;
        };
        entry.running = Some(Running {
            component: running_component,
            replacements,
            stop,
            task: restart::spawn(&entry.supervised, &name, stopped, self.updates.clone(), run),
            settings,
        });
    }

    /// Hands a running feed its new version, which it probes before it switches.
    fn offer(&mut self, settings: Box<config::FeedConfig>, component: CompiledComponent) {
        let Some(entry) = self.by_name.get(&settings.name) else { return };
        let Some(running) = &entry.running else { return };
        let is_off = entry.health.borrow().off.is_some();
        if running.settings == *settings && running.component.version() == component.version() && !is_off {
            entry.health.borrow_mut().update_error = None;
            return;
        }
        let (reply, outcome) = oneshot::channel();
        let has_other_broker =
            running.settings.broker != settings.broker || running.component.has_session() != component.has_session();
        let broker = has_other_broker.then(|| MqttBroker::new(settings::broker_of(&self.site, &settings, &component)));
        let replacement = Box::new(Replacement {
            policy: settings::policy(&self.site, &settings),
            plugin: Plugin::new(
                component.clone(),
                settings::of_plugin(&settings, Arc::clone(&entry.metrics)),
                PluginState::default(),
            ),
            broker,
            reply,
        });
        let (replacements, updates) = (running.replacements.clone(), self.updates.clone());
        self.background.spawn_local(async move {
            if replacements.send(replacement).await.is_err() {
                return;
            }
            let update = match outcome.await {
                Ok(Ok(())) => Update::Replaced { settings, component },
                Ok(Err(_)) => return,
                Err(_) => Update::Interrupted { settings },
            };
            // Sending fails only when the gateway is stopping.
            let _ = updates.send(update).await;
        });
    }

    /// Ends a feed; the journal keeps its cursor and state.
    fn remove(&mut self, name: &str) {
        let Some(entry) = self.by_name.remove(name) else { return };
        self.control.set_rights(name, &[]);
        tracing::info!(feed = %name, "the feed's files were removed; stopping the feed");
        self.report.borrow_mut().remove_feed(name);
        if let Some(running) = entry.running {
            running.stop.send_replace(true);
            self.ending.insert(name.to_owned(), running.task);
        }
    }
}
