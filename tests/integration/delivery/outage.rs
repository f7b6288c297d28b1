//! Brokers that stop, lose their sessions or refuse the password, and the independence of feeds with different brokers.

use std::time::Duration;

use bessai_simulator::proxy::{NetworkCondition, Proxy};

use super::counting;
use crate::support::broker::{Broker, BrokerSetup};
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;
use crate::support::{component, free_port, long_tests, within};

/// How long a broker is stopped.
fn outage() -> Duration {
    Duration::from_secs(if long_tests() { 60 } else { 4 })
}

#[tokio::test]
async fn a_stopped_broker_receives_the_backlog_after_its_restart() {
    let device = Device::counting();
    let mut broker = Broker::with(&BrokerSetup { persists: true, ..BrokerSetup::default() });
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 1)).await;
    let gateway = counting(&device).broker(broker.url()).run();
    let mut readings = DeliveredReadings::default();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    broker.terminate();
    tokio::time::sleep(outage()).await;
    broker.restart();
    // One for the gateway's session, one for the subscriber's.
    readings.allow_redeliveries(2);
    subscriber.receive_all(&mut readings, &device, &gateway).await;
}

#[tokio::test]
async fn a_broker_that_lost_its_sessions_receives_the_backlog() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    let proxy = Proxy::start(([127, 0, 0, 1], broker.port).into()).await.unwrap();
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let gateway = counting(&device).broker(format!("mqtt://{}", proxy.address())).run();
    let mut readings = DeliveredReadings::default();
    for restart in 1..=2 {
        subscriber.receive_all(&mut readings, &device, &gateway).await;
        // A broker without subscribers discards messages, so the subscriber must connect before the gateway.
        proxy.set_condition(NetworkCondition::Refused);
        broker.kill();
        broker.restart();
        subscriber.wait_for_subscriptions(1 + restart).await;
        proxy.set_condition(NetworkCondition::Normal);
        readings.allow_redelivery();
    }
    subscriber.receive_all(&mut readings, &device, &gateway).await;
}

#[tokio::test]
async fn a_temporarily_refused_password_loses_no_reading() {
    // The gateway's user name at the broker.
    const USER: &str = "gateway";
    let device = Device::counting();
    let broker = Broker::with(&BrokerSetup { login: Some((USER, "right")), ..BrokerSetup::default() });
    broker.set_password("subscriber", "own");
    let login = Some(("subscriber".to_owned(), "own".to_owned()));
    let mut subscriber =
        ReadingSubscriber::start(Subscription { login, ..Subscription::telemetry(broker.port, 1) }).await;
    let setup = counting(&device).broker(broker.url()).with("MQTT_USERNAME", USER).with("MQTT_PASSWORD", "right");
    let gateway = setup.run();
    let mut readings = DeliveredReadings::default();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    broker.set_password(USER, "wrong");
    gateway.wait_for_log("check user name, password").await;
    let refusals = || broker.log().matches("not authorised").count();
    let before = refusals();
    within("one more refusal", async {
        while refusals() == before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    broker.set_password(USER, "right");
    readings.allow_redelivery();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    assert!(!gateway.log().contains("right"), "{}", gateway.log());
}

#[tokio::test]
async fn an_unreachable_broker_delays_only_its_own_feed() {
    let (device, live, dead_port) = (Device::counting(), Broker::start(), free_port());
    let settings = format!("start = \"oldest\"\n[broker]\nurl = \"mqtt://127.0.0.1:{dead_port}\"\n");
    let setup = counting(&device).broker(live.url()).file("plugins/acme.toml", settings);
    let setup = setup.file("plugins/acme.wasm", std::fs::read(component("bessai-json")).unwrap());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(live.port, 1)).await;
    let gateway = setup.run();
    let mut readings = DeliveredReadings::default();
    // In each round the live feed receives all readings, while the lag of the other grows.
    let mut lag = 0;
    for round in 0..4 {
        subscriber.receive_all(&mut readings, &device, &gateway).await;
        let behind = wait_for_lag(&gateway, "acme", lag).await;
        assert!(behind > lag, "round {round}: {behind} events behind after {lag}");
        lag = behind;
    }
    assert_eq!(gateway.health().await["feeds"]["acme"]["delivered"], 0);
    let mut revived = Broker::with(&BrokerSetup { port: Some(dead_port), ..BrokerSetup::default() });
    let mut late = DeliveredReadings::default();
    // The subscriber must connect before the feed, whose next attempt comes after half a second at the earliest.
    let mut customer = ReadingSubscriber::start(Subscription::telemetry(dead_port, 1)).await;
    customer.receive_all(&mut late, &device, &gateway).await;
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    revived.kill();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
}

/// Waits until a feed's lag has grown.
async fn wait_for_lag(gateway: &Gateway, feed: &str, before: u64) -> u64 {
    let lag = |health: &serde_json::Value| health["feeds"][feed]["lag"].as_u64().unwrap();
    lag(&gateway.wait_for_health("a growing lag", |health| lag(health) > before).await)
}
