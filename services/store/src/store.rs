//! The handle, and the retry loop.
//!
//! Owns which backend an address means, how often a closure runs, and when time is up. Backends
//! read and commit.
//!
//! Invariant: a closure's result is returned only after the commit of the same attempt.

#[cfg(test)]
pub(crate) mod faults;

use std::{
    cell::{Cell, RefCell},
    future::Future,
    path::Path,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    address::StoreAddress,
    backend::{Access, Backend},
    backup::{Backup, BackupError},
    check::check_key,
    counters::{self, Counter},
    embedded::Embedded,
    error::{Error, OpenError, RetryError, StoreError},
    options::RunOptions,
    owner::Owner,
    prefix::{Part, Prefix},
    transaction::{Snapshot, Transaction},
};

/// An open store. Cheap to clone; any number of threads may use it. Dropping the last clone closes
/// it and waits for commits in progress.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl Store {
    /// Opens the store at `address`. An embedded store is created when it is missing; a
    /// FoundationDB cluster must answer within [`crate::limits::CLUSTER_TIMEOUT`], and needs a
    /// [`crate::Network`] that exists until the process ends. Blocks: call it before the workers
    /// start.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when an embedded store is open already, [`OpenError::Unreachable`]
    /// when a cluster does not answer; see [`OpenError`].
    pub fn open(address: &StoreAddress) -> Result<Self, OpenError> {
        Self::opened(address, None)
    }

    /// Opens the store at `address` for the service that owns it, as [`Store::open`] does. The
    /// first call stamps the store with `owner`: the directory, or the service's keys on the
    /// cluster.
    ///
    /// # Errors
    /// As for [`Store::open`]; [`OpenError::OwnedByOther`] and [`OpenError::LayoutDiffers`] when
    /// the stamp is another.
    pub fn open_for(address: &StoreAddress, owner: Owner) -> Result<Self, OpenError> {
        Self::opened(address, Some(owner))
    }

    fn opened(address: &StoreAddress, owner: Option<Owner>) -> Result<Self, OpenError> {
        match address {
            StoreAddress::Embedded(embedded) => {
                Ok(Self { backend: Arc::new(Embedded::open(embedded, owner)?) })
            }
            #[cfg(feature = "fdb")]
            StoreAddress::Fdb(fdb) => {
                let whole = Self { backend: Arc::new(crate::fdb::Fdb::open(fdb, owner)?) };
                Ok(fdb.prefix.as_ref().map_or_else(|| whole.clone(), |prefix| whole.part(prefix)))
            }
            #[cfg(not(feature = "fdb"))]
            StoreAddress::Fdb(_) => {
                Err(OpenError::FeatureMissing { address: address.to_string(), feature: "fdb" })
            }
        }
    }

    /// The part of this store under `prefix`: a store of its own, whose keys begin with the prefix
    /// here. What was written before stays outside.
    #[must_use]
    pub fn part(&self, prefix: &Prefix) -> Self {
        Self { backend: Arc::new(Part { whole: Arc::clone(&self.backend), prefix: prefix.clone() }) }
    }

    /// The newest committed value of one key: a transaction of a single read. On the embedded
    /// backend it completes on the first poll. On FoundationDB, reads that begin in one turn of a
    /// worker's loop share a read version, and each takes at most
    /// [`crate::limits::CLUSTER_TIMEOUT`].
    ///
    /// # Errors
    /// [`crate::CallerError`] for a key outside [`crate::limits`], [`StoreError::Read`],
    /// [`StoreError::DeadlineExceeded`], [`StoreError::Cluster`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        check_key(key)?;
        let found = self.backend.get(key).await;
        let bytes = found.as_ref().ok().and_then(Option::as_ref).map_or(0, Bytes::len);
        counters::add_read(Counter::Reads, bytes);
        found
    }

    /// Copies an embedded store to the new directory `to`, as it is at one moment, while
    /// transactions go on. The copy is a store. Blocks for as long as writing all of it takes.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn backup(&self, to: &Path) -> Result<Backup, BackupError> {
        self.backend.backup(to)
    }

    /// As [`Store::backup`], for a store that another process may have open: that process makes the
    /// copy, asked through the socket in the store's directory. Opens the store when no process
    /// has.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn backup_of(address: &StoreAddress, to: &Path) -> Result<Backup, BackupError> {
        let unusable = |source| BackupError::Directory { dir: to.to_owned(), source };
        match address {
            StoreAddress::Embedded(address) => {
                crate::embedded::backup_of(address, &std::path::absolute(to).map_err(unusable)?)
            }
            StoreAddress::Fdb(_) => Err(BackupError::Cluster),
        }
    }

    /// What the stores of this process did since its start, by the names in
    /// services/store/README.md; always the same names in the same order.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        counters::collect()
    }

    /// When a read version and a commit of this process last succeeded, in seconds since 1970, by
    /// the names in services/store/README.md; 0 for never. [`Store::probe`] and
    /// [`Transaction::read_version`] note read versions.
    #[must_use]
    pub fn times(&self) -> Vec<(&'static str, u64)> {
        counters::times()
    }

    /// Asks the store for its newest version, which shows that it answers: a cluster that has lost
    /// its coordinators or its log answers nothing.
    ///
    /// # Errors
    /// [`StoreError::DeadlineExceeded`] when there is no answer within `limit`; otherwise as for
    /// [`Store::run`].
    pub async fn probe(&self, limit: Duration) -> Result<(), Error> {
        let version = async |snapshot: Snapshot<'_>| snapshot.read_version().await;
        self.read(&RunOptions::within(limit), version).await.map(drop)
    }

    /// Runs `work` on one moment of the store. It only reads, so it never conflicts; it runs again
    /// when its transaction became too old.
    ///
    /// # Errors
    /// As for [`Store::run`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn read<T, E, F>(&self, options: &RunOptions, work: F) -> Result<T, E>
    where
        F: AsyncFn(Snapshot<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        let work = async |transaction: &Transaction| work(transaction.snapshot()).await;
        self.bounded(options, Access::ReadOnly, work).await
    }

    /// Runs `work` in a transaction and commits it. After a failure that another attempt may not
    /// meet, pauses and runs `work` again from the start; the pauses grow.
    ///
    /// `work` may run several times, so it must have no effect except through the transaction. An
    /// `Err` of its own ends the transaction without a commit, unless the transaction had met a
    /// [`RetryError`] before.
    ///
    /// # Errors
    /// Errors of `work`; [`StoreError::DeadlineExceeded`] and [`StoreError::RetriesExhausted`] when
    /// the bounds of `options` are reached; [`RetryError::CommitUnknownResult`] unless `options`
    /// say that `work` is idempotent.
    ///
    /// # Cancel safety
    /// Dropping the future before the commit writes nothing; during the commit, everything is
    /// written or nothing.
    pub async fn run<T, E, F>(&self, options: &RunOptions, work: F) -> Result<T, E>
    where
        F: AsyncFn(&Transaction) -> Result<T, E>,
        E: From<Error>,
    {
        self.bounded(options, Access::ReadWrite, work).await
    }

    async fn bounded<T, E, F>(&self, options: &RunOptions, access: Access, work: F) -> Result<T, E>
    where
        F: AsyncFn(&Transaction) -> Result<T, E>,
        E: From<Error>,
    {
        counters::add(Counter::Transactions, 1);
        let progress = Progress::default();
        let transaction = Transaction::new(self.backend.begin(options, access));
        let attempts = pin!(attempts(transaction, options, &progress, work));
        match (Within { future: attempts, timeout: options.timeout, timer: None }).await {
            Some(result) => result,
            None => Err(Error::from(StoreError::DeadlineExceeded {
                timeout: options.timeout,
                attempts: progress.attempts.get(),
                maybe_committed: progress.maybe_committed.get(),
                last: progress.last.take(),
            })
            .into()),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// The progress of one `run`, for the error that ends it.
#[derive(Default)]
struct Progress {
    attempts: Cell<u32>,
    maybe_committed: Cell<bool>,
    last: RefCell<Option<RetryError>>,
}

async fn attempts<T, E, F>(
    mut transaction: Transaction,
    options: &RunOptions,
    progress: &Progress,
    work: F,
) -> Result<T, E>
where
    F: AsyncFn(&Transaction) -> Result<T, E>,
    E: From<Error>,
{
    let mut unknown = false;
    loop {
        progress.attempts.set(progress.attempts.get() + 1);
        let failure = match work(&transaction).await {
            Ok(value) => {
                progress.maybe_committed.set(true);
                match transaction.commit().await {
                    Ok(()) => return Ok(value),
                    Err(Error::Retry(failure)) => failure,
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => match transaction.take_failure() {
                Some(failure) => failure,
                None => return Err(error),
            },
        };
        // One unknown commit makes the outcome unknown, whatever later attempts meet.
        unknown |= failure.is_maybe_committed();
        progress.maybe_committed.set(unknown);
        progress.last.replace(Some(failure.clone()));
        counters::add(Counter::Conflicts, u64::from(failure == RetryError::Conflict));
        may_retry(options, progress, &failure)?;
        counters::add(Counter::Retries, 1);
        transaction.on_error(failure).await?;
    }
}

fn may_retry(options: &RunOptions, progress: &Progress, failure: &RetryError) -> Result<(), Error> {
    if failure.is_maybe_committed() && !options.idempotent {
        return Err(failure.clone().into());
    }
    let attempts = progress.attempts.get();
    if attempts > options.retries_max {
        let maybe_committed = progress.maybe_committed.get();
        return Err(StoreError::RetriesExhausted { attempts, maybe_committed, last: failure.clone() }.into());
    }
    Ok(())
}

/// `None` when the future did not complete in time. The timer is created only when the future has
/// to wait, so a read that is answered at once costs no timer.
struct Within<'f, F> {
    future: Pin<&'f mut F>,
    timeout: Duration,
    timer: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl<F: Future> Future for Within<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(output) = self.future.as_mut().poll(context) {
            return Poll::Ready(Some(output));
        }
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        timer.as_mut().poll(context).map(|()| None)
    }
}
