//! The journal's disk: full, or with truncated files.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;

use bessai_simulator::scripted::{Recording, Script, ScriptedBroker};
use serde_json::Value;

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::guests::{hostile, hostile_feed};
use crate::support::reading_subscriber::{ReadingSubscriber, Subscription};
use crate::support::readings::DeliveredReadings;
use crate::support::small_disk::SmallDisk;
use crate::support::{folder, long_tests, within};

#[tokio::test]
async fn a_full_disk_does_not_delay_a_feed_without_backlog() {
    let folder = folder();
    let Some(disk) = SmallDisk::mount(folder.path(), 2) else { return };
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = ReadingSubscriber::start(Subscription::telemetry(broker.port, 1)).await;
    let journal = format!("[journal]\ndir = \"{}\"\n", disk.path().display());
    let gateway = counting(&device).broker(broker.url()).file("bessai.toml", journal).run();
    let mut readings = DeliveredReadings::default();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    disk.fill();
    for _ in 0..10 {
        subscriber.receive_all(&mut readings, &device, &gateway).await;
    }
    gateway.wait_for_log("journal").await;
    disk.free();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
    let setup = gateway.kill();
    readings.record_kill(device.readings());
    let gateway = setup.run();
    subscriber.receive_all(&mut readings, &device, &gateway).await;
}

/// Adds an echoing feed's messages by sequence number; fails when two events have the same number.
fn events(recording: &Recording, mut known: BTreeMap<u64, Vec<u8>>) -> BTreeMap<u64, Vec<u8>> {
    for message in &recording.messages {
        let sequence = serde_json::from_slice::<Value>(&message.payload).unwrap()["sequence"].as_u64().unwrap();
        let first = known.entry(sequence).or_insert_with(|| message.payload.clone());
        let (first, payload) = (String::from_utf8_lossy(first), String::from_utf8_lossy(&message.payload));
        assert_eq!(first, payload, "two events have the sequence number {sequence}");
    }
    known
}

/// The truncations to test: a file of the journal, and how many bytes to remove from its end.
fn truncations(folder: &Path) -> Vec<(OsString, u64)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let lengths: BTreeMap<_, _> = entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
    let is_of_events = |name: &&OsString| Path::new(name).extension().is_some_and(|ending| ending == "events");
    let newest = lengths.keys().rfind(is_of_events).expect("the journal has no file of events").clone();
    let step = if long_tests() { 1 } else { 33 };
    let removed = (0..=200.min(lengths[&newest])).step_by(step);
    let mut truncations: Vec<_> = removed.map(|bytes| (newest.clone(), bytes)).collect();
    // All or nearly all of the newest file, and the other files of the journal.
    truncations.extend([0, 5].map(|left| (newest.clone(), lengths[&newest] - left)));
    for (name, length) in lengths.into_iter().filter(|(name, length)| *length > 0 && !is_of_events(&name)) {
        truncations.extend([1, length / 2, length].map(|bytes| (name.clone(), bytes)));
    }
    truncations
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, target) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

#[tokio::test]
async fn a_truncated_journal_is_recovered() {
    let device = Device::counting();
    let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
    setup = setup.file("plugins/hostile.wasm", hostile()).file("bessai.toml", "[journal]\nsync = \"every-event\"\n");
    let feed =
        |broker: &ScriptedBroker| hostile_feed("echo", &format!("[broker]\nurl = \"mqtt://{}\"", broker.address()));
    let broker = ScriptedBroker::start(Script::default()).await.unwrap();
    let gateway = setup.file("plugins/echo.toml", feed(&broker)).run();
    within("events", broker.wait_until(|recording| recording.messages.len() >= 50)).await;
    let mut setup = gateway.kill();
    let before = broker.inspect(|recording| events(recording, BTreeMap::new()));
    drop(broker);
    let (journal, original) = (setup.folder().join("journal"), setup.folder().join("original"));
    copy(&journal, &original);
    let (mut tested, mut unlogged) = (0, 0);
    for (name, removed) in truncations(&original) {
        std::fs::remove_dir_all(&journal).unwrap();
        copy(&original, &journal);
        let file = std::fs::OpenOptions::new().write(true).open(journal.join(&name)).unwrap();
        file.set_len(file.metadata().unwrap().len() - removed).unwrap();
        drop(file);
        let broker = ScriptedBroker::start(Script::default()).await.unwrap();
        let gateway = setup.file("plugins/echo.toml", feed(&broker)).run();
        let has_new = |recording: &Recording| recording.messages.len() >= 10;
        if tokio::time::timeout(crate::support::LIMIT, broker.wait_until(has_new)).await.is_err() {
            panic!("no event arrives after {removed} bytes of {name:?} were removed\n{}", gateway.log());
        }
        broker.inspect(|recording| events(recording, before.clone()));
        let logged =
            gateway.log_count("invalid bytes") + gateway.log_count("no valid event") + gateway.log_count("quarantined");
        tested += 1;
        // A truncation at the end of a record is not detectable; the file `numbers` contains no records.
        unlogged += usize::from(logged == 0 && name != "numbers");
        assert!(logged <= 1, "{name:?} - {removed}: {}", gateway.log());
        setup = gateway.kill();
    }
    assert!(unlogged * 3 < tested, "{unlogged} of {tested} truncations were not logged");
}
