//! The gateway on a small machine: 64 MB of memory and a tenth of a processor, in a cgroup.

use std::thread::sleep;
use std::time::Duration;

use anyhow::Context;

use crate::cgroup::Cgroup;
use crate::formatting;
use crate::program::Program;
use crate::table::MeasuredFigure;
use crate::test_bed::TestBed;

/// Memory of the cgroup, in bytes.
const MEMORY_BYTES: u64 = 64_000_000;
/// Its share of one processor, in percent.
const CPU_PERCENT: u32 = 10;
/// Starts with a cached component; odd, so that the median is one of them.
const STARTS: usize = 5;
/// The polling period.
const PERIOD: Duration = Duration::from_secs(5);
/// Pause before a start, in which the share of the processor that earlier work has used up is given back.
const REST: Duration = Duration::from_secs(1);

/// Measures the starts; no rows where this process may not create a cgroup.
pub(crate) fn measure(gateway: &Program, test_bed: &TestBed) -> anyhow::Result<Vec<MeasuredFigure>> {
    let Some(cgroup) = Cgroup::create(MEMORY_BYTES, Some(CPU_PERCENT)) else { return Ok(Vec::new()) };
    eprintln!("{} starts with {} MB of memory and {CPU_PERCENT} % of a core", STARTS + 1, MEMORY_BYTES / 1_000_000);
    let limited = gateway.limited_by(cgroup.enter());
    let data = test_bed.folder().join("small");
    let start = || {
        sleep(REST);
        let run = limited.start_with(test_bed, PERIOD, |command| {
            command.env("BESSAI_DATA", &data);
        })?;
        let memory = run.process.memory()?;
        anyhow::Ok((run.start_time, memory))
    };
    let (first, _) = start().context("the first start failed")?;
    let starts = (0..STARTS).map(|_| start()).collect::<anyhow::Result<Vec<_>>>()?;
    let memory = starts.last().map(|(_, memory)| formatting::memory(*memory)).unwrap_or_default();
    let row =
        |figure: &str, target, measured| MeasuredFigure { figure: figure.to_owned(), target, measured, elsewhere: "" };
    Ok(vec![
        row("very first start, compiles the plugin: to first telemetry", "≤ 1.4 s", formatting::time(first)),
        row(
            "start to first telemetry, component cached, median of 5 (lowest to highest)",
            "",
            formatting::range(starts.iter().map(|(time, _)| *time).collect()),
        ),
        row("resident memory then (anonymous part)", "", memory),
        row("largest use of the cgroup, the compiler's included", "≤ 64 MB", format!("{:.0} MB", cgroup.peak()? / 1e6)),
    ])
}
