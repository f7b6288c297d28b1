//! What control has to know after a restart, in a file of the data folder: the channels that may be set, and the writes of
//! points that are kept in flash.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bessai_control::Memory;
use bessai_domain::time::{Moment, Timestamp};
use bessai_supervision::run_blocking;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use crate::clock::now;

/// The file's name in the data folder.
const FILE_NAME: &str = "control.json";
/// The version of its format.
const VERSION: u64 = 1;
/// How long a write waits for the disk.
const DISK_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of the largest file that is read: several thousand channels.
const MAX_BYTES: u64 = 1 << 20;

/// The file, written in the background whenever what it holds has changed.
pub(super) struct MemoryFile {
    shared: Rc<Shared>,
    saved: watch::Receiver<u64>,
    task: JoinHandle<()>,
}

struct Shared {
    newest: RefCell<Newest>,
    changed: Notify,
}

/// What is to be written.
struct Newest {
    memory: Memory,
    text: String,
    version: u64,
}

impl MemoryFile {
    /// Reads it, and starts to write it.
    pub(super) async fn open(data_dir: &Path) -> (Self, Memory) {
        let path = data_dir.join(FILE_NAME);
        let read = path.clone();
        let text =
            run_blocking("read of the memory of control", move || bessai_files::read_text(&read, MAX_BYTES)).await;
        let memory = match text.as_ref().map(|text| parse(text, now())) {
            Ok(Some(memory)) => memory,
            Ok(None) => {
                let path = path.display();
                tracing::error!("{path} is damaged: set-points of the run before are not released; it is written anew");
                Memory::default()
            }
            // There is none before the first set-point.
            Err(error) if error.is_missing() => Memory::default(),
            Err(error) => {
                tracing::error!("{}: {error}; set-points of the run before are not released", path.display());
                Memory::default()
            }
        };
        let newest = Newest { memory: memory.clone(), text: String::new(), version: 0 };
        let shared = Rc::new(Shared { newest: RefCell::new(newest), changed: Notify::new() });
        let (saves, saved) = watch::channel(0);
        let task = spawn_local(save(path, Rc::clone(&shared), saves));
        (Self { shared, saved, task }, memory)
    }

    /// Takes over what is to be remembered.
    pub(super) fn remember(&self, memory: Memory, at: Moment) {
        let mut newest = self.shared.newest.borrow_mut();
        if newest.memory == memory {
            return;
        }
        newest.text = text(&memory, at);
        newest.memory = memory;
        newest.version += 1;
        self.shared.changed.notify_one();
    }

    /// The version of what is to be remembered.
    pub(super) fn version(&self) -> u64 {
        self.shared.newest.borrow().version
    }

    /// Waits until this version is on disk, or the disk has refused it or does not answer: a device must be released all the
    /// same.
    pub(super) async fn saved(&self, version: u64) {
        let mut saved = self.saved.clone();
        let _ = timeout(DISK_LIMIT, saved.wait_for(|saved| *saved >= version)).await;
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn save(path: PathBuf, shared: Rc<Shared>, saves: watch::Sender<u64>) {
    let mut is_logged = false;
    loop {
        let (text, version) = {
            let newest = shared.newest.borrow();
            (newest.text.clone(), newest.version)
        };
        if version > *saves.borrow() {
            let target = path.clone();
            let written = run_blocking("memory of control", move || write(&target, &text)).await;
            match written {
                Ok(()) => is_logged = false,
                Err(error) if !std::mem::replace(&mut is_logged, true) => {
                    let path = path.display();
                    tracing::error!(
                        "failed to write {path}: {error}; set-points are not released after a restart if the gateway is \
                         killed"
                    );
                }
                Err(_) => {}
            }
            // A disk that is full must not keep a device from being released.
            saves.send_replace(version);
            continue;
        }
        shared.changed.notified().await;
    }
}

#[allow(clippy::disallowed_methods, reason = "runs on a blocking thread")]
fn write(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("json.tmp");
    let mut file = File::create(&unfinished)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

fn text(memory: &Memory, at: Moment) -> String {
    let held = memory
        .held
        .iter()
        .map(|((device, channel), before)| json!({ "device": device, "channel": channel, "before": before }));
    let writes = memory.writes.iter().map(|((device, point), ends)| {
        let ends = ends.iter().map(|end| at.wall.plus(end.since(at.monotonic)).nanos() / 1_000_000);
        json!({ "device": device, "point": point, "count_until_ms": ends.collect::<Vec<_>>() })
    });
    let (held, writes): (Vec<_>, Vec<_>) = (held.collect(), writes.collect());
    format!("{}\n", json!({ "version": VERSION, "held": held, "writes": writes }))
}

fn parse(text: &str, at: Moment) -> Option<Memory> {
    let file: Value = serde_json::from_str(text).ok()?;
    let list = |key: &str| file.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let key = |entry: &Value, name: &str| {
        let text = |member: &str| entry.get(member).and_then(Value::as_str).map(str::to_owned);
        Some((text("device")?, text(name)?))
    };
    let mut memory = Memory::default();
    file.get("version").filter(|version| version.as_u64() == Some(VERSION))?;
    for entry in list("held") {
        memory.held.insert(key(entry, "channel")?, entry.get("before").and_then(Value::as_f64));
    }
    for entry in list("writes") {
        let ends = entry.get("count_until_ms").and_then(Value::as_array)?.iter().filter_map(Value::as_u64);
        // The wall clock may have stepped; the room lets none of them count for longer than a day.
        let ends = ends.map(|end| Timestamp::from_nanos(end.saturating_mul(1_000_000)).since(at.wall));
        memory.writes.insert(key(entry, "point")?, ends.map(|left| at.monotonic.plus(left)).collect());
    }
    Some(memory)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_remembered_is_read_with_other_clocks() {
        let moment = |seconds: u64| Moment::by_wall_clock(Timestamp::from_nanos(seconds * 1_000_000_000));
        let (before, after) = (moment(1_800_000_000), moment(1_800_000_100));
        let names = |name: &str| ("battery".to_owned(), name.to_owned());
        let mut memory = Memory::default();
        memory.held.insert(names("set_point_kw"), None);
        memory.held.insert(names("reserve"), Some(20.5));
        memory.writes.insert(names("reserve"), vec![before.monotonic.plus(Duration::from_secs(3600))]);
        assert_eq!(parse(&text(&memory, before), before), Some(memory.clone()));
        assert_eq!(parse(&text(&memory, before), after), Some(memory));
        for damaged in ["", "{}", "{\"version\": 2}", "{\"version\": 1, \"held\": [{\"device\": 5}]}"] {
            assert_eq!(parse(damaged, after), None, "{damaged}");
        }
    }
}
