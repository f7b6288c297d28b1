//! The figures of delivery: throughput of a session and of the whole gateway, live and after an outage, and the cost of
//! journal and sessions.

mod bare_loop;
mod catch_up;
pub(crate) mod frames;
mod gateway_config;
mod journal;
mod live;
mod memory;
mod session;
pub(crate) mod tasks;
mod timed_peers;

use anyhow::ensure;

use crate::program::Program;
use crate::table::{ComparedFigure, MeasuredFigure, Table};
use crate::test_bed::TestBed;

/// Repetitions and durations of the measurements.
#[derive(Clone, Copy)]
pub(crate) struct DeliveryParameters {
    session: session::SessionParameters,
    live: live::LiveParameters,
    catch_up: catch_up::CatchUpParameters,
    journal: journal::JournalParameters,
    memory: memory::MemoryParameters,
}

impl DeliveryParameters {
    /// For the published figures.
    pub(crate) const FULL: Self = Self {
        session: session::SessionParameters::FULL,
        live: live::LiveParameters::FULL,
        catch_up: catch_up::CatchUpParameters::FULL,
        journal: journal::JournalParameters::FULL,
        memory: memory::MemoryParameters::FULL,
    };
    /// For `--quick`.
    pub(crate) const QUICK: Self = Self {
        session: session::SessionParameters::QUICK,
        live: live::LiveParameters::QUICK,
        catch_up: catch_up::CatchUpParameters::QUICK,
        journal: journal::JournalParameters::QUICK,
        memory: memory::MemoryParameters::QUICK,
    };
}

/// What to measure.
pub(crate) struct DeliveryBench<'a> {
    pub(crate) gateway: &'a Program,
    pub(crate) test_bed: &'a TestBed,
    pub(crate) parameters: DeliveryParameters,
    /// One of [`PARTS`]; all of them if absent.
    pub(crate) only: Option<&'a str>,
}

/// The parts of these figures.
const PARTS: [&str; 5] = ["sessions", "live", "catch-up", "journal", "memory"];

/// Measures all figures, with progress on standard error, and shows each table as soon as it is complete.
pub(crate) fn measure(bench: &DeliveryBench<'_>, mut show: impl FnMut(&Table)) -> anyhow::Result<()> {
    let DeliveryBench { gateway, test_bed, parameters, only } = bench;
    ensure!(
        only.is_none_or(|only| PARTS.contains(&only)),
        "there is no such part of delivery; the parts are {PARTS:?}"
    );
    let is_wanted = |part: &str| only.is_none_or(|only| only == part);
    let mut compared: Vec<ComparedFigure> = Vec::new();
    if is_wanted("sessions") {
        compared.extend(session::measure(test_bed, &parameters.session)?);
    }
    if is_wanted("live") {
        compared.extend(live::measure(gateway, test_bed, &parameters.live)?);
    }
    if is_wanted("catch-up") {
        compared.extend(catch_up::measure(gateway, test_bed, &parameters.catch_up)?);
    }
    if !compared.is_empty() {
        show(&Table::of(&compared));
    }
    let mut measured: Vec<MeasuredFigure> = Vec::new();
    if is_wanted("journal") {
        measured.extend(journal::measure(test_bed, &parameters.journal)?);
    }
    if is_wanted("memory") {
        measured.extend(memory::measure(gateway, test_bed, &parameters.memory)?);
    }
    if !measured.is_empty() {
        show(&Table::of(&measured));
    }
    Ok(())
}
