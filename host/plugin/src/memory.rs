//! Limits a guest's memory: all its linear memories together, and its tables. A large guest also needs room on this machine,
//! so that the system does not end the gateway because memory runs out.

use std::path::Path;

use wasmtime::ResourceLimiter;

use crate::free_memory;
use crate::instance::is_of_host;

/// Elements of all tables together; toolchains use a few thousand.
const TABLE_ELEMENTS: usize = 200_000;
/// Core instances in a component: a Python component has about twenty.
const INSTANCES: usize = 256;
/// Tables in a component; most core modules have one.
const TABLES: usize = 256;
/// Linear memories in a component; adapter modules share that of the main module.
const MEMORIES: usize = 16;

/// Bytes by which a guest grows before it is asked whether there is room for them: a guest in Rust has less, so that its
/// start costs no time for this.
const UNCHECKED_BYTES: usize = 4 << 20;

/// Counts what a guest was granted and refuses more than its limit.
pub(crate) struct MemoryLimiter {
    limit: usize,
    used: usize,
    // Growth since it was last found out whether there is room.
    unchecked: usize,
    table_elements: usize,
    was_exceeded: bool,
    host_refusal: Option<String>,
}

impl MemoryLimiter {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, used: 0, unchecked: 0, table_elements: 0, was_exceeded: false, host_refusal: None }
    }

    /// Bytes of linear memory in use; they never shrink.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// The limit if the guest requested more, which explains a trap that follows.
    pub(crate) fn exceeded_limit(&self) -> Option<usize> {
        self.was_exceeded.then_some(self.limit)
    }

    /// Why the system refused memory that the limit allows, which explains a trap that follows.
    pub(crate) fn host_refusal(&self) -> Option<&str> {
        self.host_refusal.as_deref()
    }

    /// Whether this machine has room for the growth and for what was not looked at before.
    fn has_room(&mut self, growth: usize) -> bool {
        self.unchecked = self.unchecked.saturating_add(growth);
        if self.unchecked < UNCHECKED_BYTES {
            return true;
        }
        let Some(free) = free_memory::read(Path::new("/")) else { return true };
        let has_room = u64::try_from(self.unchecked).is_ok_and(|bytes| bytes <= free.for_others());
        if has_room {
            self.unchecked = 0;
        } else {
            self.unchecked -= growth;
            self.host_refusal = Some(format!("{} leaves {} MiB", free.holder(), free.for_others() >> 20));
        }
        has_room
    }

    fn note_failure(&mut self, error: &wasmtime::Error) {
        if is_of_host(error) {
            self.host_refusal = Some(error.root_cause().to_string());
        }
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        let used = self.used.saturating_add(growth);
        if used > self.limit {
            self.was_exceeded = true;
            return Ok(false);
        }
        let has_room = self.has_room(growth);
        if has_room {
            self.used = used;
        }
        Ok(has_room)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.note_failure(&error);
        Ok(())
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.note_failure(&error);
        Ok(())
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
