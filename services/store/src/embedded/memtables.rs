//! The engine's memtables, freed where nobody waits.
//!
//! The engine lets go of a memtable, once it is in a file, while it holds the lock that every read takes; to free some
//! hundred thousand keys takes a tenth of a second. So what the engine lets go of is held here too, and freed by a thread
//! of its own when nobody else has it. docs/adr/0015 has the numbers.

use std::{any::Any, mem, sync::Arc, thread};

use fjall::{AbstractTree, Keyspace};

use super::directory;

/// Of no type, since the engine does not export it.
type Memtable = Arc<dyn Any + Send + Sync>;

/// A hold on the memtables that the engine or a reader has. Not on those that were full when the store was opened, nor on one
/// that a single group of commits has filled: the engine frees these.
pub(crate) struct Memtables {
    keyspace: Keyspace,
    active: Memtable,
    sealed: Vec<Memtable>,
}

impl Memtables {
    pub(crate) fn new(keyspace: &Keyspace) -> Self {
        Self { keyspace: keyspace.clone(), active: keyspace.tree.active_memtable(), sealed: Vec::new() }
    }

    /// To be called after every write: takes hold of a new memtable, and frees those that only this has.
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
        let directory = Directory::open(dir.path()).unwrap();
        let mut memtables = Memtables::new(&directory.keyspace);
        let first = Arc::downgrade(&memtables.active);
        let fill = || {
            directory.keyspace.insert("key", "value").unwrap();
            directory.keyspace.rotate_memtable_and_wait().unwrap();
        };
        fill();
        memtables.renew();
        assert_eq!(memtables.sealed.len(), 1);

        // The engine keeps what it has flushed for those who may still read it, until the next one is full.
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
