//! A child process that ends with its handle, and what the kernel counts about it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

/// Lines of a child's log that an error shows.
const LOG_LINES_SHOWN: usize = 10;

/// A running child, killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// Processor time of each thread so far.
pub(crate) struct Spent(BTreeMap<String, Duration>);

/// Memory in use, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All resident pages, those of the program file included.
    pub(crate) resident: f64,
    /// Those that belong to no file.
    pub(crate) anonymous: f64,
    /// Each page counted once, however many mappings of this or another process show it.
    pub(crate) proportional: f64,
}

impl Process {
    /// Starts a command whose standard error goes to `log`.
    pub(crate) fn spawn(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let stderr = File::create(log).with_context(|| format!("failed to write {}", log.display()))?;
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr).spawn();
        let child = child.with_context(|| format!("failed to start {}", program.display()))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// Where its standard error goes.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The end of what the child wrote, for an error.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_LINES_SHOWN)..).unwrap_or_default().join("\n")
    }

    pub(crate) fn spent(&self) -> anyhow::Result<Spent> {
        self.spent_by(|_| true)
    }

    /// Of the threads of this name alone.
    pub(crate) fn spent_by_thread(&self, name: &str) -> anyhow::Result<Spent> {
        self.spent_by(|thread| fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name))
    }

    /// Counted by the scheduler in nanoseconds, where `/proc/PID/stat` counts ticks of 10 ms.
    fn spent_by(&self, counts: impl Fn(&Path) -> bool) -> anyhow::Result<Spent> {
        let folder = format!("/proc/{}/task", self.child.id());
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("failed to read {folder}"))? {
            let entry = entry?;
            if !counts(&entry.path()) {
                continue;
            }
            // A thread may end between the listing and this.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let nanos = text.split(' ').next().unwrap_or_default().parse();
            let nanos = nanos.with_context(|| format!("failed to understand schedstat `{text}`"))?;
            threads.insert(entry.file_name().to_string_lossy().into_owned(), Duration::from_nanos(nanos));
        }
        Ok(Spent(threads))
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        Ok(Memory {
            resident: self.bytes("status", "VmRSS")?,
            anonymous: self.bytes("status", "RssAnon")?,
            proportional: self.bytes("smaps_rollup", "Pss")?,
        })
    }

    fn bytes(&self, file: &str, key: &str) -> anyhow::Result<f64> {
        let path = format!("/proc/{}/{file}", self.child.id());
        let text = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
        let value = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kibibytes: f64 = value
            .and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok())
            .with_context(|| format!("failed to find {key} in {path}"))?;
        Ok(kibibytes * 1024.0)
    }
}

impl Memory {
    /// What is in use beyond `other`.
    pub(crate) fn above(self, other: Self) -> Self {
        Self {
            resident: self.resident - other.resident,
            anonymous: self.anonymous - other.anonymous,
            proportional: self.proportional - other.proportional,
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only for a child that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Spent {
    /// What was spent after `earlier`, but for threads that have ended.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let of_thread = |(thread, now): (&String, &Duration)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        };
        self.0.iter().map(of_thread).sum()
    }
}
