//! Copies of requests that a service has answered: one for the candidate, one for stable.
//!
//! Owns which answered requests are copied, sending the copies, and what becomes of their replies.
//! Leaves the share and the methods to `live`, places to crate `bus`, and the comparison to
//! `change::ghost`. Invariant: a client's answer is begun before its request is copied and never
//! waits for a copy; the copies that exist are bounded in number, bytes and time.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::proto::Fields;
use bus::{Body, Call, Envelope, Flags, Head, HeadWriter, Instance, Options, Route, Shadow, To};
use bytes::{Bytes, BytesMut};
use change::ghost::{Reply as Compared, Target};
use change::split::Group;

use crate::limits::COPY_BYTES;
use crate::live::Shadowed;
use crate::request::RequestHead;
use crate::response::Answer;
use crate::route::Line;
use crate::worker::{Permit, Worker};

/// An answered request of which copies are sent.
struct Original {
    worker: Rc<Worker>,
    shadowed: Rc<Shadowed>,
    route: Route,
    pattern: Arc<str>,
    /// How long a copy may take.
    patience: Duration,
    flags: Flags,
    /// The fields of the head, in the envelope's encoding.
    head: Box<[u8]>,
    body: Body,
    /// The instance that answered, and its answer.
    instance: Instance,
    answer: Whole,
    _place: Permit,
}

/// A complete reply.
struct Whole {
    envelope: Envelope,
    body: Bytes,
}

/// Copies a request whose answer the client is about to get, if it is chosen to be copied. The
/// copies are sent by a task of its own, which runs after that of the connection.
pub(super) fn copy(worker: &Rc<Worker>, line: &Line, call: &Call<RequestHead>, answer: &Answer) {
    let Answer::Reply(_, reply) = answer else { return };
    let Some(decision) = call.head().decision() else { return };
    let Some(shadowed) = decision.shadowed(&worker.bus, call.route()) else { return };
    let Some(instance) = call.instance().filter(|instance| instance.version != shadowed.candidate) else {
        return;
    };
    let Some(order) = shadowed.copies(call.head().method(), &mut fastrand::Rng::new()) else { return };
    let place = match place(worker, call.body(), &reply.envelope) {
        Some(place) if worker.has_time_for_copies() => place,
        _ => {
            worker.stats.ghost_skipped.increment();
            return shadowed.comparison().skip();
        }
    };
    worker.stats.ghost_copies.increment();
    shadowed.comparison().copy();
    let original = Original {
        worker: Rc::clone(worker),
        shadowed: Rc::clone(shadowed),
        route: call.route(),
        pattern: Arc::clone(&line.pattern),
        patience: line.deadline,
        flags: call.head().flags(),
        head: call.head().fields().into(),
        body: call.body().clone(),
        instance,
        answer: Whole { envelope: reply.envelope.clone(), body: reply.envelope.body() },
        _place: place,
    };
    // It ends when its copies are answered or late.
    tokio::task::spawn_local(original.compare(order));
}

/// A place among the copies of the worker; `None` when there is none, and for an answer that is not
/// kept: one in parts, or a large one.
fn place(worker: &Worker, body: &Body, reply: &Envelope) -> Option<Permit> {
    let bytes = body.iter().map(Bytes::len).sum::<usize>() + reply.body_bytes().len();
    let is_kept = bytes <= COPY_BYTES && !reply.header().flags.contains(Flags::MORE);
    is_kept.then(|| worker.copies.take().ok()).flatten()
}

impl Original {
    /// Sends the copies in this order, waits for their replies and compares them.
    async fn compare(self, order: [Target; 2]) {
        let replies = match self.send(order) {
            Some((candidate, second)) => {
                let same = self.is_same_instance(second.instance());
                let (candidate, second) =
                    tokio::join!(self.reply(candidate, Group::Candidate), self.reply(second, Group::Control));
                candidate.zip(second).map(|replies| (replies, same))
            }
            None => None,
        };
        let (stats, mut comparison) = (&self.worker.stats, self.shadowed.comparison());
        let Some(((candidate, second), same)) = replies else {
            stats.ghost_lost.increment();
            return comparison.lose();
        };
        stats.ghost_compared.increment();
        if same {
            comparison.same_instance();
        }
        let [answer, candidate, second] =
            [&self.answer, &candidate, &second].map(|whole| (whole, whole.fields()));
        comparison.compare(&self.pattern, &compared(&answer), &compared(&candidate), &compared(&second));
    }

    /// Sends both copies, or none: `None` when there is no place for one. Returns that for the
    /// candidate first.
    fn send(&self, order: [Target; 2]) -> Option<(Shadow, Shadow)> {
        let [first, last] = order.map(|target| {
            let (to, pin) = match target {
                Target::Candidate => (To::Only(self.shadowed.candidate), Some(&*self.shadowed)),
                Target::Stable => (To::Beside(self.instance.pipe), None),
            };
            (to, CopiedHead { fields: &self.head, candidate: pin })
        });
        let asked = Instant::now();
        let send = |(to, head): (To, CopiedHead<'_>)| {
            let deadline = asked + self.patience;
            let options = Options { asked, deadline, hold: Duration::ZERO, flags: self.flags, to };
            self.worker.bus.shadow(self.route, &head, &self.body, options)
        };
        let (first, last) = (send(first)?, send(last)?);
        Some(if order[0] == Target::Candidate { (first, last) } else { (last, first) })
    }

    /// True when a copy has gone to the instance that answered the request.
    fn is_same_instance(&self, copied: Instance) -> bool {
        let name = |of: Instance| self.worker.bus.hello_of(of.pipe).map(|hello| hello.instance);
        copied.pipe == self.instance.pipe || name(copied) == name(self.instance)
    }

    /// Waits for the whole reply to a copy, and counts it for the rollout's ghost stage; `None`
    /// when there is none in time.
    async fn reply(&self, copy: Shadow, group: Group) -> Option<Whole> {
        let sent = Instant::now();
        let whole = tokio::time::timeout(self.patience, whole(copy)).await.ok().flatten();
        if self.shadowed.is_counted() {
            let failed = whole.as_ref().is_none_or(|whole| whole.envelope.header().status >= 500);
            let decisions = &self.worker.decisions;
            decisions.record_in(self.shadowed.service(), group, sent.elapsed(), failed);
        }
        whole
    }
}

/// The reply to a copy with all of its parts; `None` when it is lost or longer than is kept.
async fn whole(copy: Shadow) -> Option<Whole> {
    let reply = copy.await.ok()?;
    let mut body = reply.envelope.body();
    if let Some(mut parts) = reply.parts {
        let mut joined = BytesMut::from(&body[..]);
        while let Some(part) = poll_fn(|context| parts.poll_next(context)).await {
            joined.extend_from_slice(&part.ok()?);
            if joined.len() > COPY_BYTES {
                return None;
            }
        }
        body = joined.freeze();
    }
    Some(Whole { envelope: reply.envelope, body })
}

impl Whole {
    /// The fields that have a name in UTF-8, as all valid ones do.
    fn fields(&self) -> Vec<(&str, &[u8])> {
        let named = |(name, value)| Some((std::str::from_utf8(name).ok()?, value));
        self.envelope.fields().filter_map(named).collect()
    }
}

fn compared<'a>((whole, fields): &'a (&Whole, Vec<(&str, &[u8])>)) -> Compared<'a> {
    Compared { status: whole.envelope.header().status, headers: fields, body: &whole.body }
}

/// The head of a copy: that of the request, with a low priority, and with the candidate's pin in
/// the candidate's copy, so that what the copy causes meets the candidate too.
struct CopiedHead<'a> {
    fields: &'a [u8],
    candidate: Option<&'a Shadowed>,
}

impl Head for CopiedHead<'_> {
    fn encode(&self, head: &mut HeadWriter<'_>) {
        let mut fields = Fields::of(self.fields).peekable();
        while let Some((name, value)) = fields.next_if(|(name, _)| name.starts_with(b":")) {
            let pin = self.candidate.filter(|candidate| name == b":pin" && candidate.is_pinned_by(value));
            head.field(name, pin.map_or(value, |candidate| candidate.pin.as_bytes()));
        }
        head.field(":priority", "low");
        fields.for_each(|(name, value)| head.field(name, value));
    }
}

#[cfg(test)]
mod tests {
    use change::ghost::Document;
    use change::split::Percent;

    use super::*;
    use crate::live::{Ghost, Origin};

    #[test]
    fn a_copy_has_the_fields_of_its_request_and_the_candidates_its_own_pin() {
        let encode = |write: &dyn Fn(&mut HeadWriter<'_>)| {
            let mut out = BytesMut::new();
            write(&mut HeadWriter::new(&mut out));
            out
        };
        let fields = encode(&|head| {
            for (name, value) in [(":method", "GET"), (":pin", "s=1"), (":pin", "s2=1"), ("pin", "s=1")] {
                head.field(name, value);
            }
        });
        let document = Document::new("2", Percent::ALL);
        let shadowed = Shadowed::new(Ghost { service: "s".into(), document, origin: Origin::Alone });
        for (candidate, pin) in [(Some(&shadowed), "s=2"), (None, "s=1")] {
            let copied = encode(&|head| CopiedHead { fields: &fields, candidate }.encode(head));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("is ASCII");
            let written: Vec<_> =
                Fields::of(&copied).map(|(name, value)| (text(name), text(value))).collect();
            let expected =
                [(":method", "GET"), (":pin", pin), (":pin", "s2=1"), (":priority", "low"), ("pin", "s=1")];
            assert_eq!(written, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }
}
