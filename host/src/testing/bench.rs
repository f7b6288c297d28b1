//! Measures the calls of a plugin, compared with the built-in `bessai-json` in the sandbox and as native code.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bessai_domain::event::RecordedEvent;
use bessai_plugin_runtime::Engine;

use super::native::NativePlugin;
use super::run_settings::{RunSettings, engine_settings};

mod recording;
mod report;
mod subject;

pub(crate) use recording::run_events;
use report::{BenchReport, BenchRow, CHANNELS};
use subject::{BenchSubject, event, site};

/// Least duration of a block, the calls that are measured together.
const BLOCK: Duration = Duration::from_millis(4);
/// Number of blocks; odd, so that one of them is the median.
const BLOCKS: usize = 41;
/// Most calls in one block.
const BLOCK_CALLS_MAX: u32 = 1 << 24;
/// `[config]` of `bessai-json`.
const BESSAI_JSON_CONFIG: &str = "{\"channels\":\"all\"}";

/// What a benchmark does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BenchStep {
    /// The component is compiled.
    Compiling,
    /// It is measured.
    Measuring,
}

/// Measures a component with its settings.
pub(crate) fn run(
    name: &str,
    wasm: &[u8],
    bessai_json: &[u8],
    cache: Option<PathBuf>,
    settings: &RunSettings,
    note: &dyn Fn(BenchStep),
) -> Result<BenchReport, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("failed to start the runtime: {error}"))?;
    let engine = Engine::new(engine_settings(cache.clone()))?;
    let reference_settings = RunSettings { config_json: BESSAI_JSON_CONFIG.into(), ..settings.clone() };
    let component = engine.load_noting(wasm, &|| note(BenchStep::Compiling));
    note(BenchStep::Measuring);
    let component = component.map_err(|error| format!("{name} {error}"))?;
    let reference = engine.load(bessai_json)?;
    let mut subjects = vec![
        (name.to_owned(), BenchSubject::sandboxed(component, settings)),
        ("bessai-json, sandboxed".to_owned(), BenchSubject::sandboxed(reference, &reference_settings)),
        ("bessai-json, native".to_owned(), BenchSubject::Native(Box::new(NativePlugin::new(BESSAI_JSON_CONFIG)))),
    ];
    runtime.block_on(async {
        let first_call = first_call(cache, wasm, settings).await.map_err(|error| format!("{name} {error}"))?;
        let empty = measure(&mut subjects, 1, true).await?;
        let row = |((name, _), empty): (&(String, BenchSubject), Duration)| BenchRow {
            name: name.clone(),
            empty,
            frames: Vec::new(),
            memory: None,
        };
        let mut rows: Vec<_> = subjects.iter().zip(empty).map(row).collect();
        for channels in CHANNELS {
            let times = measure(&mut subjects, channels, false).await?;
            rows.iter_mut().zip(times).for_each(|(row, time)| row.frames.push(time));
        }
        for (row, (_, subject)) in rows.iter_mut().zip(&subjects) {
            row.memory = subject.memory();
        }
        Ok(BenchReport { rows, first_call })
    })
}

/// Time from the cached machine code to the end of the first call. A new engine has nothing in memory yet.
async fn first_call(cache: Option<PathBuf>, wasm: &[u8], settings: &RunSettings) -> Result<Duration, String> {
    let engine = Engine::new(engine_settings(cache))?;
    let start = Instant::now();
    let mut subject = BenchSubject::sandboxed(engine.load(wasm)?, settings);
    subject.start(&site(1)).await?;
    subject.call(&[event(1)]).await?;
    Ok(start.elapsed())
}

/// Median time of a call of each subject. Their blocks alternate, so that noise affects all of them alike.
async fn measure(
    subjects: &mut [(String, BenchSubject)],
    channels: usize,
    is_empty: bool,
) -> Result<Vec<Duration>, String> {
    let site = site(channels);
    let events = if is_empty { Vec::new() } else { vec![event(channels)] };
    let mut sizes = Vec::new();
    for (name, subject) in subjects.iter_mut() {
        subject.start(&site).await.map_err(|error| format!("{name} {error}"))?;
        sizes.push(block_size(subject, &events).await.map_err(|error| format!("{name} {error}"))?);
    }
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); subjects.len()];
    for _ in 0..BLOCKS {
        for (((name, subject), calls), times) in subjects.iter_mut().zip(&sizes).zip(&mut times) {
            let time = run_block(subject, &events, *calls).await.map_err(|error| format!("{name} {error}"))?;
            times.push(time / *calls);
        }
    }
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times.get(BLOCKS / 2).copied().unwrap_or_default()
    };
    Ok(times.into_iter().map(median).collect())
}

/// Number of calls in a block; finding it warms the subject up.
async fn block_size(subject: &mut BenchSubject, events: &[RecordedEvent]) -> Result<u32, String> {
    let mut calls = 1;
    loop {
        let time = run_block(subject, events, calls).await?;
        if time >= BLOCK || calls > BLOCK_CALLS_MAX {
            return Ok(calls);
        }
        calls *= 2;
    }
}

async fn run_block(subject: &mut BenchSubject, events: &[RecordedEvent], calls: u32) -> Result<Duration, String> {
    let start = Instant::now();
    for _ in 0..calls {
        // Keeps the compiler from removing work whose result is not used.
        std::hint::black_box(subject.call(events).await?);
    }
    Ok(start.elapsed())
}
