//! What a plugin is asked and told of sessions, for one that decides how its feed signs in.
//!
//! What such a call leaves in the state goes to disk by itself, ahead of the packet that it leads to. Within a session a
//! fresh instance is told of it again, before it gets events.

use bessai_domain::session::{Login, Request, Welcome};
use bessai_domain::state::{Changes, State};
use bessai_domain::time::Timestamp;

use super::{Failed, Transformer};
use crate::feed::calls::Greeting;
use crate::feed::{CallError, ConnectError, Events, Plugin, Processed};

impl<P: Plugin> Transformer<P> {
    /// Whether the plugin decides how to sign in.
    pub(in crate::feed) fn has_session(&self) -> bool {
        self.plugin.has_session()
    }

    /// Whether it is switched off until there is a new version.
    pub(in crate::feed) fn is_off(&self) -> bool {
        self.is_off
    }

    /// How to sign in, and what the plugin keeps for it. A plugin without a say leaves all to the settings.
    pub(in crate::feed) async fn connect<E: Events>(
        &mut self,
        events: &mut E,
        request: &Request,
    ) -> Result<(Login, Changes), String> {
        self.end_trial();
        if !self.plugin.has_session() {
            return Ok((Login::default(), Changes::default()));
        }
        self.learn_site(events).await;
        let before = self.plugin.state().clone();
        let started = self.start_stopped().await.map_err(|error| ConnectError::Broken(error.to_string()));
        let login = match started {
            Ok(()) => self.plugin.connect(request).await,
            Err(error) => Err(error),
        };
        let login = login.map_err(|error| self.unconnected(error))?;
        match self.policy.admit_login(login) {
            Ok(login) => Ok((login, self.changes_since(&before))),
            Err(refusal) => {
                // What the plugin noted of this sign-in did not happen.
                self.plugin.restore(before);
                Err(refusal)
            }
        }
    }

    /// A fresh instance is configured before it is asked anything, and for that needs a description.
    async fn learn_site<E: Events>(&mut self, events: &mut E) {
        if self.site.is_none() && self.pending.is_empty() {
            self.take(Vec::new(), events.site());
        }
        // A journal begins with a description, so this ends with its first events.
        while self.site.is_none() && !self.pending.iter().any(|pending| pending.describes()) {
            let batch = events.next().await;
            let site = events.site().filter(|_| self.pending.is_empty());
            self.take(batch, site);
        }
    }

    async fn start_stopped(&mut self) -> Result<(), CallError> {
        if self.plugin.is_running() {
            return Ok(());
        }
        let described = self.pending.iter().find(|pending| pending.describes());
        let described: Vec<_> = described.and_then(|pending| pending.seen.clone()).into_iter().collect();
        self.start(&described).await
    }

    fn unconnected(&mut self, error: ConnectError) -> String {
        match error {
            ConnectError::Refused(reason) => reason,
            ConnectError::Broken(reason) => {
                self.count(&CallError::Broken(reason.clone()));
                format!("the plugin failed: {reason}")
            }
        }
    }

    /// A failure outside of `process`; here too one too many switches the plugin off.
    fn count(&mut self, error: &CallError) {
        if let Failed::Off = self.failed(error) {
            self.is_off = true;
        }
    }

    /// A session begins: what the plugin publishes first. The error ends the session.
    pub(in crate::feed) async fn connected(&mut self, welcome: Welcome) -> Result<Greeting, String> {
        if !self.plugin.has_session() {
            return Ok(Greeting::default());
        }
        self.welcome = Some(welcome);
        let greeted = match self.start_stopped().await {
            Ok(()) => self.greet(welcome).await,
            Err(error) => Err(error),
        };
        greeted.map_err(|error| {
            let reason = match &error {
                CallError::Retry(reason) => format!("the plugin is not ready for the session: {reason}"),
                error => format!("the plugin failed at the session's begin: {error}"),
            };
            if !matches!(error, CallError::Retry(_)) {
                self.count(&error);
            }
            reason
        })
    }

    /// A fresh instance within a session is told of it; what it publishes for that goes out before anything new.
    pub(super) async fn greet_again(&mut self) -> Result<(), CallError> {
        match self.welcome.filter(|_| !self.is_greeted && self.plugin.has_session()) {
            None => Ok(()),
            Some(welcome) => {
                self.greeting = Some(self.greet(welcome).await?);
                Ok(())
            }
        }
    }

    async fn greet(&mut self, welcome: Welcome) -> Result<Greeting, CallError> {
        // Configured by now: what that left in the state is in it already.
        let before = self.plugin.state().clone();
        let processed = self.plugin.connected(&welcome).await?;
        let greeting = self.admit_greeting(processed, before)?;
        self.is_greeted = true;
        Ok(greeting)
    }

    fn admit_greeting(&mut self, processed: Processed, before: State) -> Result<Greeting, CallError> {
        match self.policy.admit(processed.messages) {
            Ok(admitted) => {
                self.note_refusals(&admitted.refusals);
                Ok(Greeting { messages: admitted.messages, changes: self.changes_since(&before) })
            }
            Err(error) => {
                self.plugin.restore(before);
                Err(CallError::Broken(error))
            }
        }
    }

    /// What the plugin publishes last in a session that is ended on purpose; nothing where it fails, as it ends anyway.
    pub(in crate::feed) async fn farewell(&mut self, at: Timestamp) -> Greeting {
        if let Some(farewell) = self.farewell.take() {
            return farewell;
        }
        if !self.plugin.has_session() || self.is_off || self.welcome.is_none() {
            return Greeting::default();
        }
        self.end_trial();
        let before = self.plugin.state().clone();
        let closed = match self.start_stopped().await {
            Ok(()) => self.plugin.closing(at).await,
            Err(error) => Err(error),
        };
        let admitted = match closed {
            Ok(processed) => self.admit_greeting(processed, before),
            Err(error) => Err(error),
        };
        admitted.unwrap_or_else(|error| {
            self.health.borrow_mut().failures += 1;
            tracing::warn!(feed = %self.settings.name, "the plugin failed at the session's end: {error}");
            Greeting::default()
        })
    }

    /// The session is over.
    pub(in crate::feed) fn signed_off(&mut self) {
        (self.welcome, self.is_greeted, self.greeting, self.farewell) = (None, false, None, None);
    }

    /// A version to go back to shares what was set outside of `process`: the broker has seen it.
    fn changes_since(&mut self, before: &State) -> Changes {
        let changes = self.plugin.state().changes_since(before);
        self.overlay_previous(&changes);
        changes
    }
}
