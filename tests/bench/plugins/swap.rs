//! The time from closing a component's file until its new version runs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;

use super::{EXAMPLE, component, example_settings, folder, missing, write};
use crate::formatting;
use crate::gateway::{HealthClient, LogReader, has_called};
use crate::program::Program;
use crate::table::MeasuredFigure;
use crate::test_bed::TestBed;

/// The polling period, short enough for a new version to be tested with an event soon.
const PERIOD: Duration = Duration::from_millis(100);
/// The feed whose component is replaced.
const FEED: &str = "swapped";
/// Time limit for a new version to run; components with a language runtime take longest to compile.
const WITHIN: Duration = Duration::from_secs(120);
/// The log line when a new version has replaced the old one.
const NEW_VERSION_RUNS: &str = "the new version runs";
/// Calls after which a version has delivered, so that the previous one is dropped.
const ESTABLISHED: u64 = 3;
/// The number of feeds: the default feed and this one.
const FEEDS: usize = 2;

/// Repetitions of the measurement; odd, so that the median is one of them.
pub(super) struct SwapParameters {
    swaps: u8,
    /// For components with a language runtime.
    swaps_with_runtime: u8,
}

/// A language of plugins, and its example.
struct Language {
    name: &'static str,
    file: &'static str,
    target: &'static str,
    has_runtime: bool,
}

/// The measured languages.
const LANGUAGES: [Language; 3] = [
    Language { name: "Rust", file: EXAMPLE, target: "≤ 1 s", has_runtime: false },
    Language { name: "JavaScript", file: "example-javascript.wasm", target: "≤ 20 s", has_runtime: true },
    Language { name: "Python", file: "example-python.wasm", target: "≤ 20 s", has_runtime: true },
];

/// The times from closing the file until the version runs.
struct SwapTimes {
    compiled: Vec<Duration>,
    cached: Vec<Duration>,
}

impl SwapParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { swaps: 7, swaps_with_runtime: 3 };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { swaps: 3, swaps_with_runtime: 1 };
}

pub(super) fn measure(
    gateway: &Program,
    test_bed: &TestBed,
    parameters: &SwapParameters,
) -> anyhow::Result<Vec<MeasuredFigure>> {
    let mut rows = Vec::new();
    for language in &LANGUAGES {
        let swaps = if language.has_runtime { parameters.swaps_with_runtime } else { parameters.swaps };
        rows.extend(measure_language(gateway, test_bed, language, swaps)?);
    }
    Ok(rows)
}

fn measure_language(
    gateway: &Program,
    test_bed: &TestBed,
    language: &Language,
    swaps: u8,
) -> anyhow::Result<Vec<MeasuredFigure>> {
    let (name, path) = (language.name, component(language.file));
    let figure = format!("changed {name} plugin: file closed to running, cold compile included, median of {swaps}");
    let Ok(wasm) = std::fs::read(&path) else {
        let reason = format!("{} is missing: run scripts/build-examples", path.display());
        return Ok(vec![missing(figure, language.target, reason)]);
    };
    eprintln!("{swaps} changed plugins in {name}, then the same from the cache");
    let times = swap(gateway, test_bed, &wasm, swaps)?;
    let kilobytes = wasm.len() / 1000;
    let compiled = MeasuredFigure {
        figure,
        target: language.target,
        measured: format!("{}, {kilobytes} kB", formatting::range(times.compiled)),
        elsewhere: "",
    };
    let cached = MeasuredFigure {
        figure: format!("changed {name} plugin: the same, compiled before"),
        target: if language.has_runtime { "" } else { "5 ms" },
        measured: formatting::range(times.cached),
        elsewhere: "",
    };
    Ok(vec![compiled, cached])
}

fn swap(gateway: &Program, test_bed: &TestBed, wasm: &[u8], swaps: u8) -> anyhow::Result<SwapTimes> {
    let plugins = folder(test_bed, "swap")?;
    let file = plugins.join(FEED).with_extension("wasm");
    write(&file, wasm)?;
    write(&file.with_extension("toml"), example_settings(FEED))?;
    let run = gateway.start_with_plugins(test_bed, PERIOD, &plugins)?;
    let (health, mut log) = (HealthClient::of(&run.process)?, LogReader::open(&run.process)?);
    health.wait_for_feeds(FEEDS, WITHIN, |feed| has_called(feed, ESTABLISHED))?;
    let builds: Vec<_> = std::iter::once(wasm.to_vec()).chain((0..swaps).map(|build| changed(wasm, build))).collect();
    let mut change = |wasm: &Vec<u8>| change(&file, wasm, &health, &mut log);
    let compiled = builds.iter().skip(1).map(&mut change).collect::<Result<_, _>>()?;
    // From the oldest build on, because the newest one is running.
    let cached = builds.iter().take(usize::from(swaps)).map(&mut change).collect::<Result<_, _>>()?;
    Ok(SwapTimes { compiled, cached })
}

fn change(file: &Path, wasm: &[u8], health: &HealthClient, log: &mut LogReader) -> anyhow::Result<Duration> {
    let before = health.feed(FEED)?;
    log.skip_to_end()?;
    write(file, wasm)?;
    let closed = Instant::now();
    log.wait_for(NEW_VERSION_RUNS, WITHIN)?;
    let took = closed.elapsed();
    let calls = before.get("calls").and_then(Value::as_u64).unwrap_or(0) + ESTABLISHED;
    health.wait_for_feeds(FEEDS, WITHIN, |feed: &Value| has_called(feed, calls))?;
    let after = health.feed(FEED)?;
    let (before, after) = (before.get("version"), after.get("version"));
    ensure!(before != after, "the version is still {after:?}");
    Ok(took)
}

/// The component with a custom section at its end: different bytes, which are in no cache.
fn changed(wasm: &[u8], build: u8) -> Vec<u8> {
    // The id of a custom section.
    const CUSTOM: u8 = 0;
    // Its name.
    const NAME: &[u8; 5] = b"build";
    let content = [&[5], NAME.as_slice(), &[build]].concat();
    // A length below 128 is a single byte in LEB128.
    let length = u8::try_from(content.len()).unwrap_or(0);
    [wasm, &[CUSTOM, length], &content].concat()
}
