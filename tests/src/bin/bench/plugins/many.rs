//! What a thousand feeds of one component take: memory, and time until all are signed in.

use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::{EXAMPLE, component, example_settings, folder, missing, write};
use crate::gateway::{Health, has_called, is_signed_in};
use crate::process::Memory;
use crate::program::Program;
use crate::shown;
use crate::surroundings::Surroundings;
use crate::table::Measured;

/// The time between two readings: each makes every feed run.
const PERIOD: Duration = Duration::from_secs(5);
const SIGNED_IN_WITHIN: Duration = Duration::from_secs(120);
/// Calls of each feed before memory is looked at: its plugin is started and has published.
const CALLS: u64 = 3;
/// Readings over which processor time is taken.
const READINGS: u32 = 2;
const FIGURE: &str = "one component, in_flight = 16";

pub(super) struct Lengths {
    feeds: u16,
}

struct Taken {
    signed_in: Duration,
    memory: Memory,
    spent: Duration,
}

impl Lengths {
    pub(super) const FULL: Self = Self { feeds: 1000 };
    pub(super) const QUICK: Self = Self { feeds: 1000 };
}

pub(super) fn measure(
    gateway: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Measured>> {
    let feeds = lengths.feeds;
    let path = component(EXAMPLE);
    let Ok(wasm) = std::fs::read(&path) else {
        let reason = format!("{} is not there: scripts/build", path.display());
        return Ok(vec![missing(format!("{feeds} feeds of {FIGURE}"), "≤ 150 MB", reason)]);
    };
    eprintln!("one feed of a component, then {feeds}");
    let one = with_feeds(gateway, surroundings, &wasm, 1)?;
    let all = with_feeds(gateway, surroundings, &wasm, feeds)?;
    let above = all.memory.above(one.memory);
    Ok(vec![
        Measured {
            figure: format!("memory of {feeds} feeds of {FIGURE}, above that of one (of it not from files)"),
            target: "≤ 150 MB",
            measured: format!("{}; one: {}", shown::memory(above), shown::memory(one.memory)),
            elsewhere: "",
        },
        Measured {
            figure: "the same, a page of the shared component counted once and not for each feed".into(),
            target: "",
            measured: format!("{:.1} MB; one: {:.1} MB", above.proportional / 1e6, one.memory.proportional / 1e6),
            elsewhere: "",
        },
        Measured {
            figure: format!("start until {feeds} feeds are signed in (one feed)"),
            target: "",
            measured: format!("{} ({})", shown::time(all.signed_in), shown::time(one.signed_in)),
            elsewhere: "",
        },
        Measured {
            figure: format!("processor time per reading with {feeds} feeds (one feed)"),
            target: "",
            measured: format!("{} ({})", shown::time(all.spent), shown::time(one.spent)),
            elsewhere: "",
        },
    ])
}

fn with_feeds(gateway: &Program, surroundings: &Surroundings, wasm: &[u8], feeds: u16) -> anyhow::Result<Taken> {
    let plugins = folder(surroundings, &format!("feeds-{feeds}"))?;
    write(&plugins.join("shared.wasm"), wasm)?;
    for feed in 1..=feeds {
        let name = format!("feed-{feed}");
        let settings = settings(&name, surroundings);
        write(&plugins.join(&name).with_extension("toml"), settings)?;
    }
    run(gateway, surroundings, &plugins, usize::from(feeds) + 1)
        .with_context(|| format!("with {feeds} feeds of one component"))
}

fn settings(name: &str, surroundings: &Surroundings) -> String {
    let (broker, config) = (surroundings.broker, example_settings(&format!("many/{name}")));
    format!("component = \"shared.wasm\"\n{config}[broker]\nurl = \"mqtt://{broker}\"\nin_flight = 16\n")
}

/// `feeds`: the default one as well.
fn run(gateway: &Program, surroundings: &Surroundings, plugins: &Path, feeds: usize) -> anyhow::Result<Taken> {
    let run = gateway.start_with_plugins(surroundings, PERIOD, plugins)?;
    let health = Health::of(&run.process)?;
    health.wait(feeds, SIGNED_IN_WITHIN, is_signed_in)?;
    let signed_in = run.begun().elapsed();
    health.wait(feeds, SIGNED_IN_WITHIN, |feed| has_called(feed, CALLS))?;
    // From between two readings to between two later ones.
    sleep(PERIOD / 2);
    let memory = run.process.memory()?;
    let (begin, before) = (Instant::now(), run.process.spent()?);
    sleep((PERIOD * READINGS).saturating_sub(begin.elapsed()));
    let spent = run.process.spent()?.since(&before) / READINGS;
    Ok(Taken { signed_in, memory, spent })
}
