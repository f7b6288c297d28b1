//! Loads components in tasks of their own, so that a slow one delays no other feed.

use std::sync::Arc;
use std::time::Duration;

use bessai_supervision::run_blocking;
use tokio::time::sleep;

use super::{Feeds, Update, settings};
use crate::config;

/// Pause before a component is loaded again that this machine could not load, at first.
const LOAD_PAUSE: Duration = Duration::from_secs(10);
/// The longest such pause.
const LOAD_PAUSE_MAX: Duration = Duration::from_hours(1);

impl Feeds {
    /// Reads and compiles a component in a task of its own, which sends an [`Update`].
    pub(super) fn load(&mut self, settings: config::FeedConfig) {
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

    /// Tries again to load a version that this machine could not load now, after a pause that doubles.
    pub(super) fn load_later(&mut self, change: u64, settings: Box<config::FeedConfig>, error: &str) {
        let Some(entry) = self.by_name.get_mut(&settings.name) else { return };
        let pause = LOAD_PAUSE.saturating_mul(2_u32.saturating_pow(entry.attempts)).min(LOAD_PAUSE_MAX);
        entry.attempts += 1;
        tracing::error!(feed = %settings.name, "{error}; trying again in {} s", pause.as_secs());
        let mut health = entry.health.borrow_mut();
        if entry.running.is_some() {
            health.update_error = Some(error.to_owned());
        } else {
            health.off = Some(error.to_owned());
        }
        drop(health);
        let updates = self.updates.clone();
        self.background.spawn_local(async move {
            sleep(pause).await;
            // Sending fails only when the gateway is stopping.
            let _ = updates.send(Update::LoadAgain { change, settings }).await;
        });
    }
}
