//! All of one candidate's figures: starts the workers, kills them, damages what they left.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::payload::Noise;
use crate::probe;

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Amounts {
    /// Repeats of the timed parts.
    pub(crate) repeats: u64,
    /// Seconds of frames that come singly.
    pub(crate) paced_s: u64,
    /// Frames at full speed.
    pub(crate) full_frames: u64,
    /// Frames that are synced one by one.
    pub(crate) synced_frames: u64,
    /// Frames in the journal that is killed and opened.
    pub(crate) kept_frames: u64,
    /// Kills at random moments.
    pub(crate) kills: u64,
    /// Frames in the journal that is damaged.
    pub(crate) damaged_frames: u64,
    /// Bytes that are cut off its end, one by one up to this.
    pub(crate) cuts: u64,
    /// Places at which it is overwritten.
    pub(crate) spots: u64,
}

/// Overwritten at each spot: what a flash controller loses at once is more, but this is what hurts already.
const SPOT_BYTES: usize = 512;

/// Figures by name, of every repeat.
#[derive(Default)]
pub(crate) struct Figures(BTreeMap<String, Vec<f64>>);

impl Figures {
    /// The middle one.
    pub(crate) fn median(&self, name: &str) -> Option<f64> {
        let mut values = self.0.get(name)?.clone();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }

    /// The largest.
    pub(crate) fn max(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.iter().copied().max_by(f64::total_cmp)
    }

    /// The smallest: what others write to the same disk can only add.
    pub(crate) fn min(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.iter().copied().min_by(f64::total_cmp)
    }

    /// One of each repeat.
    pub(crate) fn all(&self, name: &str) -> Option<&[f64]> {
        self.0.get(name).map(Vec::as_slice)
    }

    fn add(&mut self, name: String, value: f64) {
        self.0.entry(name).or_default().push(value);
    }

    fn add_all(&mut self, task: &str, told: &Told) {
        for (name, value) in &told.figures {
            self.add(format!("{task}.{name}"), *value);
        }
    }
}

/// What a worker said.
struct Told {
    figures: BTreeMap<String, f64>,
    refused: Option<String>,
}

impl Told {
    fn get(&self, name: &str) -> f64 {
        self.figures.get(name).copied().unwrap_or_default()
    }
}

/// A candidate with the folder it works in.
pub(crate) struct Measurement<'a> {
    name: &'a str,
    folder: PathBuf,
    amounts: Amounts,
    figures: Figures,
}

impl<'a> Measurement<'a> {
    /// Of a candidate, in a folder of its own under `base` that each part empties.
    pub(crate) fn new(name: &'a str, base: &Path, amounts: Amounts) -> Self {
        Self { name, folder: base.join(name), amounts, figures: Figures::default() }
    }

    /// Everything of every candidate. They take turns, so that what else the machine does meets all of them.
    pub(crate) fn run_all(all: &mut [Self], amounts: Amounts) -> Result<()> {
        for _ in 0..amounts.repeats {
            for measurement in &mut *all {
                measurement.timed("paced", amounts.paced_s)?;
                measurement.timed("full", amounts.full_frames)?;
                measurement.timed("synced", amounts.synced_frames)?;
            }
        }
        for measurement in all {
            if measurement.name != "nothing" {
                measurement.kills()?;
                measurement.damage()?;
            }
            measurement.empty()?;
        }
        Ok(())
    }

    /// The candidate's name and what was found.
    pub(crate) fn finish(self) -> (&'a str, Figures) {
        (self.name, self.figures)
    }

    fn empty(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        Ok(fs::create_dir_all(&self.folder)?)
    }

    fn worker(&self, task: &str, amount: u64) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .env("RUST_BACKTRACE", "0")
            .args(["worker", self.name])
            .arg(&self.folder)
            .args([task, &amount.to_string()]);
        Ok(command)
    }

    fn ask(&self, task: &str, amount: u64) -> Result<Told> {
        let output = self.worker(task, amount)?.stderr(Stdio::piped()).output()?;
        let mut told = Told { figures: BTreeMap::new(), refused: None };
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            match line.split_once(' ') {
                Some(("refused", reason)) => told.refused = Some(reason.to_owned()),
                Some((name, value)) => drop(told.figures.insert(name.to_owned(), value.parse()?)),
                None => {}
            }
        }
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            told.refused = Some(reason.lines().take(3).collect::<Vec<_>>().join(" / "));
        }
        Ok(told)
    }

    fn timed(&mut self, task: &str, amount: u64) -> Result<()> {
        self.empty()?;
        let told = self.ask(task, amount)?;
        anyhow::ensure!(told.refused.is_none(), "{} failed at {task}: {:?}", self.name, told.refused);
        self.figures.add_all(task, &told);
        Ok(())
    }

    /// Kills a writer at random moments; the first time with the journal full and then out of the page cache.
    fn kills(&mut self) -> Result<()> {
        self.empty()?;
        for round in 0..self.amounts.kills {
            let count = if round == 0 { self.amounts.kept_frames } else { 0 };
            let pause = Duration::from_millis(1_100 + Noise::new(round).next() % 1_000);
            let appended = self.kill_after(count, pause, round == 0)?;
            let task = if round == 0 {
                self.forget_cached()?;
                "open_cold"
            } else {
                "open_warm"
            };
            let opened = self.ask("open", 0)?;
            self.figures.add_all(task, &opened);
            self.report("open after SIGKILL", &opened);
            self.figures.add("kill.lost".to_owned(), (appended as f64 - opened.get("newest")).max(0.0));
        }
        self.figures.add("kill.stored_mib".to_owned(), probe::stored(&self.folder)? as f64 / f64::from(1 << 20));
        let dropped = self.ask("drop", self.amounts.kept_frames / 2)?;
        self.report("drop", &dropped);
        self.figures.add_all("drop", &dropped);
        Ok(())
    }

    /// Starts a writer, lets it go on for `pause` after it filled the journal, kills it, and says which event it had
    /// appended last.
    fn kill_after(&mut self, count: u64, pause: Duration, look: bool) -> Result<u64> {
        let mut child = self.worker("live", count)?.stdout(Stdio::piped()).spawn()?;
        let told = child.stdout.take().context("a worker tells what it does")?;
        let mut appended = 0;
        let mut first: Option<Instant> = None;
        for line in BufReader::new(told).lines() {
            // The line that the kill cut is no number that was appended.
            if let Some(Ok(sequence)) = line?.strip_prefix("appended ").map(str::parse) {
                appended = appended.max(sequence);
            }
            if first.get_or_insert_with(Instant::now).elapsed() >= pause {
                child.kill()?;
            }
            if look && appended % 1_000 == 500 {
                let beside = self.ask("beside", 0)?;
                self.report("read beside the writer", &beside);
                self.figures.add("beside.newest".to_owned(), beside.get("newest"));
                self.figures.add("beside.behind".to_owned(), (appended as f64 - beside.get("newest")).max(0.0));
            }
        }
        child.wait()?;
        Ok(appended)
    }

    /// As after a power loss: nothing of the journal is in the page cache.
    fn forget_cached(&self) -> Result<()> {
        for path in probe::files(&self.folder)? {
            let file = File::open(path)?;
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok(())
    }

    /// Cuts the end off the file that was written last, then overwrites spots in the largest file.
    fn damage(&mut self) -> Result<()> {
        self.empty()?;
        let appended = self.kill_after(self.amounts.damaged_frames, Duration::from_millis(1_300), false)?;
        let sound = self.folder.with_extension("sound");
        copy(&self.folder, &sound)?;
        for cut in 1..=self.amounts.cuts {
            copy(&sound, &self.folder)?;
            let path = newest(&self.folder)?;
            let end = data_end(&path)?;
            OpenOptions::new().write(true).open(&path)?.set_len(end.saturating_sub(cut))?;
            self.look_at_damage("cut", appended, &format!("{} cut by {cut}", path.display()))?;
        }
        for spot in 0..self.amounts.spots {
            copy(&sound, &self.folder)?;
            let path = largest(&self.folder)?;
            let at = Noise::new(spot).next() % data_end(&path)?.saturating_sub(u64::try_from(SPOT_BYTES)?).max(1);
            OpenOptions::new().write(true).open(&path)?.write_all_at(&[0x5a; SPOT_BYTES], at)?;
            self.look_at_damage("spot", appended, &format!("{} overwritten at {at}", path.display()))?;
        }
        Ok(fs::remove_dir_all(sound)?)
    }

    fn look_at_damage(&mut self, kind: &str, appended: u64, what: &str) -> Result<()> {
        let read = self.ask("read", 0)?;
        self.report(what, &read);
        let is_refused = if read.refused.is_some() { 1.0 } else { 0.0 };
        self.figures.add(format!("{kind}.refused"), is_refused);
        self.figures.add(format!("{kind}.lost"), (appended as f64 - read.get("whole")).max(0.0));
        self.figures.add(format!("{kind}.wrong"), read.get("wrong"));
        Ok(())
    }

    fn report(&self, what: &str, told: &Told) {
        if let Some(reason) = &told.refused {
            eprintln!("{}: {what}: {reason}", self.name);
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let status = Command::new("cp").args(["-a", "--sparse=always"]).arg(from).arg(to).status()?;
    anyhow::ensure!(status.success(), "{} could not be copied", from.display());
    Ok(())
}

/// The file with events that was written last.
fn newest(folder: &Path) -> Result<PathBuf> {
    best(folder, |path| Ok(fs::metadata(path)?.modified()?))
}

/// The file that takes most of the disk.
fn largest(folder: &Path) -> Result<PathBuf> {
    best(folder, data_end)
}

fn best<K: Ord>(folder: &Path, key: impl Fn(&Path) -> Result<K>) -> Result<PathBuf> {
    let mut found = Vec::new();
    for path in probe::files(folder)? {
        // SQLite's shared memory is no place for data: it is made anew after a crash.
        if !path.to_string_lossy().ends_with("-shm") {
            found.push((key(&path)?, path));
        }
    }
    found.sort();
    Ok(found.pop().with_context(|| format!("{} is empty", folder.display()))?.1)
}

/// Where the last byte stands that is not zero: files that are made larger ahead of need end in zeros.
fn data_end(path: &Path) -> Result<u64> {
    let bytes = fs::read(path)?;
    Ok(u64::try_from(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1))?)
}
