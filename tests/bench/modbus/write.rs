//! The time from a write's call until its value is read back, while 100,000 values a second are read.

use super::ModbusBench;
use super::rate::hundred_devices;
use crate::table::MeasuredFigure;

pub(super) fn measure(bench: &ModbusBench<'_>) -> anyhow::Result<MeasuredFigure> {
    eprintln!("writes while 100,000 values/s are read");
    let measured = hundred_devices()?.read_by("write", bench.parameters.window)?;
    Ok(MeasuredFigure {
        figure: "a write while 100,000 values/s are read: median; 99th percentile".into(),
        target: "≤ 20 ms",
        measured: format!("{:.2} ms; {:.2} ms", measured.value("median_ms")?, measured.value("percentile_99_ms")?),
        elsewhere: "75 and 523 ms",
    })
}
