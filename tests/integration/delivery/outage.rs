//! Brokers that are away for a while, forget everything, or refuse the password; and feeds that do not feel each other's.

use std::time::Duration;

use bessai_simulator::proxy::{Proxy, Weather};

use super::counting;
use crate::support::broker::{Broker, Setup as BrokerSetup};
use crate::support::device::Device;
use crate::support::gateway::Gateway;
use crate::support::readings::Readings;
use crate::support::subscriber::{Subscriber, Wish};
use crate::support::{component, free_port, long_tests, within};

/// How long brokers are away.
fn outage() -> Duration {
    Duration::from_secs(if long_tests() { 60 } else { 4 })
}

#[tokio::test]
async fn a_broker_that_was_stopped_gets_what_it_missed() {
    let device = Device::counting();
    let mut broker = Broker::with(&BrokerSetup { persists: true, ..BrokerSetup::default() });
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 1)).await;
    let gateway = counting(&device).broker(broker.url()).run();
    let mut readings = Readings::default();
    subscriber.all(&mut readings, &device, &gateway).await;
    broker.end();
    tokio::time::sleep(outage()).await;
    broker.run();
    // One of the gateway's session, one of the subscriber's.
    readings.seams(2);
    subscriber.all(&mut readings, &device, &gateway).await;
}

#[tokio::test]
async fn a_broker_that_forgot_everything_gets_what_it_missed() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    let proxy = Proxy::start(([127, 0, 0, 1], broker.port).into()).await.unwrap();
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 0)).await;
    let gateway = counting(&device).broker(format!("mqtt://{}", proxy.address())).run();
    let mut readings = Readings::default();
    for restart in 1..=2 {
        subscriber.all(&mut readings, &device, &gateway).await;
        // A broker without subscribers takes messages for nobody, so the gateway finds it only after the subscriber has.
        proxy.set(Weather::Refused);
        broker.stop();
        broker.run();
        subscriber.subscribed(1 + restart).await;
        proxy.set(Weather::Clear);
        readings.seam();
    }
    subscriber.all(&mut readings, &device, &gateway).await;
}

#[tokio::test]
async fn a_password_that_is_refused_for_a_while_costs_nothing() {
    const USER: &str = "gateway";
    let device = Device::counting();
    let broker = Broker::with(&BrokerSetup { login: Some((USER, "right")), ..BrokerSetup::default() });
    broker.set_password("subscriber", "own");
    let login = Some(("subscriber".to_owned(), "own".to_owned()));
    let mut subscriber = Subscriber::start(Wish { login, ..Wish::telemetry(broker.port, 1) }).await;
    let setup = counting(&device).broker(broker.url()).with("MQTT_USERNAME", USER).with("MQTT_PASSWORD", "right");
    let gateway = setup.run();
    let mut readings = Readings::default();
    subscriber.all(&mut readings, &device, &gateway).await;
    broker.set_password(USER, "wrong");
    gateway.says("check user name, password").await;
    let refusals = || broker.log().matches("not authorised").count();
    let so_far = refusals();
    within("one more refusal", async {
        while refusals() == so_far {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    broker.set_password(USER, "right");
    readings.seam();
    subscriber.all(&mut readings, &device, &gateway).await;
    assert!(!gateway.log().contains("right"), "{}", gateway.log());
}

#[tokio::test]
async fn a_dead_broker_is_felt_by_its_own_feed_alone() {
    let (device, live, dead_port) = (Device::counting(), Broker::start(), free_port());
    let settings = format!("start = \"oldest\"\n[broker]\nurl = \"mqtt://127.0.0.1:{dead_port}\"\n");
    let setup = counting(&device).broker(live.url()).file("plugins/acme.toml", settings);
    let setup = setup.file("plugins/acme.wasm", std::fs::read(component("bessai-json")).unwrap());
    let mut subscriber = Subscriber::start(Wish::telemetry(live.port, 1)).await;
    let gateway = setup.run();
    let mut readings = Readings::default();
    // Round after round the one gets all there is, and the other falls behind by as much.
    let mut lag = 0;
    for round in 0..4 {
        subscriber.all(&mut readings, &device, &gateway).await;
        let behind = lag_of(&gateway, "acme", lag).await;
        assert!(behind > lag, "round {round}: {behind} events behind after {lag}");
        lag = behind;
    }
    assert_eq!(gateway.health().await["feeds"]["acme"]["delivered"], 0);
    let mut revived = Broker::with(&BrokerSetup { port: Some(dead_port), ..BrokerSetup::default() });
    let mut late = Readings::default();
    // The subscriber has to be there before the feed is: it tries again within a minute at most, half a second at least.
    let mut customer = Subscriber::start(Wish::telemetry(dead_port, 1)).await;
    customer.all(&mut late, &device, &gateway).await;
    subscriber.all(&mut readings, &device, &gateway).await;
    revived.stop();
    subscriber.all(&mut readings, &device, &gateway).await;
}

/// Waits until a feed is further behind than it was.
async fn lag_of(gateway: &Gateway, feed: &str, before: u64) -> u64 {
    let lag = |health: &serde_json::Value| health["feeds"][feed]["lag"].as_u64().unwrap();
    lag(&gateway.until("a growing lag", |health| lag(health) > before).await)
}
