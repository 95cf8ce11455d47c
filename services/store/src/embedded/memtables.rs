//! Frees the engine's memtables on a thread of its own.
//!
//! When a memtable has been written to a file, the engine drops it under the lock that every read
//! takes; freeing several hundred thousand keys takes a tenth of a second. So this module holds
//! each memtable too, and frees it when nothing else does. docs/adr/0015 has the figures.

use std::{any::Any, mem, sync::Arc, thread};

use fjall::{AbstractTree, Keyspace};

use super::directory;

/// Type-erased, because the engine does not export the type.
type Memtable = Arc<dyn Any + Send + Sync>;

/// References to the memtables in use by the engine or a reader. Memtables that were full when the
/// store was opened, and those filled by a single group of commits, are not held; the engine frees
/// these.
pub(crate) struct Memtables {
    keyspace: Keyspace,
    active: Memtable,
    sealed: Vec<Memtable>,
}

impl Memtables {
    pub(crate) fn new(keyspace: &Keyspace) -> Self {
        Self { keyspace: keyspace.clone(), active: keyspace.tree.active_memtable(), sealed: Vec::new() }
    }

    /// Takes a reference to a new memtable, and frees those that nothing else holds. Called after
    /// every write.
    pub(crate) fn renew(&mut self) {
        let active: Memtable = self.keyspace.tree.active_memtable();
        if !Arc::ptr_eq(&active, &self.active) {
            self.sealed.push(mem::replace(&mut self.active, active));
        }
        self.sealed.extract_if(.., |memtable| Arc::strong_count(memtable) == 1).for_each(free);
    }
}

fn free(memtable: Memtable) {
    let freeing = thread::Builder::new().name("store-free".to_owned()).spawn(|| {
        directory::go_behind_workers();
        drop(memtable);
    });
    if let Err(error) = freeing {
        tracing::debug!(%error, "a memtable is freed by the committer");
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Weak, thread};

    use super::{Arc, Memtables};
    use crate::embedded::directory::Directory;

    #[test]
    fn a_memtable_that_the_engine_lets_go_of_is_freed_only_after() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Directory::open(dir.path(), None).unwrap().engine;
        let mut memtables = Memtables::new(&engine.keyspace);
        let first = Arc::downgrade(&memtables.active);
        let fill = || {
            engine.keyspace.insert("key", "value").unwrap();
            engine.keyspace.rotate_memtable_and_wait().unwrap();
        };
        fill();
        memtables.renew();
        assert_eq!(memtables.sealed.len(), 1);

        // The engine keeps a flushed memtable for readers until the next one is full.
        while Weak::strong_count(&first) > 1 {
            fill();
        }
        assert_eq!(Weak::strong_count(&first), 1, "it was freed where the engine let go of it");
        memtables.renew();
        assert!(
            memtables.sealed.iter().all(|sealed| !std::ptr::addr_eq(Arc::as_ptr(sealed), first.as_ptr()))
        );
        while Weak::strong_count(&first) > 0 {
            thread::yield_now();
        }
    }
}
