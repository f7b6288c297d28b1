//! How much memory may still be used here: what the limits of this process's cgroups and the machine leave.

#![allow(
    clippy::disallowed_methods,
    reason = "files of /proc and /sys are made in memory; reading them takes microseconds"
)]

use std::fs;
use std::path::{Component, Path, PathBuf};

/// Bytes that are left to this process itself: the pages of its code that it needs all the time, and what it may grow by.
pub(crate) const RESERVE_BYTES: u64 = 16 << 20;
/// A limit of cgroup v1 above this is none: the kernel shows the largest number of pages.
const UNLIMITED_BYTES: u64 = 1 << 62;

/// Memory that is free or can be freed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FreeMemory {
    /// Its bytes.
    pub(crate) bytes: u64,
    /// The limit of the cgroup that leaves this much; none if it is what the machine has left.
    pub(crate) cgroup_limit: Option<u64>,
}

impl FreeMemory {
    /// What of it others than this process itself may use.
    pub(crate) fn for_others(self) -> u64 {
        self.bytes.saturating_sub(RESERVE_BYTES)
    }

    /// Who leaves no more, as the beginning of a sentence.
    pub(crate) fn holder(self) -> String {
        match self.cgroup_limit {
            Some(limit) => format!("the container's memory limit of {} MiB", limit >> 20),
            None => "this machine".to_owned(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum CgroupVersion {
    V1,
    V2,
}

/// A mount of the hierarchy that counts memory.
struct CgroupMount<'a> {
    version: CgroupVersion,
    /// The cgroup that is shown at the mount point.
    shown: &'a Path,
    point: &'a str,
}

/// The least that a cgroup or the machine leaves; none if the system does not tell. `root` is `/` except in tests.
pub(crate) fn read(root: &Path) -> Option<FreeMemory> {
    let machine = machine(root).map(|bytes| FreeMemory { bytes, cgroup_limit: None });
    let cgroups = cgroups(root);
    let cgroups = cgroups.iter().filter_map(|(version, folder)| cgroup(*version, folder));
    cgroups.chain(machine).min_by_key(|free| free.bytes)
}

/// `MemAvailable` of proc_meminfo(5).
fn machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The folders of this process's cgroup and of those around it: each of them has a limit of its own.
fn cgroups(root: &Path) -> Vec<(CgroupVersion, PathBuf)> {
    let read = |name: &str| fs::read_to_string(root.join(name)).unwrap_or_default();
    let (mounts, own) = (read("proc/self/mountinfo"), read("proc/self/cgroup"));
    let mut folders = Vec::new();
    for mount in mounts.lines().filter_map(CgroupMount::parse) {
        let Some(own) = own.lines().find_map(|line| mount.version.own_path(line)) else { continue };
        let point = root.join(mount.point.trim_start_matches('/'));
        // In a container without a cgroup namespace the path is that of the host, and the mount shows the container's own.
        let below = Path::new(own).strip_prefix(mount.shown).unwrap_or(Path::new(""));
        let below =
            if below.components().all(|part| matches!(part, Component::Normal(_))) { below } else { Path::new("") };
        let folder = point.join(below);
        let around = folder.ancestors().take_while(|folder| folder.starts_with(&point));
        folders.extend(around.map(|folder| (mount.version, folder.to_owned())));
    }
    folders
}

impl<'a> CgroupMount<'a> {
    /// Parses a line of proc_pid_mountinfo(5).
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut file_system = file_system.split(' ');
        let version = match file_system.next()? {
            "cgroup2" => CgroupVersion::V2,
            "cgroup" if file_system.nth(1)?.split(',').any(|option| option == "memory") => CgroupVersion::V1,
            _ => return None,
        };
        let mut fields = mount.split(' ').skip(3);
        Some(Self { version, shown: Path::new(fields.next()?), point: fields.next()? })
    }
}

impl CgroupVersion {
    /// The path in a line of `/proc/self/cgroup` (cgroups(7)), if the line is about this hierarchy.
    fn own_path(self, line: &str) -> Option<&str> {
        let (number, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let is_it = match self {
            Self::V1 => controllers.split(',').any(|controller| controller == "memory"),
            Self::V2 => number == "0" && controllers.is_empty(),
        };
        is_it.then_some(path)
    }

    fn limits(self) -> &'static [&'static str] {
        match self {
            Self::V1 => &["memory.limit_in_bytes"],
            // Above `memory.high` processes are slowed down until they hardly run.
            Self::V2 => &["memory.max", "memory.high"],
        }
    }

    fn usage(self) -> &'static str {
        match self {
            Self::V1 => "memory.usage_in_bytes",
            Self::V2 => "memory.current",
        }
    }

    /// What `memory.stat` calls pages of files, which the kernel drops when memory runs short.
    fn file_pages(self) -> [&'static str; 2] {
        match self {
            Self::V1 => ["total_active_file", "total_inactive_file"],
            Self::V2 => ["active_file", "inactive_file"],
        }
    }
}

/// What a cgroup leaves; none if it has no limit.
fn cgroup(version: CgroupVersion, folder: &Path) -> Option<FreeMemory> {
    let number = |name: &str| fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
    let limits = version.limits().iter().filter_map(|name| number(name)).filter(|limit| *limit < UNLIMITED_BYTES);
    let limit = limits.min()?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let pages = stat.lines().filter_map(|line| line.split_once(' '));
    let pages = pages.filter(|(name, _)| version.file_pages().contains(name));
    let droppable: u64 = pages.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum();
    let used = number(version.usage())?.saturating_sub(droppable);
    Some(FreeMemory { bytes: limit.saturating_sub(used), cgroup_limit: Some(limit) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// A root folder with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (name, content) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    fn check(files: &[(&str, &str)], expected: Option<(u64, Option<u64>)>) {
        let free = read(root(files).path());
        let expected = expected.map(|(mib, limit)| (mib * MIB, limit.map(|limit| limit * MIB)));
        assert_eq!(free.map(|free| (free.bytes, free.cgroup_limit)), expected, "{files:?}");
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        8388608 kB\nMemAvailable:    1048576 kB\n");
    const UNIFIED: (&str, &str) =
        ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n");

    #[test]
    fn without_cgroups_the_machine_counts() {
        check(&[], None);
        check(&[MACHINE], Some((1024, None)));
        check(&[MACHINE, UNIFIED, ("proc/self/cgroup", "0::/\n")], Some((1024, None)));
    }

    #[test]
    fn the_cgroup_that_leaves_least_counts() {
        let own = ("proc/self/cgroup", "0::/system.slice/bessai-edge.service\n");
        let service = "sys/fs/cgroup/system.slice/bessai-edge.service";
        let file = |name: &str| format!("{service}/{name}");
        let (max, high, current, stat) =
            (file("memory.max"), file("memory.high"), file("memory.current"), file("memory.stat"));
        let used =
            [(current.as_str(), "31457280\n"), (stat.as_str(), "anon 9\ninactive_file 8388608\nactive_file 2097152\n")];
        let with = |limits: &[(&str, &str)], expected| {
            check(&[[MACHINE, UNIFIED, own].as_slice(), limits, &used].concat(), Some(expected));
        };
        with(&[(&max, "67108864\n"), (&high, "max\n")], (44, Some(64)));
        with(&[(&max, "67108864\n"), (&high, "33554432\n")], (12, Some(32)));
        with(&[(&max, "max\n")], (1024, None));
        let slice = ("sys/fs/cgroup/system.slice/memory.max", "104857600\n");
        let used_there = ("sys/fs/cgroup/system.slice/memory.current", "94371840\n");
        with(&[(&max, "67108864\n"), slice, used_there], (10, Some(100)));
        // More is used than was allowed before the limit was lowered.
        with(&[(&max, "10485760\n")], (0, Some(10)));
    }

    #[test]
    fn a_container_sees_its_own_cgroup_at_the_mount_point() {
        let own = ("proc/self/cgroup", "12:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/docker/abc\n");
        let limits = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "134217728\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "73400320\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "active_file 1\ntotal_active_file 1048576\ntotal_inactive_file 5242880\n",
            ),
        ];
        let line = |shown: &str| {
            format!(
                "31 30 0:27 {shown} /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n\
                 34 30 0:29 {shown} /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
            )
        };
        for shown in ["/docker/abc", "/docker", "/other"] {
            let mounts = line(shown);
            let files = [[MACHINE, own, ("proc/self/mountinfo", &mounts)].as_slice(), &limits].concat();
            check(&files, Some((64, Some(128))));
        }
        let mounts = line("/");
        let unlimited = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "73400320\n"),
        ];
        let outside = ("proc/self/cgroup", "4:memory:/../elsewhere\n");
        check(
            &[[MACHINE, outside, ("proc/self/mountinfo", &mounts)].as_slice(), &unlimited].concat(),
            Some((1024, None)),
        );
    }

    #[test]
    fn this_machine_tells() {
        assert!(read(Path::new("/")).is_some_and(|free| free.bytes > MIB));
    }
}
