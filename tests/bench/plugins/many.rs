//! A thousand feeds of one component: memory, and the time until all are signed in.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{EXAMPLE, component, example_settings, folder, missing, write};
use crate::formatting;
use crate::gateway::{HealthClient, has_called, is_signed_in};
use crate::process::Memory;
use crate::program::Program;
use crate::table::MeasuredFigure;
use crate::test_bed::TestBed;

/// The polling period; each reading makes every feed call its plugin.
const PERIOD: Duration = Duration::from_secs(5);
/// Time limit for all feeds to sign in.
const SIGNED_IN_WITHIN: Duration = Duration::from_secs(120);
/// Calls of each feed's plugin before memory is measured, so that each is started and has published.
const CALLS: u64 = 3;
/// Readings over which processor time is measured.
const READINGS: u32 = 2;
/// The settings in the rows' labels.
const FIGURE: &str = "one component, in_flight = 16";

/// Size of the measurement.
pub(super) struct ManyFeedsParameters {
    feeds: u16,
}

/// The figures of a gateway with a number of feeds.
struct FeedsMeasurement {
    signed_in: Duration,
    memory: Memory,
    /// For a reading.
    processor_time: Duration,
}

impl ManyFeedsParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { feeds: 1000 };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { feeds: 1000 };
}

pub(super) fn measure(
    gateway: &Program,
    test_bed: &TestBed,
    parameters: &ManyFeedsParameters,
) -> anyhow::Result<Vec<MeasuredFigure>> {
    let feeds = parameters.feeds;
    let path = component(EXAMPLE);
    let Ok(wasm) = std::fs::read(&path) else {
        let reason = format!("{} is missing: run scripts/build-examples", path.display());
        return Ok(vec![missing(format!("{feeds} feeds of {FIGURE}"), "≤ 150 MB", reason)]);
    };
    eprintln!("one feed of a component, then {feeds} feeds");
    let one = with_feeds(gateway, test_bed, &wasm, 1)?;
    let all = with_feeds(gateway, test_bed, &wasm, feeds)?;
    let above = all.memory.above(one.memory);
    Ok(vec![
        MeasuredFigure {
            figure: format!("memory of {feeds} feeds of {FIGURE}, above one feed (anonymous part)"),
            target: "≤ 150 MB",
            measured: format!("{}; one: {}", formatting::memory(above), formatting::memory(one.memory)),
            elsewhere: "",
        },
        MeasuredFigure {
            figure: "the same with shared pages counted once".into(),
            target: "",
            measured: format!("{:.1} MB; one: {:.1} MB", above.proportional / 1e6, one.memory.proportional / 1e6),
            elsewhere: "",
        },
        MeasuredFigure {
            figure: format!("start until {feeds} feeds are signed in (one feed)"),
            target: "",
            measured: format!("{} ({})", formatting::time(all.signed_in), formatting::time(one.signed_in)),
            elsewhere: "",
        },
        MeasuredFigure {
            figure: format!("processor time per reading with {feeds} feeds (one feed)"),
            target: "",
            measured: format!("{} ({})", formatting::time(all.processor_time), formatting::time(one.processor_time)),
            elsewhere: "",
        },
    ])
}

fn with_feeds(gateway: &Program, test_bed: &TestBed, wasm: &[u8], feeds: u16) -> anyhow::Result<FeedsMeasurement> {
    let plugins = folder(test_bed, &format!("feeds-{feeds}"))?;
    write(&plugins.join("shared.wasm"), wasm)?;
    for feed in 1..=feeds {
        let name = format!("feed-{feed}");
        let settings = settings(&name, test_bed);
        write(&plugins.join(&name).with_extension("toml"), settings)?;
    }
    run(gateway, test_bed, &plugins, usize::from(feeds) + 1)
        .with_context(|| format!("with {feeds} feeds of one component"))
}

fn settings(name: &str, test_bed: &TestBed) -> String {
    let (broker, config) = (test_bed.broker, example_settings(&format!("many/{name}")));
    format!("component = \"shared.wasm\"\n{config}[broker]\nurl = \"mqtt://{broker}\"\nin_flight = 16\n")
}

/// `feeds`: the number of feeds with the default feed.
fn run(gateway: &Program, test_bed: &TestBed, plugins: &Path, feeds: usize) -> anyhow::Result<FeedsMeasurement> {
    let run = gateway.start_with_plugins(test_bed, PERIOD, plugins)?;
    let health = HealthClient::of(&run.process)?;
    health.wait_for_feeds(feeds, SIGNED_IN_WITHIN, is_signed_in)?;
    let signed_in = run.started_at().elapsed();
    health.wait_for_feeds(feeds, SIGNED_IN_WITHIN, |feed| has_called(feed, CALLS))?;
    // The window begins and ends between two readings.
    sleep(PERIOD / 2);
    let memory = run.process.memory()?;
    let (begin, before) = (Instant::now(), run.process.processor_time()?);
    sleep((PERIOD * READINGS).saturating_sub(begin.elapsed()));
    let processor_time = run.process.processor_time()?.since(&before) / READINGS;
    Ok(FeedsMeasurement { signed_in, memory, processor_time })
}
