//! What reading devices costs: the room that reads beside a bare loop of the same library, and the whole gateway with a durable
//! journal and one feed, where others have published what theirs takes.
//!
//! The devices are a process of their own ([`devices`]), as is whatever is measured.

mod arrivals;
mod bare_loop;
mod connections;
mod devices;
mod plant;
mod rate;
mod requests;
mod room;
pub(crate) mod tasks;
mod values;
mod write;

use std::time::Duration;

use anyhow::ensure;

use crate::program::Program;
use crate::surroundings::Surroundings;
use crate::table::{Compared, Measured, Table};

/// How long and how often things are done.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    /// Whole seconds, so that it holds whole readings.
    window: Duration,
    /// At full speed.
    fast_window: Duration,
    /// Odd, so that the median is one of them: the bare loop and the room take turns.
    turns: usize,
}

impl Lengths {
    pub(crate) const FULL: Self =
        Self { window: Duration::from_secs(20), fast_window: Duration::from_secs(10), turns: 5 };
    pub(crate) const QUICK: Self =
        Self { window: Duration::from_secs(10), fast_window: Duration::from_secs(5), turns: 1 };
}

/// What is measured, with what.
pub(crate) struct Bench<'a> {
    pub(crate) gateway: &'a Program,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) lengths: Lengths,
    /// One of [`PARTS`], or all of them.
    pub(crate) only: Option<&'a str>,
}

const PARTS: [&str; 5] = ["rate", "values", "connections", "write", "requests"];

/// Takes all figures, telling on standard error what is going on, and shows each table as soon as it is there.
pub(crate) fn measure(bench: &Bench<'_>, mut show: impl FnMut(&Table)) -> anyhow::Result<()> {
    let only = bench.only;
    ensure!(only.is_none_or(|only| PARTS.contains(&only)), "no part of modbus is named so; there are {PARTS:?}");
    let is_wanted = |part: &str| only.is_none_or(|only| only == part);
    let mut compared: Vec<Compared> = Vec::new();
    if is_wanted("rate") {
        compared.extend(rate::measure(bench)?);
    }
    let mut measured: Vec<Measured> = Vec::new();
    if is_wanted("values") {
        measured.extend(values::measure(bench)?);
    }
    if is_wanted("connections") {
        measured.push(connections::measure(bench)?);
    }
    if is_wanted("write") {
        measured.push(write::measure(bench)?);
    }
    if is_wanted("requests") {
        measured.extend(requests::measure());
    }
    if !compared.is_empty() {
        show(&Table::of(&compared));
    }
    if !measured.is_empty() {
        show(&Table::of(&measured));
    }
    Ok(())
}
