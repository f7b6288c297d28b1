//! The figures of plugins: replacement, many feeds, a plugin that loops, and single calls, each measured with the whole
//! gateway.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

mod calls;
mod many;
mod spin;
mod swap;

use crate::program::Program;
use crate::table::MeasuredFigure;
use crate::test_bed::TestBed;

/// The folder of components built by scripts/build and scripts/build-examples.
const COMPONENTS: &str = "dist/plugins";
/// The Rust example, which the feeds of these figures run.
const EXAMPLE: &str = "example-rust.wasm";

/// Repetitions and durations of the measurements.
pub(crate) struct PluginsParameters {
    swap: swap::SwapParameters,
    many: many::ManyFeedsParameters,
    spin: spin::SpinParameters,
}

impl PluginsParameters {
    /// For the published figures.
    pub(crate) const FULL: Self = Self {
        swap: swap::SwapParameters::FULL,
        many: many::ManyFeedsParameters::FULL,
        spin: spin::SpinParameters::FULL,
    };
    /// For `--quick`.
    pub(crate) const QUICK: Self = Self {
        swap: swap::SwapParameters::QUICK,
        many: many::ManyFeedsParameters::QUICK,
        spin: spin::SpinParameters::QUICK,
    };
}

/// Measures all figures, with progress on standard error.
pub(crate) fn measure(
    gateway: &Program,
    test_bed: &TestBed,
    parameters: &PluginsParameters,
) -> anyhow::Result<Vec<MeasuredFigure>> {
    let mut rows = swap::measure(gateway, test_bed, &parameters.swap)?;
    rows.extend(many::measure(gateway, test_bed, &parameters.many)?);
    rows.extend(spin::measure(gateway, test_bed, &parameters.spin)?);
    rows.extend(calls::measure(gateway, test_bed)?);
    Ok(rows)
}

pub(crate) fn component(name: &str) -> PathBuf {
    Path::new(COMPONENTS).join(name)
}

/// Creates a folder in the benchmark's own folder.
pub(crate) fn folder(test_bed: &TestBed, name: &str) -> anyhow::Result<PathBuf> {
    let folder = test_bed.folder().join(name);
    fs::create_dir_all(&folder).with_context(|| format!("failed to create {}", folder.display()))?;
    Ok(folder)
}

pub(crate) fn write(path: &Path, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
    fs::write(path, content).with_context(|| format!("failed to write {}", path.display()))
}

/// A row for a figure that was not measured, with the reason.
pub(crate) fn missing(figure: String, target: &'static str, reason: String) -> MeasuredFigure {
    MeasuredFigure { figure, target, measured: reason, elsewhere: "" }
}

/// Settings with which the example publishes a message for every reading.
fn example_settings(topic: &str) -> String {
    format!("[config]\ntopic = \"{topic}\"\nmin_change_kw = 0\n")
}
