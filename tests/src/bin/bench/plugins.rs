//! The second table: what a customer's plugin costs the others, and how fast a changed one is live.
//!
//! Every figure is taken with the real gateway, a broker and a device around it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

mod calls;
mod many;
mod spin;
mod swap;

use crate::program::Program;
use crate::surroundings::Surroundings;
use crate::table::Measured;

/// Where scripts/build and scripts/build-examples put components.
const COMPONENTS: &str = "dist/plugins";
/// The example in Rust, which the feeds of all figures run.
const EXAMPLE: &str = "example-rust.wasm";

/// How often and how long things are done.
pub(crate) struct Lengths {
    swap: swap::Lengths,
    many: many::Lengths,
    spin: spin::Lengths,
}

impl Lengths {
    pub(crate) const FULL: Self =
        Self { swap: swap::Lengths::FULL, many: many::Lengths::FULL, spin: spin::Lengths::FULL };
    pub(crate) const QUICK: Self =
        Self { swap: swap::Lengths::QUICK, many: many::Lengths::QUICK, spin: spin::Lengths::QUICK };
}

/// Takes all figures, telling on standard error what is going on.
pub(crate) fn measure(
    gateway: &Program,
    surroundings: &Surroundings,
    lengths: &Lengths,
) -> anyhow::Result<Vec<Measured>> {
    let mut rows = swap::measure(gateway, surroundings, &lengths.swap)?;
    rows.extend(many::measure(gateway, surroundings, &lengths.many)?);
    rows.extend(spin::measure(gateway, surroundings, &lengths.spin)?);
    rows.extend(calls::measure(gateway, surroundings)?);
    Ok(rows)
}

fn component(name: &str) -> PathBuf {
    Path::new(COMPONENTS).join(name)
}

/// A folder of plugins of its own.
pub(crate) fn folder(surroundings: &Surroundings, name: &str) -> anyhow::Result<PathBuf> {
    let folder = surroundings.folder().join(name);
    fs::create_dir_all(&folder).with_context(|| format!("failed to make {}", folder.display()))?;
    Ok(folder)
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}

/// A row that was not measured.
pub(crate) fn missing(figure: String, target: &'static str, reason: String) -> Measured {
    Measured { figure, target, measured: reason, elsewhere: "" }
}

/// Settings of a feed of the example, which then publishes with every reading.
fn example_settings(topic: &str) -> String {
    format!("[config]\ntopic = \"{topic}\"\nmin_change_kw = 0\n")
}
