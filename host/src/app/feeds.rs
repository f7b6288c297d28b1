//! Runs the feeds: starts each from its files, and updates, adds or ends it when they change.
//!
//! A component is compiled in a task of its own, so that a slow one delays no other feed. A running feed gets a new
//! version only once that is loaded, and probes it itself. A feed that cannot run does not affect the others.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::journal::StartAt;
use bessai_domain::settings::Mistake;
use bessai_domain::state::PluginState;
use bessai_feed::{Feed, Replacement, SharedFeedHealth};
use bessai_journal::{Journal, JournalReader};
use bessai_mqtt::MqttBroker;
use bessai_plugin_runtime::{CompiledComponent, Engine, Plugin};
use bessai_supervision::{Supervised, run_blocking};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::app::report::StatusReport;
use crate::config::{self, ComponentSource};
use crate::logging;
use crate::quarantine::QuarantineWriter;
use crate::watch::WatchedFolder;

mod restart;
mod settings;

pub(crate) use settings::{broker, check_files, load};

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
    plugins: config::Plugins,
    quarantine: Rc<QuarantineWriter>,
    engine: Arc<Engine>,
    journal: Journal,
    report: Rc<RefCell<StatusReport>>,
    loads: Arc<Semaphore>,
    by_name: BTreeMap<String, KnownFeed>,
    ending: BTreeMap<String, JoinHandle<()>>,
    updates: mpsc::Sender<Update>,
    received: mpsc::Receiver<Update>,
    // Loading, updating and pauses before restarts, each of which ends with an update.
    background: JoinSet<()>,
    // The settings that a reload changes.
    plugins_changed: watch::Receiver<config::Plugins>,
    stop: watch::Receiver<bool>,
}

/// A feed that has files.
struct KnownFeed {
    // Incremented with each change of its files, so that a component loaded for an earlier change is dropped.
    change: u64,
    // From the files as they are now; the running version may be older.
    settings: Option<config::FeedConfig>,
    error: Option<String>,
    running: Option<Running>,
    health: SharedFeedHealth,
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
    Loaded { change: u64, settings: Box<config::FeedConfig>, loaded: Result<CompiledComponent, String> },
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
        plugins_changed: watch::Receiver<config::Plugins>,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let (updates, received) = mpsc::channel(UPDATES);
        Self {
            site: config.site.clone(),
            plugins: config.plugins.clone(),
            quarantine: Rc::new(QuarantineWriter::new(&config.data_dir.join("quarantine"))),
            engine,
            journal: journal.clone(),
            report: Rc::clone(report),
            loads: Arc::new(Semaphore::new(LOADS_AT_ONCE)),
            by_name: BTreeMap::new(),
            ending: BTreeMap::new(),
            updates,
            received,
            background: JoinSet::new(),
            plugins_changed,
            stop: stop.clone(),
        }
    }

    /// Starts the configured feeds. The default feed, whose component is built in, runs when this returns. The returned
    /// folder reports every change from now on.
    pub(super) fn start(&mut self, feeds: Vec<config::FeedConfig>) -> WatchedFolder {
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
        folder
    }

    /// Follows the folder until the stop, then waits for the feeds to drain. After a panic it is called again.
    pub(super) async fn run(&mut self, folder: &mut WatchedFolder) {
        let mut stop = self.stop.clone();
        // Picks up the files that appeared while the configuration was read and the engine was set up.
        self.follow(folder, &BTreeSet::new());
        loop {
            folder.watch_elsewhere(self.components_elsewhere());
            match self.changed(folder, &mut stop).await {
                Some(changed) => self.follow(folder, &changed),
                None => break,
            }
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

    /// Waits for changed files; returns none at the stop. Handles updates in the meantime, without reading the folder again
    /// after each: a start with many feeds brings as many updates.
    async fn changed(
        &mut self,
        folder: &mut WatchedFolder,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<BTreeSet<PathBuf>> {
        let mut changed = pin!(folder.changed());
        loop {
            tokio::select! {
                changed = &mut changed => return Some(changed),
                Some(update) = self.received.recv() => self.handle(update),
                Ok(()) = self.plugins_changed.changed() => {
                    self.plugins = self.plugins_changed.borrow_and_update().clone();
                    // No file has changed, but what the files refer to may have.
                    return Some(BTreeSet::new());
                }
                // Each ends with an update; a panic was logged by the panic hook.
                Some(_) = self.background.join_next() => {}
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    fn components_elsewhere(&self) -> BTreeSet<PathBuf> {
        let settings = self.by_name.values().filter_map(|entry| entry.settings.as_ref());
        let paths = settings.filter_map(|settings| match &settings.component {
            ComponentSource::BuiltIn => None,
            ComponentSource::File(path) => Some(path.clone()),
        });
        paths.filter(|path| path.parent() != Some(&self.plugins.dir)).collect()
    }

    /// Brings the feeds in line with the folder, except those whose files are still being written.
    fn follow(&mut self, folder: &mut WatchedFolder, changed: &BTreeSet<PathBuf>) {
        let found = self.plugins.read();
        // After the files were read, so that one that changed meanwhile counts as changed: it may have been read half.
        folder.scan();
        for mistake in &found.mistakes {
            tracing::error!("plugins: {mistake}");
        }
        if !found.is_readable {
            return;
        }
        let mut gone: BTreeSet<_> = self.by_name.keys().cloned().collect();
        for (name, feed) in found.feeds {
            gone.remove(&name);
            let files = self.files(&name, feed.as_ref().ok());
            // Read again once it is complete.
            if files.iter().any(|path| folder.is_changing(path)) {
                continue;
            }
            match feed {
                Err(mistakes) => self.refuse(&name, &mistakes),
                Ok(feed) => {
                    let is_known = self.by_name.get(&name).is_some_and(|entry| entry.settings.as_ref() == Some(&feed));
                    if !is_known || files.iter().any(|path| changed.contains(path)) {
                        self.load(feed);
                    }
                }
            }
        }
        gone.retain(|name| !self.files(name, None).iter().any(|path| folder.is_changing(path)));
        gone.iter().for_each(|name| self.remove(name));
    }

    /// The files that define a feed.
    fn files(&self, name: &str, feed: Option<&config::FeedConfig>) -> Vec<PathBuf> {
        let file = |extension: &str| self.plugins.dir.join(format!("{name}.{extension}"));
        match feed.map(|feed| &feed.component) {
            Some(ComponentSource::File(path)) => vec![file("toml"), path.clone()],
            Some(ComponentSource::BuiltIn) => vec![file("toml")],
            None => EXTENSIONS.iter().map(|extension| file(extension)).collect(),
        }
    }

    fn refuse(&mut self, name: &str, mistakes: &[Mistake]) {
        let reasons: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        // Its `start` is unknown until the file is fixed.
        self.register(name, None);
        if let Some(entry) = self.by_name.get_mut(name) {
            // Any later fix is a change, even one that restores the running version.
            (entry.settings, entry.change) = (None, entry.change + 1);
        }
        self.report_error(name, reasons.join("; "));
    }

    /// Logs why the newest version of a feed does not run, once until the reason changes.
    fn report_error(&mut self, name: &str, reason: String) {
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
        let new = || KnownFeed {
            change: 0,
            settings: None,
            error: None,
            running: None,
            health: report.borrow_mut().feed(name),
            supervised: Supervised::new(format!("feed {name}")),
            reader: None,
        };
        let entry = self.by_name.entry(name.to_owned()).or_insert_with(new);
        if entry.reader.is_none() && (start.is_some() || self.journal.has_cursor(name)) {
            let start = start.unwrap_or(StartAt::Now);
            entry.reader = Some(self.journal.reader(name, start).0);
        }
    }

    /// Reads and compiles a component in a task of its own, which sends an [`Update`].
    fn load(&mut self, settings: config::FeedConfig) {
        self.register(&settings.name, Some(settings.start));
        let Some(entry) = self.by_name.get_mut(&settings.name) else { return };
        entry.change += 1;
        entry.settings = Some(settings.clone());
        let (change, engine, updates) = (entry.change, Arc::clone(&self.engine), self.updates.clone());
        let loads = Arc::clone(&self.loads);
        self.background.spawn_local(async move {
            let settings = Box::new(settings);
            let permit = loads.acquire_owned().await;
            let (name, read) = (format!("load of feed {}", settings.name), settings.clone());
            let loaded = run_blocking(&name, move || settings::load(&engine, &read)).await;
            drop(permit);
            // Sending fails only when the gateway is stopping.
            let _ = updates.send(Update::Loaded { change, settings, loaded }).await;
        });
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
            Update::Loaded { change, settings, loaded } => {
                let Some(entry) = self.by_name.get_mut(&settings.name).filter(|entry| entry.change == change) else {
                    return;
                };
                match loaded {
                    Err(error) => self.report_error(&settings.name, error),
                    Ok(component) => {
                        entry.error = None;
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
        health.borrow_mut().off = None;
        let (replacements, received) = mpsc::channel(REPLACEMENTS);
        let (stop, stopped) = watch::channel(false);
        let (previous, journal) = (self.ending.remove(&name), self.journal.clone());
        let broker = MqttBroker::new(settings::broker_of(&self.site, &settings, &component));
        let of_feed = settings::of_feed(&self.site, &settings, &self.quarantine);
        entry.running = Some(Running {
            component: component.clone(),
            replacements,
            stop,
            task: restart::spawn(&entry.supervised, &name, stopped.clone(), self.updates.clone(), {
                let settings = settings.clone();
                async move {
                    if let Some(previous) = previous {
                        // The new task continues at the cursor where the previous one ended.
                        let _ = previous.await;
                    }
                    let (events, state) = journal.reader(&settings.name, settings.start);
                    let plugin = Plugin::new(component, settings::of_plugin(&settings), state);
                    let policy = settings::policy(&settings);
                    let feed =
                        Feed { settings: of_feed, policy, events, plugin, broker, health, replacements: received };
                    logging::of_feed(&settings.name, feed.run(stopped)).await;
                }
            }),
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
            policy: settings::policy(&settings),
            plugin: Plugin::new(component.clone(), settings::of_plugin(&settings), PluginState::default()),
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
        tracing::info!(feed = %name, "the feed's files were removed; stopping the feed");
        self.report.borrow_mut().remove_feed(name);
        if let Some(running) = entry.running {
            running.stop.send_replace(true);
            self.ending.insert(name.to_owned(), running.task);
        }
    }
}
