//! Updates: a new version is tried before it replaces the running one, and rolled back if it fails at once.

use std::time::Duration;

use bessai_domain::event::Sequence;
use bessai_domain::ports::{CallError, Plugin};
use bessai_domain::state::{PluginState, StateChanges};
use bessai_domain::view::FeedView;
use tokio::time::sleep;

use super::pending::seen_through;
use super::session_state::SessionState;
use super::tally::Tally;
use super::work::Work;
use super::{SinceProgress, Transformer};
use crate::policy::Policy;
use crate::replacement::Replacement;

/// Pause before a new version is tried again that this machine could not run.
const PROBE_PAUSE: Duration = Duration::from_secs(30);

/// The previous version, kept until the first batch of the new one is delivered.
pub(super) struct PreviousVersion<P> {
    plugin: P,
    policy: Policy,
    /// The last event of that batch, once there is one.
    first_batch: Option<Sequence>,
}

/// A version that replaced another one.
pub(crate) struct Replaced<B> {
    /// The new broker, if it is another one.
    pub(crate) broker: Option<B>,
    /// The current session cannot be used: the broker is another one, or a plugin decides how to sign in or
    /// what to subscribe to.
    pub(super) needs_session: bool,
}

impl<P: Plugin> Transformer<P> {
    /// Tries a new version and replaces the running one by it, or replies why not.
    pub(crate) async fn replace<B>(&mut self, replacement: Replacement<P, B>) -> Option<Replaced<B>> {
        self.end_probe();
        let Replacement { policy, mut plugin, broker, reply } = replacement;
        let version = plugin.version();
        if let Err(error) = self.try_out(&mut plugin, &policy).await {
            let feed = self.context.name();
            let reason = match error {
                CallError::Host(reason) => {
                    tracing::warn!(%feed, %version, "the new version cannot be tried now: {reason}; retrying in {PROBE_PAUSE:?}");
                    // It is offered again when the requester learns that there is no answer.
                    tokio::task::spawn_local(async move {
                        sleep(PROBE_PAUSE).await;
                        drop(reply);
                    });
                    return None;
                }
                error => error.to_string(),
            };
            tracing::error!(%feed, %version, "the new version is rejected, the old one stays: {reason}");
            let mut health = self.context.health.borrow_mut();
            if self.is_off() {
                health.off = Some(reason.clone());
            }
            health.update_error = Some(reason.clone());
            // Fails only if the requester has stopped waiting.
            let _ = reply.send(Err(reason));
            return None;
        }
        let decides = |plugin: &P| plugin.has_session() || plugin.has_commands();
        let needs_session = broker.is_some() || decides(&plugin) || decides(&self.plugin);
        if needs_session {
            // Only the old version can close the session that it opened.
            let last_messages = self.closing(self.context.now().wall).await;
            if self.session.welcome().is_some() {
                self.session = SessionState::Closing(last_messages);
            }
            plugin.restore(self.plugin.state().clone());
        }
        self.enter(plugin, policy);
        tracing::info!(feed = %self.context.name(), %version, "the new version runs");
        let _ = reply.send(Ok(()));
        Some(Replaced { broker, needs_session })
    }

    /// Tries a new version on a copy of the state; its results are discarded.
    async fn try_out(&self, plugin: &mut P, policy: &Policy) -> Result<(), CallError> {
        let state = self.plugin.state().clone();
        plugin.restore(state.clone());
        let Some(site) = self.pending.site() else { return Ok(()) };
        let mut view = FeedView::new(policy.read.clone());
        plugin.start(&view.site(site), self.context.now().wall).await?;
        if let Some(welcome) = self.session.welcome().filter(|_| plugin.has_session()) {
            let processed = plugin.connected(&welcome).await;
            let processed = processed.map_err(|error| describe(error, "fails in `connected`"))?;
            policy.admit(processed.messages).map(drop).map_err(CallError::Broken)?;
        }
        let event = self.pending.processed_event().and_then(|recorded| seen_through(&mut view, recorded));
        if let Some(event) = event {
            match plugin.process(&[event], self.context.now()).await {
                Ok(processed) => policy.admit(processed.messages).map(drop).map_err(CallError::Broken)?,
                Err(CallError::Retry(_)) => {}
                Err(error) => return Err(describe(error, "fails on an event that the old version processed")),
            }
        }
        plugin.restore(state);
        Ok(())
    }

    fn enter(&mut self, plugin: P, policy: Policy) {
        self.drop_proved_previous();
        let plugin = std::mem::replace(&mut self.plugin, plugin);
        let policy = std::mem::replace(&mut self.policy, policy);
        self.previous = match self.previous.take() {
            _ if self.is_off() => None,
            // A version that has not proved itself is not one to go back to.
            Some(previous) => Some(PreviousVersion { first_batch: None, ..previous }),
            None => Some(PreviousVersion { plugin, policy, first_batch: None }),
        };
        self.session.forget_announcement();
        self.since_progress = SinceProgress::default();
        self.tally = Tally::default();
        self.apply_policy();
        let mut health = self.context.health.borrow_mut();
        (health.off, health.update_error) = (None, None);
        health.version = self.plugin.version();
        self.note_version();
    }

    /// Another version runs.
    fn note_version(&self) {
        self.context.is_proved.set(false);
        self.context.version_changed.notify_one();
    }

    /// Goes back to the previous version, if the running one fails before its first batch is delivered.
    pub(super) fn roll_back(&mut self, error: &CallError) -> bool {
        self.drop_proved_previous();
        let Some(previous) = self.previous.take() else { return false };
        let failed = std::mem::replace(&mut self.plugin, previous.plugin);
        self.policy = previous.policy;
        self.session.forget_announcement();
        self.apply_policy();
        let (feed, version) = (self.context.name(), failed.version());
        tracing::error!(%feed, %version, "the new version failed at once; rolled back to the previous one: {error}");
        let mut health = self.context.health.borrow_mut();
        health.update_error = Some(error.to_string());
        health.version = self.plugin.version();
        drop(health);
        self.note_version();
        true
    }

    /// Keeps what was changed outside of `process` for the case of a rollback.
    pub(super) fn overlay_previous(&mut self, changes: &StateChanges) {
        let Some(previous) = self.previous.as_mut().filter(|_| !changes.is_empty()) else { return };
        let mut state = previous.plugin.state().clone();
        state.apply(changes);
        previous.plugin.restore(state);
    }

    /// The events after the saved state are processed again: the previous version too starts with it.
    pub(super) fn restore_previous(&mut self, state: &PluginState) {
        if let Some(previous) = &mut self.previous {
            previous.plugin.restore(state.clone());
        }
    }

    /// Another version with other rights: starts again with what is pending.
    fn apply_policy(&mut self) {
        self.work = Work::START;
        self.context.apply(&self.policy);
        self.pending.apply(&self.policy, self.context.now().monotonic);
    }

    /// Notes the first batch of a new version, which proves the version when it is delivered.
    pub(super) fn note_first_batch(&mut self, through: Sequence) {
        self.drop_proved_previous();
        if let Some(previous) = &mut self.previous {
            previous.first_batch.get_or_insert(through);
        }
    }

    fn drop_proved_previous(&mut self) {
        let delivered = self.context.delivered_through.get();
        if self.previous.as_ref().and_then(|previous| previous.first_batch).is_some_and(|through| through <= delivered)
        {
            self.previous = None;
        }
    }
}

/// Says in which part of a probe a call failed.
fn describe(error: CallError, part: &str) -> CallError {
    match error {
        CallError::Host(reason) => CallError::Host(reason),
        error => CallError::Broken(format!("{part}: {error}")),
    }
}
