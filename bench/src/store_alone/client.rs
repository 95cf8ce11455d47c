//! The same requests to FoundationDB's client (the crate `foundationdb`), without our store.
//!
//! Owns how the client does them. The client's network is started by our store, which must be open.
//! Invariant: a request is one transaction of its own, tried again as the client says.

use std::path::Path;
use std::rc::Rc;

use anyhow::Result;
use foundationdb::options::MutationType;
use foundationdb::{Database, RangeOption, Transaction};
use futures_util::future::try_join_all;

use super::work::{PAGE_ROWS, Subject, Work, new_events, rows_end, some_key, some_keys, value};

/// A database handle.
#[derive(Clone)]
pub(super) struct Client(Rc<Database>);

impl Client {
    /// Opens the cluster of a cluster file.
    pub(super) fn open(cluster_file: &Path) -> Result<Self> {
        Ok(Self(Rc::new(Database::from_path(&cluster_file.to_string_lossy())?)))
    }
}

impl Subject for Client {
    async fn once(&self, work: Work) -> Result<()> {
        let transaction = self.0.create_trx()?;
        match work {
            Work::Get => drop(transaction.get(&some_key(), true).await?),
            Work::GetFour => {
                let keys = some_keys();
                try_join_all(keys.iter().map(|key| transaction.get(key, true))).await?;
            }
            Work::Page => {
                let mut page = RangeOption::from((some_key(), rows_end()));
                page.limit = Some(PAGE_ROWS);
                transaction.get_range(&page, 1, true).await?;
            }
            Work::Set => {
                let key = some_key();
                commit(transaction, |transaction| transaction.set(&key, &value())).await?;
            }
            Work::Append | Work::AppendBatch => {
                let append = |transaction: &Transaction| {
                    for key in new_events(work) {
                        transaction.atomic_op(&key, &value(), MutationType::SetVersionstampedKey);
                    }
                };
                commit(transaction, append).await?;
            }
        }
        Ok(())
    }
}

async fn commit(mut transaction: Transaction, work: impl Fn(&Transaction)) -> Result<()> {
    loop {
        work(&transaction);
        match transaction.commit().await {
            Ok(_) => return Ok(()),
            Err(failed) => transaction = failed.on_error().await?,
        }
    }
}
