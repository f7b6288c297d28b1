//! One call of the plugin: starts an instance if there is none, and checks what the call returns.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::RecordedEvent;
use bessai_domain::ports::{CallError, Plugin, Processed};
use bessai_domain::site::Site;

use super::Transformer;
use super::pending::site_of;

impl<P: Plugin> Transformer<P> {
    /// Events through a started instance, and its messages through the policy.
    pub(super) async fn call(&mut self, events: &[RecordedEvent]) -> Result<Processed, CallError> {
        let (processed, refusals) = self.admitted(events).await?;
        self.context.count_refusals(&refusals);
        Ok(processed)
    }

    /// The same, with the reasons why messages were refused. A call that returns too much leaves the state unchanged.
    pub(super) async fn admitted(&mut self, events: &[RecordedEvent]) -> Result<(Processed, Vec<String>), CallError> {
        let before = self.plugin.state().clone();
        let processed = self.run(events).await?;
        let admitted = self.policy.admit(processed.messages).map_err(|error| {
            self.plugin.restore(before);
            CallError::Broken(error)
        })?;
        Ok((Processed { messages: admitted.messages, ..processed }, admitted.refusals))
    }

    async fn run(&mut self, events: &[RecordedEvent]) -> Result<Processed, CallError> {
        if events.is_empty() {
            return Ok(self.nothing_processed());
        }
        if !self.plugin.is_running() {
            self.start(events.iter().find_map(site_of)).await?;
        }
        self.announce_session().await?;
        let result = self.plugin.process(events, self.context.now()).await;
        if let Ok(processed) = &result {
            self.context.health.borrow_mut().count_call(processed.took, self.context.settings.slow_call);
        }
        result
    }

    pub(super) fn nothing_processed(&self) -> Processed {
        Processed { messages: Vec::new(), state: self.plugin.state().clone(), took: Duration::ZERO }
    }

    /// Starts an instance with the current site description, or else with this one, or else with the next one that is pending:
    /// a gap comes before the description that the feed has missed.
    pub(super) async fn start(&mut self, next_site: Option<Arc<Site>>) -> Result<(), CallError> {
        let known = self.pending.visible_site().cloned();
        let Some(site) = known.or(next_site).or_else(|| self.pending.next_site()) else {
            return Err(CallError::Retry("the site has no description yet".into()));
        };
        self.context.health.borrow_mut().starts += 1;
        self.session.forget_announcement();
        Box::pin(self.plugin.start(&site, self.context.now().wall)).await
    }
}
