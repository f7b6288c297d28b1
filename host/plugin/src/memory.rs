//! Limits a guest's memory: all its linear memories together, and its tables.

use wasmtime::ResourceLimiter;

/// Elements of all tables together; toolchains use a few thousand.
const TABLE_ELEMENTS: usize = 200_000;
/// Core instances in a component: a Python component has about twenty.
const INSTANCES: usize = 256;
/// Tables in a component; most core modules have one.
const TABLES: usize = 256;
/// Linear memories in a component; adapter modules share that of the main module.
const MEMORIES: usize = 16;

/// Counts what a guest was granted and refuses more than its limit.
pub(crate) struct MemoryLimiter {
    limit: usize,
    used: usize,
    table_elements: usize,
    was_exceeded: bool,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0, table_elements: 0, was_exceeded: false }
    }

    /// Bytes of linear memory in use; they never shrink.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The limit if the guest requested more, which explains a trap that follows.
    pub(crate) fn exceeded_limit(&self) -> Option<usize> {
        self.was_exceeded.then_some(self.limit)
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let fits = used <= self.limit;
        if fits {
            self.used = used;
        } else {
            self.was_exceeded = true;
        }
        Ok(fits)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = self.table_elements.saturating_add(desired.saturating_sub(current));
        let fits = elements <= TABLE_ELEMENTS;
        if fits {
            self.table_elements = elements;
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
        let mut memory = MemoryLimiter::new(100);
        assert!(memory.memory_growing(0, 60, None).unwrap());
        assert!(memory.memory_growing(0, 40, None).unwrap());
        assert_eq!((memory.used(), memory.exceeded_limit()), (100, None));
        assert!(!memory.memory_growing(40, 41, None).unwrap());
        assert_eq!((memory.used(), memory.exceeded_limit()), (100, Some(100)));
        assert!(!memory.table_growing(0, TABLE_ELEMENTS + 1, None).unwrap());
    }
}
