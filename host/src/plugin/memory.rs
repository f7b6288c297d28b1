//! How much memory a guest gets: all its linear memories together, and its tables.

use wasmtime::ResourceLimiter;

/// Table elements of all tables together; toolchains use a few thousand.
const TABLE_ELEMENTS: usize = 200_000;
/// Core instances in a component: a Python guest has some twenty.
const INSTANCES: usize = 256;
/// Tables of a component.
const TABLES: usize = 256;
/// Linear memories of a component.
const MEMORIES: usize = 16;

/// Keeps count of what was given.
pub(super) struct Memory {
    limit: usize,
    used: usize,
    elements: usize,
    was_refused: bool,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, used: 0, elements: 0, was_refused: false }
    }

    /// Bytes of linear memory in use; they never shrink.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// The limit, where the guest asked for more: what a trap that follows is due to.
    pub(super) fn refused(&self) -> Option<usize> {
        self.was_refused.then_some(self.limit)
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let fits = used <= self.limit;
        if fits {
            self.used = used;
        } else {
            self.was_refused = true;
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        let fits = elements <= TABLE_ELEMENTS;
        if fits {
            self.elements = elements;
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        INSTANCES
    }

    fn tables(&self) -> usize {
        TABLES
    }

    fn memories(&self) -> usize {
        MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_memories_share_one_limit() {
        let mut memory = Memory::new(100);
        assert!(memory.memory_growing(0, 60, None).unwrap());
        assert!(memory.memory_growing(0, 40, None).unwrap());
        assert_eq!((memory.used(), memory.refused()), (100, None));
        assert!(!memory.memory_growing(40, 41, None).unwrap());
        assert_eq!((memory.used(), memory.refused()), (100, Some(100)));
        assert!(!memory.table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
    }
}
