//! A cgroup that limits a gateway, as a container's engine makes it; for tests and the benchmark.

#![allow(dead_code, reason = "each of them uses a part")]
#![allow(
    unreachable_pub,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a limit that cannot be set ends the test"
)]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Where cgroups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// Time in which a cgroup's share of a processor is counted, in microseconds; the kernel's default.
const CPU_PERIOD_US: u32 = 100_000;

/// A cgroup of its own, removed when dropped: so the gateway in it must be dropped before.
pub struct Cgroup {
    /// One for each hierarchy: one in version 2, one for each limited resource in version 1.
    folders: Vec<PathBuf>,
}

impl Cgroup {
    /// Limits memory and, if given, the share of one processor in percent. None where this process may not create cgroups,
    /// with a line on standard error.
    pub fn create(memory_bytes: u64, cpu_percent: Option<u32>) -> Option<Self> {
        let quota_us = cpu_percent.map(|percent| CPU_PERIOD_US / 100 * percent);
        Self::limited(|cgroup| match is_version_2() {
            true => cgroup.limit_in_version_2(memory_bytes, quota_us),
            false => cgroup.limit_in_version_1(memory_bytes, quota_us),
        })
    }

    /// Counts tasks, which are processes and threads, without a limit yet.
    pub fn of_tasks() -> Option<Self> {
        let parent = Path::new(ROOT).join(if is_version_2() { "" } else { "pids" });
        Self::limited(|cgroup| {
            let folder = cgroup.add(parent)?;
            std::fs::metadata(folder.join("pids.max")).map(drop)
        })
    }

    fn limited(limit: impl FnOnce(&mut Self) -> std::io::Result<()>) -> Option<Self> {
        let mut cgroup = Self { folders: Vec::new() };
        match limit(&mut cgroup) {
            Ok(()) => Some(cgroup),
            Err(error) => {
                eprintln!("NOT TESTED: limits of a container need the right to create cgroups: {error}");
                None
            }
        }
    }

    fn limit_in_version_1(&mut self, memory_bytes: u64, quota_us: Option<u32>) -> std::io::Result<()> {
        let memory = self.add(Path::new(ROOT).join("memory"))?;
        std::fs::write(memory.join("memory.limit_in_bytes"), memory_bytes.to_string())?;
        let Some(quota_us) = quota_us else { return Ok(()) };
        let cpu = self.add(Path::new(ROOT).join("cpu"))?;
        std::fs::write(cpu.join("cpu.cfs_period_us"), CPU_PERIOD_US.to_string())?;
        std::fs::write(cpu.join("cpu.cfs_quota_us"), quota_us.to_string())
    }

    fn limit_in_version_2(&mut self, memory_bytes: u64, quota_us: Option<u32>) -> std::io::Result<()> {
        let folder = self.add(ROOT.into())?;
        std::fs::write(folder.join("memory.max"), memory_bytes.to_string())?;
        let Some(quota_us) = quota_us else { return Ok(()) };
        std::fs::write(folder.join("cpu.max"), format!("{quota_us} {CPU_PERIOD_US}"))
    }

    fn add(&mut self, parent: PathBuf) -> std::io::Result<PathBuf> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("bessai-edge-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&folder)?;
        self.folders.push(folder.clone());
        Ok(folder)
    }

    /// Changes the limit of memory.
    pub fn allow(&self, memory_bytes: u64) {
        let files = ["memory.max", "memory.limit_in_bytes"].map(|name| self.folders[0].join(name));
        let file = files.iter().find(|file| file.exists()).unwrap();
        std::fs::write(file, memory_bytes.to_string()).unwrap();
    }

    /// Allows no further task, or any number.
    pub fn allow_further_tasks(&self, allowed: bool) {
        let current = std::fs::read_to_string(self.folders[0].join("pids.current")).unwrap();
        let limit = if allowed { "max" } else { current.trim() };
        std::fs::write(self.folders[0].join("pids.max"), limit).unwrap();
    }

    /// The most memory that was in use so far, in bytes.
    pub fn peak(&self) -> std::io::Result<f64> {
        let files = ["memory.peak", "memory.max_usage_in_bytes"].map(|name| self.folders[0].join(name));
        let text = files.iter().find_map(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
        text.trim().parse().map_err(std::io::Error::other)
    }

    /// The shell's command that moves the shell into the cgroup.
    pub fn enter(&self) -> String {
        let writes = self.folders.iter().map(|folder| format!("echo $$ > {}/cgroup.procs", folder.display()));
        writes.collect::<Vec<_>>().join(" && ")
    }
}

fn is_version_2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for folder in &self.folders {
            // Its processes have been killed, but the kernel may take a moment to remove them.
            for _ in 0..100 {
                match std::fs::remove_dir(folder) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        std::thread::sleep(std::time::Duration::from_millis(20));
                    }
                    _ => break,
                }
            }
        }
    }
}
