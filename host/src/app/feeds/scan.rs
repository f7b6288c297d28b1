//! Waits for changes in the plugins folder and reads its files, off the main loop.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Feeds, KnownFeed};
use crate::config::{self, ComponentSource, FeedScan};
use crate::watch::WatchedFolder;

/// Time after which files are read again whose file system did not answer.
const RETRY: Duration = Duration::from_secs(5);
/// Time for reading all feeds, which limits the parts itself; only for the case that even their threads wait.
const SCAN_LIMIT: Duration = Duration::from_mins(10);

impl Feeds {
    /// Waits for changed files and reads the feeds; returns none at the stop. Handles updates in the meantime, without
    /// reading the folder again after each: a start with many feeds brings as many updates.
    pub(super) async fn scan(
        &mut self,
        folder: &mut WatchedFolder,
        at_once: bool,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<(BTreeSet<PathBuf>, FeedScan)> {
        let (plugins, retries) = (Arc::clone(&self.plugins), Rc::clone(&self.retries));
        let mut scan = pin!(async {
            let mut changed = BTreeSet::new();
            if !at_once {
                changed = changed_files(folder, &retries).await;
            }
            let found = read(&plugins).await;
            // After the files were read, so that one that changed meanwhile counts as changed: it may have been read half.
            folder.scan().await;
            (changed, found)
        });
        loop {
            tokio::select! {
                found = &mut scan => return Some(found),
                Some(update) = self.received.recv() => self.handle(update),
                Ok(()) = self.plugins_changed.changed() => {
                    self.plugins = self.plugins_changed.borrow_and_update().clone();
                    // No file has changed, but what the files refer to may have.
                    let plugins = Arc::clone(&self.plugins);
                    return Some((BTreeSet::new(), read(&plugins).await));
                }
                // Each ends with an update; a panic was logged by the panic hook.
                Some(_) = self.background.join_next() => {}
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    /// The components outside the folder, each with whether its feed has found it.
    pub(super) fn components_elsewhere(&self) -> BTreeMap<PathBuf, bool> {
        let of_entry = |entry: &KnownFeed| match entry.settings.as_ref().map(|settings| &settings.component) {
            Some(ComponentSource::File(path)) => Some((path.clone(), true)),
            Some(ComponentSource::BuiltIn) => None,
            None => Some((entry.missing.clone()?, false)),
        };
        let paths = self.by_name.values().filter_map(|entry| of_entry(entry));
        paths.filter(|(path, _)| path.parent() != Some(&self.plugins.dir)).collect()
    }
}

/// Waits for changed files; or, while a file system does not answer, until it is time to read the files again.
async fn changed_files(folder: &mut WatchedFolder, retries: &Cell<bool>) -> BTreeSet<PathBuf> {
    loop {
        match tokio::time::timeout(RETRY, folder.changed()).await {
            Ok(paths) => return paths,
            Err(_) if retries.get() => return BTreeSet::new(),
            Err(_) => {}
        }
    }
}

/// Reads the feeds off the main loop.
async fn read(plugins: &Arc<config::Plugins>) -> FeedScan {
    let reader = Arc::clone(plugins);
    let read = bessai_files::off_main_loop("all feeds", SCAN_LIMIT, move || reader.read()).await;
    read.unwrap_or_else(|error| {
        tracing::error!("failed to read the plugins folder: {error}; running feeds continue");
        FeedScan::default()
    })
}
