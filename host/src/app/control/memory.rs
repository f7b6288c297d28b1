//! What control has to know after a restart, in a file of the data folder: the channels that may be set, and the writes of
//! points that are kept in flash.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bessai_domain::time::{Moment, MonotonicTime, Timestamp};
use bessai_supervision::run_blocking;
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

use super::left_over::LeftOver;
use crate::clock::now;

/// The file's name in the data folder.
const FILE_NAME: &str = "control.json";
/// The version of its format.
const VERSION: u64 = 1;
/// How long a write waits for the disk.
const DISK_LIMIT: Duration = Duration::from_secs(1);
/// The extension of a damaged file.
const DAMAGED_EXTENSION: &str = "json.damaged";
/// Bytes of the largest file that is read: several thousand channels.
const MAX_BYTES: u64 = 1 << 20;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Remembered {
    /// The channels that may be set.
    pub(super) held: Vec<LeftOver>,
    /// When each counted write of a persistent point leaves its budget, by device and point.
    pub(super) writes: BTreeMap<(String, String), Vec<MonotonicTime>>,
}

/// The file as a start finds it.
pub(super) enum Found {
    Read(Remembered),
    /// There is none, as before the first set-point, or because it was removed.
    Missing,
    /// It cannot be read; the log says why.
    Lost,
}

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
    /// None: the file is to be written whatever it holds.
    remembered: Option<Remembered>,
    text: String,
    version: u64,
}

impl MemoryFile {
    /// Reads it, and starts to write it. If control `is_on` there is a file from now on: where one is missing it was removed.
    pub(super) async fn open(data_dir: &Path, is_on: bool) -> (Self, Found) {
        let path = data_dir.join(FILE_NAME);
        let read = path.clone();
        let found = run_blocking("read of the memory of control", move || read_blocking(&read)).await;
        let remembered = match &found {
            Found::Read(remembered) => Some(remembered.clone()),
            Found::Missing | Found::Lost => (!is_on).then(Remembered::default),
        };
        let newest = Newest { remembered, text: String::new(), version: 0 };
        let shared = Rc::new(Shared { newest: RefCell::new(newest), changed: Notify::new() });
        let (saves, saved) = watch::channel(0);
        let task = spawn_local(save(path, Rc::clone(&shared), saves));
        (Self { shared, saved, task }, found)
    }

    /// Takes over what is to be remembered.
    pub(super) fn remember(&self, remembered: Remembered, at: Moment) {
        let mut newest = self.shared.newest.borrow_mut();
        if newest.remembered.as_ref() == Some(&remembered) {
            return;
        }
        newest.text = text(&remembered, at);
        newest.remembered = Some(remembered);
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

/// Reads the file. A damaged one is kept under another name: what it says may help a person.
#[allow(clippy::disallowed_methods, reason = "runs on a blocking thread")]
fn read_blocking(path: &Path) -> Found {
    let shown = path.display();
    match bessai_files::read_text(path, MAX_BYTES).map(|text| parse(&text, now())) {
        Ok(Some(remembered)) => Found::Read(remembered),
        Ok(None) => {
            let damaged = path.with_extension(DAMAGED_EXTENSION);
            let kept = match fs::rename(path, &damaged) {
                Ok(()) => format!("kept as {}", damaged.display()),
                Err(error) => format!("it cannot be renamed: {error}"),
            };
            tracing::error!("{shown} is damaged ({kept}); searching the journal for what the previous run has set");
            Found::Lost
        }
        Err(error) if error.is_missing() => Found::Missing,
        Err(error) => {
            tracing::error!("{shown}: {error}; searching the journal for what the previous run has set");
            Found::Lost
        }
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

fn text(remembered: &Remembered, at: Moment) -> String {
    let held = remembered.held.iter().map(|LeftOver { device, channel, before, location }| {
        json!({ "device": device, "channel": channel, "before": before, "at": location })
    });
    let writes = remembered.writes.iter().map(|((device, point), ends)| {
        let ends = ends.iter().map(|end| at.wall.plus(end.since(at.monotonic)).nanos() / 1_000_000);
        json!({ "device": device, "point": point, "count_until_ms": ends.collect::<Vec<_>>() })
    });
    let (held, writes): (Vec<_>, Vec<_>) = (held.collect(), writes.collect());
    format!("{}\n", json!({ "version": VERSION, "held": held, "writes": writes }))
}

fn parse(text: &str, at: Moment) -> Option<Remembered> {
    let file: Value = serde_json::from_str(text).ok()?;
    let list = |key: &str| file.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let member = |entry: &Value, name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
    let mut remembered = Remembered::default();
    file.get("version").filter(|version| version.as_u64() == Some(VERSION))?;
    for entry in list("held") {
        remembered.held.push(LeftOver {
            device: member(entry, "device")?,
            channel: member(entry, "channel")?,
            before: entry.get("before").and_then(Value::as_f64),
            location: member(entry, "at"),
        });
    }
    for entry in list("writes") {
        let ends = entry.get("count_until_ms").and_then(Value::as_array)?.iter().filter_map(Value::as_u64);
        // The wall clock may have stepped; the room lets none of them count for longer than a day.
        let ends = ends.map(|end| Timestamp::from_nanos(end.saturating_mul(1_000_000)).since(at.wall));
        let key = (member(entry, "device")?, member(entry, "point")?);
        remembered.writes.insert(key, ends.map(|left| at.monotonic.plus(left)).collect());
    }
    Some(remembered)
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
        let held = |channel: &str, before, location: Option<&str>| LeftOver {
            device: "battery".into(),
            channel: channel.into(),
            before,
            location: location.map(str::to_owned),
        };
        let mut memory = Remembered::default();
        memory.held.push(held("set_point_kw", None, Some("192.168.1.20:502 unit 1")));
        memory.held.push(held("reserve", Some(20.5), None));
        memory.writes.insert(names("reserve"), vec![before.monotonic.plus(Duration::from_secs(3600))]);
        assert_eq!(parse(&text(&memory, before), before), Some(memory.clone()));
        assert_eq!(parse(&text(&memory, before), after), Some(memory));
        // Of an earlier version.
        let earlier =
            "{\"version\":1,\"held\":[{\"device\":\"battery\",\"channel\":\"set_point_kw\",\"before\":null}]}";
        assert_eq!(parse(earlier, before).map(|read| read.held), Some(vec![held("set_point_kw", None, None)]));
        for damaged in ["", "{}", "{\"version\": 2}", "{\"version\": 1, \"held\": [{\"device\": 5}]}"] {
            assert_eq!(parse(damaged, after), None, "{damaged}");
        }
    }
}
