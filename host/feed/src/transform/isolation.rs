//! Finds out whether an event or the plugin is at fault.
//!
//! An event is quarantined only if the plugin, in the same fresh instance, processes another event and then fails on this
//! one. A plugin that fails on every event therefore loses no data: it is switched off with the feed's position unchanged.

use bessai_domain::event::{Event, RecordedEvent};
use bessai_domain::ports::{CallError, Plugin};

use super::{FailureOutcome, Transformer};
use crate::batches::Batch;
use crate::quarantine::QuarantinedEvent;

/// Other events that a plugin is tried with before more are waited for.
const MAX_COMPARISONS: usize = 3;

enum ComparisonOutcome {
    /// Another event is processed where this one fails.
    EventAtFault(CallError),
    /// It is processed after another one.
    EventProcessed,
    /// No other event is processed either, or there is none.
    Undecided,
    /// The plugin asks for the event again later.
    Retry(String),
    RolledBack,
    SwitchedOff,
}

impl<P: Plugin> Transformer<P> {
    /// Calls the plugin with the first pending event alone, and quarantines the event if it is at fault.
    pub(super) async fn isolate(&mut self) -> Option<Box<Batch>> {
        let event = self.pending.first()?.visible.clone();
        let Some(event) = event else { return self.skip() };
        let mut was_processed = false;
        loop {
            let error = match self.call(std::slice::from_ref(&event)).await {
                Ok(processed) => return self.complete(1, processed),
                Err(CallError::Retry(reason)) => return self.retry_later(&reason),
                Err(error) => error,
            };
            match self.failed(&error) {
                FailureOutcome::RolledBack => continue,
                FailureOutcome::SwitchedOff => return None,
                FailureOutcome::Counted => {}
            }
            let mut outcome = self.judge(&event).await;
            if was_processed && matches!(outcome, ComparisonOutcome::EventProcessed) {
                outcome = ComparisonOutcome::EventAtFault(error);
            }
            match outcome {
                ComparisonOutcome::EventAtFault(error) => {
                    self.quarantine(&event.event, &error);
                    return self.skip();
                }
                ComparisonOutcome::EventProcessed => was_processed = true,
                ComparisonOutcome::RolledBack => {}
                ComparisonOutcome::Undecided => {
                    self.work.await_events();
                    return None;
                }
                ComparisonOutcome::Retry(reason) => return self.retry_later(&reason),
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
        for other in self.pending.comparable(event, MAX_COMPARISONS) {
            self.before_probe = Some(before.clone());
            self.plugin.restore(before.clone());
            match self.admitted(&[other]).await {
                Err(CallError::Retry(_)) => continue,
                Err(error) => match self.failed(&error) {
                    FailureOutcome::RolledBack => {
                        // The previous version has a state of its own.
                        self.before_probe = None;
                        return ComparisonOutcome::RolledBack;
                    }
                    FailureOutcome::SwitchedOff => return ComparisonOutcome::SwitchedOff,
                    FailureOutcome::Counted => continue,
                },
                Ok(_) => {}
            }
            return match self.admitted(std::slice::from_ref(event)).await {
                Ok(_) => ComparisonOutcome::EventProcessed,
                Err(CallError::Retry(reason)) => ComparisonOutcome::Retry(reason),
                Err(error) => ComparisonOutcome::EventAtFault(error),
            };
        }
        ComparisonOutcome::Undecided
    }

    fn quarantine(&mut self, event: &Event, error: &CallError) {
        self.pending.mark_first_quarantined();
        let (feed, site) = (self.context.name(), self.pending.visible_site().map(AsRef::as_ref));
        let (sequence, reason) = (event.sequence.0, error.to_string());
        let quarantined = QuarantinedEvent { feed, site, event, reason: &reason };
        let stored = self.context.settings.quarantine.store_event(&quarantined);
        self.context.health.borrow_mut().quarantined += 1;
        match stored {
            Ok(location) => {
                tracing::error!(%feed, sequence, "quarantined event {sequence} in {location}: {reason}");
            }
            Err(error) => tracing::error!(
                %feed, sequence,
                "skipped event {sequence}, as the plugin fails on it ({reason}) and storing it in the quarantine failed: \
                 {error}"
            ),
        }
    }

    /// Completes the first pending event without the plugin.
    fn skip(&mut self) -> Option<Box<Batch>> {
        let nothing = self.nothing_processed();
        self.complete(1, nothing)
    }
}
