//! How long a write takes while 100,000 values a second are read: from the call of the room until the value is read back, each
//! in the midst of a second's reading.

use super::Bench;
use super::rate::hundred_devices;
use crate::table::Measured;

pub(super) fn measure(bench: &Bench<'_>) -> anyhow::Result<Measured> {
    eprintln!("writes while 100,000 values a second are read");
    let told = hundred_devices()?.read_by("write", bench.lengths.window)?;
    Ok(Measured {
        figure: "a write, read back, while 100,000 values a second are read: median (99th percentile)".into(),
        target: "≤ 20 ms",
        measured: format!("{:.2} ms ({:.2} ms)", told.value("median_ms")?, told.value("high_ms")?),
        elsewhere: "75 and 523 ms",
    })
}
