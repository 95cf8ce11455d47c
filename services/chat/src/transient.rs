//! The members who type and who are present, as far as this worker knows.
//!
//! Owns the members, when they expire, and a digest that is equal on all instances with the same
//! knowledge. Takes the time as an argument. Invariant: a digest of 0 means no member; nothing is
//! kept beyond its time or the limits.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use xxhash_rust::xxh3::Xxh3;

/// A member stops typing unless it repeats so within this time.
pub(crate) const TYPING: Duration = Duration::from_secs(6);

/// A polling member is present for this long: longer than a poll and the pause before the next.
pub(crate) const PRESENT: Duration = Duration::from_secs(45);

/// Most conversations with known members; further ones are not recorded.
const CONVERSATIONS_MAX: usize = 20_000;

/// Most members of one conversation that are shown as typing, and as present. Larger lists are of
/// no use to readers.
const MEMBERS_MAX: usize = 50;

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    Typing,
    Present,
}

/// What members do, by conversation.
#[derive(Debug, Default)]
pub(crate) struct Transients {
    chats: HashMap<String, State, RandomState>,
}

#[derive(Debug, Default)]
struct State {
    /// In the order of names.
    typing: Vec<(String, Instant)>,
    present: Vec<(String, Instant)>,
    digest: u32,
}

impl Transients {
    /// Records that `member` does this until `until`. True when this is new.
    pub(crate) fn tell(&mut self, chat: &str, member: &str, doing: Doing, until: Instant) -> bool {
        if !self.chats.contains_key(chat) && self.chats.len() >= CONVERSATIONS_MAX {
            return false;
        }
        let state = self.chats.entry(chat.to_owned()).or_default();
        let members = state.members_mut(doing);
        match members.binary_search_by(|(known, _)| known.as_str().cmp(member)) {
            Ok(at) => {
                members[at].1 = members[at].1.max(until);
                false
            }
            Err(_) if members.len() >= MEMBERS_MAX => false,
            Err(at) => {
                members.insert(at, (member.to_owned(), until));
                state.digest();
                true
            }
        }
    }

    /// Records that `member` has stopped. True when this is new.
    pub(crate) fn end(&mut self, chat: &str, member: &str, doing: Doing) -> bool {
        let Some(state) = self.chats.get_mut(chat) else { return false };
        let before = state.digest;
        state.members_mut(doing).retain(|(known, _)| known != member);
        state.digest();
        let changed = state.digest != before;
        if state.is_empty() {
            self.chats.remove(chat);
        }
        changed
    }

    /// When the record of `member` expires, if there is one.
    pub(crate) fn until(&self, chat: &str, member: &str, doing: Doing) -> Option<Instant> {
        let members = self.chats.get(chat)?.members(doing);
        members.iter().find(|(known, _)| known == member).map(|(_, until)| *until)
    }

    /// Removes expired records; returns the conversations that changed.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<String> {
        let mut changed = Vec::new();
        self.chats.retain(|chat, state| {
            let before = state.digest;
            state.typing.retain(|(_, until)| *until > now);
            state.present.retain(|(_, until)| *until > now);
            state.digest();
            if state.digest != before {
                changed.push(chat.clone());
            }
            !state.is_empty()
        });
        changed
    }

    /// Digest of the members who type and are present; 0 when there are none.
    pub(crate) fn digest(&self, chat: &str) -> u32 {
        self.chats.get(chat).map_or(0, |state| state.digest)
    }

    /// The members who do this, in the order of names.
    pub(crate) fn members(&self, chat: &str, doing: Doing) -> Vec<&str> {
        let members = self.chats.get(chat).map(|state| state.members(doing));
        members.into_iter().flatten().map(|(member, _)| member.as_str()).collect()
    }
}

impl State {
    fn members(&self, doing: Doing) -> &[(String, Instant)] {
        match doing {
            Doing::Typing => &self.typing,
            Doing::Present => &self.present,
        }
    }

    fn members_mut(&mut self, doing: Doing) -> &mut Vec<(String, Instant)> {
        match doing {
            Doing::Typing => &mut self.typing,
            Doing::Present => &mut self.present,
        }
    }

    fn is_empty(&self) -> bool {
        self.typing.is_empty() && self.present.is_empty()
    }

    fn digest(&mut self) {
        let mut hash = Xxh3::new();
        for members in [&self.typing, &self.present] {
            for (member, _) in members {
                hash.update(member.as_bytes());
                hash.update(b"\0");
            }
            hash.update(b"\0\0");
        }
        let low = u32::try_from(hash.digest() & u64::from(u32::MAX)).expect("32 bits");
        self.digest = if self.is_empty() { 0 } else { low.max(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_types_is_known_until_it_is_over() {
        let now = Instant::now();
        let mut known = Transients::default();
        assert!(known.tell("c", "bob", Doing::Typing, now + TYPING));
        assert!(known.tell("c", "ada", Doing::Typing, now + TYPING));
        assert!(!known.tell("c", "ada", Doing::Typing, now + 2 * TYPING));
        assert_eq!(known.members("c", Doing::Typing), ["ada", "bob"]);
        assert!(known.members("c", Doing::Present).is_empty() && known.digest("d") == 0);
        assert!(known.expire(now).is_empty());
        assert_eq!(known.expire(now + TYPING), ["c"]);
        assert_eq!(known.members("c", Doing::Typing), ["ada"]);
        assert!(known.end("c", "ada", Doing::Typing) && !known.end("c", "ada", Doing::Typing));
        assert_eq!(known.digest("c"), 0);
    }

    #[test]
    fn the_digest_is_the_same_for_the_same_members_in_any_order() {
        let now = Instant::now();
        let digest = |told: &[(&str, Doing)]| {
            let mut known = Transients::default();
            for (member, doing) in told {
                known.tell("c", member, *doing, now);
            }
            known.digest("c")
        };
        let (typing, present) = (Doing::Typing, Doing::Present);
        assert_eq!(digest(&[("a", typing), ("b", typing)]), digest(&[("b", typing), ("a", typing)]));
        assert_ne!(digest(&[("a", typing)]), digest(&[("a", present)]));
        assert_ne!(digest(&[("ab", typing)]), digest(&[("a", typing), ("b", typing)]));
    }

    #[test]
    fn memory_is_bounded() {
        let (now, mut known) = (Instant::now(), Transients::default());
        for n in 0..2 * MEMBERS_MAX {
            known.tell("c", &format!("{n}"), Doing::Present, now);
        }
        assert_eq!(known.members("c", Doing::Present).len(), MEMBERS_MAX);
        for n in 0..2 * CONVERSATIONS_MAX {
            known.tell(&format!("{n}"), "a", Doing::Present, now);
        }
        assert_eq!(known.chats.len(), CONVERSATIONS_MAX);
        known.expire(now);
        assert!(known.chats.is_empty());
    }
}
