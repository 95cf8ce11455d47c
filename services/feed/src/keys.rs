//! Every key of the feeds.
//!
//! Owns the layout. `feeds`, `follows` and `unread` decide what is written when.
//!
//! | key | value |
//! | --- | --- |
//! | `own, owner, position` | an entry that the owner posted |
//! | `line, owner, position` | a copy of an entry of a member that the owner follows |
//! | `id, owner, client id` | position of the entry and hash of its content |
//! | `follow, owner, other` | nothing; reversed in `follower, other, owner` |
//! | `following, owner` / `followers, other` | how many there are |
//! | `large, other` | nothing; entries of `other` are merged when a feed is read |
//! | `posted, other` | entries ever posted by `other` |
//! | `pull, owner, other, since` | counts of `other`'s entries that the owner has read, and the interval's end (`pulls`) |
//! | `pulled, owner` | position of the last change of the owner's `pull` rows |
//! | `arrived, owner` | counts of the feed's changes, copies into `line` first (`counter::Changes`) |
//! | `read, owner` | position up to which the owner has read, and how many of `arrived` that were |

use store::{Position, Range, Subspace, Versionstamp};

/// The subspaces.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    own: Subspace,
    line: Subspace,
    id: Subspace,
    follow: Subspace,
    follower: Subspace,
    following: Subspace,
    followers: Subspace,
    large: Subspace,
    posted: Subspace,
    pull: Subspace,
    pulled: Subspace,
    arrived: Subspace,
    read: Subspace,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let under = |name: &str| Subspace::from(("feed", name));
        Self {
            own: under("own"),
            line: under("line"),
            id: under("id"),
            follow: under("follow"),
            follower: under("follower"),
            following: under("following"),
            followers: under("followers"),
            large: under("large"),
            posted: under("posted"),
            pull: under("pull"),
            pulled: under("pulled"),
            arrived: under("arrived"),
            read: under("read"),
        }
    }

    /// The key of a new entry of `owner`.
    pub(crate) fn new_own(&self, owner: &str) -> Vec<u8> {
        self.own.pack_with_versionstamp(&(owner, Versionstamp::incomplete(0)))
    }

    /// The key of a follower's copy.
    pub(crate) fn new_line(&self, follower: &str) -> Vec<u8> {
        self.line.pack_with_versionstamp(&(follower, Versionstamp::incomplete(0)))
    }

    /// The key of a new interval of following.
    pub(crate) fn new_pull(&self, owner: &str, other: &str) -> Vec<u8> {
        self.pull.pack_with_versionstamp(&(owner, other, Versionstamp::incomplete(0)))
    }

    pub(crate) fn own(&self, owner: &str, position: Position) -> Vec<u8> {
        self.own.pack(&(owner, position.stamp()))
    }

    /// Entries that `owner` posted after `after` and before `before`, the newest first.
    pub(crate) fn own_between(&self, owner: &str, after: Position, before: Position) -> Range {
        between(&self.own.subspace(&(owner,)), after, before)
    }

    /// Copies in `owner`'s line after `after` and before `before`, the newest first.
    pub(crate) fn line_between(&self, owner: &str, after: Position, before: Position) -> Range {
        between(&self.line.subspace(&(owner,)), after, before)
    }

    pub(crate) fn id(&self, owner: &str, id: &str) -> Vec<u8> {
        self.id.pack(&(owner, id))
    }

    pub(crate) fn follow(&self, owner: &str, other: &str) -> Vec<u8> {
        self.follow.pack(&(owner, other))
    }

    pub(crate) fn follows_of(&self, owner: &str) -> Range {
        Range::subspace(&self.follow.subspace(&(owner,)))
    }

    /// The followed member in a key of [`Keys::follows_of`].
    pub(crate) fn followed(&self, key: &[u8]) -> String {
        let (_, other): (String, String) = self.follow.unpack(key).expect("packed by `follow`");
        other
    }

    pub(crate) fn follower(&self, other: &str, owner: &str) -> Vec<u8> {
        self.follower.pack(&(other, owner))
    }

    pub(crate) fn followers_of(&self, other: &str) -> Range {
        Range::subspace(&self.follower.subspace(&(other,)))
    }

    /// The follower in a key of [`Keys::followers_of`].
    pub(crate) fn follower_named(&self, key: &[u8]) -> String {
        let (_, owner): (String, String) = self.follower.unpack(key).expect("packed by `follower`");
        owner
    }

    pub(crate) fn following_count(&self, owner: &str) -> Vec<u8> {
        self.following.pack(&(owner,))
    }

    pub(crate) fn followers_count(&self, other: &str) -> Vec<u8> {
        self.followers.pack(&(other,))
    }

    pub(crate) fn large(&self, other: &str) -> Vec<u8> {
        self.large.pack(&(other,))
    }

    pub(crate) fn posted(&self, other: &str) -> Vec<u8> {
        self.posted.pack(&(other,))
    }

    /// The intervals in which `owner` follows large owners.
    pub(crate) fn pulls_of(&self, owner: &str) -> Range {
        Range::subspace(&self.pull.subspace(&(owner,)))
    }

    /// The intervals in which `owner` follows `other`.
    pub(crate) fn pulls_between(&self, owner: &str, other: &str) -> Range {
        Range::subspace(&self.pull.subspace(&(owner, other)))
    }

    /// The followed member in a key of [`Keys::pulls_of`].
    pub(crate) fn pulled_of(&self, key: &[u8]) -> String {
        let (_, other, _): (String, String, Versionstamp) =
            self.pull.unpack(key).expect("packed by `new_pull`");
        other
    }

    pub(crate) fn pulls_changed(&self, owner: &str) -> Vec<u8> {
        self.pulled.pack(&(owner,))
    }

    /// The row that every change of `owner`'s feed changes, except those of large owners' entries.
    pub(crate) fn changes(&self, owner: &str) -> Vec<u8> {
        self.arrived.pack(&(owner,))
    }

    pub(crate) fn read(&self, owner: &str) -> Vec<u8> {
        self.read.pack(&(owner,))
    }
}

fn between(subspace: &Subspace, after: Position, before: Position) -> Range {
    let begin = store::KeySelector::first_greater_than(subspace.pack(&(after.stamp(),)));
    let end = store::KeySelector::first_greater_or_equal(subspace.pack(&(before.max(after).stamp(),)));
    Range::selected(begin, end).reversed()
}
