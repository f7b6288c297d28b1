//! The calls before, at the start and at the end of a session, for a plugin that decides how its feed signs in.
//!
//! What such a call changes in the state is saved before the packet that it leads to is sent. A fresh instance within a
//! session gets `connected` before it gets events.

use bessai_domain::ports::{CallError, ConnectError, Events, Plugin, Processed};
use bessai_domain::session::{Login, SignInRequest, Welcome};
use bessai_domain::state::{PluginState, StateChanges};
use bessai_domain::time::Timestamp;

use super::Transformer;
use super::session_state::SessionState;
use crate::batches::SessionMessages;

impl<P: Plugin> Transformer<P> {
    /// Whether the plugin decides how its feed signs in.
    pub(crate) fn has_session(&self) -> bool {
        self.plugin.has_session()
    }

    /// The plugin's login, and what it changed in its state for that. Other plugins leave everything to the settings.
    pub(crate) async fn connect<E: Events>(
        &mut self,
        events: &mut E,
        request: &SignInRequest,
    ) -> Result<(Login, StateChanges), String> {
        self.end_probe();
        let receives = self.plugin.has_commands();
        self.is_provisioning = false;
        if receives || self.plugin.has_session() {
            self.find_site(events).await;
        }
        if !self.plugin.has_session() {
            return Ok((Login { receives, ..Login::default() }, StateChanges::default()));
        }
        let before = self.plugin.state().clone();
        let started = self.start_if_stopped().await;
        if let Err(error @ CallError::Refused(_)) = &started {
            self.failed(error);
            return Err(format!("the plugin {error}"));
        }
        let started = started.map_err(|error| match error {
            CallError::Host(reason) => ConnectError::Refused(format!("the plugin cannot run: {reason}")),
            error => ConnectError::Broken(error.to_string()),
        });
        let login = match started {
            Ok(()) => self.plugin.connect(request).await,
            Err(error) => Err(error),
        };
        let login = login.map_err(|error| self.describe_connect_error(error))?;
        match self.policy.admit_login(login) {
            Ok(login) => {
                self.is_provisioning = login.provisioning;
                Ok((Login { receives, ..login }, self.changes_since(&before)))
            }
            Err(refusal) => {
                // The sign-in that the plugin noted in its state does not take place.
                self.plugin.restore(before);
                Err(refusal)
            }
        }
    }

    /// Waits for a site description: an instance needs one to be configured.
    pub(super) async fn find_site<E: Events>(&mut self, events: &mut E) {
        if self.pending.needs_site() && self.pending.is_empty() {
            self.take(Vec::new(), events.site());
        }
        // A journal begins with a description, so this ends with its first events.
        while self.pending.needs_site() && self.pending.next_site().is_none() {
            let batch = events.next().await;
            let site = events.site().filter(|_| self.pending.is_empty());
            self.take(batch, site);
        }
    }

    pub(super) async fn start_if_stopped(&mut self) -> Result<(), CallError> {
        if self.plugin.is_running() {
            return Ok(());
        }
        self.start(self.pending.next_site()).await
    }

    fn describe_connect_error(&mut self, error: ConnectError) -> String {
        match error {
            ConnectError::Refused(reason) => reason,
            ConnectError::Broken(reason) => {
                self.failed(&CallError::Broken(reason.clone()));
                format!("the plugin failed: {reason}")
            }
        }
    }

    /// A session begins: returns the plugin's first messages. The error ends the session.
    pub(crate) async fn connected(&mut self, welcome: Welcome) -> Result<SessionMessages, String> {
        if !self.plugin.has_session() {
            return Ok(SessionMessages::default());
        }
        self.session = SessionState::NotAnnounced(welcome);
        let announced = match self.start_if_stopped().await {
            Ok(()) => self.announce(welcome).await,
            Err(error) => Err(error),
        };
        match announced {
            Ok(messages) => {
                self.session = SessionState::Announced { welcome, unsent: None };
                Ok(messages)
            }
            Err(CallError::Retry(reason) | CallError::Host(reason)) => {
                Err(format!("the plugin is not ready for the session: {reason}"))
            }
            Err(error) => {
                self.failed(&error);
                Err(format!("the plugin failed in `connected`: {error}"))
            }
        }
    }

    /// Calls `connected` on a fresh instance within a session; what it returns is sent with its next batch.
    pub(super) async fn announce_session(&mut self) -> Result<(), CallError> {
        if let SessionState::NotAnnounced(welcome) = self.session
            && self.plugin.has_session()
        {
            let messages = self.announce(welcome).await?;
            self.session = SessionState::Announced { welcome, unsent: Some(messages) };
        }
        Ok(())
    }

    async fn announce(&mut self, welcome: Welcome) -> Result<SessionMessages, CallError> {
        let before = self.plugin.state().clone();
        let processed = self.plugin.connected(&welcome).await?;
        self.admit_session_messages(processed, before)
    }

    fn admit_session_messages(
        &mut self,
        processed: Processed,
        before: PluginState,
    ) -> Result<SessionMessages, CallError> {
        match self.policy.admit(processed.messages) {
            Ok(admitted) => {
                self.context.count_refusals(&admitted.refusals);
                Ok(SessionMessages { messages: admitted.messages, changes: self.changes_since(&before) })
            }
            Err(error) => {
                self.plugin.restore(before);
                Err(CallError::Broken(error))
            }
        }
    }

    /// The plugin's last messages in a session that is ended on purpose; none if it fails, as the session ends anyway.
    pub(crate) async fn closing(&mut self, at: Timestamp) -> SessionMessages {
        if let SessionState::Closing(messages) = &mut self.session {
            return std::mem::take(messages);
        }
        if !self.plugin.has_session() || self.is_off() || self.session.welcome().is_none() {
            return SessionMessages::default();
        }
        self.end_probe();
        let before = self.plugin.state().clone();
        let closed = match self.start_if_stopped().await {
            Ok(()) => self.plugin.closing(at).await,
            Err(error) => Err(error),
        };
        let admitted = match closed {
            Ok(processed) => self.admit_session_messages(processed, before),
            Err(error) => Err(error),
        };
        admitted.unwrap_or_else(|error| {
            self.context.health.borrow_mut().failures += u64::from(!matches!(error, CallError::Host(_)));
            tracing::warn!(feed = %self.context.name(), "the plugin failed in `closing`: {error}");
            SessionMessages::default()
        })
    }

    /// The session is over.
    pub(crate) fn session_ended(&mut self) {
        self.session = SessionState::None;
        self.context.inbox.end_session();
    }

    /// What changed outside of `process`. The previous version gets the changes too: the broker has seen what they led to.
    pub(super) fn changes_since(&mut self, before: &PluginState) -> StateChanges {
        let changes = self.plugin.state().changes_since(before);
        self.overlay_previous(&changes);
        changes
    }
}
