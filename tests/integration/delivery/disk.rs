//! The journal's disk: full, or with the end of its last file torn off.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use bessai_simulator::scripted::{Broker as Scripted, Script, Seen};
use serde_json::Value;

use super::counting;
use crate::support::broker::Broker;
use crate::support::device::Device;
use crate::support::guests::{doing, hostile};
use crate::support::readings::Readings;
use crate::support::subscriber::{Subscriber, Wish};
use crate::support::{folder, long_tests, within};

/// A disk of 2 MiB; it is gone with the value.
struct SmallDisk {
    folder: tempfile::TempDir,
}

impl SmallDisk {
    /// None where this process may not mount, with a line on why.
    fn mount() -> Option<Self> {
        let folder = folder();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "bessai-edge-test"])
            .arg(folder.path())
            .output()
            .unwrap();
        if !mounted.status.success() {
            println!("skipped: a small disk needs the right to mount: {}", String::from_utf8_lossy(&mounted.stderr));
            return None;
        }
        Some(Self { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all that is free.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.path().join("filler")).unwrap();
        for size in [4096, 1] {
            while filler.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: whoever still holds a file in it does not keep it mounted.
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_holds_up_nobody_who_is_caught_up() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (device, broker) = (Device::counting(), Broker::start());
    let mut subscriber = Subscriber::start(Wish::telemetry(broker.port, 1)).await;
    let journal = format!("[journal]\ndir = \"{}\"\n", disk.path().display());
    let gateway = counting(&device).broker(broker.url()).file("bessai.toml", journal).run();
    let mut readings = Readings::default();
    subscriber.all(&mut readings, &device, &gateway).await;
    disk.fill();
    for _ in 0..10 {
        subscriber.all(&mut readings, &device, &gateway).await;
    }
    gateway.says("journal").await;
    disk.free();
    subscriber.all(&mut readings, &device, &gateway).await;
    let setup = gateway.kill();
    readings.kill(device.readings());
    let gateway = setup.run();
    subscriber.all(&mut readings, &device, &gateway).await;
}

/// The messages of an echoing feed by the number of their event: one number, one event.
fn events(seen: &Seen, mut known: BTreeMap<u64, Vec<u8>>) -> BTreeMap<u64, Vec<u8>> {
    for taken in &seen.taken {
        let sequence = serde_json::from_slice::<Value>(&taken.payload).unwrap()["sequence"].as_u64().unwrap();
        let first = known.entry(sequence).or_insert_with(|| taken.payload.clone());
        let (first, again) = (String::from_utf8_lossy(first), String::from_utf8_lossy(&taken.payload));
        assert_eq!(first, again, "the number {sequence} stands for two events");
    }
    known
}

/// The files of a journal's folder that can be cut, each with the numbers of bytes to cut off.
fn cuts(folder: &Path) -> Vec<(OsString, u64)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let lengths: BTreeMap<_, _> = entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().len())).collect();
    let is_of_events = |name: &&OsString| Path::new(name).extension().is_some_and(|ending| ending == "events");
    let newest = lengths.keys().rfind(is_of_events).expect("the journal has no file of events").clone();
    let step = if long_tests() { 1 } else { 33 };
    let mut cuts: Vec<_> = (0..=200.min(lengths[&newest])).step_by(step).map(|cut| (newest.clone(), cut)).collect();
    // The newest file as a whole, or all but a few bytes of it, and other files than those of events.
    cuts.extend([0, 5].map(|left| (newest.clone(), lengths[&newest] - left)));
    for (name, length) in lengths.into_iter().filter(|(name, length)| *length > 0 && !is_of_events(&name)) {
        cuts.extend([1, length / 2, length].map(|cut| (name.clone(), cut)));
    }
    cuts
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
async fn a_torn_end_is_cut_back() {
    let device = Device::counting();
    let mut setup = counting(&device).file("plugins/default.toml", "enabled = false\n");
    setup = setup.file("plugins/hostile.wasm", hostile()).file("bessai.toml", "[journal]\nsync = \"every-event\"\n");
    let feed = |broker: &Scripted| doing("echo", &format!("[broker]\nurl = \"mqtt://{}\"", broker.address()));
    let broker = Scripted::start(Script::default()).await.unwrap();
    let gateway = setup.file("plugins/echo.toml", feed(&broker)).run();
    within("events", broker.until(|seen| seen.taken.len() >= 50)).await;
    let mut setup = gateway.kill();
    let before = broker.look(|seen| events(seen, BTreeMap::new()));
    drop(broker);
    let (journal, kept) = (setup.folder().join("journal"), setup.folder().join("kept"));
    copy(&journal, &kept);
    let (mut tried, mut silent) = (0, 0);
    for (name, cut) in cuts(&kept) {
        std::fs::remove_dir_all(&journal).unwrap();
        copy(&kept, &journal);
        let file = std::fs::OpenOptions::new().write(true).open(journal.join(&name)).unwrap();
        file.set_len(file.metadata().unwrap().len() - cut).unwrap();
        drop(file);
        let broker = Scripted::start(Script::default()).await.unwrap();
        let gateway = setup.file("plugins/echo.toml", feed(&broker)).run();
        let has_new = |seen: &Seen| seen.taken.len() >= 10;
        if tokio::time::timeout(crate::support::LIMIT, broker.until(has_new)).await.is_err() {
            panic!("nothing comes after the last {cut} bytes of {name:?} are gone\n{}", gateway.log());
        }
        broker.look(|seen| events(seen, before.clone()));
        let said = gateway.said("unsound bytes") + gateway.said("no sound event") + gateway.said("set aside");
        tried += 1;
        // Bytes that end with an event are sound, so some cuts have nothing to tell; and what `numbers` reserves is no event.
        silent += usize::from(said == 0 && name != "numbers");
        assert!(said <= 1, "{name:?} - {cut}: {}", gateway.log());
        setup = gateway.kill();
    }
    assert!(silent * 3 < tried, "{silent} of {tried} cuts were made without a word");
}
