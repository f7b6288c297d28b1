//! Finds out whether an event or the plugin is to blame.
//!
//! An event is set aside only after another one passed in the same fresh instance in which it then failed. A plugin that
//! fails on everything therefore never eats the data: nothing passes, and it is switched off with its place kept.

use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody};

use super::{Failed, Pending, Step, Transformer};
use crate::feed::{Aside, CallError, Plugin, Processed};

/// Other events that a plugin is tried with before more are waited for.
const WITNESSES: usize = 3;

enum Verdict {
    /// Another event passes where this one fails.
    Poisonous(CallError),
    /// It passes after another one.
    Sound,
    /// No other event passes either, or there is none.
    Unknown,
    Later(String),
    RolledBack,
    Off,
}

impl<P: Plugin> Transformer<P> {
    /// Runs the first pending event by itself, and sets it aside if it is to blame.
    pub(super) async fn first(&mut self) -> Step {
        let Some(pending) = self.pending.front().cloned() else { return Step::NeedsMore };
        let Some(event) = pending.seen else { return self.pass_nothing() };
        let mut was_sound = false;
        loop {
            let error = match self.call(std::slice::from_ref(&event)).await {
                Ok(processed) => return self.pass(1, processed),
                Err(CallError::Retry(reason)) => return self.later(&reason),
                Err(error) => error,
            };
            match self.failed(&error) {
                Failed::RolledBack => continue,
                Failed::Off => return Step::Off,
                Failed::Counted => {}
            }
            let mut verdict = self.judge(&event).await;
            if was_sound && matches!(verdict, Verdict::Sound) {
                verdict = Verdict::Poisonous(error);
            }
            match verdict {
                Verdict::Poisonous(error) => {
                    self.set_aside(&event, &error);
                    return self.pass_nothing();
                }
                Verdict::Sound => was_sound = true,
                Verdict::RolledBack => {}
                Verdict::Unknown => return Step::NeedsMore,
                Verdict::Later(reason) => return self.later(&reason),
                Verdict::Off => return Step::Off,
            }
        }
    }

    /// What these calls give and keep is dropped: they only tell who is to blame.
    async fn judge(&mut self, event: &Arc<Event>) -> Verdict {
        let verdict = self.try_witnesses(event).await;
        self.end_trial();
        verdict
    }

    async fn try_witnesses(&mut self, event: &Arc<Event>) -> Verdict {
        let before = self.plugin.state().clone();
        for witness in self.witnesses(event) {
            self.before_trial = Some(before.clone());
            self.plugin.restore(before.clone());
            match self.admitted(&[witness]).await {
                Err(CallError::Retry(_)) => continue,
                Err(error) => match self.failed(&error) {
                    Failed::RolledBack => {
                        // The version that takes over has a state of its own.
                        self.before_trial = None;
                        return Verdict::RolledBack;
                    }
                    Failed::Off => return Verdict::Off,
                    Failed::Counted => continue,
                },
                Ok(_) => {}
            }
            return match self.admitted(std::slice::from_ref(event)).await {
                Ok(_) => Verdict::Sound,
                Err(CallError::Retry(reason)) => Verdict::Later(reason),
                Err(error) => Verdict::Poisonous(error),
            };
        }
        Verdict::Unknown
    }

    /// For a frame only frames count: a plugin that fails on all of them but passes heartbeats must not eat the data.
    fn witnesses(&self, event: &Arc<Event>) -> Vec<Arc<Event>> {
        let is_frame = |event: &Event| matches!(event.body, EventBody::Frame(_));
        let passed = self.passed.frame.iter().chain(&self.passed.other);
        let others = passed.chain(&self.pending).filter_map(|pending: &Pending| pending.seen.as_ref());
        let fitting = others.filter(|other| !Arc::ptr_eq(other, event) && (is_frame(other) || !is_frame(event)));
        fitting.take(WITNESSES).cloned().collect()
    }

    fn set_aside(&mut self, event: &Event, error: &CallError) {
        if let Some(pending) = self.pending.front_mut() {
            pending.is_set_aside = true;
        }
        let sequence = event.sequence.0;
        let reason = error.to_string();
        let site = self.site.as_ref().map(|(_, seen)| seen.as_ref());
        let aside = Aside { feed: &self.settings.name, site, event, reason: &reason };
        let kept = match (self.settings.set_aside)(&aside) {
            Ok(place) => place,
            Err(error) => format!("nowhere, as that failed: {error}"),
        };
        self.health.borrow_mut().set_aside += 1;
        tracing::error!(feed = %self.settings.name, sequence, "event {sequence} is set aside, kept in {kept}: {reason}");
    }

    fn pass_nothing(&mut self) -> Step {
        let state = self.plugin.state().clone();
        self.pass(1, Processed { messages: Vec::new(), state, took: Duration::ZERO })
    }
}
