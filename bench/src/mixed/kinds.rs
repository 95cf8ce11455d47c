//! The kinds of request in the mixed load.
//!
//! Owns their shares, paths and bodies. Invariant: shares are hundredths of the requested rate; the
//! remainder are the long polls' own.

use super::options::Options;
use crate::load::mix::{Part, Population};
use crate::load::options::Options as Load;

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
pub(super) fn parts() -> [Part; 5] {
    let read = |name, weight, path| Part { name, weight, method: "GET", path, body: "" };
    [
        read("profile reads", 60, "/members/{member}"),
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
        connections: options.connections as usize,
        threads: options.threads as usize,
        seed: options.seed,
        timeout: options.timeout,
        quiet: options.quiet,
        ..Load::of(url.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_those_that_are_asked_for() {
        let shares = parts().map(|part| (part.name, part.weight));
        let expected = [
            ("profile reads", 60),
            ("feed reads", 20),
            ("feed writes", 5),
            ("chat reads", 8),
            ("chat writes", 5),
        ];
        assert_eq!(shares, expected);
        assert_eq!(shares.iter().map(|share| share.1).sum::<u32>(), SCHEDULED);
    }
}
