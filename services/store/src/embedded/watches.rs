//! Waiting watches, by key.
//!
//! Owns their number, and waking them. Invariant: a watch has fired when its key's value in a
//! published view differs from the value it saw. For this a watch is entered first and then
//! compared with the newest view, and the committer publishes first and then wakes.

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    error::{CallerError, Error, StoreError},
    limits,
    watch::Watch,
};

/// The watches of a store.
#[derive(Default)]
pub(crate) struct Watches {
    waiting: Mutex<HashMap<Bytes, Vec<Waiting>>>,
    /// Watches that exist, entered or not.
    len: AtomicUsize,
    last_id: AtomicU64,
}

struct Waiting {
    id: u64,
    seen: Option<Bytes>,
    fire: oneshot::Sender<Result<(), Error>>,
}

/// A watch of a transaction that is not committed yet.
pub(crate) struct PendingWatch {
    key: Bytes,
    waiting: Waiting,
}

/// What a [`Watch`] polls. The order of drops ensures that a watch entered at the same time either
/// sees that it is closed or is removed by its place.
struct Fired {
    fired: oneshot::Receiver<Result<(), Error>>,
    _place: Place,
}

/// A place among [`limits::WATCHES_MAX`], released on drop.
struct Place {
    watches: Arc<Watches>,
    key: Bytes,
    id: u64,
}

impl Watches {
    /// A watch of `key`, whose value is `seen`; it waits once it is entered.
    ///
    /// # Errors
    /// [`CallerError::TooManyWatches`].
    pub(crate) fn create(
        self: &Arc<Self>,
        key: Bytes,
        seen: Option<Bytes>,
    ) -> Result<(PendingWatch, Watch), Error> {
        if self.len.fetch_add(1, Ordering::AcqRel) >= limits::WATCHES_MAX {
            self.len.fetch_sub(1, Ordering::AcqRel);
            return Err(CallerError::TooManyWatches.into());
        }
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let place = Place { watches: Arc::clone(self), key: key.clone(), id };
        let (fire, fired) = oneshot::channel();
        let watch = Watch::new(Fired { fired, _place: place });
        Ok((PendingWatch { key, waiting: Waiting { id, seen, fire } }, watch))
    }

    /// Enters the watches of a committed transaction. `newest` reads the newest view.
    pub(crate) fn enter(
        &self,
        pending: Vec<PendingWatch>,
        newest: impl Fn(&[u8]) -> Result<Option<Bytes>, Error>,
    ) {
        for PendingWatch { key, waiting } in pending {
            let mut entered = self.lock();
            if waiting.fire.is_closed() {
                continue;
            }
            entered.entry(key.clone()).or_default().push(waiting);
            drop(entered);
            // A value that can't be read counts as changed, so that the watcher reads it and gets
            // the error.
            let value = newest(&key);
            self.wake_unless(&key, |seen| value.as_ref().is_ok_and(|value| value == seen));
        }
    }

    /// Wakes watches whose key was written and has another value than they saw. `newest` reads the
    /// newest view.
    pub(crate) fn written<'w>(
        &self,
        keys: impl Iterator<Item = &'w [u8]>,
        newest: impl Fn(&[u8]) -> Result<Option<Bytes>, Error>,
    ) {
        if self.len.load(Ordering::Acquire) == 0 {
            return;
        }
        let entered = self.lock();
        let watched: Vec<&[u8]> = keys.filter(|&key| entered.contains_key(key)).collect();
        drop(entered);
        for key in watched {
            // As in `enter`, a value that can't be read counts as changed.
            let value = newest(key);
            self.wake_unless(key, |seen| value.as_ref().is_ok_and(|value| value == seen));
        }
    }

    /// Ends all watches.
    pub(crate) fn close(&self) {
        for waiting in std::mem::take(&mut *self.lock()).into_values().flatten() {
            waiting.fire.send(Err(StoreError::Closed.into())).ok();
        }
    }

    fn wake_unless(&self, key: &[u8], same: impl Fn(&Option<Bytes>) -> bool) {
        let mut waiting = self.lock();
        let Some(of_key) = waiting.get_mut(key) else { return };
        let fired: Vec<_> = of_key.extract_if(.., |waiting| !same(&waiting.seen)).collect();
        if of_key.is_empty() {
            waiting.remove(key);
        }
        drop(waiting);
        for waiting in fired {
            waiting.fire.send(Ok(())).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Vec<Waiting>>> {
        // Nothing that can panic leaves the map inconsistent.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Future for Fired {
    type Output = Result<(), Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let fired = Pin::new(&mut self.fired).poll(context);
        fired.map(|fired| fired.unwrap_or_else(|_| Err(CallerError::NotCommitted.into())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.watches.lock();
        if let Some(of_key) = waiting.get_mut(&self.key) {
            of_key.retain(|waiting| waiting.id != self.id);
            if of_key.is_empty() {
                waiting.remove(&self.key);
            }
        }
        drop(waiting);
        self.watches.len.fetch_sub(1, Ordering::AcqRel);
    }
}
