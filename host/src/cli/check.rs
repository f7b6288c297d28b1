//! `bessai-edge check`: what the gateway would do, and whether this machine lets it. Opens no connection to a device or broker.

#![allow(clippy::disallowed_methods, reason = "the command has nothing else to do")]

use std::time::Duration;

use bessai_domain::journal::SyncPolicy;
use bessai_domain::plan::Plan;
use bessai_domain::profile::{Point, Profile, Recipe};
use bessai_domain::settings::Mistake;
use bessai_plugin_runtime::Engine;

use crate::config::{ComponentSource, Config, DeviceConfig, FeedConfig, Rights};

use crate::{app, clock};

use super::configuration::ConfigArgument;
use super::error::CommandError;
use super::output::{OutputError, print_line};

mod certificates;
mod control;
mod machine;
mod modbus_server;
mod models;
mod safety;

/// Journal bytes per second for heartbeats and safety verdicts, each recorded every five seconds.
const OTHER_EVENTS_BYTES_PER_SECOND: f64 = 6.0;
/// Journal bytes for a frame without its values.
const FRAME_BYTES: f64 = 16.0;
/// Journal bytes for a value that changes slowly; values are compressed against their predecessors.
const VALUE_BYTES: f64 = 2.0;
/// Bytes of events that a journal in memory holds.
const MEMORY_JOURNAL_BYTES: f64 = 16_777_216.0;
/// How many times more bytes an event takes in memory than on disk.
const MEMORY_FACTOR: f64 = 8.0;

/// Prints what the configuration means; fails if the configuration, a plugin or what a start needs is not in order.
pub(super) fn run(file: &ConfigArgument) -> Result<(), CommandError> {
    let config = file.load()?;
    let now = clock::now().wall;
    print_line(format_args!("site {}", config.site))?;
    machine::print_clock(now)?;
    config.devices.iter().try_for_each(print_device)?;
    config.modbus_servers.iter().try_for_each(|server| modbus_server::print(server, &config))?;
    safety::print(&config)?;
    control::print(&config)?;
    let mut mistakes = config.feed_mistakes();
    mistakes.extend(machine::print_folders(&config)?);
    print_journal(&config)?;
    machine::print_health(&config)?;
    mistakes.extend(app::check_feed_files(&config));
    mistakes.extend(print_feeds(&config)?);
    mistakes.extend(certificates::print(&config, now)?);
    mistakes.extend(models::print(&config)?);
    for warning in &config.warnings {
        print_line(format_args!("warning: {warning}"))?;
    }
    for note in &config.notes {
        print_line(format_args!("note: {note}"))?;
    }
    if !mistakes.is_empty() {
        return Err(CommandError::invalid("configuration")(mistakes));
    }
    Ok(print_line("configuration is valid")?)
}

fn print_device(device: &DeviceConfig) -> Result<(), OutputError> {
    let profile = &device.profile;
    let (unit, address) = (device.unit.0, &device.address);
    print_line(format_args!(
        "device {}: {address} unit {unit}, profile {}, every {:?}",
        device.name, profile.name, device.period
    ))?;
    machine::print_serial_port(device)?;
    if profile.is_discovered {
        return print_line(
            "  its points are discovered when it is first read; `bessai-edge device scan` shows them now",
        );
    }
    print_source(device, None, device.period)?;
    for (name, period) in &device.reading.sources {
        print_source(device, Some(name), *period)?;
    }
    print_writable(profile)
}

/// What can be written, how the power is set, and what is never written.
fn print_writable(profile: &Profile) -> Result<(), OutputError> {
    let names = |is_named: fn(&Point) -> bool| -> Vec<&str> {
        profile.points.iter().filter(|point| is_named(point)).map(|point| &*point.name).collect()
    };
    let unverified = names(|point| point.unverified);
    if !unverified.is_empty() {
        print_line(format_args!("  unverified, never written: {}", unverified.join(", ")))?;
    }
    let dangerous = names(|point| point.dangerous && point.is_writable());
    if !dangerous.is_empty() {
        print_line(format_args!("  dangerous to write: {}", dangerous.join(", ")))?;
    }
    let role =
        |role: &str, name: &Option<String>| name.as_ref().map_or_else(String::new, |name| format!(", {role} {name}"));
    let set_point = profile.set_point.as_ref();
    let has_recipe = set_point.is_some_and(|set_point| set_point.recipe.is_some());
    let register = set_point.and_then(|set_point| set_point.power.clone().or(set_point.mode.clone()));
    let writable = names(Point::is_writable).len();
    if writable > 0 {
        let (register, watchdog) = (role("set-point", &register), role("watchdog", &profile.watchdog));
        let recipe = if has_recipe { ", set-point by a recipe" } else { "" };
        print_line(format_args!("  {} can be written{register}{recipe}{watchdog}", counted(writable, "point")))?;
    }
    set_point.and_then(|set_point| set_point.recipe.as_ref()).map_or(Ok(()), print_recipe)
}

/// The points that a set-point writes, in order.
fn print_recipe(recipe: &Recipe) -> Result<(), OutputError> {
    let names = |writes: &[(&str, f64)]| writes.iter().map(|(point, _)| *point).collect::<Vec<_>>().join(", ");
    for (direction, kilowatts) in [("charging", -1.0), ("discharging", 1.0)] {
        // The values do not matter here, nor what a share is a share of.
        if let Ok(writes) = recipe.set_power(kilowatts, |_| Some(1.0)) {
            print_line(format_args!("    {direction} writes {}", names(&writes)))?;
        }
    }
    print_line(format_args!("    release writes {}", names(&recipe.release())))
}

fn print_source(device: &DeviceConfig, name: Option<&str>, period: Duration) -> Result<(), OutputError> {
    let points = device.profile.source(name).count();
    let plan = Plan::new(device.profile.source(name), device.unit, device.reading.read_limits);
    let label = name.map_or_else(String::new, |name| format!("{name}, every {period:?}: "));
    print_line(format_args!(
        "  {label}{} in {}:",
        counted(points, "point"),
        counted(plan.requests().len(), "request")
    ))?;
    for request in plan.requests() {
        let function = request.table.read_function_code();
        let what = if request.table.is_bits() { "bits" } else { "registers" };
        let last = u32::from(request.start) + u32::from(request.count) - 1;
        let values = counted(plan.channels(request).count(), "value");
        print_line(format_args!(
            "    unit {} function {function} {what} {} to {last}: {values}",
            request.unit.0, request.start
        ))?;
    }
    Ok(())
}

/// Prints what a start would not fail on, but somebody should look at.
fn print_warning(warning: &str) -> Result<(), OutputError> {
    print_line(format_args!("  warning: {warning}"))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Prints for how long the journal keeps events. This is an estimate, because a value's size depends on how much it
/// changes.
fn print_journal(config: &Config) -> Result<(), OutputError> {
    let journal = &config.journal;
    let folder = journal.folder.display();
    let hours = |seconds: f64| match seconds / 3600.0 {
        hours if hours < 48.0 => format!("{hours:.1} h"),
        hours => format!("{:.0} days", hours / 24.0),
    };
    let rate: f64 = config.devices.iter().map(bytes_per_second).sum::<f64>() + OTHER_EVENTS_BYTES_PER_SECOND;
    if journal.sync == SyncPolicy::Memory {
        return print_line(format_args!(
            "journal: in memory, lost with the process; reaches back {}",
            hours(MEMORY_JOURNAL_BYTES / (rate * MEMORY_FACTOR))
        ));
    }
    let size = f64::from(u32::try_from(journal.max_bytes >> 10).unwrap_or(u32::MAX)) * 1024.0;
    let (by_size, by_age) = (size / rate, journal.max_age.as_secs_f64());
    let bound = if by_size < by_age { "max_size" } else { "max_age" };
    print_line(format_args!(
        "journal {folder}: about {rate:.0} bytes/s, reaches back {} (by {bound}; max_size alone would give {})",
        hours(by_size.min(by_age)),
        hours(by_size)
    ))?;
    machine::print_journal_folder(journal)
}

fn bytes_per_second(device: &DeviceConfig) -> f64 {
    let values = u32::try_from(device.profile.readable().count()).unwrap_or(u32::MAX);
    (FRAME_BYTES + VALUE_BYTES * f64::from(values)) / device.period.as_secs_f64()
}

/// Prints every feed and returns why feeds cannot run.
fn print_feeds(config: &Config) -> Result<Vec<Mistake>, OutputError> {
    let engine = match app::engine(config) {
        Ok(engine) => engine,
        Err(error) => return Ok(vec![Mistake::without_value("plugins", error)]),
    };
    let mut mistakes = Vec::new();
    for feed in &config.feeds {
        mistakes.extend(print_feed(config, feed, &engine)?);
        print_line(format_args!("  client id {}", feed.client_id(&config.site)))?;
    }
    for feed in &config.off {
        print_line(format_args!("feed {}: off, for the reason below", feed.name))?;
    }
    Ok(mistakes)
}

fn print_feed(config: &Config, feed: &FeedConfig, engine: &Engine) -> Result<Option<Mistake>, OutputError> {
    let component = match &feed.component {
        ComponentSource::BuiltIn => "bessai-json, built in".to_owned(),
        ComponentSource::File(path) => path.display().to_string(),
    };
    print_line(format_args!("feed {}: {component} → {}", feed.name, feed.broker.route()))?;
    if let Some(kind) = feed.broker.kind {
        print_line(format_args!("  limits of {} (kind = {:?}): {}", kind.name, kind.kind, kind.summary()))?;
    }
    print_rights(&feed.rights)?;
    let reserved = app::reserved_topics(&config.site, feed);
    if !reserved.is_empty() {
        print_line(format_args!(
            "  needs the default feed's topics listed in [rights] topics to publish to them: {}",
            reserved.join(", ")
        ))?;
    }
    let mistake = |reason: String| Mistake::without_value(format!("feed {}", feed.name), reason);
    let component = match app::load(engine, feed) {
        Ok(component) => component,
        Err(error) => return Ok(Some(mistake(error.to_string()))),
    };
    match app::try_configuration(config, feed, component) {
        Ok(()) => Ok(None),
        // It may accept them once the points of all devices are known.
        Err(reason) if app::reads_discovered(config, feed) => {
            print_warning(&format!("before its devices are first read, {reason}"))?;
            Ok(None)
        }
        Err(reason) => Ok(Some(mistake(reason))),
    }
}

/// Prints what a feed may read, publish and do.
pub(super) fn print_rights(rights: &Rights) -> Result<(), OutputError> {
    let list = |names: &Option<Vec<String>>, all: &str| {
        names.as_ref().map_or_else(|| all.to_owned(), |names| names.join(", "))
    };
    let (devices, topics) = (list(&rights.read, "every device"), list(&rights.topics, "any topic"));
    print_line(format_args!("  reads {devices}, publishes to {topics}"))?;
    let connect: Vec<_> = rights.connect.iter().map(ToString::to_string).collect();
    for (verb, names) in
        [("subscribes to", &rights.subscribe), ("may connect to", &connect), ("may request writes to", &rights.write)]
    {
        if !names.is_empty() {
            print_line(format_args!("  {verb} {}", names.join(", ")))?;
        }
    }
    Ok(())
}
