//! Which service a store belongs to, and in which layout its keys are.
//!
//! Owns the stamp's text and its comparison; each backend stores it. Invariant: a store that was
//! opened for an owner is never opened for another.

use std::fmt;

use crate::error::OpenError;

/// The service that a store belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// Its name, which is also the first element of its keys' tuples.
    pub service: &'static str,
    /// The number of its layout of keys and values; a service raises it when it can no longer read
    /// what it wrote before.
    pub layout: u32,
}

impl Owner {
    /// The owner `service` with this layout.
    #[must_use]
    pub fn new(service: &'static str, layout: u32) -> Self {
        Self { service, layout }
    }

    /// The stamp as it is stored.
    pub(crate) fn stamp(self) -> String {
        format!("{} {}", self.service, self.layout)
    }

    /// True when `key` may be a key of this service: its tuple begins with a text that begins with
    /// the service's name.
    pub(crate) fn may_own(self, key: &[u8]) -> bool {
        key.strip_prefix(b"\x02").is_some_and(|name| name.starts_with(self.service.as_bytes()))
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (layout {})", self.service, self.layout)
    }
}

/// Compares a stored stamp with the owner that opens `store`.
///
/// # Errors
/// [`OpenError::OwnedByOther`], [`OpenError::LayoutDiffers`].
pub(crate) fn check(owner: Owner, stamp: &[u8], store: impl FnOnce() -> String) -> Result<(), OpenError> {
    if stamp == owner.stamp().as_bytes() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(stamp);
    let (service, layout) = text.rsplit_once(' ').unwrap_or((&text, "?"));
    let (store, found) = (store(), format!("{} (layout {layout})", service.escape_debug()));
    if service == owner.service {
        return Err(OpenError::LayoutDiffers { store, found, asked: owner.to_string() });
    }
    Err(OpenError::OwnedByOther { store, found, asked: owner.service })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_service_and_another_layout_are_told_apart() {
        let owner = Owner::new("feed", 2);
        let refused =
            |stamp: &str| check(owner, stamp.as_bytes(), || "data".to_owned()).map_err(|e| e.to_string());
        assert_eq!(refused("feed 2"), Ok(()));
        let other = refused("chat 2").unwrap_err();
        assert!(other.starts_with("store data belongs to chat (layout 2), not to feed"), "{other}");
        let layout = refused("feed 1").unwrap_err();
        assert!(
            layout.contains("written by feed (layout 1), and this program is feed (layout 2)"),
            "{layout}"
        );
        assert!(refused("\0").is_err() && refused("").is_err());
    }

    #[test]
    fn a_key_tells_its_service() {
        let owner = Owner::new("feed", 1);
        let key = |name: &str| crate::Subspace::from(name).pack(&(1,));
        assert!(owner.may_own(&key("feed")) && owner.may_own(&key("feed-load")));
        assert!(!owner.may_own(&key("chat")) && !owner.may_own(b"feed"));
    }
}
