//! The line that a service logs at its start: who it is, where it listens, and whom it dials.
//!
//! Owns its text. Invariant: ports that the system chose are in it.

use bus::{Endpoint, Hello};
use role::admin::Admin;

use crate::options::Options;

/// Where the service is to be found, and whom it looks for.
pub(crate) struct Places {
    /// With the ports that the system chose.
    pub(crate) listening: Vec<Endpoint>,
    pub(crate) dialling: Vec<Endpoint>,
    pub(crate) upstream_listening: Vec<Endpoint>,
    pub(crate) upstream_dialling: Vec<Endpoint>,
}

pub(crate) fn announcement(
    hello: &Hello,
    options: &Options,
    places: &Places,
    admin: Option<&Admin>,
) -> String {
    let mut text = format!("{} {} {}", hello.service, hello.version, hello.instance);
    let mut say = |verb: &str, endpoints: &[Endpoint]| {
        if !endpoints.is_empty() {
            let list: Vec<String> = endpoints.iter().map(ToString::to_string).collect();
            text.push_str(&format!(", {verb} {}", list.join(" ")));
        }
    };
    say("listens on", &places.listening);
    say("dials", &places.dialling);
    say("listens for upstreams on", &places.upstream_listening);
    say("dials upstreams at", &places.upstream_dialling);
    if let Some(admin) = admin {
        text.push_str(&format!(", admin={}", admin.address()));
    }
    let Options { workers, limit, weight, .. } = options;
    text + &format!("; workers {workers}, limit {limit}, weight {weight}")
}
