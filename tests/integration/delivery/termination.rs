//! The end of the gateway's process: SIGTERM, which drains the feeds, and SIGKILL.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bessai_simulator::scripted::{Acknowledgements, Recording, Script, ScriptedBroker};

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;
use crate::support::{long_tests, within};

/// The longest time from a start to the kill, during most of which the gateway runs.
const RUN_MAX_MS: u64 = 1500;

/// A random duration of a run.
fn random_run() -> Duration {
    // The standard library's hash keys are a random source without a further dependency.
    Duration::from_millis(RandomState::new().hash_one(0) % RUN_MAX_MS)
}

/// Kills the gateway after random durations and receives the readings in between.
async fn kill_repeatedly(
    url: &str,
    device: &Device,
    subscriber: &mut ReadingSubscriber,
    readings: &mut DeliveredReadings,
) {
    let kills = if long_tests() { 200 } else { 20 };
    let mut setup = counting(device).broker(url);
    for _ in 0..kills {
        let gateway = setup.run();
        // The kill must come at any time, so there is no condition to wait for.
        tokio::time::sleep(random_run()).await;
        setup = gateway.kill();
        readings.record_kill(device.readings());
        subscriber.drain(readings);
    }
    let gateway = setup.run();
    subscriber.receive_all(readings, device, &gateway).await;
    let total = device.readings();
    println!(
        "{kills} kills lost {:?} of {total} readings, {} redeliveries",
        readings.lost_to_kills(),
        readings.redeliveries()
    );
}

#[tokio::test]
async fn a_kill_loses_at_most_the_reading_in_progress() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    kill_repeatedly(&broker.url(), &device, &mut subscriber, &mut DeliveredReadings::default()).await;
}

/// Nothing is delivered before the last start, so all readings that arrive were on disk.
#[tokio::test]
async fn readings_before_a_kill_arrive_once_the_broker_returns() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    broker.kill();
    let mut setup = counting(&device).broker(broker.url());
    let mut readings = DeliveredReadings::default();
    for _ in 0..5 {
        let before = device.readings();
        let gateway = setup.run();
        within("readings", async {
            while device.readings() < before + 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        setup = gateway.kill();
        readings.record_kill(device.readings());
    }
    broker.restart();
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let gateway = setup.run();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
}

#[tokio::test]
async fn a_stop_delivers_all_complete_readings() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 0)).await;
    let gateway = counting(&device).broker(broker.url()).run();
    let mut readings = DeliveredReadings::default();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    let (status, setup) = gateway.stop_and_keep_setup().await;
    assert_eq!(status.code(), Some(0));
    // The reading in progress at the signal may be lost, as at a kill.
    let answered = device.readings();
    readings.record_kill(answered);
    let last = u64::from(answered) - 1;
    within("the last readings", async {
        while readings.highest().is_none_or(|highest| highest + 1 < last) {
            readings.add_message(&subscriber.next().await).unwrap();
        }
    })
    .await;
    drop(setup);
}

#[tokio::test]
async fn readings_undelivered_at_a_stop_arrive_after_the_next_start() {
    let device = Device::counting();
    let broker = ScriptedBroker::start(Script::with_acknowledgements(Acknowledgements::Never)).await.unwrap();
    let gateway = counting(&device).broker(format!("mqtt://{}", broker.address())).run();
    within("messages", broker.wait_until(|recording| recording.messages.len() >= 20)).await;
    let (status, setup) = gateway.stop_and_keep_setup().await;
    assert_eq!(status.code(), Some(0));
    let answered = device.readings();
    broker.set_script(Script::default());
    let gateway = setup.run();
    let wanted = u64::from(answered) + 5;
    let is_caught_up = |recording: &Recording| super::scripted::last_reading(recording) >= Some(wanted);
    within("the undelivered readings", broker.wait_until(is_caught_up)).await;
    let mut readings = DeliveredReadings::default();
    readings.record_kill(answered);
    broker
        .inspect(|recording| super::scripted::check_with(recording, readings))
        .unwrap_or_else(|violation| panic!("{violation}\n{}", gateway.log()));
}

#[tokio::test]
async fn a_second_signal_exits_at_once() {
    let device = Device::counting();
    let broker = ScriptedBroker::start(Script::with_acknowledgements(Acknowledgements::Never)).await.unwrap();
    let mut gateway = counting(&device).broker(format!("mqtt://{}", broker.address())).run();
    within("messages", broker.wait_until(|recording| recording.messages.len() >= 10)).await;
    gateway.terminate();
    gateway.wait_for_log("stopping").await;
    gateway.terminate();
    assert_eq!(gateway.wait_for_exit().await.code(), Some(1));
    gateway.wait_for_log("second signal: exiting without draining").await;
    assert_eq!(gateway.log_count("unacknowledged after"), 0, "the gateway drained its feeds: {}", gateway.log());
}
