//! How long it takes from closing a component's file until its new version runs.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;

use super::{EXAMPLE, component, example_settings, folder, missing, write};
use crate::gateway::{Health, Log, has_called};
use crate::program::Program;
use crate::shown;
use crate::surroundings::Surroundings;
use crate::table::Measured;

/// Readings come often enough for a new version to be tried with one.
const PERIOD: Duration = Duration::from_millis(100);
const FEED: &str = "swapped";
/// The new version runs within this, or the run has failed: compiling for a language runtime takes its time.
const WITHIN: Duration = Duration::from_secs(120);
const TAKEN: &str = "the new version runs";
/// Calls by which a version is established, so that the one before is given up.
const ESTABLISHED: u64 = 3;
/// The default feed and this one.
const FEEDS: usize = 2;

/// How often each is done; odd, so that the median is one of them.
pub(super) struct Lengths {
    swaps: u8,
    swaps_of_runtimes: u8,
}

struct Language {
    name: &'static str,
    file: &'static str,
    target: &'static str,
    has_runtime: bool,
}

const LANGUAGES: [Language; 3] = [
    Language { name: "Rust", file: EXAMPLE, target: "≤ 1 s", has_runtime: false },
    Language { name: "JavaScript", file: "example-javascript.wasm", target: "≤ 20 s", has_runtime: true },
    Language { name: "Python", file: "example-python.wasm", target: "≤ 20 s", has_runtime: true },
];

/// From closing the file until the version runs.
struct Times {
    compiled: Vec<Duration>,
    cached: Vec<Duration>,
}

impl Lengths {
    pub(super) const FULL: Self = Self { swaps: 7, swaps_of_runtimes: 3 };
    pub(super) const QUICK: Self = Self { swaps: 3, swaps_of_runtimes: 1 };
}

pub(super) fn measure(
    gateway: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Measured>> {
    let mut rows = Vec::new();
    for language in &LANGUAGES {
        let swaps = if language.has_runtime { lengths.swaps_of_runtimes } else { lengths.swaps };
        rows.extend(of_language(gateway, surroundings, language, swaps)?);
    }
    Ok(rows)
}

fn of_language(
    gateway: &Program,
    surroundings: &Surroundings,
    language: &Language,
    swaps: u8,
) -> anyhow::Result<Vec<Measured>> {
    let (name, path) = (language.name, component(language.file));
    let figure = format!("{name}: a changed plugin's file closed to its new version running, median of {swaps}");
    let Ok(wasm) = std::fs::read(&path) else {
        let reason = format!("{} is not there: scripts/build-examples", path.display());
        return Ok(vec![missing(figure, language.target, reason)]);
    };
    eprintln!("{swaps} changed plugins in {name}, then the same from the cache");
    let times = swap(gateway, surroundings, &wasm, swaps)?;
    let kilobytes = wasm.len() / 1000;
    let compiled = Measured {
        figure,
        target: language.target,
        measured: format!("{}, {kilobytes} kB", shown::range(times.compiled)),
        elsewhere: "",
    };
    let cached = Measured {
        figure: format!("{name}: the same, compiled before"),
        target: if language.has_runtime { "" } else { "5 ms" },
        measured: shown::range(times.cached),
        elsewhere: "",
    };
    Ok(vec![compiled, cached])
}

fn swap(gateway: &Program, surroundings: &Surroundings, wasm: &[u8], swaps: u8) -> anyhow::Result<Times> {
    let plugins = folder(surroundings, "swap")?;
    let file = plugins.join(FEED).with_extension("wasm");
    write(&file, wasm)?;
    write(&file.with_extension("toml"), example_settings(FEED))?;
    let run = gateway.start_with_plugins(surroundings, PERIOD, &plugins)?;
    let (health, mut log) = (Health::of(&run.process)?, Log::of(&run.process)?);
    health.wait(FEEDS, WITHIN, |feed| has_called(feed, ESTABLISHED))?;
    let builds: Vec<_> = std::iter::once(wasm.to_vec()).chain((0..swaps).map(|build| changed(wasm, build))).collect();
    let mut change = |wasm: &Vec<u8>| change(&file, wasm, &health, &mut log);
    let compiled = builds.iter().skip(1).map(&mut change).collect::<Result<_, _>>()?;
    // The oldest first, as the newest runs already.
    let cached = builds.iter().take(usize::from(swaps)).map(&mut change).collect::<Result<_, _>>()?;
    Ok(Times { compiled, cached })
}

fn change(file: &Path, wasm: &[u8], health: &Health, log: &mut Log) -> anyhow::Result<Duration> {
    let before = health.feed(FEED)?;
    log.skip()?;
    write(file, wasm)?;
    let closed = Instant::now();
    log.wait(TAKEN, WITHIN)?;
    let took = closed.elapsed();
    let calls = before.get("calls").and_then(Value::as_u64).unwrap_or(0) + ESTABLISHED;
    health.wait(FEEDS, WITHIN, |feed: &Value| has_called(feed, calls))?;
    let after = health.feed(FEED)?;
    let (before, after) = (before.get("version"), after.get("version"));
    ensure!(before != after, "the version is still {after:?}");
    Ok(took)
}

/// The same component with a custom section at its end: other bytes, nothing of it in any cache.
fn changed(wasm: &[u8], build: u8) -> Vec<u8> {
    const CUSTOM: u8 = 0;
    const NAME: &[u8; 5] = b"build";
    let content = [&[5], NAME.as_slice(), &[build]].concat();
    // Its length is below 128, where LEB128 is the byte itself.
    let length = u8::try_from(content.len()).unwrap_or(0);
    [wasm, &[CUSTOM, length], &content].concat()
}
