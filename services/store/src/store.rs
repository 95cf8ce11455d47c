//! The handle, and the retry loop.
//!
//! Owns: which backend an address means, how often a closure runs, and when time is up. Does not know how a
//! backend reads or commits.
//!
//! Invariant: a closure's result is given back only after the commit of the very attempt that made it.

use std::{
    cell::Cell,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;

use crate::{
    address::StoreAddress,
    backend::Backend,
    embedded::Embedded,
    error::{Error, OpenError, RetryError, StoreError},
    options::RunOptions,
    transaction::{Snapshot, Transaction, check_key},
};

/// A store that is open. Cheap to clone; any number of threads may use it. Closed with the last clone, which
/// waits for commits that are under way.
#[derive(Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl Store {
    /// Opens the store at `address`; an embedded one is made when it is missing. Blocks: call it before the
    /// workers start.
    ///
    /// # Errors
    /// [`OpenError::Locked`] when it is open already; see [`OpenError`].
    pub fn open(address: &StoreAddress) -> Result<Self, OpenError> {
        match address {
            StoreAddress::Embedded(embedded) => Ok(Self { backend: Arc::new(Embedded::open(embedded)?) }),
            StoreAddress::Fdb { .. } => {
                Err(OpenError::FeatureMissing { address: address.to_string(), feature: "fdb" })
            }
        }
    }

    /// The newest committed value of one key: a transaction of a single read. On the embedded backend it
    /// completes on the first poll.
    ///
    /// # Errors
    /// [`crate::CallerError`] for a key outside [`crate::limits`], [`StoreError::Read`].
    pub async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        check_key(key)?;
        self.backend.get(key).await
    }

    /// Runs `work` on one moment of the store. Reads only, so it never conflicts; it runs again when it got too old.
    ///
    /// # Errors
    /// As [`Store::run`].
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn read<T, E, F>(&self, options: &RunOptions, work: F) -> Result<T, E>
    where
        F: AsyncFn(Snapshot<'_>) -> Result<T, E>,
        E: From<Error>,
    {
        self.run(options, async |transaction| work(transaction.snapshot()).await).await
    }

    /// Runs `work` in a transaction, commits it, and runs it again from the start when that failed for a
    /// reason that another attempt may not meet, after a pause that grows.
    ///
    /// `work` may run several times, so it must have no effect but through the transaction. An `Err` of its own
    /// ends the transaction without a commit, unless the transaction had met a [`RetryError`] before.
    ///
    /// # Errors
    /// What `work` gave; [`StoreError::DeadlineExceeded`] and [`StoreError::RetriesExhausted`] when the bounds of
    /// `options` are used up; [`RetryError::CommitUnknownResult`] unless `options` say that it is idempotent.
    ///
    /// # Cancel safety
    /// Dropping the future before the commit writes nothing; during the commit, all or nothing.
    pub async fn run<T, E, F>(&self, options: &RunOptions, work: F) -> Result<T, E>
    where
        F: AsyncFn(&Transaction) -> Result<T, E>,
        E: From<Error>,
    {
        let progress = Progress::default();
        let attempts = pin!(self.attempts(options, &progress, work));
        match (Within { future: attempts, timeout: options.timeout, timer: None }).await {
            Some(result) => result,
            None => Err(Error::from(StoreError::DeadlineExceeded {
                timeout: options.timeout,
                attempts: progress.attempts.get(),
                maybe_committed: progress.maybe_committed.get(),
            })
            .into()),
        }
    }

    async fn attempts<T, E, F>(&self, options: &RunOptions, progress: &Progress, work: F) -> Result<T, E>
    where
        F: AsyncFn(&Transaction) -> Result<T, E>,
        E: From<Error>,
    {
        let mut transaction = Transaction::new(self.backend.begin(options));
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
            progress.maybe_committed.set(failure.is_maybe_committed());
            may_retry(options, progress.attempts.get(), &failure)?;
            transaction.on_error(failure).await?;
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// How far the attempts of one `run` got, for the error that ends them.
#[derive(Default)]
struct Progress {
    attempts: Cell<u32>,
    maybe_committed: Cell<bool>,
}

fn may_retry(options: &RunOptions, attempts: u32, failure: &RetryError) -> Result<(), Error> {
    if failure.is_maybe_committed() && !options.idempotent {
        return Err(failure.clone().into());
    }
    if attempts > options.retries_max {
        return Err(StoreError::RetriesExhausted { attempts, last: failure.clone() }.into());
    }
    Ok(())
}

/// `None` when the future did not complete in time. Makes its timer only when the future has to wait: a read
/// that is answered at once costs no timer.
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
