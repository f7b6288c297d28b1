//! Measures storage engines for the journal, so that the choice rests on figures: see ../0001-journal-storage.md.
//!
//! `journal-engine measure FOLDER [CANDIDATE…]` prints a table; FOLDER is on the disk that is to be measured.
//! `journal-engine brief FOLDER [CANDIDATE…]` does the same with little data, to see whether it works.

mod candidate;
mod measure;
mod payload;
mod probe;
mod report;
mod worker;

use std::path::Path;

use anyhow::{Result, bail};

use crate::measure::{Amounts, Measurement};

/// 1 GiB of bodies.
const KEPT_FRAMES: u64 = 4_294_967;

const MEASURE: Amounts = Amounts {
    repeats: 3,
    paced_s: 10,
    full_frames: 1_000_000,
    synced_frames: 1_000,
    kept_frames: KEPT_FRAMES,
    kills: 5,
    damaged_frames: 100_000,
    cuts: 100,
    spots: 20,
};

const BRIEF: Amounts = Amounts {
    repeats: 1,
    paced_s: 3,
    full_frames: 50_000,
    synced_frames: 200,
    kept_frames: 100_000,
    kills: 2,
    damaged_frames: 20_000,
    cuts: 3,
    spots: 3,
};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["worker", name, folder, task, amount] => worker::run(name, Path::new(folder), task, amount.parse()?),
        ["measure", folder, names @ ..] => measure(Path::new(folder), names, MEASURE),
        ["brief", folder, names @ ..] => measure(Path::new(folder), names, BRIEF),
        _ => bail!("usage: journal-engine measure|brief FOLDER [{}]…", candidate::NAMES.join("|")),
    }
}

fn measure(folder: &Path, names: &[&str], amounts: Amounts) -> Result<()> {
    let names = if names.is_empty() { candidate::NAMES } else { names };
    let mut measurements: Vec<_> = names.iter().map(|name| Measurement::new(name, folder, amounts)).collect();
    Measurement::run_all(&mut measurements, amounts)?;
    let measured: Vec<_> = measurements.into_iter().map(Measurement::finish).collect();
    report::print(&measured);
    Ok(())
}
