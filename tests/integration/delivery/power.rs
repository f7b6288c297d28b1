//! The gateway itself ends: by a signal that lets it finish, by one that does not.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use bessai_simulator::scripted::{Acknowledging, Broker as Scripted, Script};

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::readings::Readings;
use crate::support::subscriber::{Subscriber, Wish};
use crate::support::{long_tests, within};

/// Longest time from a start to the kill: most of it is a gateway at work.
const LIFE_MAX_MS: u64 = 1500;

/// A moment of a life, evenly spread.
fn moment() -> Duration {
    // The standard library's random hash keys are random enough.
    Duration::from_millis(RandomState::new().hash_one(0) % LIFE_MAX_MS)
}

/// Kills it again and again; `meanwhile` is told of each kill.
async fn kill_at_random_moments(url: &str, device: &Device, subscriber: &mut Subscriber, readings: &mut Readings) {
    let kills = if long_tests() { 200 } else { 20 };
    let mut setup = counting(device).broker(url);
    for _ in 0..kills {
        let gateway = setup.run();
        // The moment is what is tested.
        tokio::time::sleep(moment()).await;
        setup = gateway.kill();
        readings.kill(device.readings());
        subscriber.drain(readings);
    }
    let gateway = setup.run();
    subscriber.all(readings, device, &gateway).await;
    let unanswered = device.readings();
    println!("{kills} kills cost {:?} of {unanswered} readings, {} repeats", readings.missing(), readings.repeats());
}

#[tokio::test]
async fn killed_at_random_moments() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 0)).await;
    kill_at_random_moments(&broker.url(), &device, &mut subscriber, &mut Readings::default()).await;
}

/// Nothing is delivered before the last start, so all that comes was on disk.
#[tokio::test]
async fn killed_while_the_broker_is_down() {
    let (device, mut broker) = (Device::counting(), Broker::start());
    broker.stop();
    let mut setup = counting(&device).broker(broker.url());
    let mut readings = Readings::default();
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
        readings.kill(device.readings());
    }
    broker.run();
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 0)).await;
    let gateway = setup.run();
    subscriber.all(&mut readings, &device, &gateway).await;
}

#[tokio::test]
async fn a_stop_delivers_what_was_read() {
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 0)).await;
    let gateway = counting(&device).broker(broker.url()).run();
    let mut readings = Readings::default();
    subscriber.all(&mut readings, &device, &gateway).await;
    let (status, setup) = gateway.stop_for_now().await;
    assert_eq!(status.code(), Some(0));
    // The reading under way at the signal may stay behind, as at a kill.
    let answered = device.readings();
    readings.kill(answered);
    let last = u64::from(answered) - 1;
    within("the last readings", async {
        while readings.highest().is_none_or(|highest| highest + 1 < last) {
            readings.arrived(&subscriber.next().await).unwrap();
        }
    })
    .await;
    drop(setup);
}

#[tokio::test]
async fn what_a_stop_could_not_deliver_comes_after_the_next_start() {
    let device = Device::counting();
    let broker = Scripted::start(Script::acknowledging(Acknowledging::Never)).await.unwrap();
    let gateway = counting(&device).broker(format!("mqtt://{}", broker.address())).run();
    within("messages", broker.until(|seen| seen.taken.len() >= 20)).await;
    let (status, setup) = gateway.stop_for_now().await;
    assert_eq!(status.code(), Some(0));
    let answered = device.readings();
    broker.follow(Script::default());
    let gateway = setup.run();
    let wanted = u64::from(answered) + 5;
    let is_caught_up = |seen: &bessai_simulator::scripted::Seen| super::scripted::last_reading(seen) >= Some(wanted);
    within("the rest", broker.until(is_caught_up)).await;
    let mut readings = Readings::default();
    readings.kill(answered);
    broker
        .look(|seen| super::scripted::check_with(seen, readings))
        .unwrap_or_else(|broken| panic!("{broken}\n{}", gateway.log()));
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let device = Device::counting();
    let broker = Scripted::start(Script::acknowledging(Acknowledging::Never)).await.unwrap();
    let mut gateway = counting(&device).broker(format!("mqtt://{}", broker.address())).run();
    within("messages", broker.until(|seen| seen.taken.len() >= 10)).await;
    gateway.terminate();
    gateway.says("stopping").await;
    gateway.terminate();
    assert_eq!(gateway.end().await.code(), Some(1));
    gateway.says("ended by a second signal").await;
    assert_eq!(gateway.said("unacknowledged after"), 0, "the drain was waited for: {}", gateway.log());
}
