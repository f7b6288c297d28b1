//! The calls of a session beside `process`: under the feed's rights, as in a gateway that writes no set-points.

use bessai_domain::command::{Action, InboundMessage};
use bessai_domain::message::Message;
use bessai_domain::ports::{CallError, Plugin as _};
use bessai_domain::proposal::{WRITES_REFUSED, WriteOutcome};
use bessai_domain::session::{SignInRequest, Welcome};

use super::PluginRun;
use crate::testing::outcome::RunOutcome;
use crate::testing::session::{SessionCall, SessionStep, outcome as lines};

impl PluginRun<'_> {
    /// Makes one call; the error is the plugin's failure, or what it has no right to.
    pub(super) async fn session_step(&mut self, step: &SessionStep, outcome: &mut RunOutcome) -> Result<(), String> {
        if self.settings.fresh_instances {
            self.plugin.restore(self.plugin.state().clone());
        }
        if !self.plugin.is_running() {
            self.start_at(step.at).await?;
        }
        match &step.call {
            SessionCall::Connect(request) => self.connect(request, outcome).await,
            SessionCall::Connected(welcome) => self.connected(welcome, outcome).await,
            SessionCall::Receive(message) => self.receive(message, outcome).await,
            SessionCall::Closing => {
                self.needs("session", self.plugin.has_session(), "closing")?;
                let closed = self.plugin.closing(step.at).await;
                self.publish(closed.map(|processed| processed.messages), "closing", outcome)
            }
        }
    }

    fn needs(&self, interface: &str, is_exported: bool, call: &str) -> Result<(), String> {
        if is_exported { Ok(()) } else { Err(format!("{call}: the plugin does not export `{interface}`")) }
    }

    async fn connect(&mut self, request: &SignInRequest, outcome: &mut RunOutcome) -> Result<(), String> {
        self.needs("session", self.plugin.has_session(), "connect")?;
        let login = self.plugin.connect(request).await.map_err(|error| format!("connect: the plugin {error}"))?;
        let login = self.policy.admit_login(login).map_err(|refusal| format!("connect: {refusal}"))?;
        outcome.session.push(lines::login(&login, &self.settings.secrets));
        Ok(())
    }

    async fn connected(&mut self, welcome: &Welcome, outcome: &mut RunOutcome) -> Result<(), String> {
        if self.plugin.has_commands() {
            let wanted = self.plugin.subscriptions(welcome.at).await;
            let wanted = wanted.map_err(|error| format!("subscriptions: the plugin {error}"))?;
            let (admitted, refusals) = self.policy.admit_subscriptions(wanted);
            outcome.session.push(lines::subscriptions(&admitted));
            if let Some((filter, reason)) = refusals.first() {
                return Err(format!("not subscribed to {filter}: {reason}"));
            }
        }
        if !self.plugin.has_session() {
            return self.needs("session` or `commands", self.plugin.has_commands(), "connected");
        }
        let connected = self.plugin.connected(welcome).await;
        self.publish(connected.map(|processed| processed.messages), "connected", outcome)
    }

    async fn receive(&mut self, message: &InboundMessage, outcome: &mut RunOutcome) -> Result<(), String> {
        self.needs("commands", self.plugin.has_commands(), "receive")?;
        let received = self.plugin.receive(message).await;
        let received = received.map_err(|error| format!("receive {}: the plugin {error}", message.topic))?;
        for action in received.actions {
            match action {
                Action::Publish(message) => self.publish(Ok(vec![message]), "receive", outcome)?,
                Action::SignInAgain => outcome.session.push(lines::sign_in_again()),
                Action::Write(proposal) => {
                    outcome.session.push(lines::proposal(&proposal));
                    let refused = WriteOutcome::Refused(WRITES_REFUSED.into());
                    let wrote = self.plugin.wrote(message.at, &proposal.reference, &refused).await;
                    self.publish(wrote.map(|processed| processed.messages), "wrote", outcome)?;
                }
            }
        }
        Ok(())
    }

    fn publish(
        &self,
        messages: Result<Vec<Message>, CallError>,
        call: &str,
        outcome: &mut RunOutcome,
    ) -> Result<(), String> {
        let messages = messages.map_err(|error| format!("{call}: the plugin {error}"))?;
        let admitted = self.policy.admit(messages).map_err(|error| format!("{call}: {error}"))?;
        outcome.messages.extend(admitted.messages);
        match admitted.refusals.first() {
            Some(refusal) => Err(format!("{call}: a message is not published: {refusal}")),
            None => Ok(()),
        }
    }
}
