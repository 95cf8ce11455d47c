//! The kinds of request in the mixed load.
//!
//! Owns their shares, paths and bodies. Invariant: shares are hundredths of the requested rate; the
//! remainder are the long polls' own.

use std::time::Duration;

use super::Options;
use crate::load::mix::{Part, Population};
use crate::load::options::{Arrivals, Options as Load};

/// Hundredths that are sent on schedule.
pub(super) const SCHEDULED: u32 = 98;

/// The writes that wake long polls.
pub(crate) const CHAT_WRITES: Part = Part {
    name: "chat writes",
    weight: 5,
    method: "POST",
    path: "/chats/{conversation}/messages",
    body: r#"{"id":"{id}","author":"{member}","text":"{words}"}"#,
};

/// Requests that are sent on schedule.
pub(super) fn parts(one_hop: bool) -> [Part; 5] {
    let read = |name, weight, path| Part { name, weight, method: "GET", path, body: "" };
    [
        read("profile reads", 60, if one_hop { "/profiles/{member}" } else { "/members/{member}" }),
        read("feed reads", 20, "/feeds/{member}?limit=20"),
        Part {
            name: "feed writes",
            weight: 5,
            method: "POST",
            path: "/feeds/{member}",
            body: r#"{"id":"{id}","text":"{words}"}"#,
        },
        read("chat reads", 8, "/chats/{conversation}/messages?limit=75"),
        CHAT_WRITES,
    ]
}

/// The members and conversations of the load.
pub(super) fn population(options: &Options) -> Population {
    Population {
        members: options.members,
        member: "m".to_owned(),
        conversations: options.conversations,
        conversation: "bench-c".to_owned(),
    }
}

/// The scheduled part of the mix.
pub(super) fn load(options: &Options, url: &str) -> Load {
    Load {
        rate: Some(f64::from(options.rate) * f64::from(SCHEDULED) / 100.0),
        duration: Some(options.duration),
        warmup: options.warmup,
        ..base(options, url)
    }
}

/// Writes messages into the conversations, as fast as possible.
pub(super) fn fill(options: &Options, url: &str) -> Load {
    Load { requests: Some(u64::from(options.messages)), ..base(options, url) }
}

/// One request for the last member, which a smaller population does not have.
pub(super) fn last_member(options: &Options, url: &str) -> Load {
    let url = format!("{url}/profiles/m{}", options.members);
    Load { requests: Some(1), connections: 1, threads: 1, ..base(options, &url) }
}

fn base(options: &Options, url: &str) -> Load {
    Load {
        url: Some(url.to_owned()),
        urls: None,
        connections: options.connections as usize,
        threads: options.threads as usize,
        duration: None,
        requests: None,
        rate: None,
        arrivals: Arrivals::Constant,
        seed: options.seed,
        keepalive: true,
        method: None,
        headers: Vec::new(),
        body: None,
        timeout: options.timeout,
        warmup: Duration::ZERO,
        json: None,
        plot: None,
        quiet: options.quiet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_that_are_asked_for() {
        for one_hop in [false, true] {
            let parts = parts(one_hop);
            let shares: Vec<_> = parts.iter().map(|part| (part.name, part.weight)).collect();
            let expected = [
                ("profile reads", 60),
                ("feed reads", 20),
                ("feed writes", 5),
                ("chat reads", 8),
                ("chat writes", 5),
            ];
            assert_eq!(shares, expected);
            assert_eq!(parts.iter().map(|part| part.weight).sum::<u32>(), SCHEDULED);
        }
    }
}
