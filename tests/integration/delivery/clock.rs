//! A clock that is set back: order and numbers do not follow it.

use std::path::PathBuf;

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::gateway::{Gateway, Setup};
use crate::support::readings::Readings;
use crate::support::subscriber::{Subscriber, Wish};

const HOUR_S: f64 = 3600.0;

/// Debian keeps it in a folder of the machine's architecture.
fn library() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").unwrap();
    let libraries = folders.map(|folder| folder.unwrap().path().join("faketime/libfaketime.so.1"));
    libraries.into_iter().find(|path| path.is_file()).expect("libfaketime is missing: run scripts/setup")
}

/// A wall clock that a file sets; time itself goes on.
fn with_own_clock(setup: Setup) -> Setup {
    let clock = setup.folder().join("clock");
    let setup = setup.file("clock", "+0").with("LD_PRELOAD", library().display());
    setup
        .with("FAKETIME_TIMESTAMP_FILE", clock.display())
        .with("FAKETIME_NO_CACHE", "1")
        .with("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

fn set_clock_back(gateway: &Gateway) {
    std::fs::write(gateway.path("clock"), "-3600").unwrap();
}

#[tokio::test]
async fn an_hour_back_while_it_runs() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 1)).await;
    let gateway = with_own_clock(counting(&device).broker(broker.url())).run();
    let mut readings = Readings::default();
    let first = subscriber.next().await;
    readings.arrived(&first).unwrap();
    subscriber.all(&mut readings, &device, &gateway).await;
    set_clock_back(&gateway);
    subscriber.all(&mut readings, &device, &gateway).await;
    let last = subscriber.next().await;
    readings.arrived(&last).unwrap();
    let ts = |telemetry: &serde_json::Value| telemetry["ts"].as_f64().unwrap();
    assert!(ts(&last) < ts(&first) - HOUR_S / 2.0, "the clock was not set back: {first} {last}");
}

#[tokio::test]
async fn an_hour_back_before_a_start() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 0)).await;
    let gateway = with_own_clock(counting(&device).broker(broker.url())).run();
    let mut readings = Readings::default();
    subscriber.all(&mut readings, &device, &gateway).await;
    // What is in the journal when the clock goes back has not been delivered.
    broker.stop();
    let before = device.readings();
    gateway.says("not signed in").await;
    gateway.until("more readings", |_| device.readings() > before + 20).await;
    set_clock_back(&gateway);
    let setup = gateway.kill();
    readings.kill(device.readings());
    broker.run();
    subscriber.subscribed(2).await;
    let gateway = setup.run();
    subscriber.all(&mut readings, &device, &gateway).await;
}
