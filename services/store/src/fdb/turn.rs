//! Point reads: reads that begin in one turn of a worker's loop share a transaction, and so a read
//! version. Reads of one key in one turn are one read of the cluster.
//!
//! A request for a version costs a round trip, and a transaction some microseconds of the network
//! thread that serves the whole process; a worker reads for hundreds of requests in a turn.
//!
//! A read joins the open turn of its thread and yields once. When the loop comes back to the first
//! of them, the turn is closed and only then requests its version. So the version is newer than the
//! beginning of each of its reads, and a read sees everything that was acknowledged before it
//! began. Joining a turn that has requested its version would break that.
//!
//! Invariant: a turn in [`OPEN`] has no transaction yet.

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use foundationdb::{FdbError, FdbResult, Transaction, options::TransactionOption};

use super::{
    cluster::{Cluster, milliseconds},
    failure::{self, During, Run},
    transaction::value,
};
use crate::{
    backend::Access,
    counters::{self, Counter},
    error::Error,
    limits,
};

thread_local! {
    /// The open turns of this thread's loop, one per cluster that it reads.
    static OPEN: RefCell<Vec<Rc<Turn>>> = const { RefCell::new(Vec::new()) };
}

/// Reads that began in one turn.
struct Turn {
    /// Identifies the cluster: its address, which is only compared.
    cluster: *const Cluster,
    transaction: OnceCell<FdbResult<Transaction>>,
    /// The keys that were asked for. The first of the reads of a key asks the cluster; when it is
    /// dropped, another one does.
    found: RefCell<HashMap<Box<[u8]>, Rc<Found>>>,
}

type Found = tokio::sync::OnceCell<FdbResult<Option<Bytes>>>;

/// The newest value of `key` at a moment after this call.
pub(crate) async fn get(cluster: &Arc<Cluster>, key: &[u8]) -> Result<Option<Bytes>, Error> {
    let began = Instant::now();
    let turn = Turn::join(cluster);
    tokio::task::yield_now().await;
    let read = match turn.transaction(cluster) {
        Ok(transaction) => {
            let read = || async { transaction.get(key, true).await.map(|found| found.map(value)) };
            turn.found(key).get_or_init(read).await.clone()
        }
        Err(error) => Err(error),
    };
    match read {
        Ok(found) => Ok(found),
        Err(error) if error.is_retryable() => again(cluster, key, error, began).await,
        Err(error) => Err(failed(error, 1)),
    }
}

impl Turn {
    fn join(cluster: &Arc<Cluster>) -> Rc<Self> {
        let cluster = Arc::as_ptr(cluster);
        OPEN.with_borrow_mut(|open| {
            if let Some(turn) = open.iter().find(|turn| turn.cluster == cluster) {
                return Rc::clone(turn);
            }
            let turn = Rc::new(Self { cluster, transaction: OnceCell::new(), found: RefCell::default() });
            open.push(Rc::clone(&turn));
            turn
        })
    }

    /// Where the value of `key` is once it was read.
    fn found(&self, key: &[u8]) -> Rc<Found> {
        let mut found = self.found.borrow_mut();
        if let Some(found) = found.get(key) {
            return Rc::clone(found);
        }
        Rc::clone(found.entry(key.into()).or_default())
    }

    /// Closes the turn if it is open, and returns its transaction.
    fn transaction(&self, cluster: &Cluster) -> FdbResult<&Transaction> {
        let transaction = self.transaction.get_or_init(|| {
            OPEN.with_borrow_mut(|open| open.retain(|turn| !std::ptr::eq(&raw const **turn, self)));
            counters::add(Counter::Transactions, 1);
            counters::add(Counter::ReadVersions, 1);
            begin(cluster)
        });
        transaction.as_ref().map_err(|error| *error)
    }
}

fn begin(cluster: &Cluster) -> FdbResult<Transaction> {
    let transaction = cluster.begin()?;
    set_options(cluster, &transaction)?;
    Ok(transaction)
}

fn set_options(cluster: &Cluster, transaction: &Transaction) -> FdbResult<()> {
    // The transaction writes nothing, so reads need not look for its own writes.
    transaction.set_option(TransactionOption::ReadYourWritesDisable)?;
    cluster.set_access(transaction, Access::ReadOnly)
}

/// Reads alone, after FoundationDB's own pause. Calling `on_error` on the shared transaction would
/// end the other reads.
async fn again(
    cluster: &Cluster,
    key: &[u8],
    mut error: FdbError,
    began: Instant,
) -> Result<Option<Bytes>, Error> {
    let mut attempts = 1;
    let read = async {
        let mut transaction = cluster.begin()?;
        let left = limits::CLUSTER_TIMEOUT.saturating_sub(began.elapsed());
        transaction.set_option(TransactionOption::Timeout(milliseconds(left)))?;
        loop {
            transaction = transaction.on_error(error).await?;
            attempts += 1;
            set_options(cluster, &transaction)?;
            match transaction.get(key, true).await {
                Err(next) if next.is_retryable() => error = next,
                result => return result,
            }
        }
    };
    let found = read.await;
    found.map(|found| found.map(value)).map_err(|error| failed(error, attempts))
}

fn failed(error: FdbError, attempts: u32) -> Error {
    failure::explained(error, During::Read, &Run { attempts, ..Run::point() })
}
