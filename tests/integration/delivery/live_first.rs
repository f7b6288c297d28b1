//! Live first over a real broker: after an outage the newest readings arrive first, and a kill while the backlog follows
//! loses none of it.

use std::collections::BTreeSet;

use bessai_simulator::proxy::{CloseMode, NetworkCondition, Proxy};

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::count;
use crate::support::within;

/// Twice the rate at which the device is read, so that the backlog shrinks while the test waits.
const SETTINGS: &str = "[delivery]\norder = \"live-first\"\nbacklog_rate = \"200/s\"\n";
/// So slow that the backlog is not delivered when the gateway is killed.
const SLOW_SETTINGS: &str = "[delivery]\norder = \"live-first\"\nbacklog_rate = \"20/s\"\n";

/// The counts that have arrived, in order.
#[derive(Default)]
struct Counts(Vec<u64>);

impl Counts {
    async fn receive(&mut self, subscriber: &mut ReadingSubscriber) -> u64 {
        let count = count(&within("a reading", subscriber.next()).await).unwrap();
        self.0.push(count);
        count
    }

    /// Receives until every count from the first one to this one has arrived.
    async fn receive_all(&mut self, subscriber: &mut ReadingSubscriber, through: u64, lost: &BTreeSet<u64>) {
        let mut missing: BTreeSet<_> = (0..=through).collect();
        for count in self.0.iter().chain(lost) {
            missing.remove(count);
        }
        while !missing.is_empty() {
            missing.remove(&self.receive(subscriber).await);
        }
    }
}

fn lag_s(health: &serde_json::Value) -> f64 {
    health["feeds"]["default"]["lag_s"].as_f64().unwrap()
}

fn backlog(health: &serde_json::Value) -> u64 {
    health["feeds"]["default"]["backlog"].as_u64().unwrap()
}

/// Keeps the broker away until what waits is old enough to become a backlog.
async fn outage(proxy: &Proxy, gateway: &Gateway) {
    proxy.set_condition(NetworkCondition::Refused);
    proxy.close_connections(CloseMode::Reset);
    gateway.wait_for_health("old events", |health| lag_s(health) > 11.0).await;
    proxy.set_condition(NetworkCondition::Normal);
}

#[tokio::test]
async fn after_an_outage_the_newest_readings_arrive_first() {
    let (device, broker) = (Device::counting(), Broker::start());
    let proxy = Proxy::start(([127, 0, 0, 1], broker.port).into()).await.unwrap();
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let setup = counting(&device).broker(format!("mqtt://{}", proxy.address()));
    let gateway = setup.file("plugins/default.toml", SETTINGS).run();
    let mut counts = Counts::default();
    while counts.receive(&mut subscriber).await < 10 {}
    let before = *counts.0.last().unwrap();
    outage(&proxy, &gateway).await;
    let during = u64::from(device.readings());
    // What was in flight may arrive late; the first new reading comes before most of the outage.
    let mut of_outage = 0;
    while counts.receive(&mut subscriber).await < during {
        of_outage += 1;
    }
    let length = during - before;
    assert!(of_outage < length / 2, "{of_outage} of {length} readings came before the newest one");
    counts.receive_all(&mut subscriber, during, &BTreeSet::new()).await;
    gateway.wait_for_health("the end of the backlog", |health| backlog(health) == 0 && lag_s(health) < 5.0).await;
    let late: Vec<_> = counts.0.iter().copied().filter(|count| (before + 1..during).contains(count)).collect();
    assert!(late.is_sorted(), "the backlog keeps its order: {late:?}");
}

#[tokio::test]
async fn a_kill_while_the_backlog_follows_loses_none_of_it() {
    let (device, broker) = (Device::counting(), Broker::start());
    let proxy = Proxy::start(([127, 0, 0, 1], broker.port).into()).await.unwrap();
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let setup = counting(&device).broker(format!("mqtt://{}", proxy.address()));
    let mut gateway = setup.file("plugins/default.toml", SLOW_SETTINGS).run();
    let (mut counts, mut lost) = (Counts::default(), BTreeSet::new());
    while counts.receive(&mut subscriber).await < 10 {}
    outage(&proxy, &gateway).await;
    for _ in 0..2 {
        let saved = backlog(&gateway.wait_for_health("a backlog", |health| backlog(health) > 20).await);
        gateway.wait_for_health("part of it delivered", |health| backlog(health) < saved).await;
        let setup = gateway.kill();
        // What a kill may cost: the reading that was not recorded yet.
        let read = u64::from(device.readings());
        lost.extend([read.saturating_sub(1), read]);
        gateway = setup.run();
    }
    gateway.wait_for_health("a running gateway", |health| health["feeds"]["default"]["connected"] == true).await;
    let through = u64::from(device.readings());
    counts.receive_all(&mut subscriber, through, &lost).await;
    let listed = gateway.output(&["journal", "feeds", "--json"]);
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.as_object().unwrap().keys().collect::<Vec<_>>(), ["default"], "a backlog is no feed of its own");
}
