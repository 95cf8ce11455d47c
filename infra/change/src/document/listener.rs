//! The record of a bus listener: where an instance listens, for the peers that join its bus.
//!
//! Owns its format. Leaves dialling to `discovery`. Invariant: a listener that passed
//! [`Listener::check`] has at least one URL, and each one has a scheme.

use serde::{Deserialize, Serialize};

use super::fault::Fault;

/// Most URLs of one listener: a process has a worker's address or two for each network.
pub const URLS_MAX: usize = 16;

/// Longest URL, in bytes.
const URL_LEN_MAX: usize = 512;

/// What `buses/BUS/INSTANCE` holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Addresses of the same listener, the preferred one first, e.g. `tcp://10.0.0.5:5555`.
    pub urls: Vec<String>,
    /// The role of the process, e.g. `terminator`.
    pub role: String,
    /// Its version.
    pub version: String,
}

impl Listener {
    /// Checks what the type does not.
    ///
    /// # Errors
    /// A [`Fault`] with the field.
    pub fn check(&self) -> Result<(), Fault> {
        if !(1..=URLS_MAX).contains(&self.urls.len()) {
            return Err(Fault::at("urls", format!("has {} URLs: 1 to {URLS_MAX} are", self.urls.len())));
        }
        for (at, url) in self.urls.iter().enumerate() {
            let parts = url.split_once("://");
            let whole = parts.is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
            if !whole || url.len() > URL_LEN_MAX {
                let reason = "is no URL such as tcp://10.0.0.5:5555";
                return Err(Fault::at(&format!("urls[{at}]"), reason.to_owned()));
            }
        }
        Ok(())
    }
}
