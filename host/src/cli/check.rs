//! `bessai-edge check`: what the gateway would do, without opening a connection.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use bessai_domain::plan::Plan;
use bessai_domain::profile::Access;
use bessai_domain::settings::Mistake;

use crate::app;
use crate::config::{Component, Config, Device, Feed, Rights, Sync};
use crate::plugin::Engine;

use super::{CONFIGURATION, load, tell};

/// Heartbeats and verdicts, each every five seconds.
const BESIDE_FRAMES_PER_SECOND: f64 = 6.0;
/// What the journal keeps in memory, and how much more a value takes there.
const MEMORY_BYTES: f64 = 16_777_216.0;
const IN_MEMORY: f64 = 8.0;

pub(super) fn run(file: Option<&Path>) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(code) => return code,
    };
    println!("site {}", config.site);
    config.devices.iter().for_each(show_device);
    show_safety(&config);
    show_journal(&config);
    let mistakes = show_feeds(&config);
    for model in &config.models {
        let found = if model.file.is_file() { "" } else { " (missing: the rest runs without it)" };
        println!("model {}: {}{found}", model.name, model.file.display());
    }
    for note in &config.notes {
        println!("note: {note}");
    }
    if mistakes.is_empty() {
        println!("sound");
        return ExitCode::SUCCESS;
    }
    tell("configuration", &mistakes);
    ExitCode::from(CONFIGURATION)
}

fn show_device(device: &Device) {
    let profile = &device.profile;
    let (unit, address) = (device.unit.0, &device.address);
    println!("device {}: {address} unit {unit}, profile {}, every {:?}", device.name, profile.name, device.period);
    if profile.is_discovered {
        println!("  its points are found when it is first read; `bessai-edge device scan` shows them");
        return;
    }
    show_source(device, None, device.period);
    for (name, period) in &device.reading.sources {
        show_source(device, Some(name), *period);
    }
    let written = profile.points.iter().filter(|point| point.access != Access::Read).count();
    let named =
        |what: &str, name: &Option<String>| name.as_ref().map_or_else(String::new, |name| format!(", {what} {name}"));
    let set_point = profile.set_point.as_ref().and_then(|set_point| set_point.power.clone().or(set_point.mode.clone()));
    if written > 0 {
        let (set_point, watchdog) = (named("set-point", &set_point), named("watchdog", &profile.watchdog));
        println!("  {} can be written{set_point}{watchdog}", counted(written, "point"));
    }
}

fn show_source(device: &Device, name: Option<&str>, period: Duration) {
    let points = device.profile.source(name).count();
    let plan = Plan::new(device.profile.source(name), device.unit, device.reading.blocks);
    let named = name.map_or_else(String::new, |name| format!("{name}, every {period:?}: "));
    println!("  {named}{} in {}:", counted(points, "point"), counted(plan.requests().len(), "request"));
    for request in plan.requests() {
        let function = request.table.read_function();
        let what = if request.table.is_bits() { "bits" } else { "registers" };
        let last = u32::from(request.start) + u32::from(request.count) - 1;
        let values = counted(plan.channels(request).count(), "value");
        println!("    unit {} function {function} {what} {} to {last}: {values}", request.unit.0, request.start);
    }
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn show_safety(config: &Config) {
    for (channel, bounds) in &config.safety.0 {
        let end = |end: Option<f64>| end.map_or_else(|| "open".to_owned(), |end| end.to_string());
        println!("safety {channel}: {} to {}", end(bounds.min), end(bounds.max));
    }
}

/// How far back it will reach: what came out of measuring sites whose values change slowly, so a guess by nature.
fn show_journal(config: &Config) {
    let journal = &config.journal;
    let folder = journal.dir.display();
    let hours = |time: f64| match time / 3600.0 {
        hours if hours < 48.0 => format!("{hours:.1} h"),
        hours => format!("{:.0} days", hours / 24.0),
    };
    let rate: f64 = config.devices.iter().map(bytes_per_second).sum::<f64>() + BESIDE_FRAMES_PER_SECOND;
    if journal.sync == Sync::Memory {
        println!(
            "journal: in memory, lost with the process; reaches back {}",
            hours(MEMORY_BYTES / (rate * IN_MEMORY))
        );
        return;
    }
    let size = f64::from(u32::try_from(journal.max_size_bytes >> 10).unwrap_or(u32::MAX)) * 1024.0;
    let (by_size, by_age) = (size / rate, journal.max_age.as_secs_f64());
    let bound = if by_size < by_age { "max_size" } else { "max_age" };
    println!(
        "journal {folder}: about {rate:.0} bytes/s, reaches back {} (by {bound}; max_size alone would give {})",
        hours(by_size.min(by_age)),
        hours(by_size)
    );
}

/// Bytes that a frame takes, at two for each value.
fn bytes_per_second(device: &Device) -> f64 {
    const FRAME: f64 = 16.0;
    const VALUE: f64 = 2.0;
    let values = u32::try_from(device.profile.readable().count()).unwrap_or(u32::MAX);
    (FRAME + VALUE * f64::from(values)) / device.period.as_secs_f64()
}

fn show_feeds(config: &Config) -> Vec<Mistake> {
    let engine = match app::engine(config) {
        Ok(engine) => engine,
        Err(error) => return vec![Mistake::bare("plugins", error)],
    };
    config.feeds.iter().filter_map(|feed| show_feed(feed, &engine)).collect()
}

fn show_feed(feed: &Feed, engine: &Engine) -> Option<Mistake> {
    let component = match &feed.component {
        Component::BuiltIn => "bessai-json, built in".to_owned(),
        Component::File(path) => path.display().to_string(),
    };
    println!("feed {}: {component} → {}", feed.name, feed.broker.url());
    show_rights(&feed.rights);
    let loaded = app::load(engine, feed);
    loaded.err().map(|error| Mistake::bare(format!("feed {}", feed.name), error))
}

pub(super) fn show_rights(rights: &Rights) {
    let list = |names: &Option<Vec<String>>, all: &str| {
        names.as_ref().map_or_else(|| all.to_owned(), |names| names.join(", "))
    };
    println!("  reads {}, publishes {}", list(&rights.read, "every device"), list(&rights.topics, "any topic"));
    for (verb, names) in
        [("subscribes to", &rights.subscribe), ("may connect to", &rights.connect), ("may ask to write", &rights.write)]
    {
        if !names.is_empty() {
            println!("  {verb} {}", names.join(", "));
        }
    }
}
