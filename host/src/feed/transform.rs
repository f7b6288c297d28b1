//! Runs events through the plugin: fresh instances after a fault, the poisonous event found and set aside, a new version
//! tried before the old one goes, what a plugin returns checked before it goes anywhere.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody};
use bessai_domain::session::Welcome;
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::view::View;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::feed::calls::{Given, Greeting};
use crate::feed::policy::Policy;
use crate::feed::{CallError, Events, Plugin, Processed, Replacements, Settings, Shared, SharedHealth};

mod poison;
mod session;
mod version;

use version::Previous;

pub(super) use version::Replaced;

/// Failures in a row, with no event passing in between, after which a plugin is switched off.
const FAILURES_TO_OFF: u32 = 10;
/// Pause before a plugin gets the events again that it wants later.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A plugin with its view of the site and the events that it has yet to pass.
pub(super) struct Transformer<P> {
    plugin: P,
    settings: Settings,
    policy: Policy,
    view: View,
    // The description that the next pending event refers to: the site's, and the feed's view of it.
    site: Option<(Arc<Site>, Arc<Site>)>,
    pending: VecDeque<Pending>,
    // The pending events are run one by one, to find the one that the plugin fails on.
    is_cut: bool,
    // Nothing can be said of the first pending event before there are others.
    needs_more: bool,
    retry_at: Option<Instant>,
    // The plugin asks for the events later, and that was said.
    is_said_to_wait: bool,
    passed: Passed,
    // The state before a trial that goes on, or was given up half-way.
    before_trial: Option<State>,
    failures: u32,
    is_off: bool,
    previous: Option<Previous<P>>,
    // The session that goes on.
    welcome: Option<Welcome>,
    // The running instance was told of it.
    is_greeted: bool,
    // What it gave then, where its messages are still to be published.
    greeting: Option<Greeting>,
    // What a version gave last that was replaced within the session.
    farewell: Option<Greeting>,
    shared: Rc<Shared>,
    health: SharedHealth,
}

/// An event, and what the feed may see of it.
#[derive(Clone)]
struct Pending {
    event: Arc<Event>,
    seen: Option<Arc<Event>>,
    is_set_aside: bool,
}

/// The newest events that passed under the description in force: what a fresh instance is tried with.
#[derive(Default)]
struct Passed {
    frame: Option<Pending>,
    other: Option<Pending>,
}

/// What became of the pending events.
enum Step {
    /// Boxed, as a channel keeps room for 32.
    Given(Box<Given>),
    /// The plugin wants them again later.
    Later,
    /// Only more events can tell whether one of them or the plugin is to blame.
    NeedsMore,
    Off,
}

/// What a failure leads to.
enum Failed {
    /// The version before takes over.
    RolledBack,
    Counted,
    /// It was one too many.
    Off,
}

impl<P: Plugin> Transformer<P> {
    pub(super) fn new(settings: Settings, policy: Policy, plugin: P, shared: Rc<Shared>, health: SharedHealth) -> Self {
        health.borrow_mut().version = plugin.version();
        Self {
            plugin,
            settings,
            view: View::new(policy.read.clone()),
            policy,
            site: None,
            pending: VecDeque::new(),
            is_cut: false,
            needs_more: false,
            retry_at: None,
            is_said_to_wait: false,
            passed: Passed::default(),
            before_trial: None,
            failures: 0,
            is_off: false,
            previous: None,
            welcome: None,
            is_greeted: false,
            greeting: None,
            farewell: None,
            shared,
            health,
        }
    }

    /// Runs events through the plugin for as long as it is polled; ends with a new version that signs in anew.
    /// May be dropped at any time and called again: what is pending stays.
    pub(super) async fn produce<E: Events, B>(
        &mut self,
        events: &mut E,
        outbox: mpsc::Sender<Box<Given>>,
        replacements: &mut Replacements<P, B>,
    ) -> Replaced<B> {
        loop {
            let wants_events = !self.is_off && (self.pending.is_empty() || self.needs_more);
            let has_work = !self.is_off && !self.pending.is_empty() && !self.needs_more && self.retry_at.is_none();
            let retry_at = self.retry_at.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                Some(replacement) = replacements.recv() => {
                    let replaced = Box::pin(self.replace(*replacement)).await;
                    if let Some(replaced) = replaced.filter(|replaced| replaced.signs_in_anew) {
                        return replaced;
                    }
                }
                // Room first, so that nothing is computed that has to wait.
                Ok(room) = outbox.reserve(), if has_work => match self.step().await {
                    Step::Given(given) => room.send(given),
                    Step::Later => self.retry_at = Some(Instant::now() + RETRY_PAUSE),
                    Step::NeedsMore => self.needs_more = true,
                    Step::Off => self.is_off = true,
                },
                batch = events.next(), if wants_events => {
                    // Looking for the description costs a walk through the journal.
                    let site = if self.site.is_none() { events.site() } else { None };
                    self.take(batch, site);
                }
                () = sleep_until(retry_at), if self.retry_at.is_some() => self.retry_at = None,
            }
        }
    }

    /// `site`: the description in force before these events.
    fn take(&mut self, batch: Vec<Arc<Event>>, site: Option<Arc<Site>>) {
        if let (None, Some(site)) = (&self.site, site) {
            let seen = self.view.site(&site);
            self.site = Some((site, seen));
        }
        let now = (self.settings.clock)();
        for event in batch {
            let is_too_old = self.policy.is_too_old(&event, now);
            self.health.borrow_mut().too_old += u64::from(is_too_old);
            let seen = self.view.event(&event).filter(|_| !is_too_old);
            self.pending.push_back(Pending { event, seen, is_set_aside: false });
        }
        self.needs_more = false;
    }

    /// What a trial left is nobody's state.
    fn end_trial(&mut self) {
        if let Some(state) = self.before_trial.take() {
            self.plugin.restore(state);
            self.greeting = None;
        }
    }

    /// Runs what is pending: all at once, or after a failure the first one only.
    async fn step(&mut self) -> Step {
        self.end_trial();
        let mut attempts = 0;
        while !self.is_cut {
            let seen: Vec<_> = self.pending.iter().filter_map(|pending| pending.seen.clone()).collect();
            let error = match self.call(&seen).await {
                Ok(processed) => return self.pass(self.pending.len(), processed),
                Err(CallError::Retry(reason)) => return self.later(&reason),
                Err(error) => error,
            };
            match self.failed(&error) {
                Failed::RolledBack => {}
                Failed::Off => return Step::Off,
                Failed::Counted => {
                    attempts += 1;
                    // A batch gets a second try before it is cut down; a single event has its second try there.
                    self.is_cut = attempts == seen.len().min(2);
                }
            }
        }
        self.first().await
    }

    /// Events through a started instance, and its messages through the feed's rights.
    async fn call(&mut self, events: &[Arc<Event>]) -> Result<Processed, CallError> {
        let (processed, refusals) = self.admitted(events).await?;
        self.note_refusals(&refusals);
        Ok(processed)
    }

    /// The same, with why some of the messages are not published. A call that returns too much leaves no state.
    async fn admitted(&mut self, events: &[Arc<Event>]) -> Result<(Processed, Vec<String>), CallError> {
        let before = self.plugin.state().clone();
        let processed = self.run(events).await?;
        let admitted = self.policy.admit(processed.messages).map_err(|error| {
            self.plugin.restore(before);
            CallError::Broken(error)
        })?;
        Ok((Processed { messages: admitted.messages, ..processed }, admitted.refusals))
    }

    async fn run(&mut self, events: &[Arc<Event>]) -> Result<Processed, CallError> {
        if events.is_empty() {
            return Ok(Processed { messages: Vec::new(), state: self.plugin.state().clone(), took: Duration::ZERO });
        }
        if !self.plugin.is_running() {
            self.start(events).await?;
        }
        self.greet_again().await?;
        let result = self.plugin.process(events).await;
        if let Ok(processed) = &result {
            self.health.borrow_mut().note_call(processed.took, self.settings.slow_call);
        }
        result
    }

    async fn start(&mut self, events: &[Arc<Event>]) -> Result<(), CallError> {
        let described = || events.iter().find_map(description);
        let Some(site) = self.site.as_ref().map(|(_, seen)| Arc::clone(seen)).or_else(described) else {
            return Err(CallError::Retry("the site has no description yet".into()));
        };
        self.health.borrow_mut().starts += 1;
        (self.is_greeted, self.greeting) = (false, None);
        Box::pin(self.plugin.start(&site)).await.map_err(CallError::Broken)
    }

    /// The first `count` pending events are done with.
    fn pass(&mut self, count: usize, processed: Processed) -> Step {
        let mut through = None;
        for pending in self.pending.drain(..count.min(self.pending.len())) {
            through = Some((pending.event.sequence, pending.event.at));
            if let EventBody::Site(site) = &pending.event.body {
                let seen = pending.seen.as_ref().and_then(description);
                self.site = Some((Arc::clone(site), seen.unwrap_or_else(|| Arc::clone(site))));
                self.passed = Passed::default();
            }
            if pending.seen.is_some() && !pending.is_set_aside {
                self.failures = 0;
                self.is_said_to_wait = false;
                self.passed.note(pending);
            }
        }
        self.is_cut &= !self.pending.is_empty();
        let Some((through, at)) = through else { return Step::NeedsMore };
        self.note_version(through);
        let greeting = self.greeting.take();
        Step::Given(Box::new(Given { through, at, messages: processed.messages, state: processed.state, greeting }))
    }

    /// Said once, until an event passes: the plugin may ask every second, for ever, and for another reason each time.
    fn later(&mut self, reason: &str) -> Step {
        if !self.is_said_to_wait {
            tracing::warn!(feed = %self.settings.name, "the plugin waits: {reason}");
            self.is_said_to_wait = true;
        }
        Step::Later
    }

    /// Counts a failure: one log line, one counter.
    fn failed(&mut self, error: &CallError) -> Failed {
        self.health.borrow_mut().failures += 1;
        if self.roll_back(error) {
            return Failed::RolledBack;
        }
        self.failures += 1;
        if self.failures < FAILURES_TO_OFF {
            tracing::warn!(feed = %self.settings.name, "the plugin failed: {error}");
            return Failed::Counted;
        }
        let reason = format!("the plugin failed {FAILURES_TO_OFF} times in a row, last: {error}");
        tracing::error!(feed = %self.settings.name, "switched off until its file changes: {reason}");
        self.health.borrow_mut().off = Some(reason);
        Failed::Off
    }

    fn note_refusals(&self, refusals: &[String]) {
        const SHOWN_CHARACTERS: usize = 300;
        let Some(first) = refusals.first() else { return };
        let mut health = self.health.borrow_mut();
        if health.refused == 0 {
            // A topic may have a mebibyte.
            let first: String = first.chars().take(SHOWN_CHARACTERS).collect();
            tracing::error!(feed = %self.settings.name, "a message is not published: {first}");
        }
        health.refused += u64::try_from(refusals.len()).unwrap_or(u64::MAX);
    }
}

impl Pending {
    fn describes(&self) -> bool {
        self.seen.as_ref().and_then(description).is_some()
    }
}

impl Passed {
    fn note(&mut self, pending: Pending) {
        match &pending.event.body {
            EventBody::Frame(_) => self.frame = Some(pending),
            _ => self.other = Some(pending),
        }
    }
}

fn description(event: &Arc<Event>) -> Option<Arc<Site>> {
    match &event.body {
        EventBody::Site(site) => Some(Arc::clone(site)),
        _ => None,
    }
}
