//! Asking several services at once, within the time that a request has left.
//!
//! Owns: the calls under way and how long they may take. Does not own: what is asked (`parts`), or what becomes of
//! the answers (`routes`).
//! Invariant: nothing is waited for beyond the request's deadline less a reserve in which the answer is written; a
//! call that nobody waits for any more is dropped, which cancels it.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use serde_json::value::RawValue;
use service_host::bus::{self, Body, Bus, Call, Flags, Reply};
use service_host::{Ask, Request};
use smallvec::SmallVec;

use crate::checked::Checked;
use crate::failure::Failure;
use crate::parts::{Claimed, PARTS, Part, SOURCES, Source};

/// Time for a request whose asker named none: the terminator's default.
const TIME_DEFAULT: Duration = Duration::from_secs(1);

/// Most time kept back for writing the answer and its way to the terminator.
const RESERVE_MAX: Duration = Duration::from_millis(25);

/// Longest answer of a service that comes in several messages, in bytes: the page has to fit into one.
const ANSWER_BYTES_MAX: usize = 768 * 1024;

/// What a service said.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// JSON, whoever sent it: it is written into the page as it is.
    Given(Bytes),
    /// The service has nothing for this member: what it said with its 404.
    Absent(Bytes),
    Failed(Failure),
}

/// The answers for a member's page, in the order of the table: up to the essential part when that has none.
pub(crate) type Answers = SmallVec<[(&'static Part, Answer); PARTS]>;

/// What a worker found out before and need not find out for every request.
#[derive(Default)]
pub(crate) struct Known {
    claimed: Claimed,
    checked: Checked,
}

/// Asks for every part of a member's page; `id` is percent-encoded.
pub(crate) async fn gather(bus: &Bus, known: &Known, request: &Request, id: &str) -> Answers {
    let asked_at = request.received();
    let deadline = answers_deadline(request, asked_at);
    let claimed = known.claimed.look(bus);
    let mut asked: SmallVec<[(&'static Source, Asked<'_>); SOURCES.len()]> = SOURCES
        .iter()
        .zip(claimed)
        .filter(|(source, claimed)| source.essential || *claimed)
        .map(|(source, _)| (source, Asked::new(bus, request, source.path(id), asked_at, deadline)))
        .collect();
    poll_fn(|cx| {
        let mut waiting = false;
        for (source, asked) in &mut asked {
            match asked.poll(cx) {
                Poll::Pending => waiting = true,
                Poll::Ready(()) if source.essential && !asked.is_given() => return Poll::Ready(()),
                Poll::Ready(()) => (),
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let mut answers = Answers::new();
    for (source, asked) in asked {
        match asked.answer() {
            None => (),
            Some(Answer::Given(text)) => {
                let content = known.checked.contents(source, &text).into_iter().map(given);
                answers.extend(source.parts.iter().zip(content));
            }
            Some(other) => answers.extend(source.parts.iter().map(|part| (part, other.clone()))),
        }
    }
    answers
}

fn given(content: Option<Bytes>) -> Answer {
    content.map_or(Answer::Failed(Failure::NotJson), Answer::Given)
}

/// Asks one service for one thing, which is JSON.
///
/// # Errors
/// Any answer but a 200, and none.
pub(crate) async fn ask(bus: &Bus, request: &Request, path: String) -> Result<Bytes, Failure> {
    let now = Instant::now();
    let deadline = answers_deadline(request, now);
    let mut asked = Asked::new(bus, request, path, now, deadline);
    poll_fn(|cx| asked.poll(cx)).await;
    match asked.answer().expect("it was polled until it had one") {
        Answer::Given(text) if serde_json::from_slice::<&RawValue>(&text).is_ok() => Ok(text),
        Answer::Given(_) => Err(Failure::NotJson),
        Answer::Absent(body) => Err(Failure::Status(404, body)),
        Answer::Failed(failure) => Err(failure),
    }
}

/// Has another service change something; `body` is JSON. What is sent twice must be the same as sent once: it is
/// retried on another instance.
///
/// # Errors
/// Any answer but a 2xx, and none.
pub(crate) async fn send(
    bus: &Bus,
    request: &Request,
    method: &'static str,
    path: String,
    body: Vec<u8>,
) -> Result<(), Failure> {
    let now = Instant::now();
    let deadline = answers_deadline(request, now);
    let route = bus.route(method, &path).ok_or(Failure::Unclaimed)?;
    let ask = request.ask(method, path);
    let mut options = ask.options(now, deadline);
    options.flags = options.flags.union(Flags::IDEMPOTENT);
    let reply = bus.request(route, ask, Body::from_iter([Bytes::from(body)]), options).await;
    let reply = reply.map_err(Failure::Request)?;
    match reply.status {
        200..=299 => Ok(()),
        status => Err(Failure::Status(status, reply.envelope.body())),
    }
}

/// When the services' answers have to be here: a fifth of the time left, at most 25 ms, before the asker gives up.
fn answers_deadline(request: &Request, now: Instant) -> Instant {
    let left = request.remaining(now).unwrap_or(TIME_DEFAULT);
    now + (left - RESERVE_MAX.min(left / 5))
}

/// One question under way.
enum Asked<'a> {
    Waiting(Call<Ask<'a>>),
    Reading(u16, bus::Parts, BytesMut),
    Answered(Answer),
}

impl<'a> Asked<'a> {
    fn new(bus: &Bus, request: &'a Request, path: String, now: Instant, deadline: Instant) -> Self {
        let Some(route) = bus.route("GET", &path) else {
            return Self::Answered(Answer::Failed(Failure::Unclaimed));
        };
        let ask = request.ask("GET", path);
        let options = ask.options(now, deadline);
        Self::Waiting(bus.request(route, ask, Body::new(), options))
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match self {
                Self::Waiting(call) => match ready!(Pin::new(call).poll(cx)) {
                    Ok(Reply { status, envelope, parts: None }) => {
                        Self::Answered(answer(status, envelope.body()))
                    }
                    Ok(Reply { status, envelope, parts: Some(parts) }) => {
                        Self::Reading(status, parts, BytesMut::from(envelope.body_bytes()))
                    }
                    Err(error) => Self::Answered(Answer::Failed(Failure::Request(error))),
                },
                Self::Reading(status, parts, body) => match ready!(parts.poll_next(cx)) {
                    Some(Ok(part)) if body.len() + part.len() > ANSWER_BYTES_MAX => {
                        Self::Answered(Answer::Failed(Failure::TooLarge(ANSWER_BYTES_MAX)))
                    }
                    Some(Ok(part)) => {
                        body.extend_from_slice(&part);
                        continue;
                    }
                    Some(Err(error)) => Self::Answered(Answer::Failed(Failure::Request(error))),
                    None => Self::Answered(answer(*status, std::mem::take(body).freeze())),
                },
                Self::Answered(_) => return Poll::Ready(()),
            };
            *self = next;
        }
    }

    fn is_given(&self) -> bool {
        matches!(self, Self::Answered(Answer::Given(_)))
    }

    fn answer(self) -> Option<Answer> {
        match self {
            Self::Answered(answer) => Some(answer),
            Self::Waiting(_) | Self::Reading(..) => None,
        }
    }
}

/// Given as it came: it is checked when it is known what of it is wanted.
fn answer(status: u16, body: Bytes) -> Answer {
    match status {
        200 => Answer::Given(body),
        404 => Answer::Absent(body),
        _ => Answer::Failed(Failure::Status(status, body)),
    }
}
