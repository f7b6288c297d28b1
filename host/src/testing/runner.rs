//! Runs events through a plugin by hand: the same sandbox, rights and limits as in the gateway, with virtual time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bessai_domain::event::{Event, EventBody};
use bessai_domain::message::Message;
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::view::View;

use super::{Case, Outcome, compile_limits};
use crate::config::{FeedLimits, Rights};
use crate::feed::Policy;
use crate::journal::CALL;
use crate::plugin::{self, CallError, Engine, Lines, Loaded, Plugin, ReadKey, Secrets};

/// A component, loaded for running and for counting its fuel.
pub struct Runner {
    runtime: tokio::runtime::Runtime,
    loaded: Loaded,
    metered: Option<Loaded>,
    // Their threads end with them.
    _engines: Vec<Engine>,
}

/// What surrounds the plugin.
#[derive(Clone)]
pub struct Surroundings {
    /// `[config]` as JSON.
    pub config_json: String,
    /// What it may sign with.
    pub secrets: BTreeMap<String, Vec<u8>>,
    /// What it finds in its state.
    pub state: BTreeMap<String, Vec<u8>>,
    /// What it may see and do.
    pub rights: Rights,
    /// What it may use up.
    pub limits: FeedLimits,
    /// Events that one call gets.
    pub events_per_call: usize,
    /// How long after its time an event is handed over.
    pub delay: Duration,
    /// A fresh instance for each call shows what was not kept in the state.
    pub fresh_instances: bool,
}

impl Runner {
    /// Compiles the component, or takes it from the cache. With `count_fuel` also for counting.
    pub fn new(wasm: &[u8], cache: Option<PathBuf>, count_fuel: bool) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("failed to start the runtime: {error}"))?;
        let engine = Engine::new(cache.clone(), compile_limits())?;
        let loaded = engine.load(wasm)?;
        let mut engines = vec![engine];
        let metered = match count_fuel {
            false => None,
            true => {
                let engine = Engine::metered(cache, compile_limits())?;
                let loaded = engine.load(wasm)?;
                engines.push(engine);
                Some(loaded)
            }
        };
        Ok(Self { runtime, loaded, metered, _engines: engines })
    }

    /// Runs a case, and a second time for its fuel.
    pub fn run_case(&self, case: &Case) -> Outcome {
        let Some((described, _)) = case.site() else { return Outcome::default() };
        let surroundings = Surroundings::of_case(case);
        let events = case.handed_over();
        let mut outcome = self.run(&self.loaded, described, events, &surroundings);
        if let Some(metered) = &self.metered {
            outcome.fuel = self.run(metered, described, events, &surroundings).fuel;
        }
        outcome
    }

    /// Runs recorded events, the first of which describes the site.
    pub fn replay(&self, events: &[Event], surroundings: &Surroundings) -> Outcome {
        let Some((described, events)) = events.split_first() else { return Outcome::default() };
        self.run(&self.loaded, described, events, surroundings)
    }

    fn run(&self, loaded: &Loaded, described: &Event, events: &[Event], surroundings: &Surroundings) -> Outcome {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let mut outcome = Outcome::default();
        let lines = Lines::Kept(Arc::clone(&kept));
        let run = Run::new(loaded, surroundings, lines).map(|mut run| {
            outcome.failure = self.runtime.block_on(run.all(described, events, &mut outcome)).err();
            outcome.fuel = Some(run.plugin.fuel());
        });
        outcome.failure = outcome.failure.take().or(run.err());
        outcome.log.clone_from(&kept.lock().unwrap_or_else(PoisonError::into_inner));
        outcome
    }
}

impl Surroundings {
    /// Events in full calls, in time, through one instance.
    pub fn new(config_json: String, rights: Rights, limits: FeedLimits) -> Self {
        Self {
            config_json,
            secrets: BTreeMap::new(),
            state: BTreeMap::new(),
            rights,
            limits,
            events_per_call: CALL.events,
            delay: Duration::ZERO,
            fresh_instances: false,
        }
    }

    /// As a case has them.
    fn of_case(case: &Case) -> Self {
        Self {
            config_json: case.config_json.clone(),
            secrets: case.secrets.clone(),
            state: case.state.clone(),
            rights: case.rights.clone(),
            limits: case.limits,
            events_per_call: case.events_per_call,
            delay: case.delay,
            fresh_instances: true,
        }
    }

    fn policy(&self) -> Policy {
        Policy {
            read: self.rights.read.clone(),
            connect: self.rights.connect.clone(),
            topics: self.rights.topics.clone(),
            qos: self.limits.qos,
            // Nothing is published, so nothing is held back.
            rate_per_s: None,
            max_age: self.limits.max_age,
        }
    }

    pub(super) fn settings(&self, lines: Lines) -> plugin::Settings {
        let key = |(name, value): (&String, &Vec<u8>)| {
            let value = value.clone();
            (name.clone(), Box::new(move || Ok(value.clone())) as ReadKey)
        };
        plugin::Settings {
            feed: "test".into(),
            config: self.config_json.clone(),
            secrets: Arc::new(Secrets::new(self.secrets.iter().map(key).collect())),
            memory: usize::try_from(self.limits.memory_bytes).unwrap_or(plugin::MEMORY),
            call: self.limits.call,
            lines,
        }
    }
}

/// One run of events.
struct Run<'a> {
    plugin: Plugin,
    policy: Policy,
    view: View,
    site: Arc<Site>,
    surroundings: &'a Surroundings,
}

impl<'a> Run<'a> {
    fn new(loaded: &Loaded, surroundings: &'a Surroundings, lines: Lines) -> Result<Self, String> {
        let mut state = State::default();
        for (key, value) in &surroundings.state {
            state.set(key.clone(), value.clone()).map_err(|error| format!("[state] {key}: {error}"))?;
        }
        let policy = surroundings.policy();
        let view = View::new(policy.read.clone());
        let plugin = Plugin::new(loaded.clone(), surroundings.settings(lines), state);
        let nobody = Site { id: String::new(), revision: 0, devices: vec![], sources: vec![], attributes: vec![] };
        Ok(Self { plugin, policy, view, site: Arc::new(nobody), surroundings })
    }

    /// The error is the first failure.
    async fn all(&mut self, described: &Event, events: &[Event], outcome: &mut Outcome) -> Result<(), String> {
        if let EventBody::Site(site) = &described.body {
            self.site = self.view.site(site);
        }
        // A configuration is judged also where there are no events.
        self.start(described).await?;
        for call in calls(events, self.surroundings.events_per_call) {
            if self.surroundings.fresh_instances {
                self.plugin.restore(self.plugin.state().clone());
            }
            self.call(call, outcome).await?;
        }
        Ok(())
    }

    async fn start(&mut self, at: &Event) -> Result<(), String> {
        let now = at.at.plus(self.surroundings.delay).nanos();
        self.plugin.start(&self.site, now).await.map_err(|error| format!("the plugin {error}"))
    }

    async fn call(&mut self, events: &[Event], outcome: &mut Outcome) -> Result<(), String> {
        let Some(last) = events.last() else { return Ok(()) };
        let now = last.at.plus(self.surroundings.delay);
        let in_time = events.iter().filter(|event| !self.policy.is_too_old(event, now));
        let in_time: Vec<_> = in_time.map(|event| Arc::new(event.clone())).collect();
        if !self.plugin.is_running() {
            self.start(last).await?;
        }
        let seen: Vec<_> = in_time.iter().filter_map(|event| self.view.event(event)).collect();
        if seen.is_empty() {
            return Ok(());
        }
        outcome.calls += 1;
        let processed = self.plugin.process(&seen, now.nanos()).await.map_err(|error| failure(&seen, &error))?;
        let admitted = self.policy.admit(processed.messages).map_err(|error| format!("{}: {error}", named(&seen)))?;
        outcome.messages.extend::<Vec<Message>>(admitted.messages);
        if let Some(refusal) = admitted.refusals.first() {
            return Err(format!("{}: a message is not published: {refusal}", named(&seen)));
        }
        let described = seen.iter().rev().find_map(|event| match &event.body {
            EventBody::Site(site) => Some(Arc::clone(site)),
            _ => None,
        });
        self.site = described.unwrap_or_else(|| Arc::clone(&self.site));
        Ok(())
    }
}

fn failure(events: &[Arc<Event>], error: &CallError) -> String {
    format!("{}: the plugin {}", named(events), told(error))
}

/// Without its subject.
pub(super) fn told(error: &CallError) -> String {
    match error {
        CallError::Retry(reason) => format!("asks for the events again later: {reason}"),
        CallError::Reject(reason) => format!("rejects the events: {reason}"),
        CallError::Broken(reason) => reason.clone(),
    }
}

fn named(events: &[Arc<Event>]) -> String {
    match events {
        [] => String::new(),
        [one] => format!("event {}", one.sequence.0),
        [first, .., last] => format!("events {} to {}", first.sequence.0, last.sequence.0),
    }
}

/// Cut as the gateway cuts them: so many events, and so many values, and at least one event.
fn calls(mut events: &[Event], most: usize) -> impl Iterator<Item = &[Event]> {
    std::iter::from_fn(move || {
        let mut values = 0;
        let fits = |event: &&Event| {
            values += event.body.values();
            values <= CALL.values
        };
        let count = events.iter().take(most).take_while(fits).count().max(1);
        let (call, rest) = events.split_at_checked(count)?;
        events = rest;
        (!call.is_empty()).then_some(call)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::event::{Frame, Sequence};
    use bessai_domain::time::Timestamp;

    #[test]
    fn events_are_cut_into_calls_by_number_and_values() {
        let frame = |values| Event {
            sequence: Sequence(1),
            at: Timestamp::default(),
            body: EventBody::Frame(Frame { source: 0, values: vec![0.0; values], faults: vec![], texts: vec![] }),
        };
        let check = |values: &[usize], most, expected: &[usize]| {
            let events: Vec<_> = values.iter().copied().map(frame).collect();
            let lengths: Vec<_> = calls(&events, most).map(<[Event]>::len).collect();
            assert_eq!(lengths, expected, "{values:?}");
        };
        check(&[], 64, &[]);
        check(&[1; 5], 2, &[2, 2, 1]);
        check(&[5000, 3192, 1, 9000, 1], 64, &[2, 1, 1, 1]);
    }
}
