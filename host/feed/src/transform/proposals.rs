//! Set-points that a plugin proposes: each proposal and its outcome is an event of the site, and the plugin gets the outcome.

use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::message::Message;
use bessai_domain::ports::{CallError, Plugin, Processed};
use bessai_domain::proposal::{Proposal, WRITES_REFUSED, WriteOutcome, WriteStep};
use bessai_domain::state::PluginState;
use tokio::task::spawn_local;
use tokio::time::Instant;

use super::Transformer;

/// Proposals in a second that become events: as many as messages that a plugin receives, so that a plugin that proposes in
/// a loop does not fill the journal, which all feeds share.
const RECORDED_PER_S: u32 = 50;
/// As many proposals may be made at once as come in this time at that rate, 100: as many as messages, or one message that sets
/// many batteries.
const BURST: Duration = Duration::from_secs(2);

/// Why a proposal is refused that a message has caused which is not new.
const OLD_COMMAND: &str = "the command is old: it was retained, repeated, or waited too long; send it again";

/// What becomes of a proposal.
enum Proposed {
    Decided(WriteOutcome),
    /// It is not known yet.
    Open(Pin<Box<dyn Future<Output = WriteOutcome>>>),
}

impl<P: Plugin> Transformer<P> {
    /// Makes a proposal. If its first outcome is known at once, the plugin gets it, and its messages about it are returned;
    /// else it gets it later, so that no device keeps events from being delivered. `is_old`: it follows from a message that
    /// may no longer mean what it asks for.
    pub(super) async fn propose_write(&mut self, proposal: Proposal, is_old: bool) -> Vec<Message> {
        let mut open = match self.made(&proposal, is_old) {
            Proposed::Decided(outcome) => return self.tell_outcome(&proposal, &outcome).await,
            Proposed::Open(open) => open,
        };
        let known = tokio::select! {
            biased;
            outcome = &mut open => Some(outcome),
            () = std::future::ready(()) => None,
        };
        if let Some(outcome) = known {
            return self.tell_outcome(&proposal, &outcome).await;
        }
        let context = Rc::clone(&self.context);
        spawn_local(async move {
            let outcome = open.await;
            context.inbox.put_outcome(proposal, outcome);
        });
        Vec::new()
    }

    /// Hands an outcome to the plugin, and returns its messages about it.
    pub(super) async fn tell_outcome(&mut self, proposal: &Proposal, outcome: &WriteOutcome) -> Vec<Message> {
        if let WriteOutcome::Refused(reason) = outcome {
            let (feed, device, channel) = (self.context.name(), shown(&proposal.device), shown(&proposal.channel));
            tracing::warn!(%feed, %device, %channel, "the plugin's write to {device}/{channel} is refused: {reason}");
            self.context.health.borrow_mut().commands.refused_writes += 1;
        }
        let before = self.plugin.state().clone();
        let processed = match self.start_if_stopped().await {
            Ok(()) => self.plugin.wrote(self.context.now().wall, &proposal.reference, outcome).await,
            Err(error) => Err(error),
        };
        self.admit_answer(processed, before).unwrap_or_else(|error| {
            self.context.health.borrow_mut().failures += u64::from(!matches!(error, CallError::Host(_)));
            tracing::warn!(feed = %self.context.name(), "the plugin failed in `wrote`: {error}");
            Vec::new()
        })
    }

    /// The proposal and its outcome are events, unless it is too long or there are too many.
    fn made(&self, proposal: &Proposal, is_old: bool) -> Proposed {
        let refused = |reason: String| Proposed::Decided(WriteOutcome::Refused(reason));
        if let Err(mistake) = proposal.check() {
            return refused(mistake);
        }
        let is_within_rate =
            self.context.proposal_rate.borrow_mut().take_in_bursts(RECORDED_PER_S, BURST, Instant::now());
        if is_within_rate.is_err() {
            return refused(format!("more than {RECORDED_PER_S} proposals a second"));
        }
        let unit = self.pending.site().map(|site| proposal.unit(site)).unwrap_or_default();
        let reason = match &self.context.settings.propose {
            Some(_) if is_old => OLD_COMMAND,
            Some(propose) => {
                let right = self.policy.check_write(&proposal.device, &proposal.channel);
                return Proposed::Open(propose(proposal.clone(), unit, right));
            }
            None => WRITES_REFUSED,
        };
        let record = |step: WriteStep| (self.context.settings.record_write)(self.context.now(), step);
        let proposer = format!("feed/{}", self.context.name());
        let made = WriteStep { proposed: None, proposer, proposal: proposal.clone(), unit, outcome: None };
        let proposed = Some(record(made.clone()));
        let outcome = WriteOutcome::Refused(reason.into());
        record(WriteStep { proposed, outcome: Some(outcome.clone()), ..made });
        Proposed::Decided(outcome)
    }

    fn admit_answer(
        &mut self,
        processed: Result<Processed, CallError>,
        before: PluginState,
    ) -> Result<Vec<Message>, CallError> {
        let admitted = self.policy.admit(processed?.messages).map_err(|error| {
            self.plugin.restore(before);
            CallError::Broken(error)
        })?;
        self.context.count_refusals(&admitted.refusals);
        Ok(admitted.messages)
    }
}

/// Characters of a name that are logged: one that a plugin makes up may have a mebibyte.
const SHOWN_CHARACTERS: usize = 100;

fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARACTERS).collect()
}
