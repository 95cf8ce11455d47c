//! The peer of a connection: its address, and whether it is a trusted proxy.
//!
//! Owns both facts, which are determined once when the connection is accepted. Leaves what a
//! trusted peer's `x-forwarded-*` headers become to `request/forwarded.rs`.

use std::net::{IpAddr, SocketAddr};

use crate::config::{Config, Forwarded};

/// The peer of one connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The address; `None` on a Unix socket.
    pub ip: Option<IpAddr>,
    /// The address as `x-forwarded-for` has it; empty on a Unix socket.
    pub text: Box<str>,
    /// True when it is a trusted proxy and `--forwarded append` is set, so that its `x-forwarded-*`
    /// headers are passed on.
    pub is_trusted: bool,
}

impl Peer {
    /// A peer on TCP.
    #[must_use]
    pub fn tcp(address: SocketAddr, config: &Config) -> Self {
        let ip = address.ip().to_canonical();
        Self { ip: Some(ip), text: ip.to_string().into(), is_trusted: trusts(config, Some(ip)) }
    }

    /// A peer on a Unix socket, which has no address.
    #[must_use]
    pub fn unix(config: &Config) -> Self {
        Self { ip: None, text: "".into(), is_trusted: trusts(config, None) }
    }
}

fn trusts(config: &Config, ip: Option<IpAddr>) -> bool {
    config.forwarded == Forwarded::Append && config.trusted_proxies.iter().any(|proxy| proxy.is(ip))
}
