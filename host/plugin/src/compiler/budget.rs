//! Shares the memory that is left among the compilers that run, and refuses a component that would not fit before its
//! compiler is started.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use wasmparser::{Parser, Payload};

use super::CompileLimits;
use crate::error::LoadError;
use crate::free_memory::{self, FreeMemory};

/// Bytes of private memory that the smallest component takes to compile. This and the next two are from the least limit with
/// which one thread compiles `bessai-json` (98 kB of code, 47 kB of the rest): 12 MiB; the examples in Python (6.6 and 11.9
/// MB): 352 MiB; and in JavaScript (9.0 and 2.7 MB): 348 MiB.
const BASE_BYTES: u64 = 10 << 20;
/// Bytes of memory per byte of code.
const BYTES_PER_CODE_BYTE: u64 = 36;
/// Bytes of memory per byte of the rest, which is mostly data.
const BYTES_PER_OTHER_BYTE: u64 = 10;
/// Bytes of memory that each further thread takes: 20 MiB with the example in Python, up to 27 MiB with that in JavaScript.
const THREAD_BYTES: u64 = 28 << 20;

/// What is granted to running compilers.
pub(super) struct CompileBudget {
    root: PathBuf,
    granted: Mutex<u64>,
    released: Condvar,
}

/// Memory for one compiler, returned when this is dropped.
pub(crate) struct Grant<'a> {
    budget: &'a CompileBudget,
    /// What compiling may cost.
    pub(super) limits: CompileLimits,
    /// What sets the limit of memory.
    pub(super) limit: Limit,
    /// Threads that there is memory for, at most one for each processor.
    pub(super) threads: u64,
}

/// What limits a compiler's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// `[plugins] compile_memory`.
    Settings,
    /// What a cgroup or the machine has left.
    Free(FreeMemory),
}

impl CompileBudget {
    /// `root` is `/` except in tests.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root, granted: Mutex::default(), released: Condvar::new() }
    }

    /// Grants memory for a component, at most what the settings allow; waits for other compilers if their memory is needed.
    pub(super) fn grant(&self, wasm: &[u8], allowed: CompileLimits) -> Result<Grant<'_>, LoadError> {
        let needed = needed(wasm);
        let mut granted = self.lock();
        loop {
            let (bytes, limit) = left(free_memory::read(&self.root), *granted, allowed.memory_bytes);
            match limit {
                Limit::Free(free) if bytes < needed && *granted == 0 => {
                    return Err(LoadError::Host(refusal(needed, bytes, free)));
                }
                Limit::Free(_) if bytes < needed => {}
                // Whether the settings allow enough is found out by compiling: the estimate may be too high.
                Limit::Free(_) | Limit::Settings => {
                    *granted += bytes;
                    let threads = threads(bytes.saturating_sub(needed));
                    let limits = CompileLimits { memory_bytes: bytes, ..allowed };
                    return Ok(Grant { budget: self, limits, limit, threads });
                }
            }
            granted = self.released.wait(granted).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.granted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Grant<'_> {
    fn drop(&mut self) {
        *self.budget.lock() -= self.limits.memory_bytes;
        self.budget.released.notify_all();
    }
}

/// Bytes of memory that compiling a component takes in one thread.
fn needed(wasm: &[u8]) -> u64 {
    let code: u64 = Parser::new(0)
        .parse_all(wasm)
        .map(|payload| match payload {
            Ok(Payload::CodeSectionStart { size, .. }) => u64::from(size),
            _ => 0,
        })
        .sum();
    let other = number(wasm.len()).saturating_sub(code);
    BASE_BYTES
        .saturating_add(code.saturating_mul(BYTES_PER_CODE_BYTE))
        .saturating_add(other.saturating_mul(BYTES_PER_OTHER_BYTE))
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// `spare`: bytes beyond what one thread needs. The number of processors respects a cgroup's share of them.
fn threads(spare: u64) -> u64 {
    let processors = thread::available_parallelism().map_or(1, |processors| number(processors.get()));
    processors.min(1 + spare / THREAD_BYTES)
}

/// The memory for one compiler, and what limits it.
fn left(free: Option<FreeMemory>, granted: u64, allowed: u64) -> (u64, Limit) {
    let Some(free) = free else { return (allowed, Limit::Settings) };
    let bytes = free.for_others().saturating_sub(granted);
    if bytes >= allowed { (allowed, Limit::Settings) } else { (bytes, Limit::Free(free)) }
}

fn refusal(needed: u64, left: u64, free: FreeMemory) -> String {
    let missing = needed.saturating_sub(left);
    let fix = match free.cgroup_limit {
        Some(limit) => format!("raise the limit to {} MiB", (limit + missing).div_ceil(1 << 20)),
        None => format!("free {} MiB", missing.div_ceil(1 << 20)),
    };
    format!(
        "needs about {} MiB of memory to compile, and {} leaves {} MiB; {fix}, or run `bessai-edge check` once where more \
         memory is available: what it compiles stays in the cache folder",
        needed >> 20,
        free.holder(),
        left >> 20
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;
    use std::time::Duration;

    const MIB: u64 = 1 << 20;
    /// A gibibyte, as the settings allow by default.
    const ALLOWED: CompileLimits = CompileLimits { memory_bytes: 1024 * MIB, time: Duration::from_secs(120) };

    /// As large as a Python component, without code: it needs 190 MiB.
    fn large() -> Vec<u8> {
        vec![0; 18 << 20]
    }

    /// A machine with one cgroup of 512 MiB, of which so much is used.
    fn limit_used(root: &Path, used_mib: u64) {
        let cgroup = root.join("sys/fs/cgroup");
        for folder in [root.join("proc/self"), cgroup.clone()] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(root.join("proc/self/cgroup"), "0::/\n").unwrap();
        let mount = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        fs::write(root.join("proc/self/mountinfo"), mount).unwrap();
        fs::write(cgroup.join("memory.max"), (512 * MIB).to_string()).unwrap();
        fs::write(cgroup.join("memory.current"), (used_mib * MIB).to_string()).unwrap();
    }

    #[test]
    fn code_counts_more_than_data() {
        let module = |text: &str| wat::parse_str(text).unwrap();
        let functions = "(func (result i32) (i32.add (i32.const 1) (i32.const 2)))".repeat(1000);
        let code = module(&format!("(module {functions})"));
        let data = module(&format!("(module (memory 1) (data (i32.const 0) \"{}\"))", "x".repeat(code.len())));
        let above_base = |wasm: &[u8]| needed(wasm) - BASE_BYTES;
        assert!(above_base(&code) > 2 * above_base(&data));
        assert_eq!(needed(&large()), 190 * MIB);
        assert_eq!(needed(b""), BASE_BYTES);
    }

    #[test]
    fn the_limit_follows_the_container() {
        let root = tempfile::tempdir().unwrap();
        let budget = CompileBudget::new(root.path().to_owned());
        let processors = number(thread::available_parallelism().unwrap().get());
        let check = |allowed, memory, is_by_settings, threads: u64| {
            let grant = budget.grant(&large(), allowed).unwrap();
            let by_settings = grant.limit == Limit::Settings;
            assert_eq!(
                (grant.limits.memory_bytes / MIB, by_settings, grant.threads),
                (memory, is_by_settings, threads)
            );
        };
        check(ALLOWED, 1024, true, processors);
        limit_used(root.path(), 16);
        check(ALLOWED, 480, false, processors.min(11));
        check(CompileLimits { memory_bytes: 256 * MIB, ..ALLOWED }, 256, true, processors.min(3));
        limit_used(root.path(), 300);
        check(ALLOWED, 196, false, 1);
    }

    #[test]
    fn a_component_that_would_not_fit_is_refused_in_words() {
        let root = tempfile::tempdir().unwrap();
        limit_used(root.path(), 448);
        let budget = CompileBudget::new(root.path().to_owned());
        let error = budget.grant(&large(), ALLOWED).err().unwrap();
        assert!(error.is_temporary());
        let expected = "needs about 190 MiB of memory to compile, and the container's memory limit of 512 MiB leaves 48 \
                        MiB; raise the limit to 654 MiB, or run `bessai-edge check` once where";
        assert!(error.to_string().starts_with(expected), "{error}");
        // A small one still fits.
        assert!(budget.grant(b"", ALLOWED).is_ok());
    }

    #[test]
    fn a_component_waits_for_the_memory_of_another_one() {
        let root = tempfile::tempdir().unwrap();
        limit_used(root.path(), 16);
        let budget = CompileBudget::new(root.path().to_owned());
        let first = budget.grant(&large(), ALLOWED).unwrap();
        thread::scope(|scope| {
            let second = scope.spawn(|| budget.grant(b"", ALLOWED).map(|grant| grant.limits.memory_bytes));
            drop(first);
            assert_eq!(second.join().unwrap().unwrap(), 480 * MIB);
        });
        assert_eq!(*budget.lock(), 0);
    }
}
