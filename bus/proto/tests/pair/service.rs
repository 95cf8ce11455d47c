//! The answering side: a node whose handler works for a while and answers with bytes that are
//! unique to the request.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bus_proto::node::NodeConfig;
use bus_proto::{Correlation, Framing, Header, Input, Node, PipeId};
use bytes::Bytes;

use crate::link::{Link, Weather};
use crate::peer;

/// The token of a request: the first twelve bytes of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) token: u64,
    pub(crate) len: u32,
}

impl Wanted {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [&self.token.to_be_bytes()[..], &self.len.to_be_bytes()].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        let (token, len) = (bytes[..8].try_into().expect("eight"), bytes[8..12].try_into().expect("four"));
        Self { token: u64::from_be_bytes(token), len: u32::from_be_bytes(len) }
    }

    /// The only correct answer.
    pub(crate) fn answer(self) -> Bytes {
        let mut answer = self.token.to_be_bytes().to_vec();
        for n in 0..self.len / 8 {
            answer.extend_from_slice(&(self.token << 32 | u64::from(n)).to_be_bytes());
        }
        Bytes::from(answer)
    }
}

struct Job {
    due: Instant,
    pipe: PipeId,
    request: Header,
    wanted: Wanted,
}

pub(crate) struct Service {
    pub(crate) node: Node,
    pub(crate) link: Option<Link>,
    /// When it connects again.
    pub(crate) dial_at: Instant,
    /// The pipe of the hostile peer, which sends messages it has seen.
    pub(crate) hostile: PipeId,
    /// How often a handler got each token on the asker's own pipe.
    pub(crate) seen: HashMap<u64, u32>,
    pub(crate) answers: u64,
    jobs: Vec<Job>,
}

impl Service {
    pub(crate) fn new(now: Instant, number: u64, seed: u64) -> Self {
        let mut hello = peer::hello("echo", &["* /{*path}"], &[]);
        hello.instance = number.to_string();
        hello.limit = if number == 0 { 8 } else { 0 };
        let mut config = NodeConfig { hello: Some(hello), seed, ..peer::config(1000 + number) };
        config.limits.message_len_max = 4096;
        let mut node = Node::new(config, now);
        let hostile = node.open_pipe(now, Framing::Tcp);
        Self { node, link: None, dial_at: now, hostile, seen: HashMap::new(), answers: 0, jobs: Vec::new() }
    }

    pub(crate) fn take(&mut self, now: Instant, pipe: PipeId, message: Bytes, rng: &mut fastrand::Rng) {
        match self.node.handle_message(now, pipe, message) {
            Input::Serve { envelope, deadline } => {
                let barrier_passed = self.node.is_draining() && self.node.drain_was_read();
                let is_askers = pipe != self.hostile;
                assert!(!(is_askers && barrier_passed), "a request behind the drain's barrier");
                if deadline.is_some_and(|deadline| now >= deadline) {
                    return;
                }
                let wanted = Wanted::from_bytes(envelope.body_bytes());
                if is_askers {
                    *self.seen.entry(wanted.token).or_insert(0) += 1;
                }
                let work = if rng.u8(..) < 20 { 300_000 } else { 8_000 };
                let due = now + Duration::from_micros(rng.u64(0..work));
                self.jobs.push(Job { due, pipe, request: envelope.header(), wanted });
            }
            Input::Cancelled(id) if rng.bool() => self.cancel(pipe, id),
            _ => {}
        }
    }

    /// The hostile peer would not answer the ping of a drain, and a drain has no time limit here,
    /// so its pipe is closed.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.node.close_pipe(now, self.hostile);
        self.node.drain();
    }

    fn cancel(&mut self, pipe: PipeId, id: Correlation) {
        self.jobs.retain(|job| job.pipe != pipe || job.request.correlation != id);
    }

    /// Sends the answers that are ready.
    pub(crate) fn work(&mut self, now: Instant, weather: &Weather, rng: &mut fastrand::Rng) {
        for job in self.jobs.extract_if(.., |job| job.due <= now) {
            // A part of a reply must not be repeated: that would be another reply, not a
            // reordering.
            let twice = weather.duplicates && job.wanted.len < 2000 && rng.u8(..) < 50;
            for _ in 0..=u8::from(twice) {
                let head = |head: &mut bus_proto::HeadWriter<'_>| head.field("whole", "");
                self.node.reply(job.pipe, &job.request, 200, head, job.wanted.answer());
                self.answers += 1;
            }
        }
        // The hostile peer does not read.
        if let Some(hostile) = self.node.socket.pipe_mut(self.hostile) {
            hostile.out.take();
        }
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.jobs.is_empty()
    }

    pub(crate) fn next(&self) -> Instant {
        let due = self.jobs.iter().map(|job| job.due).min();
        due.map_or(self.node.next_timeout(), |due| due.min(self.node.next_timeout()))
    }
}
