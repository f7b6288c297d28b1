//! Set-points that a plugin proposes: each proposal and its outcome is an event of the site, and the plugin gets the outcome.

use std::rc::Rc;
use std::time::Duration;

use bessai_domain::message::Message;
use bessai_domain::ports::{CallError, Plugin, Processed};
use bessai_domain::proposal::{Proposal, WRITES_REFUSED, WriteOutcome, WriteStep};
use bessai_domain::state::PluginState;
use tokio::time::Instant;

use super::Transformer;

/// Proposals in a second that become events: as many as messages that a plugin receives, so that a plugin that proposes in
/// a loop does not fill the journal, which all feeds share.
const RECORDED_PER_S: u32 = 20;
/// One message may propose set-points for this many batteries, at the rate of this time.
const BURST: Duration = Duration::from_secs(1);

impl<P: Plugin> Transformer<P> {
    /// Makes the proposal, hands its first outcome to the plugin, and returns the plugin's messages about it.
    pub(super) async fn propose_write(&mut self, proposal: Proposal) -> Vec<Message> {
        let outcome = self.first_outcome(&proposal).await;
        if let WriteOutcome::Refused(reason) = &outcome {
            let (feed, device, channel) = (self.context.name(), shown(&proposal.device), shown(&proposal.channel));
            tracing::warn!(%feed, %device, %channel, "the plugin's write to {device}/{channel} is refused: {reason}");
            self.context.health.borrow_mut().commands.refused_writes += 1;
        }
        let before = self.plugin.state().clone();
        let processed = match self.start_if_stopped().await {
            Ok(()) => self.plugin.wrote(self.context.now().wall, &proposal.reference, &outcome).await,
            Err(error) => Err(error),
        };
        self.admit_answer(processed, before).unwrap_or_else(|error| {
            self.context.health.borrow_mut().failures += u64::from(!matches!(error, CallError::Host(_)));
            tracing::warn!(feed = %self.context.name(), "the plugin failed in `wrote`: {error}");
            Vec::new()
        })
    }

    /// The proposal and its outcome are events, unless it is too long or there are too many.
    async fn first_outcome(&self, proposal: &Proposal) -> WriteOutcome {
        if let Err(mistake) = proposal.check() {
            return WriteOutcome::Refused(mistake);
        }
        let is_within_rate =
            self.context.proposal_rate.borrow_mut().take_in_bursts(RECORDED_PER_S, BURST, Instant::now());
        if is_within_rate.is_err() {
            return WriteOutcome::Refused(format!("more than {RECORDED_PER_S} proposals in a second"));
        }
        let unit = self.pending.site().map(|site| proposal.unit(site)).unwrap_or_default();
        if let Some(propose) = &self.context.settings.propose {
            let propose = Rc::clone(propose);
            return propose(proposal.clone(), unit).await;
        }
        let record = |step: WriteStep| (self.context.settings.record_write)(self.context.now(), step);
        let proposer = format!("feed/{}", self.context.name());
        let made = WriteStep { proposed: None, proposer, proposal: proposal.clone(), unit, outcome: None };
        let proposed = Some(record(made.clone()));
        let refused = WriteOutcome::Refused(WRITES_REFUSED.into());
        record(WriteStep { proposed, outcome: Some(refused.clone()), ..made });
        refused
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
