//! Runs a feed of the fakes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bessai_domain::event::{Event, EventBody, Frame, Sequence};
use bessai_domain::message::Qos;
use bessai_domain::ports::Events;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::LocalSet;

use super::fakes::*;
use crate::{BrokerGates, DeliveryOrder, Feed, FeedSettings, Policy, ProcessorShare, Replacement, SharedFeedHealth};

pub(super) struct TestFeed {
    pub(super) outside: Rc<Outside>,
    pub(super) health: SharedFeedHealth,
    pub(super) replacements: mpsc::Sender<Box<Replacement<RulePlugin, TestBroker>>>,
    pub(super) stop: watch::Sender<bool>,
    pub(super) task: tokio::task::JoinHandle<()>,
}

pub(super) fn frame(sequence: u64, value: f64) -> Arc<Event> {
    frame_of(0, sequence, value)
}

pub(super) fn frame_of(source: u32, sequence: u64, value: f64) -> Arc<Event> {
    let body = EventBody::Frame(Frame { source, values: vec![value], faults: vec![], texts: vec![] });
    Arc::new(Event { sequence: Sequence(sequence), at: AT, body })
}

pub(super) fn heartbeat(sequence: u64) -> Arc<Event> {
    Arc::new(Event { sequence: Sequence(sequence), at: AT, body: EventBody::Heartbeat })
}

pub(super) fn policy() -> Policy {
    Policy {
        read: None,
        connect: Vec::new(),
        subscribe: vec!["cmd/#".into()],
        topics: None,
        write: Vec::new(),
        reserved: Vec::new(),
        qos: Qos::AtLeastOnce,
        rate_per_s: None,
        max_age: None,
        processor: ProcessorShare::default(),
        quarantine_bytes: 64 << 20,
        broker: None,
        order: DeliveryOrder::InOrder,
    }
}

pub(super) fn run(plugin: RulePlugin, batch_size: usize, events: Vec<Arc<Event>>) -> TestFeed {
    run_in(Rc::default(), plugin, batch_size, events, Duration::ZERO)
}

pub(super) fn run_in(
    outside: Rc<Outside>,
    plugin: RulePlugin,
    batch_size: usize,
    events: Vec<Arc<Event>>,
    pause: Duration,
) -> TestFeed {
    let events = EventList { events: events.into(), outside: Rc::clone(&outside), batch_size, pause };
    spawn(outside, policy(), plugin, events)
}

/// Runs a feed of these events.
pub(super) fn spawn<E: Events + 'static>(
    outside: Rc<Outside>,
    policy: Policy,
    plugin: RulePlugin,
    events: E,
) -> TestFeed {
    let health = SharedFeedHealth::default();
    let (replacements, received) = mpsc::channel(4);
    let (stop, stopped) = watch::channel(false);
    let feed = Feed {
        settings: FeedSettings {
            name: "acme".into(),
            status_topic: None,
            clock,
            arrival: clock,
            slow_call: Duration::from_millis(50),
            quarantine: Rc::new(TestQuarantine(Rc::clone(&outside))),
            gates: BrokerGates::default(),
            record_write: record_in(&outside),
            propose: outside.propose.borrow_mut().take(),
        },
        policy,
        events,
        plugin,
        broker: TestBroker(Rc::clone(&outside)),
        health: Rc::clone(&health),
        replacements: received,
    };
    let task = tokio::task::spawn_local(feed.run(stopped));
    TestFeed { outside, health, replacements, stop, task }
}

impl TestFeed {
    /// Waits until the feed has delivered this event.
    pub(super) async fn delivers(&self, sequence: u64) {
        let delivered = async {
            while self.outside.position.get() < sequence {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), delivered).await.expect("the feed to deliver");
    }

    /// Gives the feed a minute.
    pub(super) async fn wait_a_minute(&self) {
        tokio::time::sleep(Duration::from_mins(1)).await;
    }

    pub(super) async fn replace(&self, plugin: RulePlugin) -> Result<(), String> {
        let (reply, replied) = oneshot::channel();
        let replacement = Replacement { policy: policy(), plugin, broker: None, reply };
        self.replacements.send(Box::new(replacement)).await.ok().unwrap();
        replied.await.unwrap()
    }

    pub(super) fn actions(&self) -> Vec<String> {
        self.outside.actions.borrow().clone()
    }

    pub(super) fn count(&self, action: &str) -> usize {
        self.outside.actions.borrow().iter().filter(|known| *known == action).count()
    }

    /// Stops the feed as the gateway does.
    pub(super) async fn stop(self) -> Rc<Outside> {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        self.outside
    }

    pub(super) fn published(&self) -> Vec<String> {
        self.outside.published.borrow().clone()
    }

    pub(super) fn quarantined(&self) -> Vec<u64> {
        self.outside.quarantined.borrow().iter().map(|(sequence, _)| *sequence).collect()
    }

    pub(super) fn seen(&self) -> u8 {
        self.outside.saved.borrow().get("seen").map_or(0, |seen| seen[0])
    }
}

pub(super) async fn on_one_thread(test: impl Future<Output = ()>) {
    LocalSet::new().run_until(test).await;
}

pub(super) fn fails_on_poison(event: &Event) -> bool {
    matches!(&event.body, EventBody::Frame(frame) if frame.values[0] == 66.6)
}
