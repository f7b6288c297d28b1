//! How messages are delivered: how fast through a session and through the whole gateway, live and after an outage, and what
//! journal and sessions take for it.
//!
//! Where a figure can be only bounded from outside, it says so.

mod bare_loop;
mod catch_up;
pub(crate) mod frames;
mod journal;
mod live;
mod memory;
mod peers;
mod plant;
mod session;
pub(crate) mod tasks;

use anyhow::ensure;

use crate::program::Program;
use crate::surroundings::Surroundings;
use crate::table::{Compared, Measured, Table};

/// How often and how long things are done.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    session: session::Lengths,
    live: live::Lengths,
    catch_up: catch_up::Lengths,
    journal: journal::Lengths,
    memory: memory::Lengths,
}

impl Lengths {
    pub(crate) const FULL: Self = Self {
        session: session::Lengths::FULL,
        live: live::Lengths::FULL,
        catch_up: catch_up::Lengths::FULL,
        journal: journal::Lengths::FULL,
        memory: memory::Lengths::FULL,
    };
    pub(crate) const QUICK: Self = Self {
        session: session::Lengths::QUICK,
        live: live::Lengths::QUICK,
        catch_up: catch_up::Lengths::QUICK,
        journal: journal::Lengths::QUICK,
        memory: memory::Lengths::QUICK,
    };
}

/// What is measured, with what.
pub(crate) struct Bench<'a> {
    pub(crate) gateway: &'a Program,
    pub(crate) surroundings: &'a Surroundings,
    pub(crate) lengths: Lengths,
    /// One of [`PARTS`], or all of them.
    pub(crate) only: Option<&'a str>,
}

const PARTS: [&str; 5] = ["sessions", "live", "catch-up", "journal", "memory"];

/// Takes all figures, telling on standard error what is going on, and shows each table as soon as it is there.
pub(crate) fn measure(bench: &Bench<'_>, mut show: impl FnMut(&Table)) -> anyhow::Result<()> {
    let Bench { gateway, surroundings, lengths, only } = bench;
    ensure!(only.is_none_or(|only| PARTS.contains(&only)), "no part of delivery is named so; there are {PARTS:?}");
    let is_wanted = |part: &str| only.is_none_or(|only| only == part);
    let mut compared: Vec<Compared> = Vec::new();
    if is_wanted("sessions") {
        compared.extend(session::measure(surroundings, &lengths.session)?);
    }
    if is_wanted("live") {
        compared.extend(live::measure(gateway, surroundings, &lengths.live)?);
    }
    if is_wanted("catch-up") {
        compared.extend(catch_up::measure(gateway, surroundings, &lengths.catch_up)?);
    }
    if !compared.is_empty() {
        show(&Table::of(&compared));
    }
    let mut measured: Vec<Measured> = Vec::new();
    if is_wanted("journal") {
        measured.extend(journal::measure(surroundings, &lengths.journal)?);
    }
    if is_wanted("memory") {
        measured.extend(memory::measure(gateway, surroundings, &lengths.memory)?);
    }
    if !measured.is_empty() {
        show(&Table::of(&measured));
    }
    Ok(())
}
