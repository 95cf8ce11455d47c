//! The proxies in front of the terminator whose `x-forwarded-*` headers are believed.
//!
//! Owns the form of `--trusted-proxy` and the comparison with an address. Leaves what is done with
//! the headers to `request/forwarded.rs`.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// A set of peers that are trusted proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustedProxy {
    /// Every peer on a Unix socket.
    Unix,
    /// Every peer with an address in this network.
    Net(IpNet),
}

impl TrustedProxy {
    /// True when the peer with this address belongs to the set; `None` stands for a Unix socket.
    #[must_use]
    pub fn is(self, ip: Option<IpAddr>) -> bool {
        match (self, ip) {
            (Self::Unix, None) => true,
            (Self::Net(net), Some(ip)) => net.contains(&ip),
            _ => false,
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let net =
            text.parse::<IpNet>().or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error));
        net.map(|net| Self::Net(canonical(net.trunc())))
            .map_err(|_| "write an address, a network such as 10.0.0.0/8 or fd00::/8, or unix".to_owned())
    }
}

/// A network of IPv4-mapped IPv6 addresses as an IPv4 network, because peers' addresses are made
/// canonical before they are compared.
fn canonical(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96)) {
        (ip @ IpAddr::V4(_), Some(len)) if net.addr().is_ipv6() => IpNet::new(ip, len).unwrap_or(net),
        _ => net,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_trusted_by_its_network() {
        for (proxy, ip, trusted) in [
            ("10.0.0.0/8", Some("10.1.2.3"), true),
            ("10.9.9.9/8", Some("10.1.2.3"), true),
            ("10.0.0.0/8", Some("11.1.2.3"), false),
            ("10.0.0.1", Some("10.0.0.1"), true),
            ("10.0.0.1", Some("10.0.0.2"), false),
            ("::1", Some("::1"), true),
            ("::ffff:10.0.0.1", Some("10.0.0.1"), true),
            ("::ffff:10.0.0.0/104", Some("10.1.2.3"), true),
            ("::ffff:10.0.0.0/104", Some("11.1.2.3"), false),
            ("fd00::/8", Some("fd12::1"), true),
            ("0.0.0.0/0", Some("::1"), false),
            ("0.0.0.0/0", None, false),
            ("unix", None, true),
            ("unix", Some("127.0.0.1"), false),
        ] {
            let ip = ip.map(|ip| ip.parse().unwrap());
            assert_eq!(proxy.parse::<TrustedProxy>().unwrap().is(ip), trusted, "{proxy} {ip:?}");
        }
        for wrong in ["", "10.0.0.0/33", "localhost", "unix:/a"] {
            assert!(wrong.parse::<TrustedProxy>().unwrap_err().contains("10.0.0.0/8"), "{wrong}");
        }
    }
}
