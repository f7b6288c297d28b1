//! A customer's plugin behind the port of a feed: it names the events that it got, keeps the last one in its state, and fails
//! as its plan says.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::command::{InboundMessage, Subscription};
use bessai_domain::event::{EventBody, RecordedEvent};
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{CallError, ConnectError, Plugin, Processed, Received};
use bessai_domain::proposal::WriteOutcome;
use bessai_domain::session::{Login, SignInRequest, Welcome};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, Timestamp};

use crate::broker::LARGEST_MESSAGE;
use crate::sabotage::Sabotage;
use crate::scenario::PluginFaults;
use crate::world::World;

/// The longest call that the runtime allows.
const LONGEST_CALL: Duration = Duration::from_secs(5);
/// The key of the last event that was processed.
const LAST: &str = "last";

thread_local! {
    /// What plugins share that must not share anything.
    static SHARED: Rc<tokio::sync::Semaphore> = Rc::new(tokio::sync::Semaphore::new(1));
}

/// The last event that a plugin with this state has processed.
pub(crate) fn last_processed(state: &PluginState) -> u64 {
    state.get(LAST).map_or(0, |bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
}

fn set_last(state: &mut PluginState, number: u64) {
    state.set(LAST.into(), number.to_le_bytes().to_vec()).unwrap();
}

/// The plugin of a feed.
pub(crate) struct SimPlugin {
    world: Rc<World>,
    feed: usize,
    faults: PluginFaults,
    state: PluginState,
    is_running: bool,
    processor_time: Duration,
}

impl SimPlugin {
    pub(crate) fn new(world: &Rc<World>, feed: usize, state: PluginState) -> Self {
        let faults = world.scenario.feeds[feed].plugin.clone();
        Self { world: Rc::clone(world), feed, faults, state, is_running: false, processor_time: Duration::ZERO }
    }

    fn message(&self, topic: String, payload: String) -> Message {
        Message { topic, payload: payload.into_bytes(), qos: Qos::AtLeastOnce, retain: false, properties: None }
    }

    fn processed(&self, messages: Vec<Message>) -> Processed {
        Processed { messages, state: self.state.clone(), took: Duration::ZERO }
    }

    /// A call takes its time; the instance is gone if it is cancelled meanwhile.
    async fn take_time(&mut self) {
        self.is_running = false;
        if self.world.fails("plugin is slow", self.faults.slow) {
            let time = self.world.choose(|random| random.below(LONGEST_CALL));
            // A slow call computes all the time, also one that is cancelled.
            self.processor_time += time;
            self.world.pause(time).await;
        }
        self.is_running = true;
    }

    /// Fails as the plan says.
    fn fail(&mut self, events: &[RecordedEvent]) -> Result<(), CallError> {
        if self.world.fails("plugin asks to retry", self.faults.retries) {
            return Err(CallError::Retry("not yet".into()));
        }
        let world = Rc::clone(&self.world);
        let poison = |recorded: &RecordedEvent| world.is_poisonous(self.feed, &recorded.event, self.faults.poison);
        let is_poisoned = self.faults.poison > 0.0 && events.iter().any(poison);
        if is_poisoned || self.world.fails("plugin traps", self.faults.traps) {
            self.is_running = false;
            return Err(CallError::Broken("trapped".into()));
        }
        Ok(())
    }

    /// One message for each event, and a few for all of them together now and then.
    fn messages(&self, events: &[RecordedEvent]) -> Vec<Message> {
        let numbers = events.iter().map(|recorded| {
            let number = recorded.event.sequence.0;
            match recorded.event.body {
                EventBody::Gap(_) => format!("gap:{number}"),
                EventBody::Site(_) => format!("site:{number}"),
                _ => number.to_string(),
            }
        });
        let mut numbers: Vec<_> = numbers.collect();
        if self.world.choose(|random| random.chance(0.2)) {
            numbers = vec![numbers.join(",")];
        }
        let topic = format!("SITE/feed-{}/events", self.feed);
        let mut messages: Vec<_> = numbers.into_iter().map(|payload| self.message(topic.clone(), payload)).collect();
        for message in &mut messages {
            if self.world.fails("message is too large", self.faults.too_large) {
                message.payload.resize(LARGEST_MESSAGE + 1, b' ');
            }
        }
        messages
    }
}

impl Plugin for SimPlugin {
    fn version(&self) -> String {
        "1".into()
    }

    fn is_running(&self) -> bool {
        self.is_running
    }

    async fn start(&mut self, _site: &Arc<Site>, _now: Timestamp) -> Result<(), CallError> {
        self.take_time().await;
        if self.world.fails("memory is short", self.faults.retries) {
            self.is_running = false;
            return Err(CallError::Host("memory is short".into()));
        }
        self.world.note(&format!("feed {} starts its plugin", self.feed));
        self.is_running = !self.world.fails("plugin refuses its settings", self.faults.refuses_start);
        if self.is_running { Ok(()) } else { Err(CallError::Broken("refuses its settings".into())) }
    }

    async fn process(&mut self, events: &[RecordedEvent], _now: Moment) -> Result<Processed, CallError> {
        let shared = SHARED.with(Rc::clone);
        let is_shared = self.world.sabotage == Some(Sabotage::SharesPlugins);
        let permit = if is_shared { Some(shared.acquire().await.unwrap()) } else { None };
        self.take_time().await;
        drop(permit);
        self.fail(events)?;
        if self.world.fails("plugin returns too much", self.faults.floods) {
            let flood = self.message("SITE/flood".into(), String::new());
            // The state of a call that is refused must not stay.
            set_last(&mut self.state, u64::MAX);
            return Ok(self.processed(vec![flood; 2000]));
        }
        let through = events.last().map_or(0, |last| last.event.sequence.0);
        set_last(&mut self.state, through);
        Ok(self.processed(self.messages(events)))
    }

    fn has_session(&self) -> bool {
        self.faults.session.is_some()
    }

    async fn connect(&mut self, _request: &SignInRequest) -> Result<Login, ConnectError> {
        self.take_time().await;
        if self.world.fails("plugin refuses to sign in", self.faults.session.unwrap_or_default()) {
            return Err(ConnectError::Refused("no token yet".into()));
        }
        Ok(Login::default())
    }

    async fn connected(&mut self, _welcome: &Welcome) -> Result<Processed, CallError> {
        self.take_time().await;
        Ok(self.processed(vec![self.message(format!("SITE/feed-{}/birth", self.feed), "birth".into())]))
    }

    async fn closing(&mut self, _at: Timestamp) -> Result<Processed, CallError> {
        Ok(self.processed(vec![self.message(format!("SITE/feed-{}/death", self.feed), "death".into())]))
    }

    fn has_commands(&self) -> bool {
        false
    }

    async fn subscriptions(&mut self, _at: Timestamp) -> Result<Vec<Subscription>, CallError> {
        unreachable!("it has no commands")
    }

    async fn receive(&mut self, _message: &InboundMessage) -> Result<Received, CallError> {
        unreachable!("it has no commands")
    }

    async fn wrote(&mut self, _at: Timestamp, _ref: &str, _outcome: &WriteOutcome) -> Result<Processed, CallError> {
        unreachable!("it has no commands")
    }

    fn processor_time(&self) -> Duration {
        self.processor_time
    }

    fn state(&self) -> &PluginState {
        &self.state
    }

    fn twin(&self, state: PluginState) -> Self {
        Self::new(&self.world, self.feed, state)
    }

    fn restore(&mut self, state: PluginState) {
        (self.state, self.is_running) = (state, false);
    }
}
