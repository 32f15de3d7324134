//! Bounds what a plugin takes of the runner: memory, tables, instances.

use wasmtime::ResourceLimiter;

/// Elements of all tables together: a Python interpreter has about 10,000 functions.
const TABLE_ELEMENTS_MAX: usize = 100_000;

/// Modules that a component may be put together from, and tables that they may have: one of Python with compiled libraries has about
/// 30 modules, and small ones for linking between them.
const INSTANCES_MAX: usize = 200;

/// Linear memories: modules that are linked share one, so few components have more than two.
const MEMORIES_MAX: usize = 20;

/// Bounds the memories of a plugin together, and remembers that it did.
#[derive(Debug, Default)]
pub struct MemoryLimiter {
    pub(super) bytes_max: usize,
    /// What all memories have, in bytes. A step that the machine has no memory for counts as well.
    bytes: usize,
    /// Elements of all tables.
    elements: usize,
    pub(super) refused: bool,
}

impl MemoryLimiter {
    /// For a plugin that may have so many bytes.
    pub(super) fn of(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            ..Self::default()
        }
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(desired.saturating_sub(current));
        let fits = bytes <= self.bytes_max;
        if fits {
            self.bytes = bytes;
        }
        self.refused |= !fits;
        Ok(fits)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self
            .elements
            .saturating_add(desired.saturating_sub(current));
        let fits = elements <= TABLE_ELEMENTS_MAX;
        if fits {
            self.elements = elements;
        }
        Ok(fits)
    }

    fn instances(&self) -> usize {
        INSTANCES_MAX
    }

    fn tables(&self) -> usize {
        INSTANCES_MAX
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_small_memories_are_no_way_around_the_bound() {
        let mut limiter = MemoryLimiter::of(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(60, 80, None).unwrap());
        assert!(!limiter.memory_growing(0, 21, None).unwrap() && limiter.refused);
        assert!(limiter.memory_growing(0, 20, None).unwrap());
        assert!(!limiter.memory_growing(0, 1, None).unwrap());
    }

    #[test]
    fn many_small_tables_are_not_either() {
        let mut limiter = MemoryLimiter::default();
        assert!(
            limiter
                .table_growing(0, TABLE_ELEMENTS_MAX / 2, None)
                .unwrap()
        );
        assert!(
            limiter
                .table_growing(0, TABLE_ELEMENTS_MAX / 2, None)
                .unwrap()
        );
        assert!(!limiter.table_growing(0, 1, None).unwrap());
        assert!((limiter.instances(), limiter.tables(), limiter.memories()) < (1000, 1000, 100));
    }
}
