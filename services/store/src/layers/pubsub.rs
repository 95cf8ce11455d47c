//! Topics whose messages every subscriber reads in order, each at its own pace.
//!
//! Owns the log of a topic and the cursors of its subscribers; `keys` has the layout. A subscriber
//! catches up from its cursor and then waits for new messages by a watch. Its cursor is in the
//! store and moves when it acknowledges, so it continues there after a restart: every message is
//! read at least once, unless it was trimmed before.
//!
//! **Trimming.** [`Topic::trim`] removes what all subscribers acknowledged, and what is too old or
//! too much although one of them has not. A subscriber whose messages were removed is told with
//! [`Batch::gap`]. Call `trim` now and then from one place, such as a scheduled task of
//! `service-host`.
//!
//! **Clocks.** The age of a message is the difference between the clocks of the instance that
//! trims and the one that published. The order of messages does not depend on clocks.
//!
//! For work that only one of several consumers shall do, see [`super::queue`].
//!
//! Invariant: messages are read in the order of their commits; a cursor never moves back; a message
//! at or before a subscriber's cursor is never given to it again after a restart.
//!
//! ```
//! use store::layers::pubsub::{Retention, Start, Topic};
//! use store::{Store, Subspace};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let store = Store::open(&format!("embedded:{}", dir.path().display()).parse()?)?;
//! let topic = Topic::new(&store, &Subspace::from(("members", "renamed")));
//! let mut search = topic.subscribe("search", Start::Oldest).await?;
//! topic.publish(&[&b"ada is grace now"[..]]).await?;
//!
//! let batch = search.wait(100).await?;
//! assert!(batch.gap.is_none(), "read everything anew: messages were trimmed");
//! for message in &batch.messages {
//!     assert_eq!(&message.body[..], b"ada is grace now");
//! }
//! if let Some(last) = batch.last() {
//!     search.ack(last).await?;
//! }
//! assert_eq!(topic.trim(&Retention::default()).await?.messages, 1);
//! # Ok(()) }
//! ```

mod keys;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;
mod trim;

pub use subscription::{Batch, Gap, Message, Subscription};
pub use topic::{BATCH_MAX, PubsubError, SUBSCRIBER_BYTES_MAX, Size, Start, Subscriber, Topic};
pub use trim::{Retention, Trimmed};
