//! A broker with a rule for each message, a plugin that publishes to several topics, and what became of each message.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::command::{InboundMessage, Subscription};
use bessai_domain::event::{Event, RecordedEvent};
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{
    Broker, CallError, ConnectError, Events, Notice, Plugin, Processed, Receipt, Received, Session, SignInError,
};
use bessai_domain::proposal::WriteOutcome;
use bessai_domain::refusal::{CloseCause, Closing, Objection, Refusal};
use bessai_domain::session::{Endpoint, Login, Protocol, SignInRequest, Welcome};
use bessai_domain::site::Site;
use bessai_domain::state::PluginState;
use bessai_domain::time::{Moment, MonotonicTime, Timestamp};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep};

use super::super::fakes::{Outside, TestCursor, clock, record_in};
use super::super::running::{frame, policy};
use crate::{
    BrokerGates, Deleting, Feed, FeedSettings, Policy, Quarantine, QuarantineContent, QuarantineEntry, ReadingRequeued,
    SharedFeedHealth, StoredEntry, Storing,
};

/// Events that come once a second, whether or not somebody reads them.
pub(in super::super) struct Ticking {
    pub(in super::super) events: VecDeque<Arc<Event>>,
    pub(in super::super) outside: Rc<Outside>,
    pub(in super::super) began: Instant,
}

impl Events for Ticking {
    type Cursor = TestCursor;

    fn site(&self) -> Option<Arc<Site>> {
        Some(Arc::new(Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] }))
    }

    async fn next(&mut self) -> Vec<RecordedEvent> {
        let Some(next) = self.events.front() else { return std::future::pending().await };
        tokio::time::sleep_until(self.began + Duration::from_secs(next.sequence.0)).await;
        self.events.pop_front().into_iter().map(RecordedEvent::by_wall_clock).collect()
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

/// What a broker does with a message.
#[derive(Clone, Debug)]
pub(in super::super) enum Reaction {
    Accept,
    Refuse(Refusal),
    Close(CloseCause),
    /// It never acknowledges the message.
    Silence,
    /// It accepts the message, and closes the connection without saying so.
    AcceptAndClose,
}

pub(in super::super) type Rule = Box<dyn Fn(&Message, Instant) -> Reaction>;

/// The broker, the quarantine and what happened to each message, by its payload.
pub(in super::super) struct Customer {
    pub(in super::super) rule: Rule,
    /// Sessions end by themselves after this time on average.
    pub(in super::super) drops_after: Cell<Option<Duration>>,
    pub(in super::super) delivered: RefCell<BTreeMap<String, Instant>>,
    pub(in super::super) quarantined: RefCell<BTreeMap<String, String>>,
    pub(in super::super) sign_ins: Cell<u32>,
    /// Messages that were published retained.
    pub(in super::super) retained: Cell<u32>,
    pub(in super::super) random: Cell<u64>,
    /// Time that it takes for a message.
    pub(in super::super) handles_in: Cell<Duration>,
}

impl Customer {
    pub(in super::super) fn new(rule: impl Fn(&Message, Instant) -> Reaction + 'static) -> Rc<Self> {
        Rc::new(Self {
            rule: Box::new(rule),
            drops_after: Cell::default(),
            delivered: RefCell::default(),
            quarantined: RefCell::default(),
            sign_ins: Cell::default(),
            retained: Cell::default(),
            random: Cell::new(88_172_645_463_325_252),
            handles_in: Cell::new(Duration::from_millis(20)),
        })
    }

    /// A number from 0 to 1.
    fn random(&self) -> f64 {
        let mut seed = self.random.get();
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        self.random.set(seed);
        f64::from(u32::try_from(seed >> 40).unwrap()) / f64::from(1 << 24)
    }

    pub(in super::super) fn delivered(&self, topic: &str) -> usize {
        self.delivered.borrow().keys().filter(|payload| payload.starts_with(topic)).count()
    }

    pub(in super::super) fn quarantined(&self, topic: &str) -> usize {
        self.quarantined.borrow().keys().filter(|payload| payload.starts_with(topic)).count()
    }
}

/// Publishes a message to each topic for each event; the payload is `topic number` with some padding. Topics whose names
/// begin with `quiet` are not acknowledged.
pub(in super::super) struct Topics {
    topics: Vec<(&'static str, bool, usize)>,
    state: PluginState,
    is_running: bool,
}

impl Plugin for Topics {
    fn version(&self) -> String {
        "1".into()
    }

    fn is_running(&self) -> bool {
        self.is_running
    }

    async fn start(&mut self, _site: &Arc<Site>, _now: Timestamp) -> Result<(), CallError> {
        self.is_running = true;
        Ok(())
    }

    async fn process(&mut self, events: &[RecordedEvent], _now: Moment) -> Result<Processed, CallError> {
        let messages = events.iter().flat_map(|recorded| {
            let number = recorded.event.sequence.0;
            self.topics.iter().map(move |&(topic, retain, bytes)| {
                let payload = format!("{topic} {number:06} {}", "x".repeat(bytes)).into_bytes();
                let qos = if topic.starts_with("quiet") { Qos::AtMostOnce } else { Qos::AtLeastOnce };
                Message { topic: topic.into(), payload, qos, retain, properties: None }
            })
        });
        Ok(Processed { messages: messages.collect(), state: self.state.clone(), took: Duration::ZERO })
    }

    fn has_session(&self) -> bool {
        false
    }

    async fn connect(&mut self, _request: &SignInRequest) -> Result<Login, ConnectError> {
        unreachable!("it has no session")
    }

    async fn connected(&mut self, _welcome: &Welcome) -> Result<Processed, CallError> {
        Ok(self.none())
    }

    async fn closing(&mut self, _at: Timestamp) -> Result<Processed, CallError> {
        Ok(self.none())
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
        Duration::ZERO
    }

    fn state(&self) -> &PluginState {
        &self.state
    }

    fn twin(&self, _state: PluginState) -> Self {
        unreachable!("it leaves no backlog")
    }

    fn restore(&mut self, state: PluginState) {
        (self.state, self.is_running) = (state, false);
    }
}

impl Topics {
    fn none(&self) -> Processed {
        Processed { messages: Vec::new(), state: self.state.clone(), took: Duration::ZERO }
    }
}

pub(in super::super) struct PickyBroker(Rc<Customer>);

pub(in super::super) struct PickySession {
    pub(in super::super) customer: Rc<Customer>,
    waiting: VecDeque<(u64, Message)>,
    next: u64,
    closed: Option<Closing>,
    published: Notify,
    drops_at: Option<Instant>,
}

impl Broker for PickyBroker {
    type Session = PickySession;

    fn request(&self, at: Timestamp, attempt: u32) -> SignInRequest {
        SignInRequest { endpoint: Endpoint { host: "h".into(), port: 1883 }, protocol: Protocol::V311, at, attempt }
    }

    async fn sign_in(&mut self, _login: Login) -> Result<PickySession, SignInError> {
        let customer = Rc::clone(&self.0);
        customer.sign_ins.set(customer.sign_ins.get() + 1);
        let drops_at = customer.drops_after.get().map(|mean| Instant::now() + mean.mul_f64(2.0 * customer.random()));
        Ok(PickySession {
            customer,
            waiting: VecDeque::new(),
            next: 0,
            closed: None,
            published: Notify::new(),
            drops_at,
        })
    }
}

impl PickySession {
    fn react(&mut self, number: u64, message: &Message) -> Option<Notice> {
        let customer = &self.customer;
        let reaction = (customer.rule)(message, Instant::now());
        let deliver = || {
            let text = String::from_utf8(message.payload.clone()).unwrap();
            let key = text.split(' ').take(2).collect::<Vec<_>>().join(" ");
            customer.delivered.borrow_mut().entry(key).or_insert_with(Instant::now);
            customer.retained.set(customer.retained.get() + u32::from(message.retain));
        };
        let reason = "connection closed by the broker".to_owned();
        match reaction {
            Reaction::Accept => {
                deliver();
                Some(Notice::Acknowledged { number, refusal: None })
            }
            Reaction::Refuse(refusal) => Some(Notice::Acknowledged { number, refusal: Some(refusal) }),
            Reaction::Silence => None,
            Reaction::Close(cause) => {
                self.closed = Some(Closing { cause, reason });
                // Without acknowledgement a message is complete when it is written.
                (message.qos == Qos::AtMostOnce).then_some(Notice::Acknowledged { number, refusal: None })
            }
            Reaction::AcceptAndClose => {
                deliver();
                self.closed = Some(Closing { cause: CloseCause::Message(Objection::Unknown), reason });
                None
            }
        }
    }
}

impl Session for PickySession {
    fn publish(&mut self, message: &Message) -> Result<(), String> {
        self.waiting.push_back((self.next, message.clone()));
        self.next += 1;
        self.published.notify_one();
        Ok(())
    }

    fn subscribe(&mut self, _subscriptions: &[Subscription]) -> Result<(), String> {
        unreachable!("its plugin has no commands")
    }

    fn acknowledge(&mut self, _receipt: Receipt) {
        unreachable!("nothing arrives")
    }

    /// Handles one message after the other.
    async fn notice(&mut self) -> Notice {
        loop {
            if self.drops_at.is_some_and(|at| at <= Instant::now()) {
                let cause = CloseCause::Message(Objection::Unknown);
                self.closed.get_or_insert(Closing { cause, reason: "connection closed by the broker".into() });
            }
            if let Some(closed) = &self.closed {
                return Notice::Closed(closed.clone());
            }
            if self.waiting.is_empty() {
                let dropped = tokio::time::sleep_until(self.drops_at.unwrap_or_else(Instant::now));
                tokio::select! {
                    () = self.published.notified() => {}
                    () = dropped, if self.drops_at.is_some() => {}
                }
                continue;
            }
            sleep(self.customer.handles_in.get()).await;
            let Some((number, message)) = self.waiting.pop_front() else { continue };
            if let Some(notice) = self.react(number, &message) {
                return notice;
            }
        }
    }

    fn welcome(&self, at: Timestamp) -> Welcome {
        let (protocol, max_qos) = (Protocol::V311, Qos::ExactlyOnce);
        Welcome { at, protocol, session_present: false, max_packet: 1 << 20, max_qos, retain: true }
    }

    fn largest(&self) -> usize {
        1 << 20
    }

    fn window(&self) -> usize {
        16
    }

    async fn close(self) {}
}

impl Quarantine for Rc<Customer> {
    fn store(&self, entry: QuarantineEntry) -> Storing {
        let customer = Rc::clone(self);
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            let QuarantineContent::Message(message) = entry.content else { panic!("an event in the quarantine") };
            let text = String::from_utf8(message.message.payload).unwrap();
            let key = text.split(' ').take(2).collect::<Vec<_>>().join(" ");
            customer.quarantined.borrow_mut().insert(key, message.reason);
            Ok(StoredEntry { location: "a file".into(), deleted: 0 })
        })
    }

    fn requeued(&self, _feed: &str) -> Rc<Notify> {
        Rc::default()
    }

    fn read_requeued(&self, _feed: &str) -> ReadingRequeued {
        Box::pin(async { None })
    }

    fn delete_requeued(&self, _feed: &str, _name: &str) -> Deleting {
        Box::pin(async {})
    }
}

/// A feed that gets an event a second.
pub(in super::super) struct Delivering {
    pub(in super::super) customer: Rc<Customer>,
    pub(in super::super) outside: Rc<Outside>,
    pub(in super::super) health: SharedFeedHealth,
    pub(in super::super) began: Instant,
    pub(in super::super) events: u64,
    _replacements: mpsc::Sender<Box<crate::Replacement<Topics, PickyBroker>>>,
    _stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Delivering {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(in super::super) fn deliver(
    customer: &Rc<Customer>,
    topics: &[(&'static str, bool, usize)],
    status_topic: Option<&str>,
    events: u64,
) -> Delivering {
    deliver_with(customer, topics, status_topic, events, policy())
}

pub(in super::super) fn deliver_with(
    customer: &Rc<Customer>,
    topics: &[(&'static str, bool, usize)],
    status_topic: Option<&str>,
    events: u64,
    policy: Policy,
) -> Delivering {
    let (outside, health) = (Rc::<Outside>::default(), SharedFeedHealth::default());
    let (replacements, received) = mpsc::channel(4);
    let (stop, stopped) = watch::channel(false);
    let list: Vec<Arc<Event>> = (1..=events).map(|number| frame(number, 1.0)).collect();
    let feed = Feed {
        settings: FeedSettings {
            name: "acme".into(),
            status_topic: status_topic.map(Into::into),
            clock,
            arrival: clock,
            slow_call: Duration::from_millis(50),
            quarantine: Rc::new(Rc::clone(customer)),
            gates: BrokerGates::default(),
            propose: None,
            record_write: record_in(&outside),
        },
        policy,
        events: Ticking { events: list.into(), outside: Rc::clone(&outside), began: Instant::now() },
        plugin: Topics { topics: topics.to_vec(), state: PluginState::default(), is_running: false },
        broker: PickyBroker(Rc::clone(customer)),
        health: Rc::clone(&health),
        replacements: received,
    };
    let task = tokio::task::spawn_local(feed.run(stopped));
    let customer = Rc::clone(customer);
    Delivering {
        customer,
        outside,
        health,
        began: Instant::now(),
        events,
        _replacements: replacements,
        _stop: stop,
        task,
    }
}

impl Delivering {
    pub(in super::super) async fn finishes(&self) {
        let finished = async {
            while self.outside.position.get() < self.events {
                sleep(Duration::from_millis(100)).await;
            }
        };
        let limit = Duration::from_secs(self.events + 600);
        tokio::time::timeout(limit, finished).await.unwrap_or_else(|_| panic!("{}", self.state()));
    }

    /// Waits that many seconds after the start.
    pub(in super::super) async fn at(&self, seconds: u64) {
        tokio::time::sleep_until(self.began + Duration::from_secs(seconds)).await;
    }

    pub(in super::super) fn state(&self) -> String {
        let customer = &self.customer;
        format!(
            "position {}, {} delivered, {} quarantined, {} sign-ins, {:?}",
            self.outside.position.get(),
            customer.delivered.borrow().len(),
            customer.quarantined.borrow().len(),
            customer.sign_ins.get(),
            self.health.borrow(),
        )
    }

    /// How long after its event the latest message to this topic was delivered.
    pub(in super::super) fn longest_delay(&self, topic: &str) -> Duration {
        let delivered = self.customer.delivered.borrow();
        let of_topic = delivered.iter().filter(|(payload, _)| payload.split(' ').next() == Some(topic));
        let delay = |(payload, at): (&String, &Instant)| {
            let number: u64 = payload.split(' ').nth(1).unwrap().parse().unwrap();
            at.duration_since(self.began + Duration::from_secs(number))
        };
        of_topic.map(delay).max().unwrap_or_default()
    }
}

pub(in super::super) fn closes_on(is_bad: impl Fn(&Message) -> bool + 'static) -> Rc<Customer> {
    Customer::new(move |message, _| {
        if is_bad(message) { Reaction::Close(CloseCause::Message(Objection::Unknown)) } else { Reaction::Accept }
    })
}
