//! What the edge of the stack has decided for a request: toggles, variants, versions, and whether
//! it is a copy.
//!
//! Owns reading these decisions, and the list of the toggles that a service reads. Leaves passing
//! them on to `ask`, and the fields themselves to `bus/PROTOCOL.md`. Invariant: a handler sees only
//! toggles that its hello names, because the edge decides no others.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use bus::proto::limits::HELLO_TOGGLES_MAX;
use bus::{Bus, Envelope, Flags};

use crate::request::Request;

/// Longest name of a toggle, in bytes.
pub(crate) const TOGGLE_BYTES_MAX: usize = 255;
/// Undeclared names that are remembered so that each is logged once.
const REPORTED_MAX: usize = 64;

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

/// The toggles that a service reads.
#[derive(Debug, Default)]
pub(crate) struct Toggles {
    pub(crate) names: Vec<String>,
    /// Undeclared names that were logged.
    reported: RefCell<Vec<String>>,
}

impl Toggles {
    pub(crate) fn new(names: Vec<String>) -> Rc<Self> {
        Rc::new(Self { names, reported: RefCell::default() })
    }

    fn declares(&self, name: &str) -> bool {
        let declares = self.names.iter().any(|known| known == name);
        if !declares {
            self.report(name);
        }
        declares
    }

    #[cold]
    fn report(&self, name: &str) {
        let mut reported = self.reported.borrow_mut();
        if reported.len() < REPORTED_MAX && !reported.iter().any(|known| known == name) {
            tracing::error!(
                toggle = name,
                "the service reads a toggle that it does not declare: add `.reads_toggle` to its router"
            );
            reported.push(name.to_owned());
        }
        drop(reported);
        debug_assert!(false, "the toggle {name:?} is read and not declared: Router::reads_toggle({name:?})");
    }

    /// What the hello announces: the service's own toggles, and those of the services that it asks
    /// on `upstream`, which get them with the requests that it sends on behalf of others.
    pub(crate) fn announced(&self, upstream: Option<&Bus>) -> Vec<String> {
        let peers = upstream.map(Bus::peers).unwrap_or_default();
        let theirs = peers.into_iter().filter_map(|peer| peer.hello).flat_map(|hello| hello.toggles);
        let mut all: BTreeSet<String> = theirs.collect();
        all.retain(|name| !self.names.contains(name));
        let room = HELLO_TOGGLES_MAX - self.names.len();
        if all.len() > room {
            tracing::warn!(
                read = all.len() + self.names.len(),
                limit = HELLO_TOGGLES_MAX,
                "the services that this one asks read more toggles than a hello may name: the last are off"
            );
        }
        self.names.iter().cloned().chain(all.into_iter().take(room)).collect()
    }

    /// Announces on `bus` the toggles of the services that join `upstream`, as they come and go.
    pub(crate) async fn relay(self: Rc<Self>, bus: Bus, upstream: Bus) {
        loop {
            let joined = upstream.joined();
            let toggles = self.announced(Some(&upstream));
            if let Some(mut hello) = bus.hello().filter(|hello| hello.toggles != toggles) {
                hello.toggles = toggles;
                bus.set_hello(hello);
            }
            joined.await;
        }
    }
}
