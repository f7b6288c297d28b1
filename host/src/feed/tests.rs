//! A feed with a plugin of a few rules, a broker that acknowledges when it is told to, and a list of events.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Frame, Sequence};
use bessai_domain::message::{Message, Qos};
use bessai_domain::session::{Endpoint, Protocol};
use bessai_domain::site::Site;
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::*;

mod sessions;

const AT: Timestamp = Timestamp::from_nanos(1_740_151_200_000_000_000);

/// What everything outside of the feed sees and sets.
#[derive(Default)]
struct World {
    published: RefCell<Vec<String>>,
    aside: RefCell<Vec<(u64, String)>>,
    place: Cell<u64>,
    kept: RefCell<State>,
    holds_acknowledgements: Cell<bool>,
    // Everything that shows from outside, in order.
    acts: RefCell<Vec<String>>,
    messages_aside: RefCell<Vec<(u64, usize, usize)>>,
    // The broker ends each session at once.
    kicks: Cell<bool>,
    // The broker ends the session now.
    cuts: Cell<bool>,
    changed: Notify,
}

impl World {
    fn note(&self, act: impl Into<String>) {
        self.acts.borrow_mut().push(act.into());
        self.changed.notify_waiters();
    }
}

/// The time of the test, which stands still for as long as anything can be done.
fn clock() -> Timestamp {
    thread_local! {
        static START: Cell<Option<tokio::time::Instant>> = const { Cell::new(None) };
    }
    let now = tokio::time::Instant::now();
    let start = START.get().filter(|start| *start <= now).unwrap_or(now);
    START.set(Some(start));
    AT.plus(now - start)
}

/// Events that are there, then none.
struct List {
    events: VecDeque<Arc<Event>>,
    world: Rc<World>,
    at_once: usize,
    pace: Duration,
}

impl Events for List {
    type Cursor = Place;

    fn site(&self) -> Option<Arc<Site>> {
        Some(Arc::new(Site { id: "S".into(), revision: 1, devices: vec![], sources: vec![], attributes: vec![] }))
    }

    async fn next(&mut self) -> Vec<Arc<Event>> {
        if self.events.is_empty() {
            std::future::pending::<()>().await;
        }
        if !self.pace.is_zero() {
            tokio::time::sleep(self.pace).await;
        }
        self.events.drain(..self.at_once.min(self.events.len())).collect()
    }

    fn cursor(&self) -> Place {
        Place(Rc::clone(&self.world))
    }
}

struct Place(Rc<World>);

impl Cursor for Place {
    fn passed(&mut self, sequence: Sequence, _at: Timestamp, state: &State) {
        self.0.place.set(sequence.0);
        self.0.kept.replace(state.clone());
        self.0.changed.notify_waiters();
    }

    async fn keep(&mut self, state: &State) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.0.kept.replace(state.clone());
        self.0.note("keep");
    }
}

/// Publishes each event's number, counts in its state, and fails where its rule says so.
struct Rule {
    version: &'static str,
    fails: fn(&Event) -> bool,
    state: State,
    is_running: bool,
    session: Option<sessions::Script>,
}

fn rule(version: &'static str, fails: fn(&Event) -> bool) -> Rule {
    Rule { version, fails, state: State::default(), is_running: false, session: None }
}

impl Plugin for Rule {
    fn version(&self) -> String {
        self.version.into()
    }

    fn is_running(&self) -> bool {
        self.is_running
    }

    async fn start(&mut self, _site: &Arc<Site>) -> Result<(), String> {
        if self.version == "refuses" {
            return Err("refuses its configuration: no topic".into());
        }
        self.is_running = true;
        if let Some(session) = &self.session {
            session.world.note("configure");
        }
        Ok(())
    }

    fn has_session(&self) -> bool {
        self.session.is_some()
    }

    async fn connect(&mut self, request: &Request) -> Result<Login, ConnectError> {
        self.connect_as_scripted(request)
    }

    async fn connected(&mut self, _welcome: &Welcome) -> Result<Processed, CallError> {
        Ok(self.tell("birth"))
    }

    async fn closing(&mut self, _at: Timestamp) -> Result<Processed, CallError> {
        Ok(self.tell("farewell"))
    }

    async fn process(&mut self, events: &[Arc<Event>]) -> Result<Processed, CallError> {
        if events.iter().any(|event| (self.fails)(event)) {
            self.is_running = false;
            return Err(CallError::Broken("trapped".into()));
        }
        let seen = self.state.get("seen").map_or(0, |seen| seen[0]) + u8::try_from(events.len()).unwrap();
        self.state.set("seen".into(), vec![seen]).unwrap();
        let name = |event: &Arc<Event>| message(format!("{}/{}", self.version, event.sequence.0), large(event));
        let messages = events.iter().map(name).collect();
        Ok(Processed { messages, state: self.state.clone(), took: Duration::ZERO })
    }

    fn state(&self) -> &State {
        &self.state
    }

    fn restore(&mut self, state: State) {
        (self.state, self.is_running) = (state, false);
    }
}

fn message(topic: String, bytes: usize) -> Message {
    Message { topic, payload: vec![0; bytes], qos: Qos::AtLeastOnce, retain: false, properties: None }
}

/// A frame of this value makes a message that no broker takes.
const LARGE: f64 = 77.7;

fn large(event: &Event) -> usize {
    let is_large = matches!(&event.body, EventBody::Frame(frame) if frame.values[0] == LARGE);
    if is_large { 2000 } else { 0 }
}

struct Desk(Rc<World>);

struct Link {
    world: Rc<World>,
    waiting: VecDeque<u64>,
    next: u64,
}

impl Broker for Desk {
    type Session = Link;

    fn request(&self, at: Timestamp, attempt: u32) -> Request {
        Request { endpoint: Endpoint { host: "h".into(), port: 1883 }, protocol: Protocol::V5, at, attempt }
    }

    async fn sign_in(&mut self, _login: Login) -> Result<Link, String> {
        self.0.note("CONNECT");
        self.0.cuts.set(false);
        Ok(Link { world: Rc::clone(&self.0), waiting: VecDeque::new(), next: 0 })
    }
}

impl Session for Link {
    fn publish(&mut self, message: &Message) -> Result<(), String> {
        self.world.published.borrow_mut().push(message.topic.clone());
        self.world.note(message.topic.clone());
        self.waiting.push_back(self.next);
        self.next += 1;
        self.world.changed.notify_waiters();
        Ok(())
    }

    async fn notice(&mut self) -> Notice {
        loop {
            let changed = Rc::clone(&self.world);
            let changed = changed.changed.notified();
            if self.world.kicks.get() || self.world.cuts.get() {
                return Notice::Closed("kicked".into());
            }
            if !self.world.holds_acknowledgements.get()
                && let Some(number) = self.waiting.pop_front()
            {
                return Notice::Acknowledged(number, None);
            }
            changed.await;
        }
    }

    fn welcome(&self) -> Welcome {
        let (protocol, max_qos) = (Protocol::V5, Qos::ExactlyOnce);
        Welcome { at: AT, protocol, session_present: false, max_packet: 1000, max_qos, retain: true }
    }

    fn largest(&self) -> usize {
        1000
    }

    fn window(&self) -> usize {
        16
    }

    async fn close(self) {
        self.world.note("DISCONNECT");
    }
}

struct Running {
    world: Rc<World>,
    health: SharedHealth,
    replacements: mpsc::Sender<Box<Replacement<Rule, Desk>>>,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

fn frame(sequence: u64, value: f64) -> Arc<Event> {
    let body = EventBody::Frame(Frame { source: 0, values: vec![value], faults: vec![], texts: vec![] });
    Arc::new(Event { sequence: Sequence(sequence), at: AT, body })
}

fn heartbeat(sequence: u64) -> Arc<Event> {
    Arc::new(Event { sequence: Sequence(sequence), at: AT, body: EventBody::Heartbeat })
}

fn policy() -> Policy {
    Policy { read: None, connect: Vec::new(), topics: None, qos: Qos::AtLeastOnce, rate_per_s: None, max_age: None }
}

fn run(plugin: Rule, at_once: usize, events: Vec<Arc<Event>>) -> Running {
    run_in(Rc::default(), plugin, at_once, events, Duration::ZERO)
}

fn run_in(world: Rc<World>, plugin: Rule, at_once: usize, events: Vec<Arc<Event>>, pace: Duration) -> Running {
    let health = SharedHealth::default();
    let (aside, message_aside) = (Rc::clone(&world), Rc::clone(&world));
    let (replacements, received) = mpsc::channel(4);
    let (stop, stopped) = watch::channel(false);
    let feed = Feed {
        settings: Settings {
            name: "acme".into(),
            status_topic: None,
            clock,
            slow_call: Duration::from_millis(50),
            set_aside: Rc::new(move |event| {
                aside.aside.borrow_mut().push((event.event.sequence.0, event.reason.to_owned()));
                Ok("a file".into())
            }),
            set_message_aside: Rc::new(move |aside| {
                let kept = (aside.through.0, aside.index, aside.largest);
                message_aside.messages_aside.borrow_mut().push(kept);
                Ok("a file".into())
            }),
        },
        policy: policy(),
        events: List { events: events.into(), world: Rc::clone(&world), at_once, pace },
        plugin,
        broker: Desk(Rc::clone(&world)),
        health: Rc::clone(&health),
        replacements: received,
    };
    let task = tokio::task::spawn_local(feed.run(stopped));
    Running { world, health, replacements, stop, task }
}

impl Running {
    /// Until the feed has passed this event; time stands still for as long as anything can be done.
    async fn passes(&self, sequence: u64) {
        let passing = async {
            while self.world.place.get() < sequence {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), passing).await.expect("the feed to pass");
    }

    async fn settles(&self) {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }

    async fn replace(&self, plugin: Rule) -> Result<(), String> {
        let (verdict, judged) = oneshot::channel();
        let replacement = Replacement { policy: policy(), plugin, broker: None, verdict };
        self.replacements.send(Box::new(replacement)).await.ok().unwrap();
        judged.await.unwrap()
    }

    fn acts(&self) -> Vec<String> {
        self.world.acts.borrow().clone()
    }

    fn count(&self, act: &str) -> usize {
        self.world.acts.borrow().iter().filter(|known| *known == act).count()
    }

    /// As the gateway ends a feed.
    async fn stop(self) -> Rc<World> {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.world
    }

    fn published(&self) -> Vec<String> {
        self.world.published.borrow().clone()
    }

    fn aside(&self) -> Vec<u64> {
        self.world.aside.borrow().iter().map(|(sequence, _)| *sequence).collect()
    }

    fn seen(&self) -> u8 {
        self.world.kept.borrow().get("seen").map_or(0, |seen| seen[0])
    }
}

async fn locally(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

fn poison(event: &Event) -> bool {
    matches!(&event.body, EventBody::Frame(frame) if frame.values[0] == 66.6)
}

#[tokio::test(start_paused = true)]
async fn the_poisonous_event_is_found_and_the_others_pass() {
    locally(async {
        for at_once in [1, 3, 64] {
            for poisoned in 1..=6 {
                let value = |sequence| if sequence == poisoned { 66.6 } else { 1.0 };
                let events = (1..=6).map(|sequence| frame(sequence, value(sequence))).collect();
                let feed = run(rule("a", poison), at_once, events);
                feed.passes(6).await;
                let expected: Vec<_> = (1..=6).filter(|n| *n != poisoned).map(|n| format!("a/{n}")).collect();
                assert_eq!(feed.published(), expected, "{poisoned} of 6, {at_once} at once");
                assert_eq!(feed.aside(), [poisoned]);
                // The trials with other events have left nothing.
                assert_eq!(feed.seen(), 5);
                assert_eq!(feed.health.borrow().off, None);
            }
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_plugin_that_fails_on_everything_keeps_its_place_until_it_is_mended() {
    locally(async {
        let feed = run(rule("bad", |_| true), 2, (1..=20).map(|sequence| frame(sequence, 1.0)).collect());
        feed.settles().await;
        assert!(feed.health.borrow().off.as_ref().unwrap().contains("10 times in a row"));
        assert_eq!((feed.aside(), feed.world.place.get()), (vec![], 0));
        feed.replace(rule("good", |_| false)).await.unwrap();
        feed.passes(20).await;
        let expected: Vec<_> = (1..=20).map(|n| format!("good/{n}")).collect();
        assert_eq!(feed.published(), expected);
        assert_eq!(feed.health.borrow().off, None);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn heartbeats_that_pass_are_no_witness_against_readings() {
    locally(async {
        let fails = |event: &Event| matches!(event.body, EventBody::Frame(_));
        let events = (1..=40).map(|n| if n % 2 == 1 { heartbeat(n) } else { frame(n, 1.0) }).collect();
        let feed = run(rule("bad", fails), 1, events);
        feed.settles().await;
        assert_eq!((feed.aside(), feed.world.place.get()), (vec![], 1));
        assert!(feed.health.borrow().off.is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_is_tried_before_it_is_taken() {
    locally(async {
        let feed = run(rule("old", |_| false), 1, (1..=3).map(|sequence| frame(sequence, 1.0)).collect());
        feed.passes(3).await;
        assert_eq!(feed.replace(rule("refuses", |_| false)).await.unwrap_err(), "refuses its configuration: no topic");
        let error = feed.replace(rule("traps", |_| true)).await.unwrap_err();
        assert!(error.contains("fails on an event that the old version passed"), "{error}");
        assert_eq!(feed.health.borrow().version, "old");
        assert!(feed.health.borrow().not_taken.is_some());
        feed.replace(rule("new", |_| false)).await.unwrap();
        assert_eq!((feed.health.borrow().version.as_str(), feed.health.borrow().not_taken.is_none()), ("new", true));
        // A trial leaves no state, and publishes nothing.
        assert_eq!((feed.seen(), feed.published().len()), (3, 3));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_new_version_that_fails_before_its_first_acknowledgement_gives_way_to_the_old_one() {
    locally(async {
        // The new version comes while there is nothing to try it with.
        let feed = run(rule("old", |_| false), 1, vec![frame(1, 66.6), frame(2, 1.0)]);
        feed.world.holds_acknowledgements.set(true);
        feed.replace(rule("new", poison)).await.unwrap();
        feed.settles().await;
        assert_eq!(feed.published(), ["old/1", "old/2"]);
        assert_eq!(feed.health.borrow().version, "old");
        assert!(feed.health.borrow().not_taken.as_ref().unwrap().contains("trapped"));
        assert_eq!((feed.aside(), feed.health.borrow().off.clone()), (vec![], None));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_call_establishes_a_new_version() {
    locally(async {
        let feed = run(rule("old", |_| false), 1, vec![frame(1, 1.0), frame(2, 66.6), frame(3, 1.0)]);
        feed.replace(rule("new", poison)).await.unwrap();
        feed.passes(3).await;
        assert_eq!(feed.published(), ["new/1", "new/3"]);
        assert_eq!((feed.aside(), feed.health.borrow().version.clone()), (vec![2], "new".into()));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn un_acknowledged_calls_hold_the_place() {
    locally(async {
        let feed = run(rule("a", |_| false), 1, (1..=5).map(|sequence| frame(sequence, 1.0)).collect());
        feed.world.holds_acknowledgements.set(true);
        feed.settles().await;
        assert_eq!(feed.world.place.get(), 0);
        feed.world.holds_acknowledgements.set(false);
        feed.world.changed.notify_waiters();
        feed.passes(5).await;
        assert_eq!((feed.seen(), feed.published().len()), (5, 5));
    })
    .await;
}
