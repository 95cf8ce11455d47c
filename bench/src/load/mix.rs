//! A weighted mix of requests that are built when they are sent.
//!
//! Owns the kind of the next request, and its members and contents. `schedule` decides when.
//! Invariant: kinds, members, conversations and words are functions of the seed alone; ids and
//! their times are not, because a store would recognise the ids of an earlier run.
//!
//! Members and conversations are drawn from a Zipf-like distribution, as in `stack seed`: P(rank k)
//! = log(1 + 1/k) / log(n + 1).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};

use super::stamp::Stamps;
use super::template::{Drawn, Template};

/// Texts are excerpts of this.
const WORDS: &str = "Dinner at the old bridge this evening, the light on the river is good and the coffee is always late \
    there; bring your photo of the small garden, I have news of home, and if the train is early we walk along the sea.";
const WORDS_LEN_MIN: usize = 16;

/// One kind of request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The name in reports.
    pub(crate) name: &'static str,
    pub(crate) weight: u32,
    pub(crate) method: &'static str,
    /// A template with the places {member} and {conversation}.
    pub(crate) path: &'static str,
    /// A template with the same places and {id} and {words}; empty for no body.
    pub(crate) body: &'static str,
}

/// Names of members and conversations: `m1` to `m1000`, `c0` to `c4999`.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    pub(crate) members: u32,
    /// Prefix of every member's id.
    pub(crate) member: String,
    pub(crate) conversations: u32,
    /// Prefix of every conversation's id.
    pub(crate) conversation: String,
}

/// A checked mix.
#[derive(Debug)]
pub(crate) struct Mix {
    kinds: Vec<Kind>,
    weights: u32,
    population: Population,
    pub(super) host: String,
    pub(super) stamps: Stamps,
    /// Acknowledged messages, by conversation.
    acknowledged: Box<[AtomicU64]>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    weight: u32,
    template: Template,
}

/// A request that was built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) kind: usize,
    /// The conversation that the request writes to.
    pub(super) writes_to: Option<usize>,
}

impl Mix {
    pub(super) fn new(parts: &[Part], population: Population, host: &str) -> Result<Self> {
        let Population { members, conversations, .. } = population;
        ensure!(members > 0 && conversations > 0, "a mix needs at least one member and one conversation");
        let kinds = parts
            .iter()
            .map(|part| {
                let template = Template::new(part.method, part.path, part.body, host)?;
                Ok(Kind { name: part.name, weight: part.weight, template })
            })
            .collect::<Result<Vec<_>>>()?;
        let weights = kinds.iter().map(|kind| kind.weight).sum();
        ensure!(weights > 0, "a mix needs a kind of request that has a weight");
        let acknowledged = (0..conversations).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { kinds, weights, population, host: host.to_owned(), stamps: Stamps::new(), acknowledged })
    }

    pub(super) fn kinds(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().map(|kind| kind.name)
    }

    /// Replaces the contents of `room` by the next request, sent `now`; `place` is unique.
    pub(super) fn make(
        &self,
        rng: &mut fastrand::Rng,
        place: (usize, u64),
        now: Instant,
        room: &mut Vec<u8>,
    ) -> Made {
        let Population { members, member, conversations, conversation } = &self.population;
        let index = pick(self.kinds.iter().map(|kind| kind.weight), rng.u32(..self.weights));
        let who = rank(rng, *members);
        let at = rank(rng, *conversations);
        let drawn = Drawn {
            member: (member, u64::from(who) + 1),
            conversation: (conversation, u64::from(at)),
            id: self.stamps.at(now, place),
            words: &WORDS[..rng.usize(WORDS_LEN_MIN..=WORDS.len())],
        };
        let template = &self.kinds[index].template;
        template.write(&drawn, room);
        Made { kind: index, writes_to: template.writes_to_conversation().then_some(at as usize) }
    }

    pub(super) fn conversations(&self) -> usize {
        self.acknowledged.len()
    }

    pub(super) fn conversation(&self, index: usize) -> String {
        format!("{}{index}", self.population.conversation)
    }

    pub(super) fn acknowledge(&self, conversation: usize) {
        self.acknowledged[conversation].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn acknowledged(&self, conversation: usize) -> u64 {
        self.acknowledged[conversation].load(Ordering::Relaxed)
    }
}

/// The index whose share of the sum of `weights` contains `at`.
fn pick(weights: impl Iterator<Item = u32>, mut at: u32) -> usize {
    for (index, weight) in weights.enumerate() {
        match at.checked_sub(weight) {
            None => return index,
            Some(rest) => at = rest,
        }
    }
    0
}

/// A number from 0 to `below - 1`; k is drawn about as often as 1 / (k + 1).
fn rank(rng: &mut fastrand::Rng, below: u32) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the power is within 1 and below + 1"
    )]
    let drawn = (f64::from(below) + 1.0).powf(rng.f64()) as u32;
    drawn.saturating_sub(1).min(below - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::*;

    const PARTS: [Part; 3] = [
        Part { name: "reads", weight: 60, method: "GET", path: "/members/{member}", body: "" },
        Part { name: "chat reads", weight: 8, method: "GET", path: "/chats/{conversation}", body: "" },
        Part {
            name: "chat writes",
            weight: 5,
            method: "POST",
            path: "/chats/{conversation}",
            body: r#"{"id":"{id}","text":"{words}"}"#,
        },
    ];

    fn mix() -> Mix {
        let population =
            Population { members: 1000, member: "m".into(), conversations: 50, conversation: "c".into() };
        Mix::new(&PARTS, population, "h").unwrap()
    }

    fn draw(mix: &Mix, seed: u64, count: u64) -> Vec<(Made, String)> {
        let (mut rng, now) = (fastrand::Rng::with_seed(seed), Instant::now());
        let mut room = Vec::new();
        let mut one = |number| {
            let made = mix.make(&mut rng, (0, number), now, &mut room);
            (made, String::from_utf8(room.clone()).unwrap())
        };
        (0..count).map(&mut one).collect()
    }

    #[test]
    fn shares_are_the_weights() {
        let drawn = draw(&mix(), 1, 73_000);
        for (kind, part) in PARTS.iter().enumerate() {
            let count = u32::try_from(drawn.iter().filter(|(made, _)| made.kind == kind).count()).unwrap();
            // Four standard deviations. One seed in some ten thousand would fail, and this seed is
            // fixed.
            let expected = f64::from(part.weight) * 1000.0;
            let deviation = (expected * (1.0 - expected / 73_000.0)).sqrt();
            assert!((f64::from(count) - expected).abs() < 4.0 * deviation, "{}: {count}", part.name);
        }
    }

    #[test]
    fn a_seed_gives_the_same_requests_but_for_their_ids() {
        let without_id = |seed| {
            let drawn = draw(&mix(), seed, 1000);
            let hide = |(made, text): (Made, String)| {
                let parts = text
                    .split_once(r#""id":""#)
                    .and_then(|(head, rest)| Some((head, rest.split_once('"')?.1)));
                match parts {
                    // The length of an id depends on the clock.
                    Some((head, rest)) => {
                        (made, head.split("Content-Length").next().unwrap().to_owned() + rest)
                    }
                    None => (made, text),
                }
            };
            drawn.into_iter().map(hide).collect::<Vec<_>>()
        };
        assert_eq!(without_id(7), without_id(7));
        assert_ne!(without_id(7), without_id(8));
    }

    #[test]
    fn ids_are_given_once_also_by_another_run_with_the_same_seed() {
        let mut ids = HashSet::new();
        let (first, second) = (mix(), mix());
        for (made, text) in draw(&first, 1, 5000).into_iter().chain(draw(&second, 1, 5000)) {
            if made.kind == 2 {
                let body: serde_json::Value =
                    serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
                assert!(ids.insert(body["id"].as_str().unwrap().to_owned()), "{text}");
            }
        }
        assert!(ids.len() > 500, "{}", ids.len());
    }

    /// The first hundredth of 1000 ranks has log(11) / log(1001) = 35 % of all draws.
    #[test]
    fn few_members_are_asked_for_often_and_none_that_there_is_not() {
        let mut counts: HashMap<u32, u32> = HashMap::new();
        for (_, text) in draw(&mix(), 3, 20_000).iter().filter(|(made, _)| made.kind == 0) {
            let member = text.strip_prefix("GET /members/m").unwrap().split(' ').next().unwrap();
            *counts.entry(member.parse().unwrap()).or_default() += 1;
        }
        assert!(counts.keys().all(|member| (1..=1000).contains(member)), "{counts:?}");
        let all: u32 = counts.values().sum();
        let top: u32 = (1..=10).filter_map(|member| counts.get(&member)).sum();
        assert!((all * 30 / 100..all * 40 / 100).contains(&top), "{top} of {all}");
    }

    #[test]
    fn a_write_names_the_conversation_that_it_is_sent_to() {
        let drawn = draw(&mix(), 1, 2000);
        for (made, text) in &drawn {
            assert_eq!(made.writes_to.is_some(), made.kind == 2);
            if let Some(conversation) = made.writes_to {
                assert!(text.starts_with(&format!("POST /chats/c{conversation} ")), "{text}");
            }
        }
    }
}
