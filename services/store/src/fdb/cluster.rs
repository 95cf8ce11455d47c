//! An open cluster: what its transactions share, and the form of its options.
//!
//! Owns the database handle. `fdb` opens it.

use std::time::Duration;

use bytes::Bytes;
use foundationdb::{Database, FdbError, FdbResult, Transaction, options::TransactionOption};

use super::{
    failure::{self, During},
    watches::WatchPlaces,
};
use crate::{Subspace, backend::Access, error::Error, owner::Owner, prefix::Prefix};

/// What transactions use of their store.
pub(super) struct Cluster {
    pub(super) database: Database,
    pub(super) grv_cache: bool,
    pub(super) watches: WatchPlaces,
}

impl Cluster {
    pub(super) fn begin(&self) -> FdbResult<Transaction> {
        self.database.create_trx()
    }

    /// Sets the options that FoundationDB forgets in `on_error`; called for each attempt.
    pub(super) fn set_access(&self, transaction: &Transaction, access: Access) -> FdbResult<()> {
        if self.grv_cache && access == Access::ReadOnly {
            transaction.set_option(TransactionOption::UseGrvCache)?;
        }
        Ok(())
    }

    pub(super) async fn newest_version(&self) -> Result<i64, Error> {
        let version = async {
            let transaction = self.begin()?;
            self.set_access(&transaction, Access::ReadOnly)?;
            transaction.get_read_version().await
        };
        version
            .await
            .map_err(|error: FdbError| failure::explained(error, During::Read, &failure::Run::point()))
    }

    /// The stamp of the owner's keys; `None` when they had none and have the owner's now.
    pub(super) async fn claim(&self, owner: Owner, prefix: Option<&Prefix>) -> Result<Option<Bytes>, Error> {
        let key = owner_key(owner);
        let key = prefix.map_or_else(|| Ok(key.clone()), |prefix| prefix.key(&key))?;
        let claim = async {
            let mut transaction = self.begin()?;
            loop {
                if let Some(stamp) = transaction.get(&key, false).await? {
                    return Ok(Some(Bytes::copy_from_slice(&stamp)));
                }
                transaction.set(&key, owner.stamp().as_bytes());
                // Two processes that start at once conflict, and the second one finds the stamp.
                match transaction.commit().await {
                    Ok(_) => return Ok(None),
                    Err(failed) => transaction = failed.on_error().await?,
                }
            }
        };
        claim.await.map_err(|error: FdbError| failure::explained(error, During::Read, &failure::Run::point()))
    }
}

/// Key of the stamp of a service's keys.
fn owner_key(owner: Owner) -> Vec<u8> {
    Subspace::from(("store", "owner")).pack(&(owner.service,))
}

/// Rounded up, because FoundationDB takes 0 for no timeout.
pub(super) fn milliseconds(duration: Duration) -> i32 {
    clamped(duration.as_micros().div_ceil(1000).max(1))
}

pub(super) fn clamped(number: impl TryInto<i32>) -> i32 {
    number.try_into().unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_never_none_and_never_negative() {
        assert_eq!(milliseconds(Duration::ZERO), 1);
        assert_eq!(milliseconds(Duration::from_micros(1_001)), 2);
        assert_eq!(milliseconds(Duration::from_secs(5)), 5_000);
        assert_eq!(milliseconds(Duration::MAX), i32::MAX);
    }
}
