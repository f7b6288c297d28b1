//! A new version of a plugin: tried before the old one goes, and the old one back when the new one fails at once.

use bessai_domain::event::Sequence;
use bessai_domain::state::Changes;
use bessai_domain::view::View;

use super::{Pending, Transformer};
use crate::feed::policy::Policy;
use crate::feed::{CallError, Plugin, Replacement};

/// The version before, kept until the first call of the new one is acknowledged.
pub(super) struct Previous<P> {
    plugin: P,
    policy: Policy,
    /// Where that first call ends, once it was made.
    established_at: Option<Sequence>,
}

/// A version that took another one's place.
pub(in crate::feed) struct Replaced<B> {
    /// The new broker, where there is one.
    pub(in crate::feed) broker: Option<B>,
    /// The session that goes on is not the new version's: another broker, or a plugin that decides how to sign in.
    pub(in crate::feed) signs_in_anew: bool,
}

impl<P: Plugin> Transformer<P> {
    /// Tries a new version and puts it in the old one's place, or says why not.
    pub(in crate::feed) async fn replace<B>(&mut self, replacement: Replacement<P, B>) -> Option<Replaced<B>> {
        self.end_trial();
        let Replacement { policy, mut plugin, broker, verdict } = replacement;
        let (feed, version) = (self.settings.name.clone(), plugin.version());
        if let Err(reason) = self.try_out(&mut plugin, &policy).await {
            tracing::error!(%feed, %version, "the new version is not taken: {reason}");
            let mut health = self.health.borrow_mut();
            if self.is_off {
                health.off = Some(reason.clone());
            }
            health.not_taken = Some(reason.clone());
            // Whoever asked may be gone.
            let _ = verdict.send(Err(reason));
            return None;
        }
        let signs_in_anew = broker.is_some() || plugin.has_session() || self.plugin.has_session();
        if signs_in_anew {
            // The old one takes its leave, while it is there.
            let farewell = self.farewell((self.settings.clock)()).await;
            self.farewell = Some(farewell);
            plugin.restore(self.plugin.state().clone());
        }
        self.enter(plugin, policy);
        tracing::info!(%feed, %version, "the new version runs");
        let _ = verdict.send(Ok(()));
        Some(Replaced { broker, signs_in_anew })
    }

    /// On a copy of the state: what it gives and keeps is dropped.
    async fn try_out(&self, plugin: &mut P, policy: &Policy) -> Result<(), String> {
        let state = self.plugin.state().clone();
        plugin.restore(state.clone());
        let Some((site, _)) = &self.site else { return Ok(()) };
        let mut view = View::new(policy.read.clone());
        plugin.start(&view.site(site)).await?;
        if let Some(welcome) = self.welcome.filter(|_| plugin.has_session()) {
            let greeting = plugin.connected(&welcome).await;
            let greeting = greeting.map_err(|error| format!("fails at a session's begin: {error}"))?;
            policy.admit(greeting.messages).map(drop)?;
        }
        let known = self.passed.frame.as_ref().or(self.passed.other.as_ref());
        let event = known.and_then(|pending| view.event(&pending.event));
        if let Some(event) = event {
            match plugin.process(&[event]).await {
                Ok(processed) => policy.admit(processed.messages).map(drop)?,
                Err(CallError::Retry(_)) => {}
                Err(error) => return Err(format!("fails on an event that the old version passed: {error}")),
            }
        }
        plugin.restore(state);
        Ok(())
    }

    fn enter(&mut self, plugin: P, policy: Policy) {
        let old = std::mem::replace(&mut self.plugin, plugin);
        let old_policy = std::mem::replace(&mut self.policy, policy);
        let previous = Previous { plugin: old, policy: old_policy, established_at: None };
        // A version that is itself not established yet leaves the one before it as the one to go back to.
        self.previous = if self.is_off { None } else { Some(self.previous.take().unwrap_or(previous)) };
        if let Some(previous) = &mut self.previous {
            previous.established_at = None;
        }
        self.is_greeted = false;
        (self.is_off, self.is_cut, self.needs_more, self.retry_at, self.failures) = (false, false, false, None, 0);
        self.follow_policy();
        let mut health = self.health.borrow_mut();
        (health.off, health.not_taken) = (None, None);
        health.version = self.plugin.version();
    }

    /// Whether the version before takes over, because the new one failed before its first call was acknowledged.
    pub(super) fn roll_back(&mut self, error: &CallError) -> bool {
        self.forget_established();
        let Some(previous) = self.previous.take() else { return false };
        let failed = std::mem::replace(&mut self.plugin, previous.plugin);
        self.policy = previous.policy;
        (self.is_cut, self.needs_more, self.is_greeted) = (false, false, false);
        self.follow_policy();
        let (feed, version) = (&self.settings.name, failed.version());
        tracing::error!(%feed, %version, "the new version failed at once, the one before runs on: {error}");
        let mut health = self.health.borrow_mut();
        health.not_taken = Some(error.to_string());
        health.version = self.plugin.version();
        true
    }

    /// What was set outside of `process` stays when the version before takes over.
    pub(super) fn overlay_previous(&mut self, changes: &Changes) {
        let Some(previous) = self.previous.as_mut().filter(|_| !changes.is_empty()) else { return };
        let mut state = previous.plugin.state().clone();
        state.overlay(changes);
        previous.plugin.restore(state);
    }

    /// The pending events are seen with other rights now.
    fn follow_policy(&mut self) {
        self.shared.rate_per_s.set(self.policy.rate_per_s);
        self.view = View::new(self.policy.read.clone());
        if let Some((site, seen)) = &mut self.site {
            *seen = self.view.site(site);
        }
        let now = (self.settings.clock)();
        for Pending { event, seen, .. } in &mut self.pending {
            *seen = self.view.event(event).filter(|_| !self.policy.is_too_old(event, now));
        }
        for passed in [&mut self.passed.frame, &mut self.passed.other] {
            // An event that the new rights hide cannot stand witness.
            *passed = None;
        }
    }

    /// A call ended here; the first one of a new version establishes it when it is acknowledged.
    pub(super) fn note_version(&mut self, through: Sequence) {
        self.forget_established();
        if let Some(previous) = &mut self.previous {
            previous.established_at.get_or_insert(through);
        }
    }

    fn forget_established(&mut self) {
        let passed = self.shared.passed.get();
        if self.previous.as_ref().and_then(|previous| previous.established_at).is_some_and(|at| at <= passed) {
            self.previous = None;
        }
    }
}
