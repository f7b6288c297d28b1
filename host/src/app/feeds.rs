//! The feeds while the gateway runs: each made from its files, and made anew when they change.
//!
//! A component is compiled in a task of its own, so that a slow one holds nobody up. A running feed gets a new version
//! only when that is loaded; the feed itself tries it. One that cannot run leaves the rest alone.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bessai_domain::settings::Mistake;
use bessai_domain::state::State;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::app::report::Report;
use crate::config::{self, Component};
use crate::feed::{Feed, Replacement, SharedHealth};
use crate::journal::{Journal, Reader};
use crate::mqtt;
use crate::plugin::{Engine, Loaded, Plugin};
use crate::watch::Folder;

mod settings;

pub use settings::{broker, check_files, load};

/// Components that are read and compiled at once.
const LOADS_AT_ONCE: usize = 2;
/// Results of loading that may wait for the task that takes them in.
const NEWS: usize = 16;
/// New versions that may wait for a feed to take them.
const REPLACEMENTS: usize = 4;
/// Files that make feeds.
const ENDINGS: [&str; 2] = ["wasm", "toml"];

/// All feeds, by name.
pub(super) struct Feeds {
    site: String,
    plugins: config::Plugins,
    quarantine: PathBuf,
    engine: Arc<Engine>,
    journal: Journal,
    report: Rc<RefCell<Report>>,
    loads: Arc<Semaphore>,
    by_name: BTreeMap<String, Entry>,
    ending: BTreeMap<String, JoinHandle<()>>,
    news: mpsc::Sender<News>,
    received: mpsc::Receiver<News>,
    stop: watch::Receiver<bool>,
}

/// A feed that has files.
struct Entry {
    // Rises with each change of its files, so that what was loaded for an earlier one is dropped.
    change: u64,
    // As its files have them; what runs may be older.
    settings: Option<config::Feed>,
    trouble: Option<String>,
    running: Option<Running>,
    health: SharedHealth,
    // While it is held the journal keeps the feed's place and state, and counts what the feed loses, also before its
    // component is loaded, and where it cannot be.
    place: Option<Reader>,
}

/// A feed's task.
struct Running {
    settings: config::Feed,
    version: String,
    has_session: bool,
    replacements: mpsc::Sender<Box<Replacement<Plugin, mqtt::Broker>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// What happened in a task beside.
enum News {
    /// A component is at hand, or cannot be used.
    Loaded { change: u64, settings: Box<config::Feed>, loaded: Result<Loaded, String> },
    /// A running feed has taken its new version.
    Taken { settings: Box<config::Feed>, version: String, has_session: bool },
    /// A running feed has lost its session while it tried the new version: it gets that again.
    Unheard { settings: Box<config::Feed> },
}

impl Feeds {
    pub(super) fn new(
        config: &config::Config,
        engine: Arc<Engine>,
        journal: &Journal,
        report: &Rc<RefCell<Report>>,
        stop: &watch::Receiver<bool>,
    ) -> Self {
        let (news, received) = mpsc::channel(NEWS);
        Self {
            site: config.site.clone(),
            plugins: config.plugins.clone(),
            quarantine: config.data_dir.join("quarantine"),
            engine,
            journal: journal.clone(),
            report: Rc::clone(report),
            loads: Arc::new(Semaphore::new(LOADS_AT_ONCE)),
            by_name: BTreeMap::new(),
            ending: BTreeMap::new(),
            news,
            received,
            stop: stop.clone(),
        }
    }

    /// Starts what was configured. The default feed, whose component is at hand, runs when this returns. What changes in
    /// the folder from now on is told by what this gives.
    pub(super) fn start(&mut self, feeds: Vec<config::Feed>) -> Folder {
        let folder = Folder::new(self.plugins.dir.clone(), &ENDINGS);
        for settings in feeds {
            match settings.component {
                Component::BuiltIn => {
                    let loaded = settings::load(&self.engine, &settings);
                    self.enter(&settings.name, Some(settings.start));
                    self.take(News::Loaded { change: 0, settings: Box::new(settings), loaded });
                }
                Component::File(_) => self.load(settings),
            }
        }
        folder
    }

    /// Follows the folder until the stop, then waits for the feeds to drain.
    pub(super) async fn run(mut self, mut folder: Folder) {
        let mut stop = self.stop.clone();
        // What came while the configuration was read and the engine was made is nobody's change.
        self.follow(&mut folder, &BTreeSet::new());
        loop {
            folder.watch_elsewhere(self.components_elsewhere());
            match self.changed(&mut folder, &mut stop).await {
                Some(changed) => self.follow(&mut folder, &changed),
                None => break,
            }
        }
        let running: Vec<_> = self.by_name.into_values().filter_map(|entry| entry.running).collect();
        for running in &running {
            running.stop.send_replace(true);
        }
        for task in running.into_iter().map(|running| running.task).chain(self.ending.into_values()) {
            // One that panicked has said so.
            let _ = task.await;
        }
    }

    /// Files that changed, or none at the stop. Takes news in the meantime, without a new look at the folder for each: at
    /// the start of many feeds there is news of all of them.
    async fn changed(&mut self, folder: &mut Folder, stop: &mut watch::Receiver<bool>) -> Option<BTreeSet<PathBuf>> {
        let mut changed = pin!(folder.changed());
        loop {
            tokio::select! {
                changed = &mut changed => return Some(changed),
                Some(news) = self.received.recv() => self.take(news),
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    fn components_elsewhere(&self) -> BTreeSet<PathBuf> {
        let settings = self.by_name.values().filter_map(|entry| entry.settings.as_ref());
        let paths = settings.filter_map(|settings| match &settings.component {
            Component::BuiltIn => None,
            Component::File(path) => Some(path.clone()),
        });
        paths.filter(|path| path.parent() != Some(&self.plugins.dir)).collect()
    }

    /// Brings the feeds in line with the folder, but for those whose files are being written.
    fn follow(&mut self, folder: &mut Folder, changed: &BTreeSet<PathBuf>) {
        let found = self.plugins.read();
        // After the files were read: one that changed meanwhile was read by halves, perhaps.
        folder.look();
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
            // Read again when it is whole.
            if files.iter().any(|path| folder.is_unsettled(path)) {
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
        gone.retain(|name| !self.files(name, None).iter().any(|path| folder.is_unsettled(path)));
        gone.iter().for_each(|name| self.remove(name));
    }

    /// The files that a feed is made of.
    fn files(&self, name: &str, feed: Option<&config::Feed>) -> Vec<PathBuf> {
        let file = |ending: &str| self.plugins.dir.join(format!("{name}.{ending}"));
        match feed.map(|feed| &feed.component) {
            Some(Component::File(path)) => vec![file("toml"), path.clone()],
            Some(Component::BuiltIn) => vec![file("toml")],
            None => ENDINGS.iter().map(|ending| file(ending)).collect(),
        }
    }

    fn refuse(&mut self, name: &str, mistakes: &[Mistake]) {
        let reasons: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
        // Where it is to begin nobody knows before its file is mended.
        self.enter(name, None);
        if let Some(entry) = self.by_name.get_mut(name) {
            // What is mended later is a change, even back to what runs.
            (entry.settings, entry.change) = (None, entry.change + 1);
        }
        self.cannot_run(name, reasons.join("; "));
    }

    /// Said once, until it changes.
    fn cannot_run(&mut self, name: &str, reason: String) {
        let Some(entry) = self.by_name.get_mut(name) else { return };
        if entry.trouble.as_ref() == Some(&reason) {
            return;
        }
        let mut health = entry.health.borrow_mut();
        if entry.running.is_some() {
            tracing::error!(feed = %name, "the feed runs on as it was: {reason}");
            health.not_taken = Some(reason.clone());
        } else {
            tracing::error!(feed = %name, "the feed is off: {reason}");
            health.off = Some(reason.clone());
        }
        drop(health);
        entry.trouble = Some(reason);
    }

    /// An entry for the feed, and from now on its place in the journal: the one that it has, or one at `start`.
    fn enter(&mut self, name: &str, start: Option<config::Start>) {
        let report = &self.report;
        let new = || Entry {
            change: 0,
            settings: None,
            trouble: None,
            running: None,
            health: report.borrow_mut().feed(name),
            place: None,
        };
        let entry = self.by_name.entry(name.to_owned()).or_insert_with(new);
        if entry.place.is_none() && (start.is_some() || self.journal.knows(name)) {
            let start = start.unwrap_or(config::Start::Now);
            entry.place = Some(self.journal.reader(name, start.into()).0);
        }
    }

    /// Reads and compiles in a task beside; its news is taken later.
    fn load(&mut self, settings: config::Feed) {
        self.enter(&settings.name, Some(settings.start));
        let Some(entry) = self.by_name.get_mut(&settings.name) else { return };
        entry.change += 1;
        entry.settings = Some(settings.clone());
        let (change, engine, news) = (entry.change, Arc::clone(&self.engine), self.news.clone());
        let loads = Arc::clone(&self.loads);
        tokio::task::spawn_local(async move {
            let settings = Box::new(settings);
            let turn = loads.acquire_owned().await;
            let read = settings.clone();
            let loaded = tokio::task::spawn_blocking(move || settings::load(&engine, &read)).await;
            drop(turn);
            let loaded = loaded.unwrap_or_else(|error| Err(format!("failed to load: {error}")));
            // When nobody takes it the gateway is stopping.
            let _ = news.send(News::Loaded { change, settings, loaded }).await;
        });
    }

    fn take(&mut self, news: News) {
        match news {
            News::Taken { settings, version, has_session } => {
                if let Some(running) = self.by_name.get_mut(&settings.name).and_then(|entry| entry.running.as_mut()) {
                    (running.settings, running.version, running.has_session) = (*settings, version, has_session);
                }
            }
            News::Unheard { settings } => {
                let entry = self.by_name.get(&settings.name);
                if entry.is_some_and(|entry| entry.settings.as_ref() == Some(&*settings)) {
                    self.load(*settings);
                }
            }
            News::Loaded { change, settings, loaded } => {
                let Some(entry) = self.by_name.get_mut(&settings.name).filter(|entry| entry.change == change) else {
                    return;
                };
                match loaded {
                    Err(error) => self.cannot_run(&settings.name, error),
                    Ok(loaded) => {
                        entry.trouble = None;
                        if entry.running.is_some() {
                            self.offer(settings, loaded)
                        } else {
                            self.run_feed(*settings, loaded)
                        }
                    }
                }
            }
        }
    }

    fn run_feed(&mut self, settings: config::Feed, loaded: Loaded) {
        let name = settings.name.clone();
        let Some(entry) = self.by_name.get_mut(&name) else { return };
        let health = Rc::clone(&entry.health);
        health.borrow_mut().off = None;
        let (version, has_session) = (loaded.version(), loaded.has_session());
        let (replacements, received) = mpsc::channel(REPLACEMENTS);
        let (stop, stopped) = watch::channel(false);
        let (before, journal) = (self.ending.remove(&name), self.journal.clone());
        let broker = mqtt::Broker::new(settings::broker_of(&self.site, &settings, &loaded));
        let of_feed = settings::of_feed(&self.site, &settings, &self.quarantine);
        entry.running = Some(Running {
            version,
            has_session,
            replacements,
            stop,
            task: tokio::task::spawn_local({
                let settings = settings.clone();
                async move {
                    if let Some(before) = before {
                        // It goes on where this one has ended.
                        let _ = before.await;
                    }
                    let (events, state) = journal.reader(&settings.name, settings.start.into());
                    let plugin = Plugin::new(loaded, settings::of_plugin(&settings), state);
                    let policy = settings::policy(&settings);
                    let feed =
                        Feed { settings: of_feed, policy, events, plugin, broker, health, replacements: received };
                    feed.run(stopped).await;
                }
            }),
            settings,
        });
    }

    /// Gives a running feed its new version, which it tries beside the old one.
    fn offer(&self, settings: Box<config::Feed>, loaded: Loaded) {
        let Some(entry) = self.by_name.get(&settings.name) else { return };
        let Some(running) = &entry.running else { return };
        let (version, has_session) = (loaded.version(), loaded.has_session());
        let is_off = entry.health.borrow().off.is_some();
        if running.settings == *settings && running.version == version && !is_off {
            entry.health.borrow_mut().not_taken = None;
            return;
        }
        let (verdict, judged) = oneshot::channel();
        let is_other = running.settings.broker != settings.broker || running.has_session != loaded.has_session();
        let broker = is_other.then(|| mqtt::Broker::new(settings::broker_of(&self.site, &settings, &loaded)));
        let replacement = Box::new(Replacement {
            policy: settings::policy(&settings),
            plugin: Plugin::new(loaded, settings::of_plugin(&settings), State::default()),
            broker,
            verdict,
        });
        let (replacements, news) = (running.replacements.clone(), self.news.clone());
        tokio::task::spawn_local(async move {
            if replacements.send(replacement).await.is_err() {
                return;
            }
            let news_of_it = match judged.await {
                Ok(Ok(())) => News::Taken { settings, version, has_session },
                Ok(Err(_)) => return,
                Err(_) => News::Unheard { settings },
            };
            // When nobody takes it the gateway is stopping.
            let _ = news.send(news_of_it).await;
        });
    }

    /// Its place in the journal stays known.
    fn remove(&mut self, name: &str) {
        let Some(entry) = self.by_name.remove(name) else { return };
        tracing::info!(feed = %name, "the feed's file is gone: it ends");
        self.report.borrow_mut().forget_feed(name);
        if let Some(running) = entry.running {
            running.stop.send_replace(true);
            self.ending.insert(name.to_owned(), running.task);
        }
    }
}
