//! One request as the driver makes it: sent, retried when allowed, polled when woken, ended once.

use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bus_proto::node::{Ask, To};
use bus_proto::pending::{Outcome, PartsEnd, TICK};
use bus_proto::{Flags, Node, RequestId, Route, retry};
use bytes::Bytes;

use crate::peer::Flag;
use crate::service::Wanted;

/// The tick of the wheel, plus the tick of the world, whose time advances in steps of a
/// microsecond.
const LATE_MAX: Duration = TICK.saturating_add(Duration::from_micros(1));

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum End {
    Answered,
    AnsweredInParts,
    Deadline,
    Lost,
    Refused,
    Cancelled,
    PartsDeadline,
    PartsLost,
    PartsCancelled,
}

pub(crate) struct Caller {
    pub(crate) wanted: Wanted,
    pub(crate) start: Instant,
    /// When the client gives up, if it does.
    pub(crate) leaves: Option<Instant>,
    pub(crate) flags: Flags,
    pub(crate) ttl: Duration,
    pub(crate) attempts: u32,
    pub(crate) end: Option<End>,
    sent: Option<RequestId>,
    flag: Arc<Flag>,
    /// The body received so far of a reply in parts.
    parts: Option<Vec<u8>>,
    /// The time by which it must have ended.
    limit: Instant,
}

impl Caller {
    pub(crate) fn new(token: u64, start: Instant, rng: &mut fastrand::Rng) -> Self {
        let len = if rng.u8(..) < 30 { rng.u32(4000..60_000) } else { rng.u32(0..1500) };
        let ttl = Duration::from_micros(match rng.u8(..) {
            0..100 => rng.u64(1..30_000),
            100..220 => rng.u64(30_000..300_000),
            _ => rng.u64(300_000..3_000_000),
        });
        let leaves = (rng.u8(..) < 25).then(|| start + ttl.mul_f64(rng.f64()));
        Self {
            wanted: Wanted { token, len },
            start,
            leaves,
            flags: if rng.bool() { Flags::IDEMPOTENT } else { Flags::NONE },
            ttl,
            attempts: 0,
            end: None,
            sent: None,
            flag: Flag::raised(),
            parts: None,
            limit: start + ttl + LATE_MAX,
        }
    }

    /// Its deadline counts from when there is a route, which may be later than planned.
    pub(crate) fn begin(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.start);
        self.start += late;
        self.limit += late;
        self.leaves = self.leaves.map(|at| at + late);
    }

    /// Advances the request as far as possible at `now`.
    pub(crate) fn poll(&mut self, now: Instant, node: &mut Node, route: Route) {
        if self.flag.lower() {
            self.advance(now, node, route);
        }
        if self.end.is_none() && self.leaves.is_some_and(|at| now >= at) {
            let id = self.sent.take().expect("it waits");
            node.close_request(id);
            self.finish(now, if self.parts.is_some() { End::PartsCancelled } else { End::Cancelled });
        }
        assert!(
            self.end.is_some() || now <= self.limit,
            "{:?} was forgotten {:?} after its start, with {:?} to live and {} attempts",
            self.wanted,
            now - self.start,
            self.ttl,
            self.attempts
        );
    }

    fn advance(&mut self, now: Instant, node: &mut Node, route: Route) {
        let waker = self.flag.waker();
        while self.end.is_none() && self.parts.is_none() {
            let Some(id) = self.sent else {
                self.send(now, node, route);
                continue;
            };
            let Poll::Ready(outcome) = node.poll_reply(id, &waker) else { return };
            self.sent = None;
            match outcome {
                Outcome::Reply(envelope) if envelope.header().flags.contains(Flags::MORE) => {
                    self.sent = Some(id);
                    self.parts = Some(envelope.body_bytes().to_vec());
                    self.limit = now + self.ttl + LATE_MAX;
                }
                Outcome::Reply(envelope) => self.answered(now, &envelope.body(), End::Answered),
                Outcome::Deadline => {
                    assert!(now >= self.start + self.ttl, "given up early");
                    self.finish(now, End::Deadline);
                }
                Outcome::Lost { written } => {
                    let deadline = self.start + self.ttl;
                    if !retry::may_retry(written, self.flags, self.attempts, now, deadline) {
                        self.finish(now, End::Lost);
                    }
                }
            }
        }
        self.take_parts(now, node);
    }

    fn send(&mut self, now: Instant, node: &mut Node, route: Route) {
        let ask = Ask { route, flags: self.flags, deadline: self.start + self.ttl, to: To::Any };
        let body = Bytes::from(self.wanted.to_bytes());
        match node.request(now, ask, |head| head.field(":path", "/"), &[body]) {
            Ok(sent) => {
                self.sent = Some(sent.id);
                self.attempts += 1;
            }
            Err(_) => self.finish(now, End::Refused),
        }
    }

    fn take_parts(&mut self, now: Instant, node: &mut Node) {
        let (Some(body), Some(id)) = (&mut self.parts, self.sent) else { return };
        let end = loop {
            match node.poll_part(id, &self.flag.waker()) {
                Poll::Pending => return,
                Poll::Ready(Some(Ok(part))) => {
                    body.extend_from_slice(&part);
                    self.limit = now + self.ttl + LATE_MAX;
                }
                Poll::Ready(None) => break End::AnsweredInParts,
                Poll::Ready(Some(Err(PartsEnd::Deadline))) => break End::PartsDeadline,
                Poll::Ready(Some(Err(PartsEnd::Lost))) => break End::PartsLost,
                Poll::Ready(Some(Err(other))) => panic!("{other:?}: parts are taken as they come"),
            }
        };
        node.close_request(id);
        let body = std::mem::take(body);
        match end {
            End::AnsweredInParts => self.answered(now, &body, end),
            broken => self.finish(now, broken),
        }
    }

    fn answered(&mut self, now: Instant, body: &[u8], end: End) {
        assert_eq!(body, self.wanted.answer(), "another request's answer");
        self.finish(now, end);
    }

    fn finish(&mut self, now: Instant, end: End) {
        assert!(now <= self.limit, "{end:?} came {:?} late", now - self.limit);
        assert_eq!(self.end.replace(end), None, "it ends once");
    }
}
