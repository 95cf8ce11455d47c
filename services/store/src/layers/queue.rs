//! A queue of work that several consumers share: every item is done at least once.
//!
//! Owns the order of items and their state; `keys` has the layout, `spread` keeps consumers apart.
//! The design is that of FoundationDB's queue recipe with leases as in QuiCK (Lev-Ari and others,
//! "QuiCK: A Queuing System in CloudKit", SIGMOD 2021).
//!
//! An item is *ready*, or *later*: delayed, leased to a consumer, or waiting for another attempt;
//! or *dead* after [`QueueOptions::attempts_max`] attempts. [`Queue::pop`] leases items: no other
//! consumer gets them before the lease ends. A consumer that is done with an item calls
//! [`Queue::ack`], which removes it. A consumer that fails calls [`Queue::retry`], or dies, and
//! then the item is leased again when the lease has ended.
//!
//! **Order.** Ready items are in the order of their commits. One consumer takes them in that order;
//! several take them roughly so. Items whose time has come are taken before ready ones; while there
//! are ready ones, consumers look for them twice a second.
//!
//! **Clocks.** Leases and delays are times of day of the consumer or the producer that sets them,
//! and are compared with the clock of the consumer that looks. When a consumer's clock is ahead by
//! a second, it sees leases end a second early, and may work on an item at the same time as the
//! lease's holder; when it is behind, items become visible a second late. The order of ready items
//! does not depend on clocks. Choose leases far longer than clocks differ.
//!
//! **Exactly once.** What a consumer writes to the same store is done exactly once when it is
//! written in the transaction of [`Queue::ack_in`]: that fails when the lease was lost. For effects
//! elsewhere, [`Lease::attempt`] is a fencing token: it grows with every lease of an item.
//!
//! Invariant: an item that was pushed is in exactly one of the three lists until it is acknowledged
//! or purged, and only the newest lease of an item can end it.
//!
//! ```
//! use std::time::Duration;
//! use store::layers::queue::{Item, Queue, QueueOptions};
//! use store::{Store, Subspace};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let store = Store::open(&format!("embedded:{}", dir.path().display()).parse()?)?;
//! let options = QueueOptions { lease: Duration::from_secs(60), ..QueueOptions::default() }; let
//! mails = Queue::new(&store, &Subspace::from(("members", "mails")), options);
//! mails.push(&[Item::new("to ada"), Item::new("to
//! bob").delayed(Duration::from_secs(3600))]).await?;
//!
//! // A consumer waits for up to 10 items; here one is ready at once.
//! for lease in mails.wait(10).await? {
//!     assert_eq!(&lease.body()[..], b"to ada");
//!     match std::str::from_utf8(lease.body()) {
//!         Ok(_sent) => mails.ack(&lease).await?,
//!         Err(reason) => drop(mails.retry(&lease, &reason.to_string()).await?),
//!     }
//! }
//! let lengths = mails.lengths().await?;
//! assert_eq!((lengths.ready, lengths.later, lengths.dead), (0, 1, 0));
//! # Ok(()) }
//! ```
//!
//! An item pushed together with the caller's own write:
//!
//! ```
//! # use store::layers::queue::{Item, Queue, QueueError, QueueOptions};
//! # use store::{RunOptions, Store, Subspace};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let store = Store::open(&format!("embedded:{}", dir.path().display()).parse()?)?;
//! # let keys = Subspace::from(("members", "mails"));
//! # let mails = Queue::new(&store, &keys, QueueOptions::default());
//! let member = Subspace::from(("members", 0)).pack(&(42,));
//! store
//!     .run(&RunOptions::default(), async |tx| {
//!         tx.set(&member, b"ada")?;
//!         mails.push_in(tx, &Item::new("welcome, ada"))
//!     })
//!     .await?;
//! // Work that writes to the same store is done exactly once with `ack_in`.
//! let lease = mails.pop(1).await?.pop().expect("the item is ready");
//! store
//!     .run(&RunOptions::default(), async |tx| {
//!         tx.set(&member, b"ada, welcomed")?;
//!         mails.ack_in(tx, &lease).await
//!     })
//!     .await?;
//! # Ok(()) }
//! ```

mod dead;
mod error;
mod handle;
mod hold;
mod item;
mod keys;
mod low;
mod options;
mod spread;
mod take;
#[cfg(test)]
mod tests;

pub use dead::DeadLetter;
pub use error::QueueError;
pub use handle::{Lengths, Queue};
pub use hold::Fate;
pub use item::{Item, Lease};
pub use options::{BATCH_MAX, QueueOptions, REASON_BYTES_MAX};
