//! Brokers of a known kind: what they would refuse is not sent, the rest is delivered, and their rate is not exceeded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::broker_limits::BrokerLimits;
use bessai_domain::message::Message;
use bessai_domain::refusal::{CloseCause, Objection};
use tokio::time::Instant;

use super::refusals::picky::*;
use super::running::{on_one_thread, policy};
use crate::Policy;

fn limits(kind: &str) -> &'static BrokerLimits {
    BrokerLimits::all().into_iter().find(|limits| limits.kind == kind).unwrap()
}

fn of_kind(kind: &str) -> Policy {
    Policy { broker: Some(limits(kind)), ..policy() }
}

/// A broker that closes the connection over each message that one of this kind does not take; counts them.
fn strict(is_refused: fn(&Message) -> bool) -> (Rc<Customer>, Rc<Cell<u32>>) {
    let violations = Rc::<Cell<u32>>::default();
    let counted = Rc::clone(&violations);
    let customer = Customer::new(move |message, _| {
        if !is_refused(message) {
            return Reaction::Accept;
        }
        counted.set(counted.get() + 1);
        Reaction::Close(CloseCause::Message(Objection::Unknown))
    });
    (customer, violations)
}

/// A feed at a broker of this kind publishes to `topics`: those in `refused` are quarantined with that reason without being
/// sent, the others are delivered in one session.
async fn check(
    kind: &str,
    is_refused: fn(&Message) -> bool,
    topics: &[(&'static str, bool, usize)],
    refused: &[(&'static str, &str)],
) {
    const EVENTS: usize = 20;
    let (customer, violations) = strict(is_refused);
    let feed = deliver_with(&customer, topics, Some("site/status"), EVENTS as u64, of_kind(kind));
    feed.finishes().await;
    assert_eq!((violations.get(), customer.sign_ins.get()), (0, 1), "{kind}: {}", feed.state());
    for (topic, ..) in topics {
        let reason = refused.iter().find(|(refused, _)| refused == topic).map(|(_, reason)| *reason);
        let expected = if reason.is_some() { (0, EVENTS) } else { (EVENTS, 0) };
        let beginning = format!("{topic} ");
        let counted = (customer.delivered(&beginning), customer.quarantined(&beginning));
        assert_eq!(counted, expected, "{kind} {topic}: {}", feed.state());
        let quarantined = customer.quarantined.borrow();
        let of_topic = quarantined.iter().filter(|(key, _)| key.split(' ').next() == Some(*topic));
        for (key, shown) in of_topic {
            assert!(shown.contains(reason.unwrap()), "{key}: {shown}");
        }
    }
    let health = feed.health.borrow();
    assert_eq!(health.refused + u64::try_from(health.lessons.len()).unwrap(), 0, "{kind}");
    assert_eq!(health.quarantined, (refused.len() * EVENTS) as u64, "{kind}");
}

#[tokio::test(start_paused = true)]
async fn aws_gets_no_message_that_it_would_refuse() {
    let is_refused = |message: &Message| {
        let topic = &message.topic;
        let is_basic_ingest = topic.starts_with("$aws/rules/r/");
        let levels = topic.split('/').count() - if is_basic_ingest { 3 } else { 0 };
        let is_foreign = topic.starts_with('$') && (message.retain || !topic.starts_with("$aws/"));
        message.payload.len() > 131_072 || topic.len() > 256 || levels > 8 || is_foreign || message.qos.level() > 1
    };
    let topics = [
        ("a", true, 131_060),
        ("a/2/3/4/5/6/7/8", false, 1),
        ("$aws/rules/r/1/2/3/4/5/6/7/8", false, 1),
        ("$aws/things/t/shadow/update", true, 1),
        ("large", false, 131_072),
        ("b/2/3/4/5/6/7/8/9", false, 1),
        ("$other/a", false, 1),
    ];
    let refused = [
        ("large", "AWS IoT Core takes payloads of up to 131072 bytes, and this one has 131085"),
        ("b/2/3/4/5/6/7/8/9", "AWS IoT Core takes topics of up to 8 levels, and this one has 9"),
        ("$other/a", "AWS IoT Core takes no messages to topics that begin with $, except $aws/"),
    ];
    on_one_thread(check("aws-iot", is_refused, &topics, &refused)).await;
}

#[tokio::test(start_paused = true)]
async fn an_iot_hub_gets_its_own_topics_only_and_nothing_retained() {
    let is_refused = |message: &Message| {
        let is_telemetry = message.topic.starts_with("devices/d/messages/events/");
        !(is_telemetry || message.topic.starts_with("$iothub/twin/PATCH/properties/reported/"))
            || message.payload.len() > 262_144
            || message.retain
    };
    let (telemetry, large) = ("devices/d/messages/events/", "devices/d/messages/events/large");
    let topics = [
        (telemetry, false, 1000),
        ("devices/d/messages/events/retained", true, 1),
        ("$iothub/twin/PATCH/properties/reported/?$rid=1", false, 1),
        (large, false, 262_144),
        ("site/telemetry", false, 1),
    ];
    let refused = [
        (large, "Azure IoT Hub takes payloads of up to 262144 bytes, and this one has"),
        ("site/telemetry", "Azure IoT Hub takes messages to its own topics only, such as devices/+/messages/events/"),
    ];
    on_one_thread(check("azure-iot-hub", is_refused, &topics, &refused)).await;
}

#[tokio::test(start_paused = true)]
async fn brokers_that_take_every_topic_get_every_message() {
    on_one_thread(async {
        for kind in ["event-grid", "hivemq-cloud", "mosquitto"] {
            let topics = [("a", false, 1), ("a/2/3/4/5/6/7/8/9/10", false, 200_000), ("$x/a", false, 1)];
            check(kind, |_| false, &topics, &[]).await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn no_second_has_more_messages_than_aws_takes() {
    on_one_thread(async {
        for own in [None, Some(20), Some(1000)] {
            let recent = Rc::<RefCell<VecDeque<Instant>>>::default();
            let (most, seen) = (Rc::<Cell<usize>>::default(), Rc::clone(&recent));
            let highest = Rc::clone(&most);
            let customer = Customer::new(move |_, now| {
                let mut seen = seen.borrow_mut();
                while seen.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
                    seen.pop_front();
                }
                seen.push_back(now);
                highest.set(highest.get().max(seen.len()));
                Reaction::Accept
            });
            customer.handles_in.set(Duration::from_millis(1));
            let names = ["t0", "t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8", "t9"];
            let topics: Vec<_> = (0..200).map(|number| (names[number % 10], false, 0)).collect();
            let policy = Policy { rate_per_s: own, ..of_kind("aws-iot") };
            let feed = deliver_with(&customer, &topics, None, 10, policy);
            feed.finishes().await;
            let took = feed.began.elapsed();
            let (limit, expected) = if own == Some(20) { (22, 20) } else { (100, 90) };
            assert!(most.get() <= limit, "{own:?}: {} messages in a second", most.get());
            let in_time = Duration::from_secs(2000 / expected + 15);
            assert!(took <= in_time, "{own:?}: {took:?}");
        }
    })
    .await;
}
