//! A customer's broker behind the port of a feed: it takes messages in their order, as over TCP, and fails as its plan says.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::command::Subscription;
use bessai_domain::message::{Message, Qos};
use bessai_domain::ports::{Broker, Notice, Receipt, Session, SignInError};
use bessai_domain::refusal::{CloseCause, Closing, Objection, Refusal};
use bessai_domain::session::{Endpoint, Login, Protocol, SignInRequest, Welcome};
use bessai_domain::time::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::scenario::BrokerFaults;
use crate::world::World;

/// The largest message that the brokers take, in bytes.
pub(crate) const LARGEST_MESSAGE: usize = 10_000;
/// How long a message travels at most.
const LATENCY: Duration = Duration::from_millis(40);
/// How long a sign-in takes at most that hangs: the client's own time limit.
const HANGS: Duration = Duration::from_secs(20);
/// How late an acknowledgement is at most.
const LATE: Duration = Duration::from_secs(30);

/// The broker of a feed.
pub(crate) struct SimBroker {
    world: Rc<World>,
    feed: usize,
}

impl SimBroker {
    pub(crate) fn new(world: &Rc<World>, feed: usize) -> Self {
        Self { world: Rc::clone(world), feed }
    }

    fn faults(&self) -> &BrokerFaults {
        &self.world.scenario.feeds[self.feed].broker
    }
}

impl Broker for SimBroker {
    type Session = SimSession;

    fn request(&self, at: Timestamp, attempt: u32) -> SignInRequest {
        SignInRequest { endpoint: Endpoint { host: "broker".into(), port: 1883 }, protocol: Protocol::V5, at, attempt }
    }

    async fn sign_in(&mut self, _login: Login) -> Result<SimSession, SignInError> {
        let world = Rc::clone(&self.world);
        world.pause(world.choose(|random| random.below(LATENCY))).await;
        if world.fails("sign-in hangs", self.faults().hangs) {
            world.pause(world.choose(|random| random.below(HANGS))).await;
        }
        if world.fails("sign-in is refused", self.faults().refuses) {
            return Err(SignInError::Failed("the broker refused the sign-in".into()));
        }
        let lasts = self.faults().session.filter(|_| world.has_faults());
        let ends_at = lasts.map(|mean| Instant::now() + world.choose(|random| random.around(mean)));
        let is_silent = world.fails("session is silent", self.faults().silent);
        world.note(&format!("feed {} signed in", self.feed));
        Ok(SimSession {
            world: Rc::clone(&self.world),
            feed: self.feed,
            faults: self.faults().clone(),
            next: 0,
            travelling: VecDeque::new(),
            acknowledgements: Vec::new(),
            unacknowledged: BTreeMap::new(),
            ends_at,
            is_silent,
        })
    }
}

/// A session. It makes progress while somebody waits for its notices.
pub(crate) struct SimSession {
    world: Rc<World>,
    feed: usize,
    faults: BrokerFaults,
    /// The number of the next message.
    next: u64,
    /// What is on its way to the broker, with the time of its arrival.
    travelling: VecDeque<(Instant, u64, Vec<u8>)>,
    /// What is on its way back: when, for which message, and why it was refused.
    acknowledgements: Vec<(Instant, u64, Option<Refusal>)>,
    /// What was published, and is not acknowledged.
    unacknowledged: BTreeMap<u64, Vec<u8>>,
    ends_at: Option<Instant>,
    is_silent: bool,
}

impl SimSession {
    /// The broker receives a message, and acknowledges it, or not.
    fn arrive(&mut self, number: u64, payload: &[u8]) {
        let refusal = self.world.fails("message is refused", self.faults.refuses_message);
        for (event, is_description) in events_of(payload) {
            if refusal {
                self.world.may_come_later(self.feed, event);
            } else {
                self.world.delivered(self.feed, event, is_description);
            }
        }
        if self.is_silent || self.world.fails("acknowledgement is lost", self.faults.loses_acknowledgement) {
            return;
        }
        let mut delay = self.world.choose(|random| random.below(LATENCY));
        if self.world.fails("acknowledgement is late", self.faults.delays_acknowledgement) {
            delay += self.world.choose(|random| random.below(LATE));
        }
        let refusal = refusal.then(|| Refusal::of(Objection::Topic, "not authorized"));
        self.acknowledgements.push((Instant::now() + delay, number, refusal));
    }

    /// The earliest acknowledgement: its index and its time.
    fn earliest(&self) -> Option<(usize, Instant)> {
        let times = self.acknowledgements.iter().map(|(at, ..)| *at).enumerate();
        times.min_by_key(|(_, at)| *at)
    }

    /// Lets everything arrive that has travelled long enough, as long as the session lasts.
    fn advance(&mut self) {
        let now = self.ends_at.map_or_else(Instant::now, |end| end.min(Instant::now()));
        while let Some((_, number, payload)) = self.travelling.pop_front_if(|(at, ..)| *at <= now) {
            self.arrive(number, &payload);
        }
    }
}

impl Session for SimSession {
    fn publish(&mut self, message: &Message) -> Result<(), String> {
        let arrival = Instant::now() + self.world.choose(|random| random.below(LATENCY));
        let arrival = self.travelling.back().map_or(arrival, |(last, ..)| arrival.max(*last));
        self.travelling.push_back((arrival, self.next, message.payload.clone()));
        self.unacknowledged.insert(self.next, message.payload.clone());
        self.next += 1;
        Ok(())
    }

    fn subscribe(&mut self, _subscriptions: &[Subscription]) -> Result<(), String> {
        unreachable!("its plugin has no commands")
    }

    fn acknowledge(&mut self, _receipt: Receipt) {
        unreachable!("nothing arrives")
    }

    async fn notice(&mut self) -> Notice {
        loop {
            self.advance();
            let now = Instant::now();
            if self.ends_at.is_some_and(|end| end <= now) {
                self.world.disturb("session ends", &format!("feed {}", self.feed));
                // The feed may take one of them for the cause, and let later ones go first.
                for payload in self.unacknowledged.values() {
                    events_of(payload).iter().for_each(|(event, _)| self.world.may_come_later(self.feed, *event));
                }
                let cause = CloseCause::Message(Objection::Unknown);
                return Notice::Closed(Closing { cause, reason: "connection closed by broker".into() });
            }
            let earliest = self.earliest();
            if let Some((index, _)) = earliest.filter(|(_, at)| *at <= now) {
                let (_, number, refusal) = self.acknowledgements.remove(index);
                self.unacknowledged.remove(&number);
                return Notice::Acknowledged { number, refusal };
            }
            let arrival = self.travelling.front().map(|(at, ..)| *at);
            let times = [self.ends_at, arrival, earliest.map(|(_, at)| at)];
            match times.into_iter().flatten().min() {
                Some(next) => sleep_until(next).await,
                None => std::future::pending().await,
            }
        }
    }

    fn welcome(&self, at: Timestamp) -> Welcome {
        let (protocol, max_qos) = (Protocol::V5, Qos::AtLeastOnce);
        Welcome { at, protocol, session_present: false, max_packet: 10_000, max_qos, retain: true }
    }

    fn largest(&self) -> usize {
        LARGEST_MESSAGE
    }

    fn window(&self) -> usize {
        self.faults.window
    }

    async fn close(mut self) {
        if let Some((last, ..)) = self.travelling.back() {
            sleep_until(*last).await;
            self.advance();
        }
        self.world.note(&format!("feed {} signed out", self.feed));
    }
}

/// The events that a message names, and whether each is a description of the site. Gaps have numbers that no event has.
pub(crate) fn events_of(payload: &[u8]) -> Vec<(u64, bool)> {
    let text = String::from_utf8_lossy(payload);
    let event = |name: &str| match name.strip_prefix("site:") {
        Some(number) => Some((number.parse().ok()?, true)),
        None => Some((name.parse().ok()?, false)),
    };
    text.trim().split(',').filter_map(event).collect()
}
