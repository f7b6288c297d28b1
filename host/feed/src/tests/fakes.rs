//! Stands in for journal, plugin, broker and quarantine, and shows what they got.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::command::{Action, ArrivedMessage, InboundMessage, Subscription};
use bessai_domain::event::{Event, EventBody, RecordedEvent, Sequence};
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{
    Broker, CallError, ConnectError, Cursor, Events, Notice, Plugin, Processed, Receipt, Received, Session, SignInError,
};
use bessai_domain::proposal::{WriteOutcome, WriteStep};
use bessai_domain::refusal::{CloseCause, Closing, Objection};
use bessai_domain::session::{Endpoint, Login, Protocol, SignInRequest, Welcome};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, MonotonicTime, Timestamp};
use tokio::sync::Notify;

use super::sessions::SessionScript;
use crate::{
    Deleting, Quarantine, QuarantineContent, QuarantineEntry, ReadingRequeued, RecordWrite, RequeuedContent,
    RequeuedEntry, StoredEntry, Storing,
};

pub(super) const AT: Timestamp = Timestamp::from_nanos(1_740_151_200_000_000_000);

/// What a broker answers to subscriptions.
type Answer = Vec<(String, Result<Qos, String>)>;

/// What the outside of the feed observes and sets.
#[derive(Default)]
pub(super) struct Outside {
    pub(super) published: RefCell<Vec<String>>,
    // Carries the plugin's proposals out; none if the gateway writes nothing.
    pub(super) propose: RefCell<Option<crate::Propose>>,
    pub(super) quarantined: RefCell<Vec<(u64, String)>>,
    pub(super) position: Cell<u64>,
    pub(super) saved: RefCell<PluginState>,
    pub(super) holds_acknowledgements: Cell<bool>,
    // Everything that is observed, in order.
    pub(super) actions: RefCell<Vec<String>>,
    pub(super) quarantined_messages: RefCell<Vec<(u64, usize, Option<usize>)>>,
    // Names of requeued entries: their kind, their number and what they are like.
    pub(super) requeued: RefCell<Vec<String>>,
    pub(super) requeue: Rc<Notify>,
    // Why nothing can be stored in the quarantine.
    pub(super) quarantine_fault: RefCell<Option<String>>,
    // The broker closes each session at once.
    pub(super) closes_sessions: Cell<bool>,
    // Nobody answers at the broker's address.
    pub(super) is_unreachable: Cell<bool>,
    // The broker closes the current session.
    pub(super) closes_session: Cell<bool>,
    // Messages that arrive from the broker, with QoS 1.
    pub(super) arriving: RefCell<VecDeque<ArrivedMessage>>,
    // What became of proposals.
    pub(super) writes: RefCell<Vec<WriteStep>>,
    // What the broker answers to subscriptions.
    pub(super) answer: RefCell<Option<Answer>>,
    pub(super) changed: Notify,
}

impl Outside {
    pub(super) fn note(&self, action: impl Into<String>) {
        self.actions.borrow_mut().push(action.into());
        self.changed.notify_waiters();
    }
}

/// Numbers proposals from 101.
pub(super) fn record_in(outside: &Rc<Outside>) -> RecordWrite {
    let outside = Rc::clone(outside);
    Rc::new(move |_, step| {
        let mut writes = outside.writes.borrow_mut();
        writes.push(step);
        Sequence(100 + u64::try_from(writes.len()).unwrap())
    })
}

/// The paused time of the test, on both clocks.
pub(super) fn clock() -> Moment {
    thread_local! {
        static START: Cell<Option<tokio::time::Instant>> = const { Cell::new(None) };
    }
    let now = tokio::time::Instant::now();
    let start = START.get().filter(|start| *start <= now).unwrap_or(now);
    START.set(Some(start));
    Moment::by_wall_clock(AT.plus(now - start))
}

/// A list of events; after the last one none comes.
pub(super) struct EventList {
    pub(super) events: VecDeque<Arc<Event>>,
    pub(super) outside: Rc<Outside>,
    pub(super) batch_size: usize,
    pub(super) pause: Duration,
}

impl Events for EventList {
    type Cursor = TestCursor;

    fn site(&self) -> Option<Arc<Site>> {
        Some(Arc::new(Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] }))
    }

    async fn next(&mut self) -> Vec<RecordedEvent> {
        if self.events.is_empty() {
            std::future::pending::<()>().await;
        }
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        let batch = self.events.drain(..self.batch_size.min(self.events.len()));
        batch.map(RecordedEvent::by_wall_clock).collect()
    }

    fn cursor(&self) -> TestCursor {
        TestCursor(Rc::clone(&self.outside))
    }

    fn leave_backlog(&mut self, _age: Duration, _now: MonotonicTime) -> bool {
        false
    }

    fn backlog(&self) -> Option<(Self, PluginState)> {
        None
    }
}

pub(super) struct TestCursor(pub(super) Rc<Outside>);

impl Cursor for TestCursor {
    fn advance(&mut self, sequence: Sequence, _at: Timestamp, state: &PluginState) {
        self.0.position.set(sequence.0);
        self.0.saved.replace(state.clone());
        self.0.changed.notify_waiters();
    }

    async fn save_state(&mut self, state: &PluginState) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.saved.replace(state.clone());
        self.0.note("save");
    }

    fn finish_backlog(&mut self) {
        unreachable!("it leaves no backlog")
    }
}

/// What a plugin does with a message.
pub(super) type Receive = fn(&InboundMessage) -> Result<Vec<Action>, CallError>;

/// Publishes each event's number, counts in its state, and fails where its rule says so.
pub(super) struct RulePlugin {
    pub(super) version: &'static str,
    pub(super) fails: fn(&Event) -> bool,
    /// Events of which it makes no message.
    pub(super) ignores: fn(&Event) -> bool,
    pub(super) state: PluginState,
    pub(super) is_running: bool,
    pub(super) session: Option<SessionScript>,
    /// What it does with messages from the broker, if it receives any.
    pub(super) receive: Option<Receive>,
    /// Processor time of each call, which takes that long.
    pub(super) busy_per_call: Duration,
    pub(super) processor_time: Duration,
    /// Starts that fail because of the machine.
    pub(super) refusals_by_host: u32,
}

pub(super) fn rule(version: &'static str, fails: fn(&Event) -> bool) -> RulePlugin {
    RulePlugin {
        version,
        fails,
        ignores: |_| false,
        state: PluginState::default(),
        is_running: false,
        session: None,
        receive: None,
        busy_per_call: Duration::ZERO,
        processor_time: Duration::ZERO,
        refusals_by_host: 0,
    }
}

impl Plugin for RulePlugin {
    fn version(&self) -> String {
        self.version.into()
    }

    fn is_running(&self) -> bool {
        self.is_running
    }

    async fn start(&mut self, _site: &Arc<Site>, _now: Timestamp) -> Result<(), CallError> {
        if self.version == "refuses" {
            return Err(CallError::Refused("no topic".into()));
        }
        if self.refusals_by_host > 0 {
            self.refusals_by_host -= 1;
            return Err(CallError::Host("this machine refuses it memory".into()));
        }
        self.is_running = true;
        if let Some(session) = &self.session {
            session.outside.note("configure");
        }
        Ok(())
    }

    fn has_session(&self) -> bool {
        self.session.is_some()
    }

    async fn connect(&mut self, request: &SignInRequest) -> Result<Login, ConnectError> {
        self.connect_as_scripted(request)
    }

    async fn connected(&mut self, _welcome: &Welcome) -> Result<Processed, CallError> {
        Ok(self.publish_one("birth"))
    }

    async fn closing(&mut self, _at: Timestamp) -> Result<Processed, CallError> {
        Ok(self.publish_one("farewell"))
    }

    async fn process(&mut self, events: &[RecordedEvent], _now: Moment) -> Result<Processed, CallError> {
        if !self.busy_per_call.is_zero() {
            tokio::time::sleep(self.busy_per_call).await;
            self.processor_time += self.busy_per_call;
        }
        if events.iter().any(|recorded| (self.fails)(&recorded.event)) {
            self.is_running = false;
            return Err(CallError::Broken("trapped".into()));
        }
        let seen = self.state.get("seen").map_or(0, |seen| seen[0]) + u8::try_from(events.len()).unwrap();
        self.state.set("seen".into(), vec![seen]).unwrap();
        let name = |event: &Event| message(format!("{}/{}", self.version, event.sequence.0), payload_bytes(event));
        let published = events.iter().filter(|recorded| !(self.ignores)(&recorded.event));
        let messages = published.map(|recorded| name(&recorded.event)).collect();
        Ok(Processed { messages, state: self.state.clone(), took: Duration::ZERO })
    }

    fn has_commands(&self) -> bool {
        self.receive.is_some()
    }

    async fn subscriptions(&mut self, _at: Timestamp) -> Result<Vec<Subscription>, CallError> {
        Ok(vec![Subscription { filter: "cmd/#".into(), qos: Qos::AtLeastOnce }])
    }

    async fn receive(&mut self, message: &InboundMessage) -> Result<Received, CallError> {
        let Some(receive) = self.receive else { return Err(CallError::Broken("does not receive".into())) };
        let received = receive(message);
        self.is_running &= !matches!(received, Err(CallError::Broken(_)));
        let state = self.state.clone();
        received.map(|actions| Received { actions, state, took: Duration::ZERO })
    }

    async fn wrote(&mut self, _at: Timestamp, reference: &str, outcome: &WriteOutcome) -> Result<Processed, CallError> {
        Ok(self.publish_one(&format!("{reference} {outcome:?}")))
    }

    fn processor_time(&self) -> Duration {
        self.processor_time
    }

    fn state(&self) -> &PluginState {
        &self.state
    }

    fn restore(&mut self, state: PluginState) {
        (self.state, self.is_running) = (state, false);
    }

    fn twin(&self, state: PluginState) -> Self {
        let session = self.session.clone();
        Self { state, session, busy_per_call: self.busy_per_call, ..rule(self.version, self.fails) }
    }
}

pub(super) fn message(topic: String, bytes: usize) -> Message {
    Message { topic, payload: vec![0; bytes], qos: Qos::AtLeastOnce, retain: false, properties: None }
}

/// A frame with this value makes a message that is too large for the broker.
pub(super) const TOO_LARGE: f64 = 77.7;

pub(super) fn payload_bytes(event: &Event) -> usize {
    let is_large = matches!(&event.body, EventBody::Frame(frame) if frame.values[0] == TOO_LARGE);
    if is_large { 2000 } else { 0 }
}

pub(super) struct TestBroker(pub(super) Rc<Outside>);

pub(super) struct TestSession {
    pub(super) outside: Rc<Outside>,
    pub(super) in_flight: VecDeque<u64>,
    pub(super) next: u64,
}

impl Broker for TestBroker {
    type Session = TestSession;

    fn request(&self, at: Timestamp, attempt: u32) -> SignInRequest {
        SignInRequest { endpoint: Endpoint { host: "h".into(), port: 1883 }, protocol: Protocol::V5, at, attempt }
    }

    async fn sign_in(&mut self, _login: Login) -> Result<TestSession, SignInError> {
        if self.0.is_unreachable.get() {
            return Err(SignInError::Unreachable("nobody answers".into()));
        }
        self.0.note("CONNECT");
        self.0.closes_session.set(false);
        Ok(TestSession { outside: Rc::clone(&self.0), in_flight: VecDeque::new(), next: 0 })
    }
}

impl Session for TestSession {
    fn publish(&mut self, message: &Message) -> Result<(), String> {
        self.outside.published.borrow_mut().push(message.topic.clone());
        self.outside.note(message.topic.clone());
        self.in_flight.push_back(self.next);
        self.next += 1;
        self.outside.changed.notify_waiters();
        Ok(())
    }

    fn subscribe(&mut self, subscriptions: &[Subscription]) -> Result<(), String> {
        for subscription in subscriptions {
            self.outside.note(format!("SUBSCRIBE {}", subscription.filter));
        }
        Ok(())
    }

    fn acknowledge(&mut self, receipt: Receipt) {
        self.outside.note(format!("PUBACK {}", receipt.0));
    }

    async fn notice(&mut self) -> Notice {
        loop {
            let changed = Rc::clone(&self.outside);
            let changed = changed.changed.notified();
            if self.outside.closes_sessions.get() || self.outside.closes_session.get() {
                let reason = "connection closed by the test".into();
                return Notice::Closed(Closing { cause: CloseCause::Message(Objection::Unknown), reason });
            }
            if let Some(answer) = self.outside.answer.take() {
                return Notice::Subscribed(answer);
            }
            if let Some(message) = self.outside.arriving.borrow_mut().pop_front() {
                let id = message.payload.first().copied().map_or(0, u16::from);
                return Notice::Arrived { message: Box::new(message), receipt: Some(Receipt(id)) };
            }
            if !self.outside.holds_acknowledgements.get()
                && let Some(number) = self.in_flight.pop_front()
            {
                return Notice::Acknowledged { number, refusal: None };
            }
            changed.await;
        }
    }

    fn welcome(&self, at: Timestamp) -> Welcome {
        let (protocol, max_qos) = (Protocol::V5, Qos::ExactlyOnce);
        Welcome { at, protocol, session_present: false, max_packet: 1000, max_qos, retain: true }
    }

    fn largest(&self) -> usize {
        1000
    }

    fn window(&self) -> usize {
        16
    }

    async fn close(self) {
        self.outside.note("DISCONNECT");
    }
}

pub(super) struct TestQuarantine(pub(super) Rc<Outside>);

impl Quarantine for TestQuarantine {
    fn store(&self, entry: QuarantineEntry) -> Storing {
        let outside = Rc::clone(&self.0);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            if let Some(fault) = outside.quarantine_fault.borrow().clone() {
                return Err(fault);
            }
            match entry.content {
                QuarantineContent::Event(event) => {
                    outside.quarantined.borrow_mut().push((event.event.sequence.0, event.reason));
                }
                QuarantineContent::Message(message) => {
                    let through = message.through.0;
                    outside.quarantined_messages.borrow_mut().push((through, message.index, message.limit));
                }
            }
            Ok(StoredEntry { location: "a file".into(), deleted: 0 })
        })
    }

    fn requeued(&self, _feed: &str) -> Rc<Notify> {
        Rc::clone(&self.0.requeue)
    }

    fn read_requeued(&self, _feed: &str) -> ReadingRequeued {
        let outside = Rc::clone(&self.0);
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let name = outside.requeued.borrow().first()?.clone();
            let sequence: u64 = name.split('-').nth(1).unwrap().parse().unwrap();
            let content = if name.starts_with("event") {
                let site = Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] };
                let mut state = PluginState::default();
                state.set("seen".into(), vec![100]).unwrap();
                let value = if name.ends_with("poison") { 66.6 } else { 1.0 };
                let event = super::running::frame(sequence, value);
                RequeuedContent::Event { site: Some(Arc::new(site)), event, state: Some(state) }
            } else {
                let message = message(format!("again/{sequence}"), 0);
                RequeuedContent::Message { through: Sequence(sequence), index: 5, message }
            };
            Some(RequeuedEntry { name, content })
        })
    }

    fn delete_requeued(&self, _feed: &str, name: &str) -> Deleting {
        let (outside, name) = (Rc::clone(&self.0), name.to_owned());
        Box::pin(async move {
            outside.note(format!("delete {name}"));
            outside.requeued.borrow_mut().retain(|known| *known != name);
        })
    }
}
