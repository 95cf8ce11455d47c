//! Every key of the conversations.
//!
//! Owns the layout. `conversations` and `markers` decide what is written when.
//!
//! | key | value |
//! | --- | --- |
//! | `message, chat, position` | a message |
//! | `id, chat, client id` | position of the message and hash of its content |
//! | `read, chat, member` | position up to which the member has read, and position of that change |
//! | `marked, chat, position of the change` | the same marker: position read up to, and the member |
//! | `last, chat` | position of the newest change |
//! | `shard, number` | position of the newest change of any conversation in the shard; instances watch it |

use store::{KeySelector, Position, Range, Subspace, Versionstamp};
use xxhash_rust::xxh3::xxh3_64;

/// Number of groups in which conversations are watched. Each worker has one of the store's 10 000
/// watches for each group that is polled.
pub(crate) const SHARDS: u64 = 512;

/// The subspaces.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    message: Subspace,
    id: Subspace,
    read: Subspace,
    marked: Subspace,
    last: Subspace,
    shard: Subspace,
}

/// The group of a conversation.
pub(crate) fn shard_of(chat: &str) -> u64 {
    xxh3_64(chat.as_bytes()) % SHARDS
}

impl Keys {
    pub(crate) fn new() -> Self {
        let under = |name: &str| Subspace::from(("chat", name));
        Self {
            message: under("message"),
            id: under("id"),
            read: under("read"),
            marked: under("marked"),
            last: under("last"),
            shard: under("shard"),
        }
    }

    /// The key of a new message.
    pub(crate) fn new_message(&self, chat: &str) -> Vec<u8> {
        self.message.pack_with_versionstamp(&(chat, Versionstamp::incomplete(0)))
    }

    pub(crate) fn message(&self, chat: &str, position: Position) -> Vec<u8> {
        self.message.pack(&(chat, position.stamp()))
    }

    /// Messages after `after` and before `before`, the oldest first.
    pub(crate) fn messages_between(&self, chat: &str, after: Position, before: Position) -> Range {
        between(&self.message.subspace(&(chat,)), after, before)
    }

    pub(crate) fn id(&self, chat: &str, id: &str) -> Vec<u8> {
        self.id.pack(&(chat, id))
    }

    pub(crate) fn read(&self, chat: &str, member: &str) -> Vec<u8> {
        self.read.pack(&(chat, member))
    }

    /// The key of a new marker in the list of changes.
    pub(crate) fn new_marked(&self, chat: &str) -> Vec<u8> {
        self.marked.pack_with_versionstamp(&(chat, Versionstamp::incomplete(0)))
    }

    pub(crate) fn marked(&self, chat: &str, changed: Position) -> Vec<u8> {
        self.marked.pack(&(chat, changed.stamp()))
    }

    /// Markers that changed after `after`, the oldest change first.
    pub(crate) fn marked_after(&self, chat: &str, after: Position) -> Range {
        between(&self.marked.subspace(&(chat,)), after, Position::LAST)
    }

    pub(crate) fn last(&self, chat: &str) -> Vec<u8> {
        self.last.pack(&(chat,))
    }

    pub(crate) fn shard(&self, shard: u64) -> Vec<u8> {
        self.shard.pack(&(shard,))
    }
}

fn between(subspace: &Subspace, after: Position, before: Position) -> Range {
    let begin = KeySelector::first_greater_than(subspace.pack(&(after.stamp(),)));
    let end = KeySelector::first_greater_or_equal(subspace.pack(&(before.max(after).stamp(),)));
    Range::selected(begin, end)
}
