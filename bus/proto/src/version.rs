//! The version of a service as requests are matched with it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;

/// A version as a hello or a pin names it: equal texts have equal ids.
///
/// It is a hash of the text, so it needs no table and outlives the pipe that it came by. Two
/// versions of one service with the same hash would be taken for one; a peer that causes this
/// could as well announce the other version. An id has a meaning in this process only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VersionId(NonZeroU64);

impl VersionId {
    /// The id of the version called `version`.
    #[must_use]
    pub fn of(version: &str) -> Self {
        let mut hasher = DefaultHasher::new();
        version.hash(&mut hasher);
        Self(NonZeroU64::new(hasher.finish()).unwrap_or(NonZeroU64::MIN))
    }
}
