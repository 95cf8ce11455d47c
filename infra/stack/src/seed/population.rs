//! A generated population: members, whom they follow, and what they write from day to day.
//!
//! Owns generating them and their requests. Leaves the form of a request to `request`, profiles to
//! `sample`, and sending to `sending`. Invariant: a request is a function of the population's
//! parameters and of its number, so the same parameters give the same bytes wherever sending
//! starts; all ids are explicit, so sending a request twice has the same effect as sending it once.
//!
//! Activity is Zipf-like: few members are followed by many, write much, and talk in busy
//! conversations. Draws are log-uniform, P(rank k) = log(1 + 1/k) / log(n + 1), which falls like
//! Zipf's law with exponent 1 and needs no table.

use std::fmt::Display;

use percent_encoding::utf8_percent_encode;
use serde_json::json;

use super::request::Request;
use super::template::SEGMENT;
use crate::sample;

/// The version of the generator. It is part of a checkpoint, because the numbers of requests differ
/// between versions.
pub const GENERATOR: u32 = 1;

/// Most members that one member follows.
const FOLLOWS_MAX: u64 = 100;
/// Mean number of a member's acts per day.
const ACTS_PER_DAY: u64 = 2;
/// Feed entries per hundred acts. What is neither an entry nor a message is reading one's feed.
const ENTRIES: u32 = 30;
/// Messages per hundred acts.
const MESSAGES: u32 = 50;
/// Most members of one conversation.
const TALKERS_MAX: usize = 6;

/// Words of generated texts.
const WORDS: [&str; 48] = [
    "again", "always", "bread", "bridge", "coffee", "cold", "dinner", "early", "evening", "friends",
    "garden", "good", "home", "idea", "just", "kind", "late", "light", "little", "long", "lunch", "maybe",
    "meeting", "morning", "music", "never", "news", "night", "nothing", "open", "photo", "quiet", "rain",
    "reading", "river", "road", "sea", "seen", "small", "snow", "street", "sun", "talk", "today", "tomorrow",
    "train", "walk", "weekend",
];

/// The parameters of a population.
#[derive(Clone, Debug)]
pub struct Population {
    members: u64,
    days: u64,
    seed: u64,
    prefix: String,
    /// Spreads the active members over the ids: rank k is member `(k * step + shift) % members`.
    step: u64,
    shift: u64,
    /// Part of every id but the members': other populations have other entries, and further days
    /// extend this one.
    tag: String,
}

/// The use of a random number. Each use has a sequence of its own.
#[derive(Clone, Copy)]
enum Topic {
    Shape = 1,
    Profile,
    Follows,
    Talkers,
    Act,
}

impl Population {
    /// A population; `members` is at least 1.
    #[must_use]
    pub fn new(members: u32, days: u32, seed: u64, prefix: &str) -> Self {
        assert!(members > 0, "a population has members");
        let members = u64::from(members);
        let mut shape = random(seed, Topic::Shape, 0);
        let step =
            std::iter::repeat_with(|| shape.u64(1..=members)).find(|&step| divisor(step, members) == 1);
        let step = step.expect("1 has no common divisor with anything");
        let (days, prefix, shift) = (u64::from(days), prefix.to_owned(), shape.u64(..members));
        let tag = format!("{:08x}", mixed(mixed(u64::from(GENERATOR) ^ seed) ^ members) >> 32);
        Self { members, days, seed, prefix, step, shift, tag }
    }

    /// All requests, in order.
    pub fn requests(self) -> impl Iterator<Item = Request> + Send + 'static {
        let members = self.members;
        let acts = (0..self.days).flat_map(move |day| (0..ACTS_PER_DAY * members).map(move |at| (day, at)));
        let (profiles, follows) = (self.clone(), self.clone());
        let follows = (0..members).flat_map(move |member| follows.follows(member)).enumerate();
        (0..members)
            .map(move |member| profiles.profile(member))
            .chain(follows.map(|(at, request)| Request { wait: at == 0, ..request }))
            .chain(acts.map(move |(day, at)| Request { wait: at == 0, ..self.act(day, at) }))
    }

    /// The number of requests. Draws the follows, so it takes some 100 ms for a million members.
    #[must_use]
    pub fn total(&self) -> u64 {
        let follows = (0..self.members).map(|member| self.followed(member).len() as u64).sum::<u64>();
        self.members + follows + self.days * ACTS_PER_DAY * self.members
    }

    fn profile(&self, member: u64) -> Request {
        let id = self.id(member);
        let document = sample::member(&mut random(self.seed, Topic::Profile, member), &id);
        self.request("PUT", &["profiles", &id], document.to_string())
    }

    fn follows(&self, member: u64) -> Vec<Request> {
        let id = self.id(member);
        let follow = |other| self.request("PUT", &["feeds", &id, "follows", &self.id(other)], String::new());
        self.followed(member).into_iter().map(follow).collect()
    }

    /// The members that `member` follows, mostly the popular ones.
    fn followed(&self, member: u64) -> Vec<u64> {
        let mut rng = random(self.seed, Topic::Follows, member);
        let draws = 1 + rank(&mut rng, FOLLOWS_MAX.min(self.members));
        let mut followed = Vec::new();
        for _ in 0..draws {
            let other = self.known(&mut rng);
            if other != member && !followed.contains(&other) {
                followed.push(other);
            }
        }
        followed
    }

    fn act(&self, day: u64, at: u64) -> Request {
        let place = day * ACTS_PER_DAY * self.members + at;
        let mut rng = random(self.seed, Topic::Act, place);
        let id = format!("{}-{day}-{at}", self.tag);
        let kind = rng.u32(..100);
        if kind < ENTRIES {
            let owner = self.id(self.known(&mut rng));
            let entry = json!({ "id": id, "text": text(&mut rng) });
            self.request("POST", &["feeds", &owner], entry.to_string())
        } else if kind < ENTRIES + MESSAGES {
            let conversation = rank(&mut rng, self.members.div_ceil(2));
            let talkers = self.talkers(conversation);
            let author = self.id(talkers[rng.usize(..talkers.len())]);
            let chat = format!("{}c{}-{}", self.prefix, self.tag, conversation + 1);
            let message = json!({ "id": id, "author": author, "text": text(&mut rng) });
            self.request("POST", &["chats", &chat, "messages"], message.to_string())
        } else {
            let reader = self.id(rng.u64(..self.members));
            self.request("PUT", &["feeds", &reader, "read"], String::new())
        }
    }

    fn talkers(&self, conversation: u64) -> Vec<u64> {
        let mut rng = random(self.seed, Topic::Talkers, conversation);
        let mut talkers = vec![rng.u64(..self.members)];
        for _ in 0..rng.usize(1..TALKERS_MAX) {
            let other = self.known(&mut rng);
            if !talkers.contains(&other) {
                talkers.push(other);
            }
        }
        talkers
    }

    /// A member, mostly one of the popular ones.
    fn known(&self, rng: &mut fastrand::Rng) -> u64 {
        (rank(rng, self.members) * self.step + self.shift) % self.members
    }

    fn id(&self, member: u64) -> String {
        format!("{}{}", self.prefix, member + 1)
    }

    fn request(&self, method: &str, segments: &[&str], body: String) -> Request {
        let encoded = segments.iter().map(|segment| utf8_percent_encode(segment, SEGMENT));
        let path = encoded.fold(String::new(), |path, segment| path + "/" + &segment.to_string());
        Request::new(method, &path, body).expect("segments are percent-encoded")
    }
}

/// A number from 0 to `below - 1`; k is drawn about as often as 1 / (k + 1).
fn rank(rng: &mut fastrand::Rng, below: u64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "below is at most 2^27, and the power is within 1 and below + 1"
    )]
    let drawn = ((below + 1) as f64).powf(rng.f64()) as u64;
    (drawn - 1).min(below - 1)
}

fn text(rng: &mut fastrand::Rng) -> String {
    let mut text = String::new();
    for word in 0..2 + rank(rng, 40) {
        let drawn = WORDS[rng.usize(..WORDS.len())];
        if word == 0 {
            text.push_str(&drawn[..1].to_uppercase());
            text.push_str(&drawn[1..]);
        } else {
            text.extend([" ", drawn]);
        }
    }
    text + "."
}

fn random(seed: u64, topic: Topic, place: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(mixed(mixed(mixed(seed) ^ topic as u64) ^ place))
}

/// The mixing function of Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators",
/// 2014: neighbouring inputs give unrelated outputs.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { divisor(b, a % b) }
}

/// Identifies the population in a checkpoint.
impl Display for Population {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { members, days, seed, prefix, .. } = self;
        write!(f, "population {GENERATOR}: {members} members, {days} days, seed {seed}, prefix {prefix:?}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use super::{Population, Request};

    fn bytes(members: u32, days: u32, seed: u64) -> Vec<u8> {
        let mut out = Vec::new();
        for request in Population::new(members, days, seed, "m").requests() {
            request.write(&mut out).expect("writes");
        }
        out
    }

    fn requests(members: u32, days: u32) -> Vec<Request> {
        Population::new(members, days, 1, "m").requests().collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_gives_others() {
        let first = bytes(300, 3, 7);
        assert!(first == bytes(300, 3, 7), "twice the same");
        assert!(first != bytes(300, 3, 8), "another seed");
    }

    #[test]
    fn total_is_how_many_there_are() {
        for (members, days) in [(1, 0), (1, 2), (2, 1), (3, 5), (500, 2)] {
            let population = Population::new(members, days, 3, "m");
            assert_eq!(population.total(), population.requests().count() as u64, "{members} {days}");
        }
    }

    #[test]
    fn every_id_is_given_once() {
        let mut ids = HashSet::new();
        for request in requests(300, 3).iter().filter(|request| request.method == "POST") {
            let body: serde_json::Value = serde_json::from_slice(&request.body).expect("is JSON");
            assert!(ids.insert(body["id"].as_str().expect("has an id").to_owned()), "{body}");
        }
        assert!(ids.len() > 1000, "{}", ids.len());
    }

    #[test]
    fn another_population_has_other_ids_and_further_days_are_of_the_same() {
        let posts = |members, days, seed| -> Vec<Request> {
            let all = Population::new(members, days, seed, "m").requests();
            all.filter(|request| request.method == "POST").collect()
        };
        let id = |request: &Request| {
            serde_json::from_slice::<serde_json::Value>(&request.body).expect("is JSON")["id"].clone()
        };
        let first = posts(50, 1, 1);
        let ids: Vec<_> = first.iter().map(id).collect();
        for other in [posts(60, 1, 1), posts(50, 1, 2)] {
            assert!(!other.iter().any(|request| ids.contains(&id(request))));
        }
        assert_eq!(posts(50, 2, 1)[..first.len()], first);
    }

    #[test]
    fn follows_wait_for_profiles_and_each_day_for_the_one_before() {
        let waits: Vec<_> = requests(100, 3).into_iter().filter(|request| request.wait).collect();
        assert_eq!(waits.len(), 4);
        assert!(waits[0].path.path().contains("/follows/"), "{:?}", waits[0]);
    }

    #[test]
    fn nobody_follows_itself_or_anybody_twice() {
        let mut seen = HashSet::new();
        for request in requests(50, 0).into_iter().filter(|request| request.path.path().contains("/follows/"))
        {
            let parts: Vec<_> = request.path.path().split('/').collect();
            assert_ne!(parts[2], parts[4]);
            assert!(seen.insert(request.path.clone()), "{request:?}");
        }
    }

    /// With exponent 1 the first hundredth of 1000 ranks has log(11) / log(1001) = 35 % of all
    /// draws; evenly spread it would be 1 %.
    #[test]
    fn few_say_much_and_are_followed_by_many() {
        // A member is not followed twice by another, so follows are flatter.
        for (method, part, least) in [("POST", "/feeds/", 4), ("PUT", "/follows/", 10)] {
            let mut counts: HashMap<String, u32> = HashMap::new();
            for request in requests(1000, 5).into_iter().filter(|request| request.method == method) {
                let path = request.path.path();
                if path.contains(part) {
                    *counts.entry(path.rsplit('/').next().expect("has one").to_owned()).or_default() += 1;
                }
            }
            let mut counts: Vec<u32> = counts.into_values().collect();
            counts.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
            let (top, all): (u32, u32) = (counts[..10].iter().sum(), counts.iter().sum());
            assert!((all / least..all / 2).contains(&top), "{part}: {top} of {all}");
        }
    }
}
