//! The FoundationDB backend: any number of processes, on a cluster.
//!
//! Owns opening, and what all transactions of a store share ([`Cluster`]). `boot` starts the
//! client's network thread, `transaction` is one transaction, `turn` batches the point reads of one
//! turn of a worker's loop, `failure` interprets error numbers,
//! `status` logs the cluster's health. [`crate::Store::run`] retries. This
//! module has no limits of its own: keys, values and sizes are checked before, as for the embedded
//! backend.
//!
//! All clones of a [`crate::Store`] share one database handle. The client does its work on one
//! network thread however many handles there are, and a handle batches requests for read versions
//! and caches which server has which keys. More handles would request more versions and learn every
//! location again.
//!
//! Invariant: every transaction has a timeout and a retry limit, because the database's defaults
//! set them.

pub(crate) mod boot;
mod cluster;
mod cluster_file;
mod failure;
mod status;
mod timing;
mod transaction;
mod turn;
mod watches;

use std::{
    path::Path,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
};

use bytes::Bytes;
use foundationdb::{Database, FdbResult, options::DatabaseOption};

use self::{
    cluster::{Cluster, clamped, milliseconds},
    cluster_file::ClusterFile,
    transaction::FdbTransaction,
    watches::WatchPlaces,
};
use crate::{
    address::FdbAddress,
    answer::Answer,
    backend::{Access, Backend, BackendTransaction},
    backup::{Backup, BackupError},
    error::{Error, OpenError, StoreError},
    limits,
    options::RunOptions,
    owner::{self, Owner},
};

/// An open cluster.
pub(crate) struct Fdb {
    cluster: Arc<Cluster>,
}

impl Fdb {
    /// Starts the client, once per process, asks the cluster for a version, logs its health, and
    /// claims the owner's keys. Blocks.
    pub(crate) fn open(address: &FdbAddress, owner: Option<Owner>) -> Result<Self, OpenError> {
        let file = ClusterFile::read(&address.cluster_file)?;
        boot::boot()?;
        let database = configured(&file)
            .map_err(|error| OpenError::Client { code: error.code(), message: error.message() })?;
        let cluster = Cluster { database, grv_cache: address.grv_cache, watches: WatchPlaces::default() };
        let failed = |error| match error {
            Error::Store(StoreError::DeadlineExceeded { timeout, .. }) => OpenError::Unreachable {
                cluster_file: address.cluster_file.clone(),
                coordinators: file.coordinators.clone(),
                timeout,
            },
            source => {
                OpenError::Cluster { cluster_file: address.cluster_file.clone(), source: Box::new(source) }
            }
        };
        let answered = block_on(cluster.newest_version());
        // Also when there was no answer: the client may know why.
        block_on(status::log(&cluster, &file));
        answered.map_err(failed)?;
        if let Some(owner) = owner
            && let Some(stamp) = block_on(cluster.claim(owner, address.prefix.as_ref())).map_err(failed)?
        {
            let name = || match &address.prefix {
                None => format!("keys of {} on the cluster of {}", owner.service, file.path),
                Some(part) => {
                    format!("keys of {} under {part}/ on the cluster of {}", owner.service, file.path)
                }
            };
            owner::check(owner, &stamp, name)?;
        }
        Ok(Self { cluster: Arc::new(cluster) })
    }
}

impl Backend for Fdb {
    fn begin(&self, options: &RunOptions, access: Access) -> Box<dyn BackendTransaction> {
        Box::new(FdbTransaction::begin(Arc::clone(&self.cluster), *options, access))
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Answer<'a, Option<Bytes>> {
        Answer::later(turn::get(&self.cluster, key))
    }

    fn backup(&self, _to: &Path) -> Result<Backup, BackupError> {
        Err(BackupError::Cluster)
    }
}

fn configured(file: &ClusterFile) -> FdbResult<Database> {
    let database = Database::from_path(&file.path)?;
    let defaults = RunOptions::default();
    database.set_option(DatabaseOption::TransactionTimeout(milliseconds(limits::CLUSTER_TIMEOUT)))?;
    database.set_option(DatabaseOption::TransactionRetryLimit(clamped(defaults.retries_max)))?;
    // `watches` enforces the bound. The client's is larger, because it releases places later.
    database.set_option(DatabaseOption::MaxWatches(clamped(2 * limits::WATCHES_MAX)))?;
    Ok(database)
}

/// Runs `future` on this thread, also when a runtime is running on it, which allows no second one.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_future_that_another_thread_wakes_is_waited_for() {
        let (send, receive) = tokio::sync::oneshot::channel();
        let sender = std::thread::spawn(move || send.send(7));
        assert_eq!(block_on(receive), Ok(7));
        sender.join().unwrap().unwrap();
    }
}
