//! The toggles that a service reads, as its hello announces them.
//!
//! Owns the declared names, the report of an undeclared one, and the names of the services that
//! this one asks. Leaves reading a request to `edge`. Invariant: a hello names at most as many
//! toggles as the protocol allows, the service's own first.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use bus::Bus;
use bus::proto::limits::HELLO_TOGGLES_MAX;

/// Longest name of a toggle, in bytes.
pub(crate) const TOGGLE_BYTES_MAX: usize = 255;
/// Undeclared names that are remembered so that each is logged once.
const REPORTED_MAX: usize = 64;

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

    /// True when the service declares this toggle; reports one that it does not.
    pub(crate) fn declares(&self, name: &str) -> bool {
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
