//! What the operating system tells of this process and of the disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};

const SECTOR_BYTES: u64 = 512;

/// Counters that only rise.
#[derive(Clone, Copy)]
pub(crate) struct Counters {
    /// Processor time of all threads of this process.
    pub(crate) processor: Duration,
    /// Bytes of pages that this process made dirty, by `/proc/self/io`.
    pub(crate) written: u64,
    /// Bytes that the disk under the folder was told to write, by whomever; the file system's own journal is in it.
    pub(crate) disk: u64,
}

impl Counters {
    /// As they stand.
    pub(crate) fn now(folder: &Path) -> Result<Self> {
        Ok(Self {
            processor: spent(ClockId::ProcessCPUTime)?,
            written: field("/proc/self/io", "write_bytes:")?,
            disk: disk_bytes(folder)?,
        })
    }
}

/// Processor time of this thread.
pub(crate) fn thread_processor() -> Result<Duration> {
    spent(ClockId::ThreadCPUTime)
}

fn spent(clock: ClockId) -> Result<Duration> {
    let spent = clock_gettime(clock);
    Ok(Duration::new(u64::try_from(spent.tv_sec)?, u32::try_from(spent.tv_nsec)?))
}

/// KiB of a field of `/proc/self/status`, or the number of a field that has no unit.
pub(crate) fn status(name: &str) -> Result<u64> {
    field("/proc/self/status", name)
}

fn field(path: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(path)?;
    let found =
        text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("{path} has no {name}"))?;
    let number = found.split_whitespace().next().with_context(|| format!("{name} of {path} is empty"))?;
    Ok(number.parse()?)
}

fn disk_bytes(folder: &Path) -> Result<u64> {
    let device = fs::metadata(folder)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))
        .with_context(|| format!("{} is on no block device", folder.display()))?;
    let sectors: u64 = text.split_whitespace().nth(6).context("the disk's counters are short")?.parse()?;
    Ok(sectors * SECTOR_BYTES)
}

/// Bytes that the files under a folder take on the disk.
pub(crate) fn stored(folder: &Path) -> Result<u64> {
    // An engine's own thread may remove a file between the two looks.
    let found = files(folder)?.into_iter().filter_map(|path| fs::metadata(path).ok());
    Ok(found.map(|file| file.blocks() * SECTOR_BYTES).sum())
}

/// The files under a folder.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    Ok(found)
}
