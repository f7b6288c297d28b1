//! The journal alone, each measurement in a process of its own: processor time and bytes for a frame of 100 values, and the
//! time to open a large journal.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{Advice, fadvise};

use super::frames::ValuePattern;
use super::tasks::CHANNELS;
use crate::formatting;
use crate::table::MeasuredFigure;
use crate::test_bed::TestBed;
use crate::worker::{self, WorkerOutput};

/// The least size of the large journal.
const LARGE_MEBIBYTES: f64 = 1024.0;
/// Frames that make this size.
const LARGE_FRAMES: u32 = 3_400_000;
/// Frames before each kill, which fill most of the newest file: opening reads that file.
const FULL_FILE_FRAMES: u32 = 23_000;
/// The pattern of its values, the one that takes most bytes.
const LARGE_PATTERN: &str = "single";

/// Size and repetitions of the measurements.
#[derive(Clone, Copy)]
pub(super) struct JournalParameters {
    /// Odd, so that the median is one of them.
    runs: usize,
    /// Frames at 100,000 a second.
    batched: u32,
    /// Frames at 1,000 a second.
    single: u32,
}

impl JournalParameters {
    /// For the published figures.
    pub(super) const FULL: Self = Self { runs: 5, batched: 1_000_000, single: 10_000 };
    /// For `--quick`.
    pub(super) const QUICK: Self = Self { runs: 1, batched: 200_000, single: 5_000 };
}

/// A folder, removed when dropped.
struct JournalFolder(PathBuf);

impl JournalFolder {
    fn new(test_bed: &TestBed, name: &str) -> Self {
        Self(test_bed.folder().join(name))
    }

    fn name(&self) -> anyhow::Result<&str> {
        self.0.to_str().context("the folder's name is not UTF-8")
    }
}

impl Drop for JournalFolder {
    fn drop(&mut self) {
        // What remains is removed with the benchmark's own folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn measure(test_bed: &TestBed, parameters: &JournalParameters) -> anyhow::Result<Vec<MeasuredFigure>> {
    eprintln!(
        "the journal: {} × {} frames of {CHANNELS} values at 100,000/s, then at 1,000/s",
        parameters.runs, parameters.batched
    );
    let mut rows = processor(test_bed, parameters)?;
    eprintln!("the journal: bytes for each pattern of values");
    rows.push(bytes(test_bed, parameters)?);
    eprintln!("the journal: opening 1 GiB");
    rows.extend(opening(test_bed, parameters)?);
    Ok(rows)
}

fn write(test_bed: &TestBed, task: &str, pattern: &str, frames: u32) -> anyhow::Result<WorkerOutput> {
    let folder = JournalFolder::new(test_bed, "journal");
    worker::run_to_end(&[task, pattern, &frames.to_string(), folder.name()?])
}

fn processor(test_bed: &TestBed, parameters: &JournalParameters) -> anyhow::Result<Vec<MeasuredFigure>> {
    let (mut batched, mut single) = (Vec::new(), Vec::new());
    for _ in 0..parameters.runs {
        batched.push(write(test_bed, "batched", "mix", parameters.batched)?);
        single.push(write(test_bed, "single", "mix", parameters.single)?);
    }
    let measured = |outputs: &[WorkerOutput]| {
        let times = |name| outputs.iter().map(|output| micros(output.value(name)?)).collect::<anyhow::Result<Vec<_>>>();
        Ok::<_, anyhow::Error>(format!("{}; {}", fine(times("processor_us")?), fine(times("calls_us")?)))
    };
    let row = |rate: &str, measured| MeasuredFigure {
        figure: format!(
            "journal: processor time for a frame of {CHANNELS} values, {rate}, all threads; the call alone"
        ),
        target: "≤ 5 µs",
        measured,
        elsewhere: "",
    };
    Ok(vec![row("100,000/s", measured(&batched)?), row("1,000/s one by one", measured(&single)?)])
}

fn micros(value: f64) -> anyhow::Result<Duration> {
    Ok(Duration::try_from_secs_f64(value / 1e6)?)
}

/// As [`formatting::range`], with tenths of a microsecond.
fn fine(mut times: Vec<Duration>) -> String {
    times.sort();
    let micros = |time: &Duration| time.as_secs_f64() * 1e6;
    match (times.get(times.len() / 2), times.as_slice()) {
        (Some(median), [lowest, .., highest]) => {
            format!("{:.1} µs ({:.1} to {:.1} µs)", micros(median), micros(lowest), micros(highest))
        }
        (Some(median), _) => format!("{:.1} µs", micros(median)),
        (None, _) => String::new(),
    }
}

fn bytes(test_bed: &TestBed, parameters: &JournalParameters) -> anyhow::Result<MeasuredFigure> {
    let mut patterns = Vec::new();
    for (name, _) in ValuePattern::ALL {
        let bytes = write(test_bed, "batched", name, parameters.batched)?.value("bytes")?;
        patterns.push(format!("{name} {:.2}", bytes / f64::from(u32::try_from(CHANNELS)?)));
    }
    Ok(MeasuredFigure {
        figure: "journal: bytes on disk per value: 40 % constants, 40 % decimals, 10 % noisy single floats, 10 % counters; each alone"
            .into(),
        target: "≤ 4",
        measured: patterns.join(", "),
        elsewhere: "",
    })
}

fn opening(test_bed: &TestBed, parameters: &JournalParameters) -> anyhow::Result<Vec<MeasuredFigure>> {
    let folder = JournalFolder::new(test_bed, "large");
    let output = worker::run_to_end(&["batched", LARGE_PATTERN, &LARGE_FRAMES.to_string(), folder.name()?])?;
    let mebibytes = output.value("mebibytes")?;
    ensure!(mebibytes >= LARGE_MEBIBYTES, "{LARGE_FRAMES} frames take only {mebibytes} MiB");
    let (mut clean, mut killed, mut memory) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..parameters.runs {
        clean.push(open(&folder)?.0);
        let frames = FULL_FILE_FRAMES.to_string();
        drop(worker::start_and_wait(&["hold", LARGE_PATTERN, &frames, folder.name()?])?);
        let (took, resident) = open(&folder)?;
        killed.push(took);
        memory = memory.max(resident);
    }
    Ok(vec![MeasuredFigure {
        figure: "journal: opening 1 GiB, not cached, after a clean end; after SIGKILL with a full newest file".into(),
        target: "≤ 1 s",
        measured: format!("{}; {}, then {memory:.0} MB resident", formatting::range(clean), formatting::range(killed)),
        elsewhere: "",
    }])
}

fn open(folder: &JournalFolder) -> anyhow::Result<(Duration, f64)> {
    drop_page_cache(&folder.0)?;
    let output = worker::run_to_end(&["open", folder.name()?])?;
    Ok((micros(output.value("open_ms")? * 1e3)?, output.value("resident_mb")?))
}

/// Removes the files of a folder from the page cache.
fn drop_page_cache(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
