//! Ordered key-value transactions: embedded, or FoundationDB.
//!
//! Owns the handle ([`Store`]), the retry loop ([`Store::run`]), FoundationDB's limits ([`limits`])
//! and the backends behind them. Services define the keys and pack them with [`Subspace`] and
//! [`mod@tuple`].
//!
//! Invariant: transactions are strictly serializable. A transaction that returned `Ok` is as
//! durable as configured ([`Durability`]), took effect at one moment between its start and its
//! return, and is seen by every transaction that starts afterwards.
//!
//! ```
//! use store::{Error, RunOptions, Store, Subspace};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let text = format!("embedded:{}", dir.path().display());
//! let store = Store::open(&text.parse()?)?;
//! let profiles = Subspace::from("profile");
//! let key = profiles.pack(&(42,));
//!
//! store
//!     .run(&RunOptions::default(), async |tx| {
//!         let visits = tx.get(&key).await?.map_or(0, |value| value.len());
//!         tx.set(&key, &vec![b'x'; visits + 1])?;
//!         Ok::<_, Error>(())
//!     })
//!     .await?;
//! assert_eq!(store.get(&key).await?.as_deref(), Some(&b"x"[..]));
//! # Ok(()) }
//! ```

mod address;
mod answer;
mod backend;
mod backup;
mod check;
mod counters;
mod embedded;
mod error;
#[cfg(feature = "fdb")]
mod fdb;
pub mod layers;
pub mod limits;
mod network;
mod options;
mod owner;
mod position;
mod prefix;
mod range;
mod size;
mod store;
mod transaction;
mod watch;

pub use foundationdb_tuple as tuple;
pub use foundationdb_tuple::{Subspace, Versionstamp};

pub use crate::{
    address::{AddressError, Durability, EmbeddedAddress, FdbAddress, StoreAddress},
    backup::{Backup, BackupError},
    error::{CallerError, Error, OpenError, RetryError, StoreError},
    network::Network,
    options::RunOptions,
    owner::Owner,
    position::Position,
    prefix::{Prefix, PrefixError},
    range::{KeySelector, KeyValue, Range, RangeBatch},
    store::Store,
    transaction::{Rows, Snapshot, Transaction},
    watch::{CommitStamp, Watch},
};
