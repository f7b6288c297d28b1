//! The journal alone, through its own API, each measurement in a process of its own: processor time and bytes for a frame of
//! 100 values, and how long a large one takes to open.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::fs::{Advice, fadvise};

use super::frames::Kind;
use super::tasks::CHANNELS;
use crate::shown;
use crate::surroundings::Surroundings;
use crate::table::Measured;
use crate::worker::{self, Told};

/// 1 GiB, and what is added before each kill: the newest file is then nearly full, which is what opening reads.
const LARGE_MEBIBYTES: f64 = 1024.0;
const LARGE_FRAMES: u32 = 3_400_000;
const FULL_FILE_FRAMES: u32 = 23_000;
/// What fills it: single floats with noise take most.
const LARGE_KIND: &str = "single";

#[derive(Clone, Copy)]
pub(super) struct Lengths {
    /// Odd, so that the median is one of them.
    runs: usize,
    full: u32,
    paced: u32,
}

impl Lengths {
    pub(super) const FULL: Self = Self { runs: 5, full: 1_000_000, paced: 10_000 };
    pub(super) const QUICK: Self = Self { runs: 1, full: 200_000, paced: 5_000 };
}

/// Folders that are gone after use.
struct Folder(PathBuf);

impl Folder {
    fn new(surroundings: &Surroundings, name: &str) -> Self {
        Self(surroundings.folder().join(name))
    }

    fn name(&self) -> anyhow::Result<&str> {
        self.0.to_str().context("the folder's name is no text")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The whole folder of the benchmark goes in the end.
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn measure(surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Vec<Measured>> {
    eprintln!("the journal: {} × {} frames of {CHANNELS} values at once, then singly", lengths.runs, lengths.full);
    let mut rows = processor(surroundings, lengths)?;
    eprintln!("the journal: bytes of each kind of values");
    rows.push(bytes(surroundings, lengths)?);
    eprintln!("the journal: opening 1 GiB");
    rows.extend(opening(surroundings, lengths)?);
    Ok(rows)
}

fn write(surroundings: &Surroundings, task: &str, kind: &str, frames: u32) -> anyhow::Result<Told> {
    let folder = Folder::new(surroundings, "journal");
    worker::ask(&[task, kind, &frames.to_string(), folder.name()?])
}

fn processor(surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Vec<Measured>> {
    let (mut at_once, mut singly) = (Vec::new(), Vec::new());
    for _ in 0..lengths.runs {
        at_once.push(write(surroundings, "full", "mix", lengths.full)?);
        singly.push(write(surroundings, "paced", "mix", lengths.paced)?);
    }
    let spent = |told: &[Told]| {
        let times = |name| told.iter().map(|told| micros(told.value(name)?)).collect::<anyhow::Result<Vec<_>>>();
        Ok::<_, anyhow::Error>(format!("{}; of it {}", fine(times("processor_us")?), fine(times("calls_us")?)))
    };
    let row = |how: &str, measured| Measured {
        figure: format!(
            "journal: processor time of all threads for a frame of {CHANNELS} values, {how}; of it the call"
        ),
        target: "≤ 5 µs",
        measured,
        elsewhere: "",
    };
    Ok(vec![row("100,000/s", spent(&at_once)?), row("1,000/s singly", spent(&singly)?)])
}

fn micros(value: f64) -> anyhow::Result<Duration> {
    Ok(Duration::try_from_secs_f64(value / 1e6)?)
}

/// As [`shown::range`] has it, but finer.
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

fn bytes(surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Measured> {
    let mut kinds = Vec::new();
    for (name, _) in Kind::ALL {
        let bytes = write(surroundings, "full", name, lengths.full)?.value("bytes")?;
        kinds.push(format!("{name} {:.2}", bytes / f64::from(u32::try_from(CHANNELS)?)));
    }
    Ok(Measured {
        figure: "journal: bytes on disk for a value: 40 constants, 40 decimals with steps, 10 noisy singles, 10 counters; each alone"
            .into(),
        target: "≤ 4",
        measured: kinds.join(", "),
        elsewhere: "",
    })
}

fn opening(surroundings: &Surroundings, lengths: &Lengths) -> anyhow::Result<Vec<Measured>> {
    let folder = Folder::new(surroundings, "large");
    let told = worker::ask(&["full", LARGE_KIND, &LARGE_FRAMES.to_string(), folder.name()?])?;
    let mebibytes = told.value("mebibytes")?;
    ensure!(mebibytes >= LARGE_MEBIBYTES, "{LARGE_FRAMES} frames are only {mebibytes} MiB");
    let (mut clean, mut killed, mut memory) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..lengths.runs {
        clean.push(open(&folder)?.0);
        let frames = FULL_FILE_FRAMES.to_string();
        drop(worker::hold(&["hold", LARGE_KIND, &frames, folder.name()?])?);
        let (took, resident) = open(&folder)?;
        killed.push(took);
        memory = memory.max(resident);
    }
    Ok(vec![Measured {
        figure: "journal: opening 1 GiB that is not cached, after a clean end; after SIGKILL with a full newest file"
            .into(),
        target: "≤ 1 s",
        measured: format!("{}; {}, then {memory:.0} MB resident", shown::range(clean), shown::range(killed)),
        elsewhere: "",
    }])
}

fn open(folder: &Folder) -> anyhow::Result<(Duration, f64)> {
    forget_cached(&folder.0)?;
    let told = worker::ask(&["open", folder.name()?])?;
    Ok((micros(told.value("open_ms")? * 1e3)?, told.value("resident_mb")?))
}

fn forget_cached(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}
