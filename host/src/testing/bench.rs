//! Measures a plugin: time for a call, and beside it, in turns, the shipped `bessai-json` in the sandbox and natively.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bessai_domain::event::{Event, EventBody, Frame, Sequence};
use bessai_domain::message::Message;
use bessai_domain::site::{Channel, ChannelKind, Device, Site, Source};
use bessai_domain::state::State;
use bessai_domain::time::Timestamp;

use super::native::Native;
use super::runner::told;
use super::{Surroundings, compile_limits};
use crate::plugin::{Engine, Lines, Plugin};

/// Channels of the one source that each frame has.
const CHANNELS: [usize; 4] = [1, 10, 100, 1000];
/// One block of calls takes about this long.
const BLOCK: Duration = Duration::from_millis(4);
/// Odd, so that the median is one of them.
const BLOCKS: usize = 41;
/// 2025-02-21T15:20:00Z.
const AT: Timestamp = Timestamp::from_nanos(1_740_151_200_000_000_000);
const ALL_CHANNELS: &str = "{\"channels\":\"all\"}";

/// A plugin's figures.
pub struct Figures {
    name: String,
    /// Time for a call without events, and for a frame of as many channels each.
    empty: Duration,
    frames: Vec<Duration>,
    /// Linear memory after all that.
    memory: Option<usize>,
}

/// What was measured.
pub struct Report {
    rows: Vec<Figures>,
    /// From bytes and cached machine code to the end of the first call.
    live: Duration,
}

/// A way to run a plugin.
enum Subject {
    /// With the site that it was last started for: an instance that has grown too large is replaced, as in the gateway.
    Sandboxed(Box<Plugin>, Site),
    Native(Box<Native>),
}

/// Measures a component in its surroundings.
pub fn run(
    name: &str,
    wasm: &[u8],
    bessai_json: &[u8],
    cache: Option<PathBuf>,
    surroundings: &Surroundings,
) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("failed to start the runtime: {error}"))?;
    let engine = Engine::new(cache.clone(), compile_limits())?;
    let shipped = Surroundings { config_json: ALL_CHANNELS.into(), ..surroundings.clone() };
    let loaded = engine.load(wasm).map_err(|error| format!("{name} {error}"))?;
    let reference = engine.load(bessai_json)?;
    let sandboxed = |loaded, surroundings: &Surroundings| {
        let lines = Lines::Kept(Arc::default());
        Subject::Sandboxed(Box::new(Plugin::new(loaded, surroundings.settings(lines), State::default())), site(1))
    };
    let mut subjects = vec![
        (name.to_owned(), sandboxed(loaded, surroundings)),
        ("bessai-json, sandboxed".to_owned(), sandboxed(reference, &shipped)),
        ("bessai-json, native".to_owned(), Subject::Native(Box::new(Native::new(ALL_CHANNELS)))),
    ];
    runtime.block_on(async {
        let live = live(cache, wasm, surroundings).await.map_err(|error| format!("{name} {error}"))?;
        let empty = measure(&mut subjects, 1, true).await?;
        let mut rows: Vec<_> = subjects.iter().zip(empty).map(|((name, _), empty)| Figures::new(name, empty)).collect();
        for channels in CHANNELS {
            let times = measure(&mut subjects, channels, false).await?;
            rows.iter_mut().zip(times).for_each(|(row, time)| row.frames.push(time));
        }
        for (row, (_, subject)) in rows.iter_mut().zip(&subjects) {
            row.memory = subject.memory();
        }
        Ok(Report { rows, live })
    })
}

/// A new engine, so that nothing is at hand but the cache.
async fn live(cache: Option<PathBuf>, wasm: &[u8], surroundings: &Surroundings) -> Result<Duration, String> {
    let engine = Engine::new(cache, compile_limits())?;
    let begin = Instant::now();
    let lines = Lines::Kept(Arc::default());
    let plugin = Plugin::new(engine.load(wasm)?, surroundings.settings(lines), State::default());
    let mut subject = Subject::Sandboxed(Box::new(plugin), site(1));
    subject.start(&site(1)).await?;
    subject.call(&[event(1)]).await?;
    Ok(begin.elapsed())
}

/// All subjects in turns, so that they meet the same noise; the median of their blocks.
async fn measure(subjects: &mut [(String, Subject)], channels: usize, is_empty: bool) -> Result<Vec<Duration>, String> {
    let site = site(channels);
    let events = if is_empty { Vec::new() } else { vec![event(channels)] };
    let mut sizes = Vec::new();
    for (name, subject) in subjects.iter_mut() {
        let started = subject.start(&site).await;
        started.map_err(|error| format!("{name} {error}"))?;
        sizes.push(block_size(subject, &events).await.map_err(|error| format!("{name} {error}"))?);
    }
    let mut blocks: Vec<Vec<Duration>> = vec![Vec::new(); subjects.len()];
    for _ in 0..BLOCKS {
        for (((name, subject), calls), blocks) in subjects.iter_mut().zip(&sizes).zip(&mut blocks) {
            let took = block(subject, &events, *calls).await.map_err(|error| format!("{name} {error}"))?;
            blocks.push(took / *calls);
        }
    }
    let median = |mut blocks: Vec<Duration>| {
        blocks.sort();
        blocks.get(BLOCKS / 2).copied().unwrap_or_default()
    };
    Ok(blocks.into_iter().map(median).collect())
}

/// Calls that fill a block, after a warm-up.
async fn block_size(subject: &mut Subject, events: &[Arc<Event>]) -> Result<u32, String> {
    let mut calls = 1;
    loop {
        let took = block(subject, events, calls).await?;
        if took >= BLOCK || calls > 1 << 24 {
            return Ok(calls);
        }
        calls *= 2;
    }
}

async fn block(subject: &mut Subject, events: &[Arc<Event>], calls: u32) -> Result<Duration, String> {
    let begin = Instant::now();
    for _ in 0..calls {
        // What comes out is looked at, so that nothing of it can be left out.
        std::hint::black_box(subject.call(events).await?);
    }
    Ok(begin.elapsed())
}

impl Subject {
    async fn start(&mut self, site: &Site) -> Result<(), String> {
        match self {
            Self::Sandboxed(plugin, of) => {
                of.clone_from(site);
                plugin.start(site, AT.nanos()).await
            }
            Self::Native(native) => native.start(site),
        }
    }

    async fn call(&mut self, events: &[Arc<Event>]) -> Result<Vec<Message>, String> {
        match self {
            Self::Sandboxed(plugin, site) => {
                if !plugin.is_running() {
                    plugin.start(site, AT.nanos()).await?;
                }
                let processed = plugin.process(events, AT.nanos()).await;
                processed.map(|processed| processed.messages).map_err(|error| told(&error))
            }
            Self::Native(native) => native.call(events),
        }
    }

    fn memory(&self) -> Option<usize> {
        match self {
            Self::Sandboxed(plugin, _) => Some(plugin.memory()),
            Self::Native(_) => None,
        }
    }
}

/// One device with one source.
fn site(channels: usize) -> Site {
    let channel = |index: usize| Channel {
        name: match index {
            0 => "power_kw".into(),
            1 => "soc_pct".into(),
            _ => format!("channel_{index:03}"),
        },
        unit: "kW".into(),
        kind: ChannelKind::Gauge,
        writable: false,
        attributes: Vec::new(),
    };
    let source = Source {
        device: "battery".into(),
        period: Duration::from_secs(1),
        channels: (0..channels).map(channel).collect(),
        attributes: Vec::new(),
    };
    let device = Device { name: "battery".into(), attributes: Vec::new() };
    Site { id: "SITE-CL-001".into(), revision: 1, devices: vec![device], sources: vec![source], attributes: Vec::new() }
}

/// A reading as scaled registers give it: one to three decimals.
fn event(channels: usize) -> Arc<Event> {
    let value =
        |index: u32| f64::from(index * 137 + 50) / [10.0, 100.0, 1000.0].get(index as usize % 3).unwrap_or(&1.0);
    let values = (0..).map(value).take(channels).collect();
    let frame = Frame { source: 0, values, faults: Vec::new(), texts: Vec::new() };
    Arc::new(Event { sequence: Sequence(1), at: AT, body: EventBody::Frame(frame) })
}

impl Figures {
    fn new(name: &str, empty: Duration) -> Self {
        Self { name: name.to_owned(), empty, frames: Vec::new(), memory: None }
    }
}

impl Report {
    /// A table for people.
    pub fn text(&self) -> String {
        let mut text = format!("{:<28}{:>10}", "time of a call, median", "empty");
        for channels in CHANNELS {
            let _ = write!(text, "{:>12}", format!("{channels} ch"));
        }
        let _ = writeln!(text, "{:>16}{:>12}", "calls/s, 100", "memory");
        for row in &self.rows {
            let _ = write!(text, "{:<28}{:>10}", row.name, shown(row.empty));
            row.frames.iter().for_each(|time| {
                let _ = write!(text, "{:>12}", shown(*time));
            });
            let per_second = row.frames.get(2).map_or(0.0, |time| 1.0 / time.as_secs_f64());
            let memory = row.memory.map_or_else(String::new, |bytes| format!("{} KiB", bytes >> 10));
            let line = format!("{per_second:>16.0}{memory:>12}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        if let [_, sandboxed, native] = self.rows.as_slice() {
            let _ = write!(text, "{:<28}{:>10}", "sandboxed / native", "");
            for (sandboxed, native) in sandboxed.frames.iter().zip(&native.frames) {
                let _ = write!(text, "{:>11.2}×", sandboxed.as_secs_f64() / native.as_secs_f64());
            }
            text.push('\n');
        }
        let _ = writeln!(text, "live from the cache in {}: loaded, configured, first call made", shown(self.live));
        text
    }
}

fn shown(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        1000.0.. => format!("{:.2} ms", micros / 1e3),
        _ => format!("{micros:.2} µs"),
    }
}
