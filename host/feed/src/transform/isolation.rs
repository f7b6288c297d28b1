//! Finds out whether an event or the plugin is at fault.
//!
//! An event is quarantined only if the plugin, in the same fresh instance, processes another event and then fails on this
//! one. The other event must show that the plugin works: it is of the same source, or the plugin returned messages for it. A
//! plugin that fails on everything useful therefore loses no data: it is switched off with the feed's position unchanged, as
//! is one that has many of its events quarantined.

use std::sync::Arc;

use bessai_domain::event::{Event, RecordedEvent};
use bessai_domain::ports::{CallError, Plugin};
use tokio::time::Instant;

use super::pending::Candidate;
use super::{FailureOutcome, Transformer};
use crate::batches::Batch;
use crate::quarantine::{QuarantineContent, QuarantinedEvent, RETRY_PAUSE};

/// Other events that a plugin is tried with before more are waited for.
const MAX_COMPARISONS: usize = 3;

enum ComparisonOutcome {
    /// Another event is processed where this one fails.
    EventAtFault(CallError),
    /// It is processed after another one.
    EventProcessed,
    /// No other event is processed either, or there is none.
    Undecided,
    /// The plugin asks for the event again later, or this machine cannot run it now.
    Retry(CallError),
    RolledBack,
    SwitchedOff,
}

impl<P: Plugin> Transformer<P> {
    /// Calls the plugin with the first pending event alone, and quarantines the event if it is at fault.
    pub(super) async fn isolate(&mut self) -> Option<Box<Batch>> {
        let first = self.pending.first()?;
        let Some(event) = first.visible.clone() else { return self.skip() };
        if let Some(fault) = first.fault.clone() {
            return self.quarantine(event.event, fault).await;
        }
        let mut was_processed = false;
        loop {
            let error = match self.call(std::slice::from_ref(&event)).await {
                Ok(processed) => return self.complete(1, processed),
                Err(error @ (CallError::Retry(_) | CallError::Host(_))) => return self.retry_later(&error),
                Err(error) => error,
            };
            match self.failed(&error) {
                FailureOutcome::RolledBack => continue,
                FailureOutcome::SwitchedOff => return None,
                FailureOutcome::Counted => {}
            }
            let reason = error.to_string();
            let mut outcome = self.judge(&event).await;
            if was_processed && matches!(outcome, ComparisonOutcome::EventProcessed) {
                outcome = ComparisonOutcome::EventAtFault(error);
            }
            match outcome {
                ComparisonOutcome::EventAtFault(error) => {
                    self.pending.set_fault_of_first(error.to_string());
                    return self.quarantine(event.event, error.to_string()).await;
                }
                ComparisonOutcome::EventProcessed => was_processed = true,
                ComparisonOutcome::RolledBack => {}
                ComparisonOutcome::Undecided if self.has_ended => {
                    // No event follows that could decide. The feed's other plugin shows whether this version works.
                    if self.context.is_proved.get() {
                        self.pending.set_fault_of_first(reason.clone());
                        return self.quarantine(event.event, reason).await;
                    }
                    self.work.pause(Instant::now() + RETRY_PAUSE);
                    return None;
                }
                ComparisonOutcome::Undecided => {
                    self.work.await_events();
                    return None;
                }
                ComparisonOutcome::Retry(error) => return self.retry_later(&error),
                ComparisonOutcome::SwitchedOff => return None,
            }
        }
    }

    /// Tries the event after another one. The results of these calls are discarded.
    async fn judge(&mut self, event: &RecordedEvent) -> ComparisonOutcome {
        let outcome = self.compare(event).await;
        self.end_probe();
        outcome
    }

    async fn compare(&mut self, event: &RecordedEvent) -> ComparisonOutcome {
        let before = self.plugin.state().clone();
        for Candidate { event: other, is_alike } in self.pending.comparable(event, MAX_COMPARISONS) {
            self.before_probe = Some(before.clone());
            self.plugin.restore(before.clone());
            match self.admitted(&[other]).await {
                Err(CallError::Retry(_)) => continue,
                Err(error @ CallError::Host(_)) => return ComparisonOutcome::Retry(error),
                Err(error) => match self.failed(&error) {
                    FailureOutcome::RolledBack => {
                        // The previous version has a state of its own.
                        self.before_probe = None;
                        return ComparisonOutcome::RolledBack;
                    }
                    FailureOutcome::SwitchedOff => return ComparisonOutcome::SwitchedOff,
                    FailureOutcome::Counted => continue,
                },
                // It ignores this event, which says nothing about the other one.
                Ok((processed, _)) if !is_alike && processed.messages.is_empty() => continue,
                Ok(_) => {}
            }
            return match self.admitted(std::slice::from_ref(event)).await {
                Ok(_) => ComparisonOutcome::EventProcessed,
                Err(error @ (CallError::Retry(_) | CallError::Host(_))) => ComparisonOutcome::Retry(error),
                Err(error) => ComparisonOutcome::EventAtFault(error),
            };
        }
        ComparisonOutcome::Undecided
    }

    /// Stores the first pending event and skips it; as long as it cannot be stored, the feed waits and has lost nothing.
    async fn quarantine(&mut self, event: Arc<Event>, reason: String) -> Option<Box<Batch>> {
        if let Err(available) = self.context.may_quarantine() {
            self.work.pause(available);
            return None;
        }
        let (sequence, site) = (event.sequence.0, self.pending.visible_site().cloned());
        let (version, state) = (self.plugin.version(), self.plugin.state().clone());
        let entry = QuarantinedEvent { site, event, reason: reason.clone(), version, state };
        match self.context.try_quarantine(QuarantineContent::Event(entry)).await {
            Ok(location) => {
                let feed = self.context.name();
                tracing::error!(%feed, sequence, "quarantined event {sequence} in {location}: {reason}");
                self.tally.quarantined(Instant::now());
                let skipped = self.skip();
                if let Some(share) = self.tally.excess(Instant::now()) {
                    self.switch_off(format!("{share}, last: {reason}"));
                }
                skipped
            }
            Err(_) => {
                self.work.pause(Instant::now() + RETRY_PAUSE);
                None
            }
        }
    }

    /// Completes the first pending event without the plugin.
    fn skip(&mut self) -> Option<Box<Batch>> {
        let nothing = self.nothing_processed();
        self.complete(1, nothing)
    }
}
