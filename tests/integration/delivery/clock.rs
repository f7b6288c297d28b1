//! A system clock that is set: neither the order of events nor their age depends on it.

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::libfaketime;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;

/// How far the clock is set back, in seconds.
const HOUR_S: f64 = 3600.0;

/// Runs the gateway with a wall clock that a file offsets; its monotonic clock is unchanged.
fn with_own_clock(setup: Setup) -> Setup {
    let clock = setup.folder().join("clock");
    let setup = setup.file("clock", "+0").with("LD_PRELOAD", libfaketime().display());
    setup
        .with("FAKETIME_TIMESTAMP_FILE", clock.display())
        .with("FAKETIME_NO_CACHE", "1")
        .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

fn set_clock_back(gateway: &Gateway) {
    std::fs::write(gateway.path("clock"), "-3600").unwrap();
}

/// The journal's part of `/health`, once this many more events are in it.
async fn journal_after(gateway: &Gateway, more: u64) -> serde_json::Value {
    let newest = |health: &serde_json::Value| health["journal"]["newest"].as_u64().unwrap_or_default();
    let before = newest(&gateway.wait_for_health("an event", |health| newest(health) > 0).await);
    let health = gateway.wait_for_health("more events", |health| newest(health) > before + more).await;
    health["journal"].clone()
}

#[tokio::test]
async fn a_clock_set_back_while_the_gateway_runs_loses_no_reading() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 1)).await;
    let gateway = with_own_clock(counting(&device).broker(broker.url())).run();
    let mut readings = DeliveredReadings::default();
    let first = subscriber.next().await;
    readings.add_message(&first).unwrap();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    set_clock_back(&gateway);
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    let last = subscriber.next().await;
    readings.add_message(&last).unwrap();
    let ts = |telemetry: &serde_json::Value| telemetry["ts"].as_f64().unwrap();
    assert!(ts(&last) < ts(&first) - HOUR_S / 2.0, "the clock was not set back: {first} {last}");
}

#[tokio::test]
async fn a_clock_set_back_before_a_start_loses_no_reading() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let gateway = with_own_clock(counting(&device).broker(broker.url())).run();
    let mut readings = DeliveredReadings::default();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    // The journal contains undelivered events when the clock is set back.
    broker.kill();
    let before = device.readings();
    gateway.wait_for_log("retrying in").await;
    gateway.wait_for_health("more readings", |_| device.readings() > before + 20).await;
    set_clock_back(&gateway);
    let setup = gateway.kill();
    readings.record_kill(device.readings());
    broker.restart();
    subscriber.wait_for_subscriptions(2).await;
    let gateway = setup.run();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
}

#[tokio::test]
async fn a_clock_that_is_wrong_at_a_start_deletes_no_undelivered_reading() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    // Ages are short and segments many, so that whatever looks old is deleted at once.
    let settings = "[journal]\nmax_age = \"1h\"\nmax_size = \"1MiB\"\n";
    let mut gateway = with_own_clock(counting(&device).broker(broker.url())).file("bessai.toml", settings).run();
    let mut readings = DeliveredReadings::default();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    broker.kill();
    gateway.wait_for_log("retrying in").await;
    let first = journal_after(&gateway, 20).await;
    // A year ahead, right, a year back, ten years ahead.
    for offset in ["+31536000", "+0", "-31536000", "+315360000"] {
        std::fs::write(gateway.path("clock"), offset).unwrap();
        let setup = gateway.kill();
        readings.record_kill(device.readings());
        gateway = setup.run();
        let journal = journal_after(&gateway, 20).await;
        assert_eq!((&journal["oldest"], &journal["lost"]), (&first["oldest"], &first["lost"]), "{offset}: {journal}");
    }
    std::fs::write(gateway.path("clock"), "+0").unwrap();
    broker.restart();
    subscriber.wait_for_subscriptions(2).await;
    subscriber.receive_all(&mut readings, &device, &gateway).await;
}
