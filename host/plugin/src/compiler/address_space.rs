//! Whether there is address space for guests' memories as wasmtime reserves it.

use std::ptr::null_mut;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Guests whose memories must fit at the same time: more than run on a machine whose address space is small, such as 39 bits
/// on some boards.
const MEMORIES: usize = 64;
/// Address space of one memory: the 4 GiB that a guest can address, so that its accesses need no bounds check, and a guard
/// of 32 MiB on either side (wasmtime's defaults).
const MEMORY_BYTES: usize = (4 << 30) + (64 << 20);

/// How much address space a guest's memory reserves. Machine code depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AddressSpace {
    /// All that the guest can address.
    Ample,
    /// What the guest uses, where the process's address space is limited (`ulimit -v`, `LimitAS`). Each access is checked
    /// against the memory's bounds, so calls take somewhat longer.
    Scarce,
}

impl AddressSpace {
    /// Finds out by reserving it.
    pub(crate) fn of_this_process() -> Self {
        if can_reserve(MEMORIES * MEMORY_BYTES) { Self::Ample } else { Self::Scarce }
    }
}

#[allow(unsafe_code, reason = "mmap and munmap have no safe form")]
fn can_reserve(bytes: usize) -> bool {
    // SAFETY: a new mapping, where the kernel finds room for it, which is removed before anything can refer to it.
    unsafe {
        let reserved = mmap_anonymous(null_mut(), bytes, ProtFlags::empty(), MapFlags::PRIVATE | MapFlags::NORESERVE);
        // Removing a mapping that has just been made does not fail.
        reserved.is_ok_and(|address| munmap(address, bytes).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_there_is_cannot_be_reserved() {
        assert!(can_reserve(1 << 30));
        assert!(!can_reserve(usize::MAX / 2));
    }
}
