//! What is measured every second, in a thread of its own.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::HealthClient;

/// Time between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// The gateway's figures at one moment.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Seconds since the start of the test.
    pub at_s: f64,
    /// Which start of the gateway this is, from 0.
    pub run: usize,
    /// Resident memory in bytes.
    pub memory: f64,
    /// The part of it that is not mapped from a file, and so cannot be dropped by the kernel.
    pub anonymous: f64,
    pub descriptors: f64,
    pub threads: f64,
    /// Bytes of the journal's events.
    pub journal: f64,
    /// Bytes of everything else in the data folder.
    pub disk: f64,
    /// Lines that the log has.
    pub log_lines: f64,
    /// Bytes that the log has.
    pub log_bytes: f64,
    /// Events that the feeds have not delivered, of the feed that is furthest behind.
    pub lag: f64,
    /// How long `/health` took to answer, in milliseconds; none if it did not.
    pub health_ms: Option<f64>,
}

/// What is sampled.
#[derive(Clone)]
pub struct Sampled {
    pub pid: u32,
    pub run: usize,
    pub health: HealthClient,
}

/// A running sampler.
pub struct Sampler {
    shared: Arc<Mutex<SamplerState>>,
    thread: JoinHandle<()>,
}

struct SamplerState {
    /// None while the gateway is down.
    sampled: Option<Sampled>,
    samples: Vec<Sample>,
    is_ended: bool,
}

/// Where the figures are found.
struct Places {
    started: Instant,
    data: PathBuf,
    feeds: Vec<&'static str>,
}

/// Counts the log while it is written.
struct LogCounter {
    path: PathBuf,
    lines: usize,
    bytes: usize,
}

impl Sampler {
    /// `feeds`: those whose lag counts.
    pub fn start(data: &Path, log: &Path, feeds: &[&'static str]) -> Self {
        let shared = Arc::new(Mutex::new(SamplerState { sampled: None, samples: Vec::new(), is_ended: false }));
        let places = Places { started: Instant::now(), data: data.into(), feeds: feeds.into() };
        let mut log = LogCounter { path: log.into(), lines: 0, bytes: 0 };
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            while !state.lock().unwrap().is_ended {
                let sampled = state.lock().unwrap().sampled.clone();
                let sample = sampled.as_ref().and_then(|sampled| places.sample(sampled, &mut log));
                let mut state = state.lock().unwrap();
                // A gateway that was killed meanwhile has no figures.
                let is_current =
                    state.sampled.as_ref().map(|sampled| sampled.pid) == sampled.map(|sampled| sampled.pid);
                state.samples.extend(sample.filter(|_| is_current));
                drop(state);
                std::thread::sleep(SAMPLE_EVERY);
            }
        });
        Self { shared, thread }
    }

    pub fn set(&self, sampled: Option<Sampled>) {
        self.shared.lock().unwrap().sampled = sampled;
    }

    pub fn finish(self) -> Vec<Sample> {
        self.shared.lock().unwrap().is_ended = true;
        self.thread.join().unwrap();
        std::mem::take(&mut self.shared.lock().unwrap().samples)
    }
}

impl Places {
    /// None if the process has ended.
    fn sample(&self, sampled: &Sampled, log: &mut LogCounter) -> Option<Sample> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", sampled.pid)).ok()?;
        let number = |key: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            value.split_whitespace().next()?.parse::<f64>().ok()
        };
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", sampled.pid)).ok()?.count();
        let asked = Instant::now();
        let health = sampled.health.get().ok();
        let health_ms = health.as_ref().map(|_| asked.elapsed().as_secs_f64() * 1e3);
        let is_event_file = |path: &Path| path.extension().is_some_and(|ending| ending == "events");
        let (journal, data) = (bytes(&self.data.join("journal"), &is_event_file), bytes(&self.data, &|_| true));
        log.read();
        Some(Sample {
            at_s: self.started.elapsed().as_secs_f64(),
            run: sampled.run,
            memory: number("VmRSS")? * 1024.0,
            anonymous: number("RssAnon")? * 1024.0,
            descriptors: count(descriptors),
            threads: number("Threads")?,
            journal,
            disk: data - journal,
            log_lines: count(log.lines),
            log_bytes: count(log.bytes),
            lag: health.as_ref().map_or(0.0, |health| lag(health, &self.feeds)),
            health_ms,
        })
    }
}

impl LogCounter {
    /// Counts what was added since the last call.
    fn read(&mut self) {
        let mut added = Vec::new();
        let Ok(mut file) = File::open(&self.path) else { return };
        let start = SeekFrom::Start(u64::try_from(self.bytes).unwrap());
        if file.seek(start).and_then(|_| file.read_to_end(&mut added)).is_ok() {
            self.bytes += added.len();
            self.lines += added.iter().filter(|byte| **byte == b'\n').count();
        }
    }
}

/// The lag of the feed that is furthest behind.
pub fn lag(health: &Value, feeds: &[&str]) -> f64 {
    feeds.iter().map(|feed| health["feeds"][feed]["lag"].as_f64().unwrap_or(f64::INFINITY)).fold(0.0, f64::max)
}

#[allow(clippy::cast_precision_loss, reason = "the counts are far smaller than a double can hold")]
fn count(count: usize) -> f64 {
    count as f64
}

/// Bytes of the files below a folder that count. Files may disappear meanwhile.
fn bytes(folder: &Path, counts: &dyn Fn(&Path) -> bool) -> f64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0.0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes(&entry.path(), counts),
        Ok(metadata) if counts(&entry.path()) => count(usize::try_from(metadata.len()).unwrap()),
        Ok(_) | Err(_) => 0.0,
    };
    entries.flatten().map(of).sum()
}
