//! Counts the memory that an input takes, so that a few bytes that make the program allocate a lot are a finding.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Allocates from the system and counts.
pub struct CountingAllocator;

/// Bytes in use.
static USED: AtomicUsize = AtomicUsize::new(0);
/// The most bytes in use since the last reset.
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

// SAFETY: all calls are passed on to the system's allocator.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(used, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs an input and panics if it takes more than `base` bytes and `factor` bytes for each of its own at the same time.
pub fn bounded(data: &[u8], base: usize, factor: usize, run: impl FnOnce(&[u8])) {
    let before = USED.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    run(data);
    let (taken, limit) = (PEAK.load(Ordering::Relaxed).saturating_sub(before), base + factor * data.len());
    assert!(taken <= limit, "{} bytes of input took {taken} bytes of memory; the limit is {limit}", data.len());
}
