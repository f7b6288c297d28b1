//! Runs events through a plugin in the gateway's sandbox, with the gateway's rights and limits and simulated time.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bessai_domain::event::{Event, EventBody, RecordedEvent};
use bessai_domain::ports::{CALL_LIMIT, Plugin as _};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, Timestamp};
use bessai_domain::view::FeedView;
use bessai_feed::Policy;
use bessai_plugin_runtime::{CompiledComponent, Engine, EngineSettings, LogSink, Plugin};
use tokio::runtime::Runtime;

use super::case::TestCase;
use super::grouping;
use super::outcome::RunOutcome;
use super::run_settings::{RunSettings, engine_settings};
use super::session::SessionStep;

mod session;

/// A component that is ready to run.
pub(crate) struct PluginRunner {
    runtime: Runtime,
    component: CompiledComponent,
    /// An engine stops the threads of its components when it is dropped.
    _engine: Engine,
}

impl PluginRunner {
    /// Compiles a component, or takes it from the cache. Code that counts fuel is somewhat slower.
    pub(crate) fn new(
        wasm: &[u8],
        cache: Option<PathBuf>,
        count_fuel: bool,
        compiling: &dyn Fn(),
    ) -> Result<Self, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("failed to start the runtime: {error}"))?;
        let engine = Engine::new(EngineSettings { count_fuel, ..engine_settings(cache) })?;
        let component = engine.load_noting(wasm, compiling)?;
        Ok(Self { runtime, component, _engine: engine })
    }

    /// Runs a case. Unless it says how many events a call has, it is run again with single ones: what a plugin keeps in a
    /// variable instead of in its state is lost then.
    pub(crate) fn run_case(&self, case: &TestCase) -> RunOutcome {
        let Some(site) = case.site_event() else { return RunOutcome::default() };
        let settings = RunSettings::of_case(case);
        let events = case.process_events();
        let mut outcome = self.run(site, events, &case.session, &settings);
        if case.events_per_call.is_none() && events.len() > 1 {
            let settings = RunSettings { events_per_call: 1, ..settings };
            let singly = self.run(site, events, &case.session, &settings);
            outcome.grouping = grouping::differences(&outcome, &singly);
        }
        outcome
    }

    /// Runs recorded events, of which the first one describes the site, and the steps of a session.
    pub(crate) fn replay(&self, events: &[Event], steps: &[SessionStep], settings: &RunSettings) -> RunOutcome {
        let Some((site, events)) = events.split_first() else { return RunOutcome::default() };
        self.run(site, events, steps, settings)
    }

    fn run(&self, site: &Event, events: &[Event], steps: &[SessionStep], settings: &RunSettings) -> RunOutcome {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let mut outcome = RunOutcome::default();
        let run = PluginRun::new(&self.component, settings, LogSink::Collected(Arc::clone(&lines))).map(|mut run| {
            outcome.failure = self.runtime.block_on(run.process_all(site, events, steps, &mut outcome)).err();
            outcome.fuel = Some(run.plugin.fuel_used());
        });
        outcome.failure = outcome.failure.take().or(run.err());
        outcome.log.clone_from(&lines.lock().unwrap_or_else(PoisonError::into_inner));
        outcome
    }
}

/// One run of events.
struct PluginRun<'a> {
    plugin: Plugin,
    policy: Policy,
    view: FeedView,
    /// The site as the plugin sees it.
    site: Arc<Site>,
    settings: &'a RunSettings,
}

impl<'a> PluginRun<'a> {
    fn new(component: &CompiledComponent, settings: &'a RunSettings, log: LogSink) -> Result<Self, String> {
        let mut state = PluginState::default();
        for (key, value) in &settings.state {
            state.set(key.clone(), value.clone()).map_err(|error| format!("[state] {key}: {error}"))?;
        }
        let policy = settings.policy();
        let view = FeedView::new(policy.read.clone());
        let plugin = Plugin::new(component.clone(), settings.plugin_settings(log), state);
        let site = Site { id: String::new(), revision: 0, devices: vec![], sources: vec![], attributes: vec![] };
        Ok(Self { plugin, policy, view, site: Arc::new(site), settings })
    }

    /// Configures the plugin and processes all events; the error is the first failure.
    async fn process_all(
        &mut self,
        site_event: &Event,
        mut events: &[Event],
        steps: &[SessionStep],
        outcome: &mut RunOutcome,
    ) -> Result<(), String> {
        if let EventBody::Site(site) = &site_event.body {
            self.site = self.view.site(site);
        }
        // Also without events, so that a case can test the configuration alone.
        self.start(site_event).await?;
        for step in steps {
            let before = events.iter().take_while(|event| event.at <= step.at).count();
            let (earlier, later) = events.split_at_checked(before).unwrap_or_default();
            self.process_events(earlier, outcome).await?;
            self.session_step(step, outcome).await?;
            events = later;
        }
        self.process_events(events, outcome).await
    }

    async fn process_events(&mut self, events: &[Event], outcome: &mut RunOutcome) -> Result<(), String> {
        for call in calls(events, self.settings.events_per_call) {
            if self.settings.fresh_instances {
                self.plugin.restore(self.plugin.state().clone());
            }
            self.call(call, outcome).await?;
        }
        Ok(())
    }

    async fn start(&mut self, event: &Event) -> Result<(), String> {
        self.start_at(event.at).await
    }

    async fn start_at(&mut self, at: Timestamp) -> Result<(), String> {
        let now = at.plus(self.settings.delay);
        self.plugin.start(&self.site, now).await.map_err(|error| format!("the plugin {error}"))
    }

    async fn call(&mut self, events: &[Event], outcome: &mut RunOutcome) -> Result<(), String> {
        let Some(last) = events.last() else { return Ok(()) };
        let now = Moment::by_wall_clock(last.at.plus(self.settings.delay));
        let recorded = events.iter().map(|event| RecordedEvent::by_wall_clock(Arc::new(event.clone())));
        let recent: Vec<_> = recorded.filter(|event| !self.policy.is_too_old(event, now.monotonic)).collect();
        if !self.plugin.is_running() {
            self.start(last).await?;
        }
        let visible = recent.iter().filter_map(|recorded| self.view.event(&recorded.event));
        let visible: Vec<_> = visible.map(RecordedEvent::by_wall_clock).collect();
        if visible.is_empty() {
            return Ok(());
        }
        outcome.calls += 1;
        let processed = self.plugin.process(&visible, now).await;
        let processed = processed.map_err(|error| format!("{}: the plugin {error}", numbers(&visible)))?;
        let admitted = self.policy.admit(processed.messages);
        let admitted = admitted.map_err(|error| format!("{}: {error}", numbers(&visible)))?;
        outcome.messages.extend(admitted.messages);
        if let Some(refusal) = admitted.refusals.first() {
            return Err(format!("{}: a message is not published: {refusal}", numbers(&visible)));
        }
        let site = visible.iter().rev().find_map(|recorded| match &recorded.event.body {
            EventBody::Site(site) => Some(Arc::clone(site)),
            _ => None,
        });
        self.site = site.unwrap_or_else(|| Arc::clone(&self.site));
        Ok(())
    }
}

/// The events' numbers, for errors.
fn numbers(events: &[RecordedEvent]) -> String {
    match events {
        [] => String::new(),
        [one] => format!("event {}", one.event.sequence.0),
        [first, .., last] => format!("events {} to {}", first.event.sequence.0, last.event.sequence.0),
    }
}

/// Splits events into calls as the gateway does: by their number and by the number of values, but at least one event per
/// call.
pub(super) fn calls(mut events: &[Event], events_per_call: usize) -> impl Iterator<Item = &[Event]> {
    std::iter::from_fn(move || {
        let mut values = 0;
        let fits = |event: &&Event| {
            values += event.body.value_count();
            values <= CALL_LIMIT.values
        };
        let count = events.iter().take(events_per_call).take_while(fits).count().max(1);
        let (call, rest) = events.split_at_checked(count)?;
        events = rest;
        (!call.is_empty()).then_some(call)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bessai_domain::event::{Frame, Sequence};

    #[test]
    fn events_are_split_into_calls_by_number_and_values() {
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
