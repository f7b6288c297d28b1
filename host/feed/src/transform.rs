//! Runs events through the plugin: starts fresh instances after a fault, isolates the event that the plugin fails on, tries
//! a new version before the old one is dropped, and checks what the plugin returns.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::RecordedEvent;
use bessai_domain::ports::{CallError, Events, Plugin, Processed};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::backoff::{Backoff, LONGEST};
use crate::batches::{Batch, Lane};
use crate::context::TaskContext;
use crate::policy::Policy;
use crate::processor::{BURST, BURST_OF_BACKLOG};
use crate::replacement::Replacements;

mod backlog;
mod calls;
mod commands;
mod isolation;
mod pending;
mod proposals;
mod session;
mod session_state;
mod tally;
mod update;
mod work;

use pending::PendingEvents;
use session_state::SessionState;
use tally::Tally;
use update::PreviousVersion;
use work::Work;

pub(crate) use update::Replaced;

/// Failures in a row, with no event processed in between, after which a plugin is switched off.
const MAX_FAILURES: u32 = 10;
/// Events that may wait for one that decides whether the plugin or the first of them is at fault.
const MAX_AWAITED: usize = 1024;
/// Pause before a plugin gets events again that it asked for later.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A plugin, and the events that it has yet to process.
pub(crate) struct Transformer<P> {
    context: Rc<TaskContext>,
    lane: Lane,
    /// There are no further events: it has taken the end of a backlog.
    has_ended: bool,
    policy: Policy,
    plugin: P,
    pending: PendingEvents,
    work: Work,
    // The state before a probe that is running or was cancelled.
    before_probe: Option<PluginState>,
    since_progress: SinceProgress,
    tally: Tally,
    previous: Option<PreviousVersion<P>>,
    session: SessionState,
    /// The session is for provisioning only: the plugin gets no events in it.
    is_provisioning: bool,
}

/// What happened since the plugin last processed an event.
#[derive(Default)]
struct SinceProgress {
    failures: u32,
    // Pauses while this machine cannot run the plugin.
    host_backoff: Backoff,
    // The plugin may ask for the events again every second, for ever, each time with another reason.
    has_logged_retry: bool,
}

/// What a failure leads to.
enum FailureOutcome {
    /// The previous version runs again.
    RolledBack,
    Counted,
    SwitchedOff,
}

impl<P: Plugin> Transformer<P> {
    pub(crate) fn new(context: Rc<TaskContext>, policy: Policy, plugin: P) -> Self {
        context.health.borrow_mut().version = plugin.version();
        Self {
            context,
            pending: PendingEvents::new(&policy),
            policy,
            plugin,
            work: Work::START,
            lane: Lane::Live,
            has_ended: false,
            before_probe: None,
            since_progress: SinceProgress::default(),
            tally: Tally::default(),
            previous: None,
            session: SessionState::None,
            is_provisioning: false,
        }
    }

    /// Whether the plugin is switched off until there is a new version.
    pub(crate) fn is_off(&self) -> bool {
        self.work == Work::Off
    }

    /// Runs events through the plugin while it is polled; ends with a new version that needs another session, or with none
    /// after the end of a backlog. May be cancelled and called again: the pending events stay.
    pub(crate) async fn produce<E: Events, B>(
        &mut self,
        events: &mut E,
        batches: mpsc::Sender<Box<Batch>>,
        replacements: &mut Replacements<P, B>,
    ) -> Option<Replaced<B>> {
        while !self.has_ended || !self.pending.is_empty() {
            let (has_pending, gets_events) = (!self.pending.is_empty(), !self.is_provisioning);
            let paused_until = self.work.paused_until();
            tokio::select! {
                biased;
                Some(replacement) = replacements.recv() => {
                    let replaced = Box::pin(self.replace(*replacement)).await;
                    if let Some(replaced) = replaced.filter(|replaced| replaced.needs_session) {
                        return Some(replaced);
                    }
                }
                () = self.context.inbox.ready(), if self.can_receive() => {
                    Box::pin(self.receive()).await;
                    self.context.give_way().await;
                }
                // The permit comes first, so that nothing is computed that would have to wait.
                Ok(permit) = batches.reserve(), if gets_events && self.work.can_call(has_pending) => {
                    if let Some(batch) = self.step_within_share().await {
                        permit.send(batch);
                    }
                    self.context.give_way().await;
                }
                batch = events.next(), if gets_events && !self.has_ended && self.work.wants_events(has_pending) => {
                    // Finding the site description means a search in the journal.
                    let site = if self.pending.needs_site() { events.site() } else { None };
                    self.take(batch, site);
                }
                () = sleep_until(paused_until.unwrap_or_else(Instant::now)), if paused_until.is_some() => {
                    self.work.resume();
                }
                // Switched off, and nobody is left to send a new version.
                else => std::future::pending().await,
            }
        }
        None
    }

    /// `site`: the description before these events.
    fn take(&mut self, events: Vec<RecordedEvent>, site: Option<Arc<Site>>) {
        let known = self.pending.len();
        self.has_ended = self.lane == Lane::Backlog && events.is_empty();
        let too_old = self.pending.push(events, site, &self.policy, self.context.now().monotonic);
        self.context.health.borrow_mut().too_old += too_old;
        // Heartbeats between two readings say nothing about a plugin that fails on the first one.
        if self.has_ended || self.pending.is_decided_since(known) || self.pending.len() >= MAX_AWAITED {
            self.work.events_arrived();
        }
    }

    /// Discards the state of an unfinished probe.
    fn end_probe(&mut self) {
        if let Some(state) = self.before_probe.take() {
            self.plugin.restore(state);
            self.session.forget_announcement();
        }
    }

    /// A step, if the plugin may use the processor now; else the calls pause until it may.
    async fn step_within_share(&mut self) -> Option<Box<Batch>> {
        let (share, now) = (self.policy.processor, Instant::now());
        let burst = if self.lane == Lane::Live { BURST } else { BURST_OF_BACKLOG };
        let available = self.context.processor.borrow_mut().available_at(share, burst, now);
        if let Some(available) = available {
            self.context.health.borrow_mut().throttled += available - now;
            self.work.pause(available);
            return None;
        }
        let (events, before) = (self.pending.len(), self.plugin.processor_time());
        let batch = self.step().await;
        // A version that was rolled back has used less than the one that failed; its own time counts from now on.
        let (busy, now) = (self.plugin.processor_time().saturating_sub(before), Instant::now());
        self.context.processor.borrow_mut().charge(busy, events - self.pending.len(), share, now);
        self.context.health.borrow_mut().processor.add(busy, now);
        batch
    }

    /// Calls the plugin with the pending events: with all, or after a failure with the first only.
    async fn step(&mut self) -> Option<Box<Batch>> {
        self.end_probe();
        let mut attempts = 0;
        while !self.work.calls_with_one() {
            let events = self.pending.visible();
            let error = match self.call(&events).await {
                Ok(processed) => return self.complete(self.pending.len(), processed),
                Err(error @ (CallError::Retry(_) | CallError::Host(_))) => return self.retry_later(&error),
                Err(error) => error,
            };
            match self.failed(&error) {
                FailureOutcome::RolledBack => {}
                FailureOutcome::SwitchedOff => return None,
                FailureOutcome::Counted => {
                    attempts += 1;
                    // A batch gets a second attempt before it is split; a single event gets it in `isolate`.
                    if attempts == events.len().min(2) {
                        self.work.isolate();
                    }
                }
            }
        }
        self.isolate().await
    }

    /// Completes the first `count` pending events.
    fn complete(&mut self, count: usize, processed: Processed) -> Option<Box<Batch>> {
        let completed = self.pending.complete(count)?;
        if completed.has_processed {
            if self.lane == Lane::Live {
                self.context.is_proved.set(true);
            }
            self.since_progress = SinceProgress::default();
            self.tally.processed(count, Instant::now());
        }
        if self.pending.is_empty() {
            self.work.all_processed();
        }
        self.note_first_batch(completed.through);
        let (through, messages) = (completed.through.0, processed.messages.len());
        tracing::trace!(feed = %self.context.name(), through, messages, "the plugin processed events up to {through}");
        Some(Box::new(Batch {
            through: completed.through,
            at: completed.at,
            messages: processed.messages,
            state: processed.state,
            session_messages: self.session.take_unsent(),
        }))
    }

    /// Neither the events nor the plugin are at fault: it asks for the events again, or this machine cannot run it now.
    fn retry_later(&mut self, error: &CallError) -> Option<Box<Batch>> {
        let is_host = matches!(error, CallError::Host(_));
        let pause = if is_host { self.since_progress.host_backoff.next(LONGEST) } else { RETRY_PAUSE };
        if !self.since_progress.has_logged_retry {
            let feed = self.context.name();
            match error {
                CallError::Retry(reason) => {
                    tracing::warn!(%feed, "the plugin is not ready: {reason}; retrying every {RETRY_PAUSE:?}");
                }
                error => tracing::error!(%feed, "the plugin cannot run: {error}; retrying at growing intervals"),
            }
            self.since_progress.has_logged_retry = true;
        }
        self.work.pause(Instant::now() + pause);
        None
    }

    /// Handles a failure of the plugin: one log line, one counter.
    fn failed(&mut self, error: &CallError) -> FailureOutcome {
        self.context.health.borrow_mut().failures += 1;
        if self.lane == Lane::Live {
            self.context.is_proved.set(false);
        }
        if self.roll_back(error) {
            return FailureOutcome::RolledBack;
        }
        if let CallError::Refused(_) = error {
            self.switch_off(format!("the plugin {error}"));
            return FailureOutcome::SwitchedOff;
        }
        self.since_progress.failures += 1;
        if self.since_progress.failures < MAX_FAILURES {
            tracing::warn!(feed = %self.context.name(), "the plugin failed: {error}");
            return FailureOutcome::Counted;
        }
        self.switch_off(format!("the plugin failed {MAX_FAILURES} times in a row, last: {error}"));
        FailureOutcome::SwitchedOff
    }

    /// Nothing more is processed until there is a new version; the position stays.
    fn switch_off(&mut self, reason: String) {
        let (feed, mut health) = (self.context.name(), self.context.health.borrow_mut());
        match self.lane {
            Lane::Live => {
                tracing::error!(%feed, "switched off until its file changes: {reason}");
                health.off = Some(reason);
            }
            Lane::Backlog | Lane::Requeued => {
                tracing::error!(%feed, "the backlog is not delivered until the feed's file changes: {reason}");
                health.backlog_off = Some(reason);
            }
        }
        drop(health);
        self.work = Work::Off;
    }
}
