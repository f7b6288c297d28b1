//! A child process, its processor time and its memory as the kernel counts them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

/// The last lines of a child's log that an error contains.
const LOG_TAIL_LINES: usize = 10;

/// A running child, killed when dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

/// The processor time of each thread since its start, by thread id.
pub(crate) struct ProcessorTime(BTreeMap<String, Duration>);

/// Memory in use, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// All resident pages, including those mapped from files.
    pub(crate) resident: f64,
    /// Resident pages that are not mapped from a file.
    pub(crate) anonymous: f64,
    /// Resident pages, each divided by the number of its mappings in all processes.
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

    /// The file of its standard error.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of the log, for an error.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines.get(lines.len().saturating_sub(LOG_TAIL_LINES)..).unwrap_or_default().join("\n")
    }

    pub(crate) fn processor_time(&self) -> anyhow::Result<ProcessorTime> {
        self.processor_time_where(|_| true)
    }

    /// Only that of threads with this name.
    pub(crate) fn processor_time_of_threads(&self, name: &str) -> anyhow::Result<ProcessorTime> {
        self.processor_time_where(|thread| {
            fs::read_to_string(thread.join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        })
    }

    /// From the scheduler's statistics in nanoseconds, because `/proc/PID/stat` counts ticks of 10 ms.
    fn processor_time_where(&self, condition: impl Fn(&Path) -> bool) -> anyhow::Result<ProcessorTime> {
        let folder = format!("/proc/{}/task", self.child.id());
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("failed to read {folder}"))? {
            let entry = entry?;
            if !condition(&entry.path()) {
                continue;
            }
            // A thread may have ended since the folder was listed.
            let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
            let nanos = text.split(' ').next().unwrap_or_default().parse();
            let nanos = nanos.with_context(|| format!("failed to parse schedstat `{text}`"))?;
            threads.insert(entry.file_name().to_string_lossy().into_owned(), Duration::from_nanos(nanos));
        }
        Ok(ProcessorTime(threads))
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
    /// The difference to `other`.
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
        // Fails only if the child has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ProcessorTime {
    /// The processor time since `earlier`, without threads that have ended.
    pub(crate) fn since(&self, earlier: &Self) -> Duration {
        let of_thread = |(thread, now): (&String, &Duration)| {
            now.saturating_sub(earlier.0.get(thread).copied().unwrap_or_default())
        };
        self.0.iter().map(of_thread).sum()
    }
}
