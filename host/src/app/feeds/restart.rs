//! Restarts a feed whose task panicked: from its cursor, with the settings and the component that it ran with.

use super::*;

/// Starts a feed's task. If it panics, or ends before it is stopped, the feeds get an update.
pub(super) fn spawn(
    supervised: &Supervised,
    name: &str,
    stop: watch::Receiver<bool>,
    updates: mpsc::Sender<Update>,
    run: impl Future<Output = ()> + 'static,
) -> JoinHandle<()> {
    let (run, feed) = (supervised.run(run), name.to_owned());
    tokio::task::spawn_local(async move {
        let error = match run.await {
            // A dropped sender means stop, too.
            Ok(()) if *stop.borrow() || stop.has_changed().is_err() => return,
            Ok(()) => "ended unexpectedly".to_owned(),
            Err(panic) => panic,
        };
        // Fails only when the gateway is stopping.
        let _ = updates.send(Update::Failed { feed, error }).await;
    })
}

impl Feeds {
    /// A feed's task is gone; the journal keeps its cursor and state.
    pub(super) fn feed_failed(&mut self, name: &str, error: &str) {
        let Some(entry) = self.by_name.get_mut(name) else { return };
        let Some(running) = entry.running.take() else { return };
        let pause = entry.supervised.failed(error);
        entry.health.borrow_mut().connection_failed(error, pause);
        let updates = self.updates.clone();
        self.background.spawn_local(async move {
            sleep(pause).await;
            let update = Update::Restart { settings: Box::new(running.settings), component: running.component };
            // Fails only when the gateway is stopping.
            let _ = updates.send(update).await;
        });
    }

    /// Starts a feed again, unless a new version has started in the meantime.
    pub(super) fn restart(&mut self, settings: config::FeedConfig, component: CompiledComponent) {
        let Some(entry) = self.by_name.get_mut(&settings.name) else { return };
        if entry.running.is_none() {
            entry.supervised.restarted();
            self.run_feed(settings, component);
        }
    }
}
