//! Returns memory to the system that only the start needed: code and free heap.
//!
//! Starting runs code all over a 40 MB program (settings, certificates, the compiler's settings), and the kernel maps 64 KiB
//! around each page that is touched, so that 13 MB of code are resident afterwards. Half of that is never run again.
//! Signing in 1,000 feeds leaves 5 MB of free blocks between those in use, which the C library keeps.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::time::Duration;

use rustix::mm::{Advice, madvise};

/// Time after which devices are read, feeds signed in and the first plugins loaded.
pub(crate) const START_TIME: Duration = Duration::from_secs(10);

/// Unmaps all code of the program; what runs from now on is mapped again from the page cache.
#[allow(clippy::disallowed_methods, reason = "files of /proc are made in memory, in microseconds")]
pub(crate) fn unmap_code() -> io::Result<()> {
    let program = fs::read_link("/proc/self/exe")?;
    let maps = BufReader::new(fs::File::open("/proc/self/maps")?);
    for line in maps.lines() {
        let line = line?;
        if line.ends_with(&*program.to_string_lossy())
            && let Some((start, bytes)) = code_range(&line)
        {
            unmap(start, bytes)?;
        }
    }
    Ok(())
}

/// Start and length of a private, executable, unwritable mapping in a line of `/proc/self/maps` (proc_pid_maps(5)).
fn code_range(line: &str) -> Option<(usize, usize)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
    rest.starts_with("r-xp ").then_some((start, end.checked_sub(start)?))
}

#[allow(unsafe_code, reason = "unmaps pages that the kernel maps again with the same content")]
fn unmap(start: usize, bytes: usize) -> io::Result<()> {
    // SAFETY: the mapping is of a file, private and not writable, so all its pages are clean. Dropping them changes nothing:
    // the next access maps the same bytes of the file, which cannot be written while it runs (ETXTBSY).
    unsafe { madvise(std::ptr::without_provenance_mut(start), bytes, Advice::LinuxDontNeed) }.map_err(Into::into)
}

/// Returns the whole pages of the heap that are free.
#[cfg(target_env = "gnu")]
#[allow(unsafe_code, reason = "the C library has no safe form of it")]
pub(crate) fn trim_heap() {
    // SAFETY: it may be called at any time from any thread, and changes no allocated block (malloc_trim(3)).
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries return free pages by themselves.
#[cfg(not(target_env = "gnu"))]
pub(crate) fn trim_heap() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_private_code_is_recognised() {
        let line =
            |permissions: &str| format!("560f388dd000-560f3a67d000 {permissions} 00a00000 fe:00 5308940   /bin/a");
        assert_eq!(code_range(&line("r-xp")), Some((0x560f_388d_d000, 0x1da_0000)));
        for other in ["r--p", "rw-p", "r-xs", "rwxp"] {
            assert_eq!(code_range(&line(other)), None, "{other}");
        }
        assert_eq!(code_range("garbage"), None);
    }

    #[test]
    fn code_still_runs_after_it_was_unmapped() {
        unmap_code().unwrap();
        assert_eq!(code_range("1-2 r-xp "), Some((1, 1)));
    }

    #[test]
    fn a_trimmed_heap_keeps_what_is_in_use() {
        let kept: Vec<Box<[usize; 512]>> = (0..100).map(|number| Box::new([number; 512])).collect();
        trim_heap();
        assert!(kept.iter().enumerate().all(|(number, block)| block.iter().all(|value| *value == number)));
    }
}
