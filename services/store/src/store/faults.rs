//! Commits whose answer is lost on purpose: a backend that wraps another and loses answers
//! according to a script.
//!
//! A cluster loses answers when it dies or is cut off during a commit (README.md says how to
//! provoke it); the embedded store never does. [`Store::run`] must behave the same on both, so the
//! script runs on both.

use std::{cell::Cell, collections::VecDeque, sync::Mutex};

use super::*;
use crate::{
    CommitStamp, KeySelector, Range, RangeBatch, Watch,
    answer::Answer,
    backend::{BackendTransaction, Reads},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The commit succeeds, but the answer is lost.
    AnswerLost,
    /// The commit never arrives, which looks the same to the client.
    NeverArrived,
    /// Another transaction committed first.
    Conflict,
}

/// The faults of the next commits, one each; later commits have none.
pub(crate) type Script = Arc<Mutex<VecDeque<Fault>>>;

/// `store`, whose commits follow `script`.
pub(crate) fn faulty(store: &Store, script: &Script) -> Store {
    Store { backend: Arc::new(Faulty { inner: Arc::clone(&store.backend), script: Arc::clone(script) }) }
}

struct Faulty {
    inner: Arc<dyn Backend>,
    script: Script,
}

struct FaultyTransaction {
    inner: Box<dyn BackendTransaction>,
    script: Script,
}

impl Backend for Faulty {
    fn begin(&self, options: &RunOptions, access: Access) -> Box<dyn BackendTransaction> {
        Box::new(FaultyTransaction {
            inner: self.inner.begin(options, access),
            script: Arc::clone(&self.script),
        })
    }

    fn get<'a>(&'a self, key: &'a [u8]) -> Answer<'a, Option<Bytes>> {
        self.inner.get(key)
    }

    fn backup(&self, to: &Path) -> Result<Backup, BackupError> {
        self.inner.backup(to)
    }
}

impl BackendTransaction for FaultyTransaction {
    fn read_version(&self) -> Answer<'_, u64> {
        self.inner.read_version()
    }

    fn get(&self, key: &[u8], reads: Reads) -> Answer<'_, Option<Bytes>> {
        self.inner.get(key, reads)
    }

    fn select(&self, selector: &KeySelector, reads: Reads) -> Answer<'_, Bytes> {
        self.inner.select(selector, reads)
    }

    fn range(&self, range: &Range, reads: Reads) -> Answer<'_, RangeBatch> {
        self.inner.range(range, reads)
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inner.set(key, value)
    }

    fn clear(&self, key: &[u8]) -> Result<(), Error> {
        self.inner.clear(key)
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), Error> {
        self.inner.clear_range(begin, end)
    }

    fn add(&self, key: &[u8], operand: &[u8]) -> Result<(), Error> {
        self.inner.add(key, operand)
    }

    fn set_versionstamped_key(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inner.set_versionstamped_key(key, value)
    }

    fn set_versionstamped_value(&self, key: &[u8], value: &[u8]) -> Result<(), Error> {
        self.inner.set_versionstamped_value(key, value)
    }

    fn versionstamp(&self) -> CommitStamp {
        self.inner.versionstamp()
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, Error> {
        self.inner.watch(key)
    }

    fn commit(&mut self) -> Answer<'_, ()> {
        let fault = self.script.lock().unwrap().pop_front();
        match fault {
            None => self.inner.commit(),
            Some(Fault::AnswerLost) => Answer::later(async {
                self.inner.commit().await?;
                Err(RetryError::CommitUnknownResult.into())
            }),
            Some(Fault::NeverArrived) => Err(RetryError::CommitUnknownResult.into()).into(),
            Some(Fault::Conflict) => Err(RetryError::Conflict.into()).into(),
        }
    }

    fn on_error(&mut self, error: RetryError) -> Answer<'_, ()> {
        self.inner.on_error(error)
    }
}

/// The outcome of a transaction that adds 1 to a counter of 0.
struct Outcome {
    result: Result<(), Error>,
    attempts: u32,
    counter: u64,
}

/// Runs the transaction on `store` with these faults in its commits.
async fn add_one(store: &Store, options: &RunOptions, faults: &[Fault]) -> Outcome {
    let script = Arc::new(Mutex::new(faults.iter().copied().collect()));
    let faulty = faulty(store, &script);
    let key = crate::Subspace::from("store-faults").pack(&(fastrand::u64(..),));
    let attempts = Cell::new(0);
    let add = async |tx: &Transaction| {
        attempts.set(attempts.get() + 1);
        tx.add(&key, &1u64.to_le_bytes())
    };
    let result = faulty.run(options, add).await;
    let counter = store.get(&key).await.unwrap();
    let counter = counter.map_or(0, |value| u64::from_le_bytes(value.as_ref().try_into().unwrap()));
    store.run(&RunOptions::default(), async |tx| tx.clear(&key)).await.unwrap();
    Outcome { result, attempts: attempts.get(), counter }
}

async fn an_unknown_commit_is_reported_and_not_tried_again(store: &Store) {
    let once = RunOptions::default();
    for (fault, counter) in [(Fault::AnswerLost, 1), (Fault::NeverArrived, 0)] {
        let outcome = add_one(store, &once, &[fault]).await;
        let error = outcome.result.unwrap_err();
        assert!(matches!(error, Error::Retry(RetryError::CommitUnknownResult)), "{error}");
        assert!(error.is_maybe_committed());
        assert_eq!((outcome.attempts, outcome.counter), (1, counter));
    }
}

async fn an_idempotent_one_is_tried_again(store: &Store) {
    let idempotent = RunOptions::default().idempotent();
    // An add is not idempotent, so counting twice shows why the promise is needed.
    for (fault, counter) in [(Fault::AnswerLost, 2), (Fault::NeverArrived, 1)] {
        let outcome = add_one(store, &idempotent, &[fault]).await;
        assert!(outcome.result.is_ok(), "{:?}", outcome.result);
        assert_eq!((outcome.attempts, outcome.counter), (2, counter));
    }
}

async fn an_unknown_commit_is_remembered_when_later_attempts_fail(store: &Store) {
    let options = RunOptions::default().idempotent().retries_max(1);
    let outcome = add_one(store, &options, &[Fault::AnswerLost, Fault::Conflict]).await;
    let error = outcome.result.unwrap_err();
    let expected = matches!(
        &error,
        Error::Store(StoreError::RetriesExhausted { attempts: 2, last: RetryError::Conflict, .. })
    );
    assert!(expected && error.is_maybe_committed(), "{error}");
    assert_eq!(outcome.counter, 1);

    let outcome = add_one(store, &options, &[Fault::Conflict, Fault::Conflict]).await;
    assert!(!outcome.result.unwrap_err().is_maybe_committed());
}

macro_rules! on_every_backend {
    ($($test:ident),+) => {
        mod embedded {
            $(
                #[tokio::test]
                async fn $test() {
                    let dir = tempfile::tempdir().unwrap();
                    let address = format!("embedded:{}", dir.path().display());
                    super::$test(&crate::Store::open(&address.parse().unwrap()).unwrap()).await;
                }
            )+
        }

        /// One test, because the client is stopped at its end and can't be started again.
        #[cfg(feature = "fdb")]
        #[tokio::test]
        async fn fdb() {
            let Ok(file) = std::env::var("FDB_CLUSTER_FILE") else {
                println!("SKIPPED: FDB_CLUSTER_FILE is not set");
                return;
            };
            let _network = crate::Network::new();
            let store = crate::Store::open(&format!("fdb:{file}").parse().unwrap()).unwrap();
            $(
                println!(stringify!($test));
                $test(&store).await;
            )+
        }
    };
}

on_every_backend!(
    an_unknown_commit_is_reported_and_not_tried_again,
    an_idempotent_one_is_tried_again,
    an_unknown_commit_is_remembered_when_later_attempts_fail
);
