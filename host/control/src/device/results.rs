//! What results of writes and finished jobs mean.

use bessai_domain::proposal::{SetValue as Value, WriteOutcome};

use super::{Context, Device};
use crate::interface::{OrderId, ProposalId, Purpose};
use crate::target::{Applied, SetValue};

impl Device {
    /// Takes the result of a write; false if it is none of this device's.
    pub(crate) fn written(
        &mut self,
        order: OrderId,
        result: Result<Option<f64>, String>,
        context: &mut Context<'_>,
    ) -> bool {
        if self.watchdog.as_mut().is_some_and(|watchdog| watchdog.written(order)) {
            return true;
        }
        let Some(job) = self.job.as_mut().filter(|job| job.awaits(order)) else { return false };
        let Some((_, point, value)) = job.current.take() else { return false };
        let is_cancelled = job.is_cancelled;
        match result {
            Ok(read_back) => {
                job.is_read_back &= read_back.is_some();
                job.shown.insert(point.clone(), read_back.unwrap_or(value));
                self.know(point, read_back.unwrap_or(value), context.now);
            }
            Err(reason) => {
                // What the device has now is not known.
                self.readings.remove(&point);
                if job.purpose == Purpose::Release {
                    // The rest of a release is written all the same.
                    job.refused.push((point, value));
                    job.refusal.get_or_insert(reason);
                } else if !is_cancelled {
                    self.job_failed(reason, context);
                }
            }
        }
        if is_cancelled {
            self.finish_cancelled();
        }
        true
    }

    /// What was written of it stays until the next decision.
    pub(super) fn finish_cancelled(&mut self) {
        let Some(job) = self.job.take() else { return };
        if let Some(target) = self.targets.get_mut(&job.channel) {
            target.applied = Applied::Unknown;
            target.retry_at = None;
        }
    }

    /// All writes of the job are carried out.
    pub(super) fn finish(&mut self, context: &mut Context<'_>) {
        if let Some(reason) = self.job.as_mut().and_then(|job| job.refusal.take()) {
            return self.job_failed(reason, context);
        }
        let Some(job) = self.job.take() else { return };
        let Some(target) = self.targets.get_mut(&job.channel) else { return };
        target.succeeded();
        match (job.purpose, job.cause) {
            (Purpose::SetPoint, Some(id)) => {
                let (value, now) = (job.value, context.now);
                let (writes, shown) = (job.all, job.shown);
                target.applied = Applied::Set(SetValue { id, value, writes, shown, since: now, renewed: now });
                let outcome = match job.is_read_back {
                    true => WriteOutcome::Verified(Value::Number(value)),
                    false => WriteOutcome::Acknowledged,
                };
                self.answer_applied(&job.channel, id, outcome, context);
            }
            (Purpose::Renewal, _) => {
                if let Applied::Set(set) = &mut target.applied {
                    set.renewed = context.now;
                }
            }
            _ => {
                target.applied = Applied::Released;
                target.before = None;
            }
        }
    }

    /// The set-point of a proposal applies: those of others wait.
    pub(super) fn answer_applied(
        &mut self,
        channel: &str,
        id: ProposalId,
        outcome: WriteOutcome,
        context: &mut Context<'_>,
    ) {
        let Some(target) = self.targets.get_mut(channel) else { return };
        if let Some(lease) = target.leases.find(id) {
            (lease.is_answered, lease.was_applied) = (true, true);
            context.outcome(id, outcome);
        }
    }

    /// A set-point that was never applied ends with its failure; one that was is tried again while it holds.
    fn job_failed(&mut self, reason: String, context: &mut Context<'_>) {
        let Some(job) = self.job.take() else { return };
        let Some(target) = self.targets.get_mut(&job.channel) else { return };
        target.failed(context.now);
        target.unreleased = job.refused;
        if let Some(id) = job.cause {
            let was_applied = target.leases.find(id).map(|lease| lease.was_applied);
            let is_first = !std::mem::replace(&mut target.is_failure_reported, true);
            match (job.purpose, was_applied) {
                (Purpose::Release, _) if is_first => {
                    let reason = format!("not released, repeated until it is: {reason}");
                    context.outcome(id, WriteOutcome::Failed(reason));
                }
                (Purpose::SetPoint | Purpose::Renewal, Some(true)) if is_first => {
                    let reason = format!("no longer applied, repeated while it holds: {reason}");
                    context.outcome(id, WriteOutcome::Failed(reason));
                }
                (Purpose::SetPoint, Some(false)) => {
                    target.leases.remove(id);
                    context.outcome(id, WriteOutcome::Failed(reason));
                    // The next holder's turn, or the release, does not wait for the pause of this one.
                    (target.retry_at, target.is_failure_reported) = (None, false);
                }
                _ => {}
            }
        }
    }

    /// It is not known now what has to be written: a set-point that has applied waits, and another one ends.
    pub(super) fn set_impossible(&mut self, channel: &str, id: ProposalId, reason: String, context: &mut Context<'_>) {
        let Some(target) = self.targets.get_mut(channel) else { return };
        if !target.leases.find(id).is_some_and(|lease| lease.was_applied) {
            return self.set_refused(channel, id, reason, context);
        }
        target.failed(context.now);
        if !std::mem::replace(&mut target.is_failure_reported, true) {
            let reason = format!("no longer applied, repeated while it holds: {reason}");
            context.outcome(id, WriteOutcome::Failed(reason));
        }
    }

    /// The writes cannot be made: the set-point ends.
    pub(super) fn set_refused(&mut self, channel: &str, id: ProposalId, reason: String, context: &mut Context<'_>) {
        let Some(target) = self.targets.get_mut(channel) else { return };
        target.leases.remove(id);
        context.outcome(id, WriteOutcome::Refused(reason));
    }

    /// The channel may have another thing to do at once.
    pub(super) fn after_finish(&mut self, context: &mut Context<'_>) {
        let channels: Vec<_> = self.targets.keys().cloned().collect();
        for channel in channels {
            if self.job.is_none() {
                self.decide(&channel, context);
            }
        }
        if self.job.is_some() {
            self.send_next(context);
        }
    }
}
