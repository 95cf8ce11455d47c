//! What the edge of the stack has decided for a request: toggles, variants, versions, and whether
//! it is a copy.
//!
//! Owns reading these decisions from a request. Leaves the list of the toggles that a service reads
//! to `toggles`, passing decisions on to `ask`, and the fields to `bus/PROTOCOL.md`. Invariant: a
//! handler sees only toggles that its hello names, because the edge decides no others.

use bus::{Envelope, Flags};

use crate::request::Request;

impl Request {
    /// True when the toggle `name` is on for this request. The service must declare it with
    /// [`Router::reads_toggle`](crate::Router::reads_toggle); a toggle that it does not declare is
    /// off, which is logged once.
    ///
    /// # Panics
    /// In a debug build, when the toggle is not declared.
    #[must_use]
    pub fn toggle(&self, name: &str) -> bool {
        self.outcome(name).is_some()
    }

    /// The variant of the toggle `name` for this request; `None` when the toggle is off or has no
    /// variant. The service must declare it, as for [`Request::toggle`].
    ///
    /// # Panics
    /// In a debug build, when the toggle is not declared.
    #[must_use]
    pub fn variant(&self, name: &str) -> Option<&str> {
        self.outcome(name)?
    }

    /// True when this request is a copy, whose answer is only compared with that of another
    /// version: a service should leave out what reaches the outside, such as mails and payments.
    #[must_use]
    pub fn is_shadow(&self) -> bool {
        self.flags().contains(Flags::SHADOW)
    }

    /// The version of `service` that serves this request and what it causes; `None` for any.
    /// [`Ask::send`](crate::Ask::send) keeps to it.
    #[must_use]
    pub fn pin(&self, service: &str) -> Option<&str> {
        values(self.envelope(), b":pin").find_map(|pin| named(pin, service).flatten())
    }

    /// True when a version of some service is pinned.
    pub(crate) fn has_pins(&self) -> bool {
        values(self.envelope(), b":pin").next().is_some()
    }

    /// `None` when the toggle is off, otherwise its variant.
    fn outcome(&self, name: &str) -> Option<Option<&str>> {
        if !self.toggles().declares(name) {
            return None;
        }
        values(self.envelope(), b":toggle").find_map(|toggle| named(toggle, name))
    }
}

/// The values of a field that the edge sets. They precede the first field without a colon.
fn values<'a>(envelope: &'a Envelope, name: &'static [u8]) -> impl Iterator<Item = &'a str> {
    let decided = envelope.fields().take_while(|(found, _)| found.first() == Some(&b':'));
    let values = decided.filter(move |(found, _)| *found == name);
    values.filter_map(|(_, value)| std::str::from_utf8(value).ok())
}

/// What follows `=` in `value`, when `name` precedes it or is all of it.
fn named<'a>(value: &'a str, name: &str) -> Option<Option<&'a str>> {
    match value.split_once('=') {
        Some((found, rest)) => (found == name).then_some(Some(rest)),
        None => (value == name).then_some(None),
    }
}
