//! How long a write takes while 100,000 values a second are read.

use super::Bench;
use crate::table::Measured;

pub(super) fn measure(_bench: &Bench<'_>) -> anyhow::Result<Measured> {
    Ok(Measured {
        figure: "a write while 100,000 values a second are read: median (99th percentile)".into(),
        target: "≤ 20 ms",
        measured: "not measured: this version does not write".into(),
        elsewhere: "75 and 523 ms",
    })
}
